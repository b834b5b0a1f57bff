/* Streams and taken-over sockets of the HTTP server: framing both ways, back-pressure, ends. Started
 * with an argument, all of it over TLS. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/tls_client.h"

/* One test's handler: what it is told to do, and what it saw. */
static struct script {
	struct fixture *f;
	struct xn_http_conn *conn;
	int64_t declared;    /* of the answer */
	size_t total, given; /* stream out */
	unsigned n_wants;
	bool fail_at_end;
	size_t most_waiting; /* output that waited in the connection */
	struct xn_buf seen;  /* stream in */
	int64_t body_length;
	size_t takes; /* at most, a call; then it pauses */
	bool holds;   /* it takes nothing */
	unsigned n_takes;
	const char *last_bytes;
	bool moved; /* what came later in the buffer has been moved to its front */
	const char *end_mark;
	bool answers_first, over, cut;
	unsigned n_closed;
	int fd; /* taken over */
	struct xn_buf read_ahead;
} script;

static void on_closed(void *arg)
{
	script.conn = NULL;
	script.n_closed++;
}

/* ---- out ---- */

static void give(struct xn_http_conn *conn, void *arg)
{
	enum { PIECE = 50000 };
	static char piece[PIECE];
	size_t n = script.total - script.given;

	script.n_wants++;
	if (n > PIECE)
		n = PIECE;
	memset(piece, 'p', n);
	script.given += n;
	xn_http_stream_write(conn, piece, n);
	if (conn->out.len > script.most_waiting)
		script.most_waiting = conn->out.len;
	if (script.given == script.total)
		xn_http_stream_end(conn, !script.fail_at_end);
}

static void run_out(const struct xn_http_request *req, void *arg)
{
	script.conn = req->conn;
	xn_http_on_close(req->conn, on_closed, NULL);
	xn_http_stream_begin(req->conn, 200, "Content-Type: application/octet-stream\r\n",
			     script.declared, give, NULL);
	assert_int_equal(script.n_wants, 0); /* not from inside */
}

/* ---- in ---- */

static size_t take(struct xn_http_conn *conn, const char *bytes, size_t len, void *arg)
{
	size_t n = script.takes && len > script.takes ? script.takes : len;

	if (script.holds)
		return 0;
	script.n_takes++;
	if (bytes <= script.last_bytes)
		script.moved = true;
	script.last_bytes = bytes;
	if (!len) {
		script.over = true;
		script.cut = xn_http_stream_was_cut(conn);
	}
	xn_buf_add(&script.seen, bytes, n);
	if (!len || (script.end_mark && memmem(script.seen.data, script.seen.len, script.end_mark,
					       strlen(script.end_mark)))) {
		if (script.answers_first)
			xn_http_stream_end(conn, true);
		else
			xn_http_reply(conn, 200, "text/plain", NULL, "taken", 5);
	}
	return n;
}

static void run_in(const struct xn_http_request *req, void *arg)
{
	script.conn = req->conn;
	script.body_length = req->body_length;
	xn_http_on_close(req->conn, on_closed, NULL);
	if (script.answers_first)
		xn_http_stream_begin(req->conn, 200, NULL, script.declared, NULL, NULL);
	xn_http_stream_read(req->conn, take, NULL);
}

static void run_take_over(const struct xn_http_request *req, void *arg)
{
	xn_buf_add(&script.seen, req->body, req->body_len);
	script.fd = xn_http_take_over(req->conn, arg ? 101 : 0, arg ? "Upgrade: x\r\n" : NULL,
				      &script.read_ahead);
}

static const struct xn_http_route routes[] = {
	{.method = "GET", .path = "/out", .kind = XN_HTTP_STREAM_OUT, .run = run_out},
	{.method = "PUT", .path = "/in", .kind = XN_HTTP_STREAM_IN, .run = run_in},
	{.method = "GET", .path = "/socket", .kind = XN_HTTP_TAKE_OVER, .run = run_take_over},
	{.method = "POST", .path = "/cli", .kind = XN_HTTP_TAKE_OVER, .max_body = 1000,
	 .run = run_take_over},
};

static bool over_tls;

static int setup(void **state)
{
	struct fixture *f;

	http_setup(state);
	f = *state;
	script = (struct script){.f = f, .declared = -1, .fd = -1};
	for (size_t i = 0; i < XN_ARRAY_SIZE(routes); i++)
		xn_http_add_route(f->http, &routes[i], i == 2 ? f : NULL);
	if (over_tls)
		tls_serve(f);
	return 0;
}

static int teardown(void **state)
{
	xn_buf_clear(&script.seen);
	xn_buf_clear(&script.read_ahead);
	if (script.fd >= 0)
		close(script.fd);
	tls_clients_free(*state);
	return http_teardown(state);
}

static bool has(const char *text, const char *part)
{
	return strstr(text, part) != NULL;
}

/* ---- streams out ---- */

static void a_stream_of_known_length_is_sent_piece_by_piece(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);

	script.total = 5000000;
	script.declared = 5000000;
	send_text(fd, "GET /out HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n");
	read_until(f, fd, "</html>");
	assert_true(has(f->got.data, "Content-Length: 5000000\r\n"));
	assert_int_equal(script.n_wants, 100);
	assert_true(f->got.len > 5000000);
	assert_true(script.most_waiting <= 50000 + 300);
	close(fd);
}

static void a_stream_of_unknown_length_is_chunked(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);
	const char *got;

	script.total = 60000;
	send_text(fd, "GET /out HTTP/1.1\r\n\r\n");
	got = read_until(f, fd, "\r\n0\r\n\r\n");
	assert_true(has(got, "Transfer-Encoding: chunked\r\n"));
	assert_true(has(got, "\r\n\r\nc350\r\nppp"));
	assert_true(has(got, "ppp\r\n2710\r\nppp"));
	close(fd);
}

static void http_1_0_gets_the_plain_bytes_to_the_end_of_file(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);

	script.total = 60000;
	send_text(fd, "GET /out HTTP/1.0\r\n\r\n");
	read_to_eof(f, fd);
	assert_true(has(f->got.data, "Connection: close\r\n\r\nppp"));
	assert_int_equal(strlen(strstr(f->got.data, "\r\n\r\n")), 60004);
	close(fd);
}

static void a_source_waits_for_a_reader_that_does_not_read(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);

	script.total = 1u << 30;
	send_text(fd, "GET /out HTTP/1.1\r\n\r\n");
	settle_loop(f);
	assert_true(script.given < 10000000);
	assert_true(f->http->stats.buffered < 200000);
	close(fd);
	settle_loop(f);
	assert_int_equal(script.n_closed, 1);
	assert_int_equal(f->http->n_open, 0);
}

static void who_talks_and_does_not_read_gets_no_more_time(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);
	int64_t deadline_us;

	script.total = 1u << 30;
	send_text(fd, "GET /out HTTP/1.1\r\n\r\n");
	settle_loop(f);
	deadline_us = script.conn->deadline_us;
	assert_true(deadline_us > 0);
	send_text(fd, "GET / HTTP/1.1\r\n\r\n");
	settle_loop(f);
	assert_true(script.conn->in.len > 0);
	assert_int_equal(script.conn->deadline_us, deadline_us);
	for (size_t given = script.given; script.given == given;) {
		char bytes[65536];

		assert_true(recv(fd, bytes, sizeof(bytes), 0) > 0);
		settle_loop(f);
	}
	assert_true(script.conn->deadline_us > deadline_us);
	close(fd);
}

static void a_source_that_fails_cuts_the_connection(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);

	script.total = 60000;
	script.fail_at_end = true;
	send_text(fd, "GET /out HTTP/1.1\r\n\r\n");
	assert_false(has(read_to_eof(f, fd), "\r\n0\r\n\r\n"));
	close(fd);
}

/* ---- streams in ---- */

static void an_upload_is_seen_and_the_connection_kept(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);

	for (int i = 0; i < 2; i++) {
		script.seen.len = 0;
		send_text(fd, "PUT /in HTTP/1.1\r\nContent-Length: 10\r\n\r\n01234");
		settle_loop(f);
		assert_int_equal(script.seen.len, 5);
		send_text(fd, "56789");
		assert_true(has(read_until(f, fd, "taken"), "200 OK"));
		assert_string_equal(xn_buf_cstr(&script.seen), "0123456789");
		assert_int_equal(script.body_length, 10);
		assert_true(script.over && !script.cut);
	}
	close(fd);
}

static void a_chunked_upload_is_seen_without_its_framing(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);

	send_text(fd, "PUT /in HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r");
	settle_loop(f);
	send_text(fd, "\nde\r\n0\r\n\r\nPUT /in HTTP/1.1\r\nContent-Length: 1\r\n\r\nf");
	read_until(f, fd, "taken");
	settle_loop(f);
	assert_string_equal(xn_buf_cstr(&script.seen), "abcdef");
	close(fd);
}

static void an_empty_upload_is_told_its_end(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);

	send_text(fd, "PUT /in HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
	read_until(f, fd, "taken");
	assert_true(script.over && !script.cut);
	close(fd);
}

static void an_upload_without_length_ends_with_the_file_on_http_1_0(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);

	script.answers_first = true;
	send_text(fd, "PUT /in HTTP/1.0\r\n\r\n");
	assert_true(has(read_until(f, fd, "\r\n\r\n"), "HTTP/1.1 200 OK")); /* before any body */
	assert_int_equal(script.body_length, -1);
	send_text(fd, "tar");
	settle_loop(f);
	shutdown(fd, SHUT_WR);
	read_to_eof(f, fd);
	assert_string_equal(xn_buf_cstr(&script.seen), "tar");
	assert_true(script.over && !script.cut);
	close(fd);
}

static void a_peer_that_stops_before_the_declared_end_is_noticed(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);

	send_text(fd, "PUT /in HTTP/1.1\r\nContent-Length: 1125899906842624\r\n\r\nsome");
	settle_loop(f);
	assert_int_equal(script.body_length, 1125899906842624);
	shutdown(fd, SHUT_WR);
	read_until(f, fd, "taken");
	assert_true(script.over && script.cut);
	close(fd);
}

static void an_own_end_mark_answers_and_closes(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);
	const char *got;

	script.end_mark = "END";
	send_text(fd, "PUT /in HTTP/1.1\r\nContent-Length: 1125899906842624\r\n\r\nxxEND and more");
	got = read_to_eof(f, fd);
	assert_true(has(got, "Connection: close\r\n\r\ntaken"));
	assert_false(script.over);
	close(fd);
}

static void a_sink_that_takes_little_is_read_for_little(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);
	const ssize_t all = over_tls ? 20000000 : 1000000; /* more than TCP's buffers hold */
	char *body = xn_malloc((size_t)all);
	char head[80];
	ssize_t sent = 0, n;

	memset(body, 'u', (size_t)all);
	script.takes = 7;
	snprintf(head, sizeof(head), "PUT /in HTTP/1.1\r\nContent-Length: %zd\r\n\r\n", all);
	send_text(fd, head);
	settle_loop(f);
	while ((n = send(fd, body, (size_t)(all - sent), MSG_NOSIGNAL)) > 0) {
		sent += n;
		settle_loop(f);
	}
	assert_true(sent < all); /* the rest waits in the sender */
	assert_int_equal(script.seen.len, 7);
	assert_true(f->http->stats.buffered < 200000);
	xn_http_stream_resume(script.conn);
	assert_int_equal(script.seen.len, 7); /* not from inside */
	settle_loop(f);
	assert_int_equal(script.seen.len, 14);
	script.takes = 0;
	xn_http_stream_resume(script.conn);
	send_bytes(f, fd, body, (size_t)(all - sent));
	read_until(f, fd, "taken");
	assert_int_equal(script.seen.len, all);
	close(fd);
	free(body);
}

static void curl_is_told_to_go_on_before_any_answer(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);

	send_text(fd, "PUT /in HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	assert_string_equal(read_until(f, fd, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
	send_text(fd, "ok");
	read_until(f, fd, "taken");
	script.answers_first = true;
	script.declared = 0;
	send_text(fd, "PUT /in HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	assert_true(has(read_until(f, fd, "Content-Length: 0\r\n\r\n"),
			"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
	send_text(fd, "ok");
	settle_loop(f);
	assert_string_equal(xn_buf_cstr(&script.seen), "okok");
	close(fd);
}

static void a_broken_chunk_ends_the_upload_as_cut(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);

	send_text(fd, "PUT /in HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX");
	assert_true(has(read_to_eof(f, fd), "Connection: close\r\n"));
	assert_true(script.over && script.cut);
	close(fd);
}

static void an_upload_in_chunks_of_a_byte_is_taken_in_turns_and_not_moved_for_each(void **state)
{
	enum { CHUNKS = 12000 };
	static const char head[] = "PUT /in HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
	struct fixture *f = *state;
	struct xn_buf body XN_CLEANUP(xn_buf_clear_p) = {0};
	int fd = connect_pair(f);

	for (int i = 0; i < CHUNKS; i++)
		xn_buf_add_string(&body, "1\r\nx\r\n");
	xn_buf_add_string(&body, "0\r\n\r\n");
	script.holds = true;
	send_text(fd, head);
	send_bytes(f, fd, body.data, body.len);
	settle_loop(f);
	assert_true(over_tls || script.conn->in.len > 10000); /* TLS holds it back */
	script.holds = false;
	xn_http_stream_resume(script.conn);
	xn_http_conn_enter(script.conn);
	xn_http_stream_work(script.conn); /* a callback's part */
	assert_in_range(script.n_takes, 1, 1000);
	assert_false(script.moved);
	assert_true(over_tls || xn_http_stream_has_work(script.conn));
	xn_http_conn_leave(script.conn);
	read_until(f, fd, "taken"); /* nobody has to ask for the rest */
	assert_int_equal(script.seen.len, CHUNKS);
	assert_true(script.over && !script.cut);
	close(fd);
}

static void an_upload_whose_client_vanishes_is_told_its_end(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);

	send_text(fd, "PUT /in HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
	close(fd);
	settle_loop(f);
	assert_true(script.over && script.cut);
	assert_int_equal(f->http->n_open, 0);
}

static bool no_connection(struct fixture *f)
{
	return f->http->n_open == 0;
}

static void an_upload_that_falls_silent_is_ended(void **state)
{
	static const char *const heads[] = {
		"PUT /in HTTP/1.1\r\nContent-Length: 10\r\n\r\n",
		"PUT /in HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc",
		"PUT /in HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r",
		"PUT /in HTTP/1.0\r\n\r\nabc",
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < 2 * XN_ARRAY_SIZE(heads); i++) {
		int fd = connect_pair(f);

		f->http->limits.body_idle_us = 30000000;
		f->http->limits.sweep_us = 1000000;
		script.answers_first = i % 2;
		send_text(fd, heads[i / 2]);
		settle_loop(f);
		assert_int_equal(f->http->n_open, 1);
		f->http->limits.body_idle_us = f->http->limits.sweep_us = 1000;
		xn_http_conn_enter(script.conn);
		xn_http_conn_leave(script.conn);
		turn_until(f, no_connection);
		assert_int_equal(script.n_closed, i + 1);
		assert_int_equal(f->http->stats.timed_out, i + 1);
		assert_false(script.over);
		close(fd);
	}
}

static void an_upload_that_trickles_gets_no_more_time_for_it(void **state)
{
	struct fixture *f = *state;
	char bytes[4096];
	int fd = connect_pair(f);
	int64_t deadline_us;

	memset(bytes, 'x', sizeof(bytes));
	f->http->limits.body_idle_us = 30000000;
	script.answers_first = true;
	send_text(fd, "PUT /in HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n");
	settle_loop(f);
	deadline_us = script.conn->deadline_us;
	for (unsigned i = 1; i <= 5; i++) {
		assert_int_equal(write(fd, bytes, 4), 4);
		settle_loop(f);
		assert_int_equal(script.seen.len, 4 * i);
		assert_int_equal(script.conn->deadline_us, deadline_us);
	}
	assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
	settle_loop(f);
	assert_true(script.conn->deadline_us > deadline_us);
	close(fd);
	turn_until(f, no_connection);
}

static void silence_counts_while_the_peer_is_waited_for_only(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);

	script.answers_first = true;
	script.takes = 2;
	send_text(fd, "PUT /in HTTP/1.1\r\nContent-Length: 6\r\n\r\n");
	settle_loop(f);
	assert_true(script.conn->deadline_us > 0);
	send_text(fd, "abcd");
	settle_loop(f);
	assert_int_equal(script.seen.len, 2); /* not read for until it resumes */
	assert_int_equal(script.conn->deadline_us, 0);
	xn_http_stream_set_busy(script.conn, true);
	xn_http_stream_resume(script.conn);
	settle_loop(f);
	assert_int_equal(script.seen.len, 4);
	assert_int_equal(script.conn->deadline_us, 0);
	xn_http_stream_set_busy(script.conn, false);
	assert_true(script.conn->deadline_us > 0);
	send_text(fd, "ef");
	settle_loop(f);
	assert_true(script.over && !script.cut);
	close(fd);
}

/* ---- taken-over sockets ---- */

static void a_taken_over_socket_is_the_handlers_with_what_was_read_ahead(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);
	char byte;

	send_text(fd, "GET /socket HTTP/1.1\r\nUpgrade: x\r\n\r\nearly");
	settle_loop(f);
	assert_true(script.fd >= 0);
	assert_string_equal(xn_buf_cstr(&script.read_ahead), "early");
	assert_true(has(read_until(f, fd, "\r\n\r\n"), "HTTP/1.1 101 Switching Protocols\r\n"));
	assert_true(has(f->got.data, "Upgrade: x\r\n"));
	assert_false(has(f->got.data, "Connection: close"));
	assert_int_equal(f->http->n_open, 0);
	send_text(fd, "!");
	settle_loop(f);
	assert_int_equal(recv(script.fd, &byte, 1, 0), 1);
	close(fd);
}

static void the_cli_socket_starts_after_its_whole_body_without_a_head(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);

	send_text(fd, "POST /cli HTTP/1.0\r\ncontent-length: 7\r\n\r\nvm-");
	settle_loop(f);
	assert_int_equal(script.fd, -1);
	send_text(fd, "list");
	settle_loop(f);
	assert_string_equal(xn_buf_cstr(&script.seen), "vm-list");
	send_text(script.fd, "XenSource");
	assert_string_equal(read_until(f, fd, "XenSource"), "XenSource");
	close(fd);
}

static void the_cli_socket_comes_with_what_was_sent_behind_the_body(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);

	send_text(fd, "POST /cli HTTP/1.0\r\ncontent-length: 7\r\n\r\nvm-listAHEAD");
	settle_loop(f);
	assert_string_equal(xn_buf_cstr(&script.seen), "vm-list");
	assert_string_equal(xn_buf_cstr(&script.read_ahead), "AHEAD");
	close(fd);
}

static void a_taken_over_socket_comes_after_the_pipelined_answers(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);
	const char *got;

	send_text(fd, "GET / HTTP/1.1\r\n\r\nGET /socket HTTP/1.1\r\n\r\n");
	got = read_until(f, fd, "101 Switching Protocols");
	assert_true(strstr(got, "</html>") < strstr(got, "101 Switching"));
	settle_loop(f);
	close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_stream_of_known_length_is_sent_piece_by_piece),
		TEST(a_stream_of_unknown_length_is_chunked),
		TEST(http_1_0_gets_the_plain_bytes_to_the_end_of_file),
		TEST(a_source_waits_for_a_reader_that_does_not_read),
		TEST(who_talks_and_does_not_read_gets_no_more_time),
		TEST(a_source_that_fails_cuts_the_connection),
		TEST(an_upload_is_seen_and_the_connection_kept),
		TEST(a_chunked_upload_is_seen_without_its_framing),
		TEST(an_empty_upload_is_told_its_end),
		TEST(an_upload_without_length_ends_with_the_file_on_http_1_0),
		TEST(a_peer_that_stops_before_the_declared_end_is_noticed),
		TEST(an_own_end_mark_answers_and_closes),
		TEST(a_sink_that_takes_little_is_read_for_little),
		TEST(curl_is_told_to_go_on_before_any_answer),
		TEST(a_broken_chunk_ends_the_upload_as_cut),
		TEST(an_upload_in_chunks_of_a_byte_is_taken_in_turns_and_not_moved_for_each),
		TEST(an_upload_whose_client_vanishes_is_told_its_end),
		TEST(an_upload_that_falls_silent_is_ended),
		TEST(an_upload_that_trickles_gets_no_more_time_for_it),
		TEST(silence_counts_while_the_peer_is_waited_for_only),
		TEST(a_taken_over_socket_is_the_handlers_with_what_was_read_ahead),
		TEST(the_cli_socket_starts_after_its_whole_body_without_a_head),
		TEST(the_cli_socket_comes_with_what_was_sent_behind_the_body),
		TEST(a_taken_over_socket_comes_after_the_pipelined_answers),
	};
	int failed;

	over_tls = argc > 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	tls_test_identities_free();
	return failed;
}
