/* TLS of the HTTP server on a real loop: certificates, handshakes that stop half-way, ends. What goes
 * through an open connection is test_http_stream.c's, which runs over TLS too. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/tls_client.h"

static bool begun, over, cut;

static size_t take(struct xn_http_conn *conn, const char *bytes, size_t len, void *arg)
{
	begun = true;
	if (!len) {
		over = true;
		cut = xn_http_stream_was_cut(conn);
		xn_http_reply(conn, 200, NULL, NULL, "", 0);
	}
	return len;
}

static void run_in(const struct xn_http_request *req, void *arg)
{
	xn_http_stream_read(req->conn, take, NULL);
}

static const struct xn_http_route upload = {
	.method = "PUT", .path = "/in", .kind = XN_HTTP_STREAM_IN, .run = run_in};

static int setup(void **state)
{
	struct fixture *f;

	http_setup(state);
	f = *state;
	begun = over = cut = false;
	f->http->limits.sweep_us = 5000;
	xn_http_add_route(f->http, &upload, f);
	tls_serve(f);
	return 0;
}

static int teardown(void **state)
{
	tls_clients_free(*state);
	return http_teardown(state);
}

static void ask(struct fixture *f, int fd)
{
	send_text(fd, "GET / HTTP/1.1\r\n\r\n");
	assert_non_null(strstr(read_until(f, fd, "</html>"), "200 OK"));
}

static bool none_is_open(struct fixture *f)
{
	return f->http->n_open == 0;
}

static bool one_is_open(struct fixture *f)
{
	return f->http->n_open == 1;
}

static void nobody_is_accepted_before_there_is_a_certificate(void **state)
{
	struct xn_error err = {0};
	struct fixture *f;
	int fd;

	http_setup(state);
	f = *state;
	xn_list_init(&f->tls_clients);
	assert_int_equal(xn_http_listen_tls(f->http, "127.0.0.1:0", &err), 0);
	tls_connect(f, &fd);
	settle_loop(f);
	assert_int_equal(f->http->stats.accepted, 0);
	xn_http_use_identity(f->http, tls_test_identity(0));
	ask(f, fd);
	close(fd);
}

static void a_new_certificate_is_for_new_connections(void **state)
{
	struct fixture *f = *state;
	struct tls_client *old, *fresh;
	int old_fd, fresh_fd;

	old = tls_connect(f, &old_fd);
	ask(f, old_fd);
	xn_http_use_identity(f->http, tls_test_identity(1));
	fresh = tls_connect(f, &fresh_fd);
	ask(f, fresh_fd);
	ask(f, old_fd);
	assert_true(tls_is_shown(old, 0));
	assert_true(tls_is_shown(fresh, 1));
	close(old_fd);
	close(fresh_fd);
	turn_until(f, none_is_open);
}

static void a_handshake_that_stops_ends_at_its_deadline(void **state)
{
	static const char *const beginnings[] = {"", "\x16\x03", "\x16\x03\x01\x01\x01\x01"};
	struct fixture *f = *state;

	f->http->limits.handshake_us = 20000;
	for (size_t i = 0; i < XN_ARRAY_SIZE(beginnings); i++) {
		int fd = connect_tcp(f);

		send_text(fd, beginnings[i]);
		assert_true(is_closed_by_peer(f, fd));
		close(fd);
	}
	assert_int_equal(f->http->stats.timed_out, XN_ARRAY_SIZE(beginnings));
}

static void what_is_no_tls_is_closed_at_once_and_plain_http_told_why(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);

	send_text(fd, "\x80\x2e\x01");
	assert_true(is_closed_by_peer(f, fd));
	close(fd);
	fd = connect_tcp(f);
	send_text(fd, "POST /echo HTTP/1.1\r\nContent-Length: 1000\r\n\r\nx");
	assert_non_null(strstr(read_to_eof(f, fd), "HTTP/1.1 400 Bad Request\r\n"));
	assert_non_null(strstr(f->got.data, "HTTPS is spoken"));
	close(fd);
}

static void beyond_the_cap_nobody_is_let_in(void **state)
{
	struct fixture *f = *state;
	int fds[2], fd;

	f->http->limits.max_door[XN_DOOR_TLS] = 2;
	for (int i = 0; i < 2; i++) {
		tls_connect(f, &fds[i]);
		ask(f, fds[i]);
	}
	fd = connect_tcp(f);
	assert_true(is_closed_by_peer(f, fd));
	assert_int_equal(f->http->stats.refused, 1);
	assert_int_equal(f->http->n_door[XN_DOOR_TLS], 2);
	close(fd);
	close(fds[0]);
	turn_until(f, one_is_open);
	tls_connect(f, &fd);
	ask(f, fd);
	close(fd);
	close(fds[1]);
}

static void a_client_that_leaves_while_its_handshake_is_computed_is_forgotten(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 20; i++) {
		int fd;
		struct tls_client *client = tls_connect(f, &fd);

		for (int turn = 0; turn < i; turn++)
			xn_loop_turn(f->core.loop, 300);
		shutdown(tls_raw(client), SHUT_RDWR);
		close(fd);
	}
	turn_until(f, none_is_open);
	assert_int_equal(f->http->strangers_bytes, 0);
}

static void the_server_may_end_while_handshakes_are_computed(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 5; i++) {
		int fd;

		tls_connect(f, &fd);
		xn_loop_turn(f->core.loop, 300);
		close(fd);
	}
}

static bool has_begun(struct fixture *f)
{
	return begun;
}

static bool is_over(struct fixture *f)
{
	return over;
}

static void upload_and(struct fixture *f, bool farewell)
{
	int fd;
	struct tls_client *client;

	f->http->limits.sweep_us = 1000000; /* of the upload's silence: no moment would be quiet */
	client = tls_connect(f, &fd);
	send_text(fd, "PUT /in HTTP/1.0\r\n\r\nsome bytes");
	turn_until(f, has_begun);
	assert_false(over);
	if (farewell)
		shutdown(fd, SHUT_WR);
	else
		shutdown(tls_raw(client), SHUT_WR);
	turn_until(f, is_over);
	assert_int_equal(cut, !farewell);
	close(fd);
}

static void an_upload_to_the_end_of_file_ends_with_a_farewell(void **state)
{
	upload_and(*state, true);
}

static void an_upload_to_the_end_of_file_without_farewell_is_cut(void **state)
{
	upload_and(*state, false);
}

static void an_open_connection_is_charged_what_it_holds(void **state)
{
	struct fixture *f = *state;
	int fd;

	tls_connect(f, &fd);
	ask(f, fd);
	settle_loop(f);
	assert_in_range(f->http->strangers_bytes, 30000, 40000);
	close(fd);
	turn_until(f, none_is_open);
	assert_int_equal(f->http->strangers_bytes, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(nobody_is_accepted_before_there_is_a_certificate, teardown),
		TEST(a_new_certificate_is_for_new_connections),
		TEST(a_handshake_that_stops_ends_at_its_deadline),
		TEST(what_is_no_tls_is_closed_at_once_and_plain_http_told_why),
		TEST(beyond_the_cap_nobody_is_let_in),
		TEST(a_client_that_leaves_while_its_handshake_is_computed_is_forgotten),
		TEST(the_server_may_end_while_handshakes_are_computed),
		TEST(an_upload_to_the_end_of_file_ends_with_a_farewell),
		TEST(an_upload_to_the_end_of_file_without_farewell_is_cut),
		TEST(an_open_connection_is_charged_what_it_holds),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	tls_test_identities_free();
	return failed;
}
