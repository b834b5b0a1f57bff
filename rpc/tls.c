/*
 * One connection's TLS and what all share; see tls.h. mbedtls reads from and writes to memory only:
 * what it wants to send is collected and leaves in one write, so it never has half a record of its
 * own to remember, and a worker can compute a handshake without touching the socket.
 *
 *   NEW --(first bytes)--> SHAKING --(handshake over)--> OPEN --> ENDED (nothing more to read)
 *    |                        |
 *    +--> PLAIN               +--(failed)--> ENDED
 */
#include "rpc/tls.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "rpc/tls_library.h"

enum {
	TICKET_LIFE_S = 3600, /* and so long a ticket's key is kept */
	MIX_BYTES = 32,
	SHAKE_BYTES_MAX = 65536, /* of a handshake, unread */
	READ_BUDGET = 262144,	 /* ciphertext for one call of read */
	WRITE_BATCH = 65536,	 /* plaintext encrypted before the socket is tried */
	RECORD = 16384,
	OUT_MAX = 262144, /* more than one batch: a peer provokes alerts and does not read them */
	SESSION_BYTES = 36000,	 /* about, of an open one: the library's two record buffers */
};

struct xn_tls {
	struct xn_core *core;
	struct xn_pool *worker; /* one thread: it alone uses what follows */
	mbedtls_ctr_drbg_context drbg;
	mbedtls_ssl_ticket_context tickets;
	struct xn_tls_identity *identity;
	struct xn_tls_stats stats;
	char *scratch; /* RECORD bytes: small pieces put together to one record */
};

enum state { NEW, PLAIN, SHAKING, OPEN, ENDED };

struct xn_tls_conn {
	struct xn_tls *tls;
	struct xn_tls_identity *identity; /* held from the first byte on */
	int fd;
	uint64_t peer;
	uint8_t state;
	bool has_session; /* ssl is set up */
	bool at_work;	  /* the worker has it */
	bool orphaned;	  /* freed meanwhile */
	bool was_cut;
	int end_errno; /* ENDED: 0 is an orderly end */
	mbedtls_ssl_context ssl;
	struct xn_buf in, out; /* ciphertext: not seen by mbedtls yet; not taken by the socket yet */
	size_t in_done, out_done;
	size_t promised; /* plaintext that is in out, and was not reported as written yet */
	size_t budget;	 /* of the read under way; 0: not from the socket */
	void (*wake)(void *arg);
	void *wake_arg;
	struct xn_work work;
	uint8_t mix[MIX_BYTES];
	int shaken; /* the worker's result */
};

/* ---- shared ---- */

#if MBEDTLS_VERSION_MAJOR >= 3
#define drbg_update mbedtls_ctr_drbg_update
#else
#define drbg_update mbedtls_ctr_drbg_update_ret
#endif

static int give_loop_bytes(void *arg, unsigned char *out, size_t len)
{
	struct xn_tls *tls = arg;

	xn_random_bytes(tls->core->loop, out, len);
	return 0;
}

struct xn_tls *xn_tls_new(struct xn_core *core)
{
	struct xn_tls *tls = xn_calloc(1, sizeof(*tls));

	tls->core = core;
	tls->worker = xn_pool_new(core->loop, "tls", 1);
	tls->scratch = xn_malloc(RECORD);
	mbedtls_ctr_drbg_init(&tls->drbg);
	mbedtls_ssl_ticket_init(&tls->tickets);
	if (mbedtls_ctr_drbg_seed(&tls->drbg, give_loop_bytes, tls, NULL, 0) != 0 ||
	    mbedtls_ssl_ticket_setup(&tls->tickets, mbedtls_ctr_drbg_random, &tls->drbg,
				     MBEDTLS_CIPHER_AES_256_GCM, TICKET_LIFE_S) != 0)
		abort(); /* a library without AES or SHA-2 */
	/* From now on used in the worker only, which gets new randomness with each job. */
	mbedtls_ctr_drbg_set_reseed_interval(&tls->drbg, INT_MAX);
	return tls;
}

void xn_tls_free(struct xn_tls *tls)
{
	if (!tls)
		return;
	xn_pool_free(tls->worker);
	xn_tls_identity_unref(tls->identity);
	mbedtls_ssl_ticket_free(&tls->tickets);
	mbedtls_ctr_drbg_free(&tls->drbg);
	free(tls->scratch);
	free(tls);
}

void xn_tls_stats(const struct xn_tls *tls, struct xn_tls_stats *out)
{
	*out = tls->stats;
}

struct xn_tls_identity *xn_tls_identity(const struct xn_tls *tls)
{
	return tls->identity;
}

/* The field's clients offer the first two on P-384 only. */
static const int suites[] = {
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	0,
};
/* Cheapest first. */
static const mbedtls_ecp_group_id curves[] = {
	MBEDTLS_ECP_DP_SECP256R1, MBEDTLS_ECP_DP_CURVE25519, MBEDTLS_ECP_DP_SECP384R1,
	MBEDTLS_ECP_DP_NONE,
};
static const int hashes[] = {MBEDTLS_MD_SHA256, MBEDTLS_MD_SHA384, MBEDTLS_MD_SHA512,
			     MBEDTLS_MD_NONE};
static const char *protocols[] = {"http/1.1", "http/1.0", NULL};

static int configure(struct xn_tls *tls, struct xn_tls_identity *identity)
{
	mbedtls_ssl_config *config = &identity->config;
	int rc = mbedtls_ssl_config_defaults(config, MBEDTLS_SSL_IS_SERVER,
					     MBEDTLS_SSL_TRANSPORT_STREAM,
					     MBEDTLS_SSL_PRESET_DEFAULT);

	mbedtls_ssl_conf_min_version(config, MBEDTLS_SSL_MAJOR_VERSION_3,
				     MBEDTLS_SSL_MINOR_VERSION_3);
	mbedtls_ssl_conf_max_version(config, MBEDTLS_SSL_MAJOR_VERSION_3,
				     MBEDTLS_SSL_MINOR_VERSION_3);
	mbedtls_ssl_conf_ciphersuites(config, suites);
	mbedtls_ssl_conf_curves(config, curves);
	mbedtls_ssl_conf_sig_hashes(config, hashes);
	mbedtls_ssl_conf_authmode(config, MBEDTLS_SSL_VERIFY_NONE);
#ifdef MBEDTLS_SSL_RENEGOTIATION
	mbedtls_ssl_conf_renegotiation(config, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
#endif
	mbedtls_ssl_conf_rng(config, mbedtls_ctr_drbg_random, &tls->drbg);
	mbedtls_ssl_conf_session_tickets_cb(config, mbedtls_ssl_ticket_write,
					    mbedtls_ssl_ticket_parse, &tls->tickets);
	rc = rc ? rc : mbedtls_ssl_conf_alpn_protocols(config, protocols);
	return rc ? rc : mbedtls_ssl_conf_own_cert(config, &identity->chain, &identity->key);
}

void xn_tls_use(struct xn_tls *tls, struct xn_tls_identity *identity)
{
	assert(!identity->is_configured); /* for one server, once */
	if (configure(tls, identity) != 0)
		abort(); /* out of memory is all that can happen to a parsed identity */
	identity->is_configured = true;
	xn_tls_identity_unref(tls->identity);
	tls->identity = identity;
}

/* ---- memory on one side, the socket on the other ---- */

static void drop_done(struct xn_buf *buf, size_t *done)
{
	if (*done == buf->len) {
		xn_buf_clear(buf);
		*done = 0;
	}
}

/* mbedtls wants ciphertext. */
static int give_input(void *arg, unsigned char *to, size_t len)
{
	struct xn_tls_conn *conn = arg;
	size_t have = conn->in.len - conn->in_done;
	ssize_t n;

	if (have) {
		len = len < have ? len : have;
		memcpy(to, conn->in.data + conn->in_done, len);
		conn->in_done += len;
		drop_done(&conn->in, &conn->in_done);
		return (int)len;
	}
	if (!conn->budget)
		return MBEDTLS_ERR_SSL_WANT_READ;
	do
		n = recv(conn->fd, to, len, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? MBEDTLS_ERR_SSL_WANT_READ
							       : MBEDTLS_ERR_SSL_CONN_EOF;
	conn->budget -= (size_t)n < conn->budget ? (size_t)n : conn->budget;
	return (int)n;
}

static int take_output(void *arg, const unsigned char *data, size_t len)
{
	struct xn_tls_conn *conn = arg;

	xn_buf_add(&conn->out, data, len);
	return (int)len;
}

int xn_tls_flush(struct xn_tls_conn *conn)
{
	ssize_t n;

	if (conn->at_work)
		return 0;
	while (conn->out.len) {
		n = send(conn->fd, conn->out.data + conn->out_done, conn->out.len - conn->out_done,
			 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
		conn->out_done += (size_t)n;
		drop_done(&conn->out, &conn->out_done);
	}
	return 0;
}

/* ---- life ---- */

struct xn_tls_conn *xn_tls_conn_new(struct xn_tls *tls, int fd, uint64_t peer,
				    void (*wake)(void *arg), void *arg)
{
	struct xn_tls_conn *conn = xn_calloc(1, sizeof(*conn));

	conn->tls = tls;
	conn->fd = fd;
	conn->peer = peer;
	conn->wake = wake;
	conn->wake_arg = arg;
	return conn;
}

void xn_tls_conn_set_wake(struct xn_tls_conn *conn, void (*wake)(void *arg), void *arg)
{
	conn->wake = wake;
	conn->wake_arg = arg;
}

void xn_tls_conn_free(struct xn_tls_conn *conn)
{
	if (!conn)
		return;
	if (conn->at_work && !xn_pool_withdraw(conn->tls->worker, &conn->work)) {
		conn->orphaned = true;
		return;
	}
	if (conn->has_session)
		mbedtls_ssl_free(&conn->ssl);
	xn_tls_identity_unref(conn->identity);
	xn_buf_clear(&conn->in);
	xn_buf_clear(&conn->out);
	free(conn);
}

static ssize_t end(struct xn_tls_conn *conn, int error)
{
	conn->state = ENDED;
	conn->end_errno = error;
	errno = error;
	return error ? -1 : 0;
}

/* ---- handshake ---- */

/* In the worker. */
static int shake(struct xn_work *work)
{
	struct xn_tls_conn *conn = xn_container_of(work, struct xn_tls_conn, work);

	conn->shaken = drbg_update(&conn->tls->drbg, conn->mix, sizeof(conn->mix));
	if (conn->shaken == 0)
		conn->shaken = mbedtls_ssl_handshake(&conn->ssl);
	mbedtls_platform_zeroize(conn->mix, sizeof(conn->mix));
	return 0;
}

static void on_shaken(struct xn_work *work, int rc)
{
	struct xn_tls_conn *conn = xn_container_of(work, struct xn_tls_conn, work);
	struct xn_tls *tls = conn->tls;

	conn->at_work = false;
	if (conn->orphaned) {
		xn_tls_conn_free(conn);
		return;
	}
	if (rc < 0) { /* the pool stops */
		end(conn, ECANCELED);
	} else if (conn->shaken == 0) {
		conn->state = OPEN;
		tls->stats.handshakes++;
	} else if (conn->shaken != MBEDTLS_ERR_SSL_WANT_READ) {
		tls->stats.handshakes_failed++;
		xn_log_debug(tls->core->log, "rpc", "a TLS handshake failed: -0x%04x",
			     (unsigned)-conn->shaken);
		end(conn, EPROTO);
	}
	if (xn_tls_flush(conn) < 0)
		end(conn, ECONNRESET);
	conn->wake(conn->wake_arg);
}

static int begin_session(struct xn_tls_conn *conn)
{
	mbedtls_ssl_init(&conn->ssl);
	conn->has_session = true;
	conn->identity = xn_tls_identity_ref(conn->tls->identity);
	if (mbedtls_ssl_setup(&conn->ssl, &conn->identity->config) != 0)
		return -ENOMEM;
	mbedtls_ssl_set_bio(&conn->ssl, conn, take_output, give_input, NULL);
	conn->state = SHAKING;
	return 0;
}

/* The first byte of a request line, and of a TLS record. */
static bool is_letter(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '\r' || c == '\n';
}

enum { HANDSHAKE_RECORD = 0x16 };

static ssize_t read_handshake(struct xn_tls_conn *conn, char *to, size_t len)
{
	struct xn_tls *tls = conn->tls;
	uint64_t before = xn_loop_caller(tls->core->loop);
	ssize_t n;

	if (conn->at_work) {
		errno = EAGAIN;
		return -1;
	}
	n = recv(conn->fd, to, len, MSG_DONTWAIT);
	if (n == 0)
		conn->was_cut = true;
	if (n <= 0)
		return n;
	if (conn->state == NEW && is_letter(to[0])) {
		conn->state = PLAIN;
		return n;
	}
	if (conn->state == NEW && (to[0] != HANDSHAKE_RECORD || begin_session(conn) < 0)) {
		tls->stats.handshakes_failed++;
		return end(conn, EPROTO);
	}
	if (conn->in.len - conn->in_done + (size_t)n > SHAKE_BYTES_MAX)
		return end(conn, EPROTO);
	xn_buf_add(&conn->in, to, (size_t)n);
	xn_random_bytes(tls->core->loop, conn->mix, sizeof(conn->mix));
	conn->at_work = true;
	conn->work.run = shake;
	conn->work.done = on_shaken;
	xn_loop_set_caller(tls->core->loop, conn->peer);
	xn_pool_submit(tls->worker, &conn->work);
	xn_loop_set_caller(tls->core->loop, before);
	errno = EAGAIN;
	return -1;
}

/* ---- records ---- */

/* What mbedtls says at the end of the input, kept for the next read when bytes came before it. */
static ssize_t end_reading(struct xn_tls_conn *conn, int rc)
{
	if (rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
		return end(conn, 0);
	conn->was_cut = true;
	return end(conn, rc == 0 || rc == MBEDTLS_ERR_SSL_CONN_EOF ? 0 : EPROTO);
}

static ssize_t read_records(struct xn_tls_conn *conn, char *to, size_t len)
{
	size_t done = 0;
	int rc = 0;

	conn->budget = READ_BUDGET;
	while (done < len) {
		rc = mbedtls_ssl_read(&conn->ssl, (unsigned char *)to + done, len - done);
		if (rc <= 0)
			break;
		done += (size_t)rc;
	}
	conn->budget = 0;
	/* Answers of the library itself, such as to a wish for another handshake. */
	if (conn->out.len - conn->out_done > OUT_MAX)
		rc = MBEDTLS_ERR_SSL_INTERNAL_ERROR;
	else
		xn_tls_flush(conn);
	if (done == len || rc == MBEDTLS_ERR_SSL_WANT_READ) {
		errno = EAGAIN;
		return done ? (ssize_t)done : -1;
	}
	end_reading(conn, rc);
	return done ? (ssize_t)done : conn->end_errno ? -1 : 0;
}

ssize_t xn_tls_read(struct xn_tls_conn *conn, void *to, size_t len)
{
	switch ((enum state)conn->state) {
	case NEW:
	case SHAKING:
		return read_handshake(conn, to, len);
	case OPEN:
		return read_records(conn, to, len);
	case PLAIN:
		return recv(conn->fd, to, len, MSG_DONTWAIT);
	case ENDED:
		break;
	}
	errno = conn->end_errno;
	return conn->end_errno ? -1 : 0;
}

/* At most @max bytes of what @iov holds behind its first @skip, in one piece. */
static size_t next_piece(struct xn_tls_conn *conn, const struct iovec *iov, int n, size_t skip,
			 size_t max, const char **piece_out)
{
	size_t len = 0;

	*piece_out = conn->tls->scratch;
	for (int i = 0; i < n && len < max; i++) {
		const char *from = iov[i].iov_base;
		size_t more = iov[i].iov_len;

		if (skip >= more) {
			skip -= more;
			continue;
		}
		from += skip;
		more -= skip;
		skip = 0;
		if (!len && more >= max) {
			*piece_out = from; /* no copy for what fills a record by itself */
			return max;
		}
		more = more < max - len ? more : max - len;
		memcpy(conn->tls->scratch + len, from, more);
		len += more;
	}
	return len;
}

/* Up to WRITE_BATCH bytes into out, as records. */
static int encrypt(struct xn_tls_conn *conn, const struct iovec *iov, int n)
{
	const char *piece;
	size_t len;
	int rc;

	while (conn->promised < WRITE_BATCH &&
	       (len = next_piece(conn, iov, n, conn->promised, RECORD, &piece)) > 0) {
		rc = mbedtls_ssl_write(&conn->ssl, (const unsigned char *)piece, len);
		if (rc <= 0)
			return -1;
		conn->promised += (size_t)rc;
	}
	return 0;
}

static ssize_t write_plain(struct xn_tls_conn *conn, const struct iovec *iov, int n)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n};

	return sendmsg(conn->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

ssize_t xn_tls_write(struct xn_tls_conn *conn, const struct iovec *iov, int n)
{
	size_t written;

	if (conn->state == PLAIN)
		return write_plain(conn, iov, n);
	if (conn->state != OPEN && !(conn->state == ENDED && conn->end_errno == 0)) {
		errno = conn->state == ENDED ? EPIPE : EAGAIN;
		return -1;
	}
	if ((!conn->promised && encrypt(conn, iov, n) < 0) || xn_tls_flush(conn) < 0) {
		errno = EPIPE;
		return -1;
	}
	if (conn->out.len) {
		errno = EAGAIN;
		return -1;
	}
	written = conn->promised;
	conn->promised = 0;
	return (ssize_t)written;
}

void xn_tls_end(struct xn_tls_conn *conn)
{
	if (conn->at_work || !conn->has_session || conn->end_errno || conn->state == SHAKING)
		return;
	mbedtls_ssl_close_notify(&conn->ssl);
	xn_tls_flush(conn);
}

/* ---- questions ---- */

bool xn_tls_is_open(const struct xn_tls_conn *conn)
{
	return conn->state == OPEN || conn->state == ENDED;
}

bool xn_tls_is_plain(const struct xn_tls_conn *conn)
{
	return conn->state == PLAIN;
}

bool xn_tls_was_cut(const struct xn_tls_conn *conn)
{
	return conn->was_cut;
}

bool xn_tls_has_input(const struct xn_tls_conn *conn)
{
	if (conn->state == ENDED)
		return true;
	return conn->state == OPEN &&
	       (conn->in.len > conn->in_done || mbedtls_ssl_check_pending(&conn->ssl));
}

int xn_tls_events(const struct xn_tls_conn *conn, int events)
{
	if (conn->at_work)
		return 0;
	if (conn->state == NEW || conn->state == SHAKING)
		events = XN_IO_READ;
	/* Before what is promised is out, nothing else can be written. */
	if (conn->out.len)
		events |= XN_IO_WRITE;
	return events;
}

size_t xn_tls_memory(const struct xn_tls_conn *conn)
{
	if (conn->at_work) /* the worker changes it */
		return sizeof(*conn) + SESSION_BYTES;
	return sizeof(*conn) + (conn->has_session ? SESSION_BYTES : 0) + conn->in.cap + conn->out.cap;
}
