/* A TLS client on the loop under test; see tls_client.h. */
#include "tests/unit/tls_client.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "rpc/tls_library.h"

enum { N_IDENTITIES = 2, PIECE = 8192 };

static struct xn_buf pems[N_IDENTITIES];

struct tls_client {
	struct xn_list link;
	struct fixture *f;
	mbedtls_ssl_context ssl;
	mbedtls_ssl_config config;
	struct xn_tls_random random;
	int fd, local;
	struct xn_io *fd_io, *local_io;
	struct xn_job job;
	struct xn_buf up, down; /* not taken by the server, by the test, yet */
	bool open, up_ended, down_ended, told;
};

struct xn_tls_identity *tls_test_identity(int number)
{
	static const uint8_t seeds[N_IDENTITIES][XN_TLS_SEED] = {{1}, {2}};
	struct xn_tls_names names = {.host = "test"};
	struct xn_error err = {0};
	struct xn_buf *pem = &pems[number];
	struct xn_tls_pem texts;
	struct xn_tls_identity *identity;

	if (!pem->len)
		assert_int_equal(xn_tls_identity_make(&names, 1700000000, seeds[number], pem), 0);
	texts = (struct xn_tls_pem){xn_buf_cstr(pem), xn_buf_cstr(pem), NULL};
	identity = xn_tls_identity_parse(&texts, -1, seeds[number], &err);
	assert_non_null(identity);
	return identity;
}

void tls_test_identities_free(void)
{
	for (int i = 0; i < N_IDENTITIES; i++)
		xn_buf_clear(&pems[i]);
}

static int give(void *arg, unsigned char *to, size_t len)
{
	struct tls_client *client = arg;
	ssize_t n = recv(client->fd, to, len, MSG_DONTWAIT);

	return n >= 0 ? (int)n : errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_READ : -1;
}

static int take(void *arg, const unsigned char *data, size_t len)
{
	struct tls_client *client = arg;
	ssize_t n = send(client->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	return n >= 0 ? (int)n : errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_WRITE : -1;
}

static void end(struct tls_client *client)
{
	xn_io_free(client->fd_io);
	xn_io_free(client->local_io);
	client->fd_io = client->local_io = NULL;
	xn_job_cancel(&client->job);
	if (client->fd >= 0)
		close(client->fd);
	if (client->local >= 0)
		close(client->local);
	client->fd = client->local = -1;
}

static void client_free(struct tls_client *client)
{
	end(client);
	xn_list_remove(&client->link);
	mbedtls_ssl_free(&client->ssl);
	mbedtls_ssl_config_free(&client->config);
	xn_tls_random_clear(&client->random);
	xn_buf_clear(&client->up);
	xn_buf_clear(&client->down);
	free(client);
}

/* From the test to the server. False: lost. */
static bool pump_up(struct tls_client *client)
{
	char piece[PIECE];
	ssize_t n;
	int rc;

	if (!client->up.len && !client->up_ended) {
		n = recv(client->local, piece, sizeof(piece), MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN;
		client->up_ended = n == 0;
		xn_buf_add(&client->up, piece, (size_t)n);
	}
	while (client->up.len) {
		rc = mbedtls_ssl_write(&client->ssl, (unsigned char *)client->up.data,
				       client->up.len);
		if (rc < 0)
			return rc == MBEDTLS_ERR_SSL_WANT_WRITE;
		xn_buf_drop(&client->up, (size_t)rc);
	}
	if (client->up_ended && !client->told) {
		mbedtls_ssl_close_notify(&client->ssl);
		shutdown(client->fd, SHUT_WR);
		client->told = true;
	}
	return true;
}

static bool pump_down(struct tls_client *client)
{
	unsigned char piece[PIECE];
	ssize_t n;
	int rc;

	if (!client->down.len && !client->down_ended) {
		rc = mbedtls_ssl_read(&client->ssl, piece, sizeof(piece));
		if (rc == MBEDTLS_ERR_SSL_WANT_READ)
			return true;
		client->down_ended = rc == 0 || rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY;
		if (rc < 0 && !client->down_ended)
			return false;
		xn_buf_add(&client->down, piece, rc > 0 ? (size_t)rc : 0);
	}
	if (client->down.len) {
		n = send(client->local, client->down.data, client->down.len,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN;
		xn_buf_drop(&client->down, (size_t)n);
	}
	if (client->down_ended && !client->down.len)
		shutdown(client->local, SHUT_WR);
	return !(client->down_ended && client->up_ended);
}

static void pump(struct tls_client *client);

static void on_job(struct xn_job *job)
{
	pump(xn_container_of(job, struct tls_client, job));
}

static void pump(struct tls_client *client)
{
	int rc = client->open ? 0 : mbedtls_ssl_handshake(&client->ssl);

	client->open = rc == 0;
	if ((rc != 0 && rc != MBEDTLS_ERR_SSL_WANT_READ && rc != MBEDTLS_ERR_SSL_WANT_WRITE) ||
	    (client->open && !(pump_up(client) && pump_down(client)))) {
		end(client);
		return;
	}
	xn_io_set(client->fd_io,
		  (client->down.len || client->down_ended ? 0 : XN_IO_READ) |
			  (client->up.len ? XN_IO_WRITE : 0));
	xn_io_set(client->local_io,
		  (!client->open || client->up.len || client->up_ended ? 0 : XN_IO_READ) |
			  (client->down.len ? XN_IO_WRITE : 0));
	if (client->open && !client->down.len && !client->down_ended &&
	    mbedtls_ssl_check_pending(&client->ssl))
		xn_loop_defer(client->f->core.loop, &client->job, XN_PRIO_EVENT, on_job);
}

static void on_ready(int fd, int events, void *arg)
{
	pump(arg);
}

struct tls_client *tls_connect(struct fixture *f, int *fd_out)
{
	static const uint8_t seed[XN_TLS_SEED] = {3};
	struct tls_client *client = xn_calloc(1, sizeof(*client));
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	client->f = f;
	client->fd = connect_tcp(f);
	client->local = pair[1];
	assert_int_equal(xn_tls_random_init(&client->random, seed), 0);
	mbedtls_ssl_init(&client->ssl);
	mbedtls_ssl_config_init(&client->config);
	assert_int_equal(mbedtls_ssl_config_defaults(&client->config, MBEDTLS_SSL_IS_CLIENT,
						     MBEDTLS_SSL_TRANSPORT_STREAM,
						     MBEDTLS_SSL_PRESET_DEFAULT), 0);
	mbedtls_ssl_conf_authmode(&client->config, MBEDTLS_SSL_VERIFY_NONE);
	mbedtls_ssl_conf_max_version(&client->config, MBEDTLS_SSL_MAJOR_VERSION_3,
				     MBEDTLS_SSL_MINOR_VERSION_3);
	mbedtls_ssl_conf_rng(&client->config, mbedtls_ctr_drbg_random, &client->random.drbg);
	assert_int_equal(mbedtls_ssl_setup(&client->ssl, &client->config), 0);
	mbedtls_ssl_set_bio(&client->ssl, client, take, give, NULL);
	client->fd_io = xn_io_new(f->core.loop, client->fd, 0, on_ready, client);
	client->local_io = xn_io_new(f->core.loop, client->local, 0, on_ready, client);
	xn_list_push(&f->tls_clients, &client->link);
	pump(client);
	*fd_out = pair[0];
	return client;
}

bool tls_is_open(const struct tls_client *client)
{
	return client->open;
}

bool tls_is_shown(const struct tls_client *client, int number)
{
	const mbedtls_x509_crt *shown = mbedtls_ssl_get_peer_cert(&client->ssl);
	struct xn_tls_identity *own = tls_test_identity(number);
	bool same = shown && shown->raw.len == own->chain.raw.len &&
		    memcmp(shown->raw.p, own->chain.raw.p, shown->raw.len) == 0;

	xn_tls_identity_unref(own);
	return same;
}

int tls_raw(const struct tls_client *client)
{
	return client->fd;
}

static int connect_client(struct fixture *f)
{
	int fd;
	struct tls_client *client = tls_connect(f, &fd);

	while (!client->open && client->fd >= 0)
		xn_loop_turn(f->core.loop, 10000);
	return fd;
}

void tls_serve(struct fixture *f)
{
	struct xn_error err = {0};

	xn_list_init(&f->tls_clients);
	assert_int_equal(xn_http_listen_tls(f->http, "127.0.0.1:0", &err), 0);
	xn_http_use_identity(f->http, tls_test_identity(0));
	f->connect = connect_client;
}

void tls_clients_free(struct fixture *f)
{
	while (f->tls_clients.next && !xn_list_empty(&f->tls_clients))
		client_free(xn_list_entry(f->tls_clients.next, struct tls_client, link));
}
