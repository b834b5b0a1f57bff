/* See tls.h. */
#define MBEDTLS_ALLOW_PRIVATE_ACCESS
#include "rpc/xe/client/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#if MBEDTLS_VERSION_MAJOR >= 3
#include <psa/crypto.h>
#endif

#include "core/sha256.h"

struct tls {
	struct xe_stream stream;
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context random;
	mbedtls_x509_crt cas;
	mbedtls_ssl_config config;
	mbedtls_ssl_context ssl;
	int first_byte; /* that the server ever sent; -1: none yet */
};

/* What clients on other systems call it. */
static const char *const ca_files[] = {
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/cert.pem",
};

/* ---- mbedtls and the socket ---- */

static int give_input(void *arg, unsigned char *to, size_t len)
{
	struct tls *tls = arg;
	ssize_t n = recv(tls->stream.fd, to, len, 0);

	if (n > 0 && tls->first_byte < 0)
		tls->first_byte = to[0];
	if (n >= 0)
		return (int)n;
	if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
		return MBEDTLS_ERR_SSL_WANT_READ;
	return MBEDTLS_ERR_SSL_INTERNAL_ERROR;
}

static int take_output(void *arg, const unsigned char *data, size_t len)
{
	struct tls *tls = arg;
	ssize_t n = send(tls->stream.fd, data, len, MSG_NOSIGNAL);

	if (n >= 0)
		return (int)n;
	if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
		return MBEDTLS_ERR_SSL_WANT_WRITE;
	return MBEDTLS_ERR_SSL_INTERNAL_ERROR;
}

static ssize_t result(struct tls *tls, int n)
{
	if (n >= 0)
		return n;
	if (n == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
		return 0;
	if (n == MBEDTLS_ERR_SSL_WANT_READ || n == MBEDTLS_ERR_SSL_WANT_WRITE) {
		tls->stream.wants = n == MBEDTLS_ERR_SSL_WANT_READ ? POLLIN : POLLOUT;
		return -EAGAIN;
	}
	return -ECONNRESET; /* also: cut without the word that ends TLS */
}

static ssize_t tls_read(struct xe_stream *stream, void *to, size_t len)
{
	struct tls *tls = xn_container_of(stream, struct tls, stream);
	int n = mbedtls_ssl_read(&tls->ssl, to, len);

#ifdef MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET
	while (n == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET)
		n = mbedtls_ssl_read(&tls->ssl, to, len);
#endif
	return n == 0 && len ? -ECONNRESET : result(tls, n);
}

static ssize_t tls_write(struct xe_stream *stream, const void *data, size_t len)
{
	struct tls *tls = xn_container_of(stream, struct tls, stream);

	return result(tls, mbedtls_ssl_write(&tls->ssl, data, len));
}

static void tls_end(struct xe_stream *stream)
{
	struct tls *tls = xn_container_of(stream, struct tls, stream);

	mbedtls_ssl_close_notify(&tls->ssl);
	shutdown(stream->fd, SHUT_WR);
}

static void tls_free(struct xe_stream *stream)
{
	struct tls *tls = xn_container_of(stream, struct tls, stream);

	mbedtls_ssl_free(&tls->ssl);
	mbedtls_ssl_config_free(&tls->config);
	mbedtls_x509_crt_free(&tls->cas);
	mbedtls_ctr_drbg_free(&tls->random);
	mbedtls_entropy_free(&tls->entropy);
	close(stream->fd);
	free(tls);
}

static void tls_end_and_free(struct xe_stream *stream)
{
	tls_end(stream);
	tls_free(stream);
}

static const struct xe_stream_ops tls_ops = {
	.read = tls_read,
	.write = tls_write,
	.end = tls_end,
	.free = tls_end_and_free,
};

/* ---- the handshake ---- */

static bool is_address(const char *host, unsigned char bytes[16], size_t *len_out)
{
	*len_out = inet_pton(AF_INET, host, bytes) == 1 ? 4 :
		   inet_pton(AF_INET6, host, bytes) == 1 ? 16 : 0;
	return *len_out != 0;
}

static void load_cas(struct tls *tls, const char *ca_file)
{
	if (ca_file) {
		mbedtls_x509_crt_parse_file(&tls->cas, ca_file);
		return;
	}
	for (size_t i = 0; i < XN_ARRAY_SIZE(ca_files); i++)
		if (access(ca_files[i], R_OK) == 0) {
			mbedtls_x509_crt_parse_file(&tls->cas, ca_files[i]);
			return;
		}
}

static int set_up(struct tls *tls, const char *host)
{
	unsigned char bytes[16];
	size_t len;
	int rc;

#if MBEDTLS_VERSION_MAJOR >= 3
	if (psa_crypto_init() != PSA_SUCCESS)
		return -1;
#endif
	rc = mbedtls_ctr_drbg_seed(&tls->random, mbedtls_entropy_func, &tls->entropy, NULL, 0);
	rc = rc ? rc : mbedtls_ssl_config_defaults(&tls->config, MBEDTLS_SSL_IS_CLIENT,
						   MBEDTLS_SSL_TRANSPORT_STREAM,
						   MBEDTLS_SSL_PRESET_DEFAULT);
	if (rc)
		return rc;
	mbedtls_ssl_conf_min_version(&tls->config, MBEDTLS_SSL_MAJOR_VERSION_3,
				     MBEDTLS_SSL_MINOR_VERSION_3);
	mbedtls_ssl_conf_rng(&tls->config, mbedtls_ctr_drbg_random, &tls->random);
	/* What it found is looked at below; a pinned certificate needs no CA. */
	mbedtls_ssl_conf_authmode(&tls->config, MBEDTLS_SSL_VERIFY_OPTIONAL);
	mbedtls_ssl_conf_ca_chain(&tls->config, &tls->cas, NULL);
	rc = mbedtls_ssl_setup(&tls->ssl, &tls->config);
	if (rc == 0 && !is_address(host, bytes, &len))
		rc = mbedtls_ssl_set_hostname(&tls->ssl, host);
	mbedtls_ssl_set_bio(&tls->ssl, tls, take_output, give_input, NULL);
	return rc;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int shake(struct tls *tls, int timeout_ms)
{
	int64_t end = now_ms() + timeout_ms;
	int rc;

	while ((rc = mbedtls_ssl_handshake(&tls->ssl)) == MBEDTLS_ERR_SSL_WANT_READ ||
	       rc == MBEDTLS_ERR_SSL_WANT_WRITE) {
		struct pollfd fd = {tls->stream.fd,
				    rc == MBEDTLS_ERR_SSL_WANT_READ ? POLLIN : POLLOUT, 0};
		int64_t left = end - now_ms();

		if (left <= 0)
			return MBEDTLS_ERR_SSL_TIMEOUT;
		poll(&fd, 1, (int)left);
	}
	return rc;
}

static void explain(const struct tls *tls, int rc, struct xn_buf *complaint)
{
	enum { ALERT = 0x15, HANDSHAKE = 0x16 };

	if (tls->first_byte >= 0 && tls->first_byte != ALERT && tls->first_byte != HANDSHAKE)
		xn_buf_add_string(complaint, "it answers without TLS");
	else if (rc == MBEDTLS_ERR_SSL_TIMEOUT)
		xn_buf_add_string(complaint, "no answer to the TLS handshake");
	else if (tls->first_byte < 0)
		xn_buf_add_string(complaint, "it ended the connection instead of beginning TLS");
	else
		xn_buf_printf(complaint, "the TLS handshake failed (mbedtls: -0x%04x)", (unsigned)-rc);
}

/* ---- what the server showed ---- */

static bool has_address(const mbedtls_x509_crt *certificate, const void *bytes, size_t len)
{
	enum { IP_ADDRESS = 7 };

	for (const mbedtls_x509_sequence *name = &certificate->subject_alt_names; name;
	     name = name->next)
		if ((name->buf.tag & 0x1f) == IP_ADDRESS && name->buf.len == len &&
		    memcmp(name->buf.p, bytes, len) == 0)
			return true;
	return false;
}

static void look_at_certificate(struct tls *tls, const char *host, struct xe_peer *peer)
{
	static const struct {
		uint32_t flag;
		const char *why;
	} reasons[] = {
		{MBEDTLS_X509_BADCERT_NOT_TRUSTED, "no authority that this machine knows has signed it"},
		{MBEDTLS_X509_BADCERT_EXPIRED, "it has expired"},
		{MBEDTLS_X509_BADCERT_FUTURE, "it is not valid yet"},
		{MBEDTLS_X509_BADCERT_CN_MISMATCH, "it is for another name"},
		{UINT32_MAX, "its chain is not good"},
	};
	const mbedtls_x509_crt *certificate = mbedtls_ssl_get_peer_cert(&tls->ssl);
	uint32_t flags = mbedtls_ssl_get_verify_result(&tls->ssl);
	unsigned char bytes[16];
	size_t len;

	*peer = (struct xe_peer){.why_not = "it showed none"};
	if (!certificate)
		return;
	xn_sha256_hex(certificate->raw.p, certificate->raw.len, peer->fingerprint);
	/* mbedtls compares names only. */
	if (is_address(host, bytes, &len) && !has_address(certificate, bytes, len))
		flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
	peer->is_verified = flags == 0;
	for (size_t i = 0; i < XN_ARRAY_SIZE(reasons); i++)
		if (flags & reasons[i].flag) {
			peer->why_not = reasons[i].why;
			break;
		}
}

struct xe_stream *xe_tls_open(int fd, const char *host, const char *ca_file, bool use_cas,
			      int timeout_ms, struct xe_peer *peer_out, struct xn_buf *complaint)
{
	struct tls *tls = xn_calloc(1, sizeof(*tls));
	int rc;

	tls->stream = (struct xe_stream){.ops = &tls_ops, .fd = fd, .wants = POLLIN};
	tls->first_byte = -1;
	mbedtls_entropy_init(&tls->entropy);
	mbedtls_ctr_drbg_init(&tls->random);
	mbedtls_x509_crt_init(&tls->cas);
	mbedtls_ssl_config_init(&tls->config);
	mbedtls_ssl_init(&tls->ssl);
	if (use_cas)
		load_cas(tls, ca_file);
	rc = set_up(tls, host);
	rc = rc ? rc : shake(tls, timeout_ms);
	if (rc) {
		explain(tls, rc, complaint);
		tls_free(&tls->stream);
		return NULL;
	}
	look_at_certificate(tls, host, peer_out);
	return &tls->stream;
}
