/* The HTTP server over real sockets: framing, order, keep-alive, refusals, routes, limits. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/http_client.h"
#include "tests/unit/turn_until.h"

/* ---- handlers ---- */

static void run_echo(const struct xn_http_request *req, void *arg)
{
	xn_http_reply(req->conn, 200, "text/plain", NULL, req->body, req->body_len);
}

static void on_later_closed(void *arg)
{
	struct fixture *f = arg;

	f->waiting = NULL;
	f->n_closed++;
}

static void run_later(const struct xn_http_request *req, void *arg)
{
	struct fixture *f = arg;

	f->waiting = req->conn;
	f->n_later++;
	xn_http_on_close(req->conn, on_later_closed, f);
}

static void answer_later(struct fixture *f, const char *body)
{
	struct xn_http_conn *conn = f->waiting;

	f->waiting = NULL;
	xn_http_reply(conn, 200, "text/plain", NULL, body, strlen(body));
}

/* What the request looks like from inside, in one line. */
static void run_describe(const struct xn_http_request *req, void *arg)
{
	const char *header = xn_http_header(req, "X-Thing");
	const char *query = xn_http_query(req, "q");
	const char *cookie = xn_http_cookie(req, "session_id");
	char *text = xn_asprintf("%s %s [%s] [%s] [%s] 1.%d %s %s", req->method, req->path,
				 header ? header : "-", query ? query : "-", cookie ? cookie : "-",
				 req->minor_version, req->peer,
				 req->peer_is_trusted ? "trusted" : "stranger");

	xn_http_reply(req->conn, 200, "text/plain", "X-Own: yes\r\n", text, strlen(text));
	free(text);
}

enum { BIG = 3 << 20 };

static void run_big(const struct xn_http_request *req, void *arg)
{
	static char middle[BIG];
	struct xn_http_piece pieces[3] = {{"<", 1}, {middle, BIG}, {">", 1}};

	memset(middle, 'm', BIG);
	xn_http_reply_pieces(req->conn, 200, "text/plain", NULL, pieces, 3);
}

static void run_name(const struct xn_http_request *req, void *arg)
{
	xn_http_reply(req->conn, 200, "text/plain", NULL, arg, strlen(arg));
}

static const struct xn_http_route echo = {.method = "POST", .path = "/echo", .max_body = 100000,
					  .run = run_echo};
static const struct xn_http_route later = {.method = "POST", .path = "/later", .max_body = 1000,
					   .run = run_later};
static const struct xn_http_route describe = {.method = "GET", .path = "/describe", .prefix = true,
					      .run = run_describe};
static const struct xn_http_route big = {.method = "GET", .path = "/big", .run = run_big};

static int setup(void **state)
{
	struct xn_error err = {0};
	struct fixture *f;

	http_setup(state);
	f = *state;
	xn_http_add_route(f->http, &echo, f);
	xn_http_add_route(f->http, &later, f);
	xn_http_add_route(f->http, &describe, f);
	xn_http_add_route(f->http, &big, f);
	assert_int_equal(xn_http_listen_tcp(f->http, "127.0.0.1:0", &err), 0);
	return 0;
}

static bool starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

static bool has(const char *text, const char *part)
{
	return strstr(text, part) != NULL;
}

static void assert_refused(struct fixture *f, const char *request, int status)
{
	int fd = connect_tcp(f);
	char start[32];
	const char *reply;

	snprintf(start, sizeof(start), "HTTP/1.1 %d ", status);
	send_text(fd, request);
	reply = read_to_eof(f, fd);
	if (!starts_with(reply, start))
		fail_msg("\"%s\" was answered \"%s\", not %d", request, reply, status);
	assert_true(has(reply, "Connection: close\r\n"));
	close(fd);
}

/* ---- one request ---- */

static void a_request_over_tcp_is_answered_and_the_connection_kept(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);

	for (int i = 0; i < 3; i++) {
		const char *reply;

		send_text(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
		reply = read_until(f, fd, "hello");
		assert_true(starts_with(reply, "HTTP/1.1 200 OK\r\n"));
		assert_true(has(reply, "Content-Type: text/plain\r\n"));
		assert_true(has(reply, "Content-Length: 5\r\n"));
		assert_true(has(reply, "\r\nDate: "));
		assert_false(has(reply, "Connection:"));
	}
	close(fd);
}

static void a_request_in_single_bytes_is_answered(void **state)
{
	struct fixture *f = *state;
	const char *request = "POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
	int fd = connect_tcp(f);

	for (const char *p = request; *p; p++) {
		assert_int_equal(send(fd, p, 1, 0), 1);
		settle_loop(f);
	}
	assert_true(has(read_until(f, fd, "hello"), "200 OK"));
	close(fd);
}

static void a_body_of_the_largest_size_is_taken_and_a_larger_refused(void **state)
{
	struct fixture *f = *state;
	char *body = xn_malloc(100000);
	int fd = connect_tcp(f);

	memset(body, 'b', 99999);
	body[99999] = '!';
	send_text(fd, "POST /echo HTTP/1.1\r\nContent-Length: 100000\r\n\r\n");
	send_bytes(f, fd, body, 100000);
	read_until(f, fd, "b!");
	assert_memory_equal(f->got.data + f->got.len - 100000, body, 100000);
	close(fd);
	free(body);
	assert_refused(f, "POST /echo HTTP/1.1\r\nContent-Length: 100001\r\n\r\n", 413);
	assert_refused(f, "GET /describe HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", 413);
}

static void a_chunked_body_is_put_together(void **state)
{
	struct fixture *f = *state;
	const char *pieces[] = {"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
				"6;x=y\r\nhel", "lo \r", "\n5\r\nworld\r\n0", "\r\nT: t\r\n\r\n"};
	int fd = connect_tcp(f);

	for (size_t i = 0; i < XN_ARRAY_SIZE(pieces); i++) {
		send_text(fd, pieces[i]);
		settle_loop(f);
	}
	assert_true(has(read_until(f, fd, "world"), "\r\n\r\nhello world"));
	send_text(fd, "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
		      "POST /echo HTTP/1.1\r\nContent-Length: 4\r\n\r\nnext");
	assert_true(has(read_until(f, fd, "next"), "\r\n\r\nokHTTP/1.1 200"));
	close(fd);
	assert_refused(f, "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n", 413);
}

static void curl_is_told_to_go_on(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);

	send_text(fd, "POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	assert_string_equal(read_until(f, fd, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
	send_text(fd, "ok");
	assert_true(starts_with(read_until(f, fd, "ok"), "HTTP/1.1 200"));
	close(fd);
	assert_refused(f, "POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 200000\r\n\r\n",
		       413);
	assert_refused(f, "POST /echo HTTP/1.1\r\nExpect: tea\r\nContent-Length: 2\r\n\r\nok", 417);
}

static void a_handler_sees_header_query_and_cookie_decoded(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);
	const char *reply;

	send_text(fd, "GET /describe/a%20b?x=1&q=a%26b+c HTTP/1.1\r\nx-thing:  some value \r\n"
		      "Cookie: a=b; session_id=OpaqueRef%3a1\r\n\r\n");
	reply = read_until(f, fd, "stranger");
	assert_true(has(reply, "GET /describe/a b [some value] [a&b c] [OpaqueRef:1] 1.1 127.0.0.1:"));
	assert_true(has(reply, "X-Own: yes\r\n"));
	close(fd);
}

static void a_head_request_gets_the_head_alone(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);
	const char *reply;

	send_text(fd, "HEAD / HTTP/1.1\r\n\r\nPOST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nend");
	reply = read_until(f, fd, "end");
	assert_true(has(reply, "Content-Type: text/html\r\n"));
	assert_false(has(reply, "Xenolith"));
	close(fd);
}

/* ---- the connection's end ---- */

static void http_1_0_is_answered_and_closed_unless_asked_otherwise(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);

	send_text(fd, "POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nok");
	assert_true(has(read_to_eof(f, fd), "Connection: close\r\n\r\nok"));
	close(fd);
	fd = connect_tcp(f);
	for (int i = 0; i < 2; i++) {
		send_text(fd, "POST /echo HTTP/1.0\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok");
		assert_true(has(read_until(f, fd, "ok"), "Connection: keep-alive\r\n"));
	}
	close(fd);
}

static void connection_close_is_honoured(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);

	send_text(fd, "POST /echo HTTP/1.1\r\nConnection: TE, close\r\nContent-Length: 2\r\n\r\nok"
		      "POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nno");
	assert_true(has(read_to_eof(f, fd), "Connection: close\r\n\r\nok"));
	assert_false(has(xn_buf_cstr(&f->got), "no"));
	close(fd);
}

static void a_client_that_closed_only_its_own_direction_gets_its_answer(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);

	send_text(fd, "POST /later HTTP/1.1\r\n\r\n");
	shutdown(fd, SHUT_WR);
	settle_loop(f);
	assert_non_null(f->waiting);
	answer_later(f, "late but there");
	assert_true(has(read_to_eof(f, fd), "late but there"));
	close(fd);
}

static bool is_told(struct fixture *f)
{
	return f->n_closed == 1;
}

static void a_handler_is_told_once_that_its_client_is_gone(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);

	f->http->limits.grace_us = 10000;
	f->http->limits.sweep_us = 10000;
	send_text(fd, "POST /later HTTP/1.1\r\n\r\n");
	settle_loop(f);
	assert_int_equal(f->n_later, 1);
	close(fd);
	turn_until(f, is_told);
	settle_loop(f);
	assert_int_equal(f->n_closed, 1);
	assert_int_equal(f->http->n_open, 0);
}

static void an_answer_after_the_client_left_is_harmless_without_on_close(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);
	struct xn_http_conn *conn;

	send_text(fd, "POST /later HTTP/1.1\r\n\r\n");
	settle_loop(f);
	conn = f->waiting;
	xn_http_on_close(conn, NULL, NULL);
	xn_http_conn_close(conn); /* as a reset would */
	xn_http_reply(conn, 200, NULL, NULL, "x", 1);
	assert_int_equal(f->n_closed, 0);
	close(fd);
}

/* ---- pipelining ---- */

static void pipelined_requests_are_answered_in_order_in_one_write(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);
	char chunk[65536];
	ssize_t n;

	send_text(fd, "POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\none"
		      "GET /nothing HTTP/1.1\r\n\r\n"
		      "POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nthree");
	xn_loop_turn(f->core.loop, 1000000);
	n = recv(fd, chunk, sizeof(chunk) - 1, 0);
	assert_true(n > 0);
	chunk[n] = '\0';
	assert_true(strstr(chunk, "one") < strstr(chunk, "404 Not Found"));
	assert_true(strstr(chunk, "404 Not Found") < strstr(chunk, "three"));
	close(fd);
}

static void a_pipelined_error_waits_for_the_answer_before_it(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);
	const char *reply;

	send_text(fd, "POST /later HTTP/1.1\r\n\r\nBAD REQUEST\r\n\r\n");
	settle_loop(f);
	assert_int_equal(recv(fd, &(char){0}, 1, 0), -1);
	answer_later(f, "first");
	reply = read_to_eof(f, fd);
	assert_true(strstr(reply, "first") < strstr(reply, "400 Bad Request"));
	close(fd);
}

static void hundreds_of_pipelined_requests_are_all_answered(void **state)
{
	struct fixture *f = *state;
	enum { N = 700 };
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf all = {0};
	int fd = connect_pair(f);
	const char *at;

	for (int i = 0; i < N; i++)
		xn_buf_printf(&all, "POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\n%05d", i);
	send_bytes(f, fd, all.data, all.len);
	at = read_until(f, fd, "00699");
	for (int i = 0; i < N; i++) {
		char body[32];

		snprintf(body, sizeof(body), "\r\n\r\n%05d", i);
		at = strstr(at, body);
		assert_non_null(at);
	}
	close(fd);
}

static void a_client_that_does_not_read_is_not_read_from(void **state)
{
	struct fixture *f = *state;
	int fd = connect_pair(f);
	size_t sent = 0;
	ssize_t n;

	for (int turns = 0; turns < 300; turns++) {
		n = send(fd, "GET /big HTTP/1.1\r\n\r\n", 21, 0);
		if (n > 0)
			sent += (size_t)n;
		xn_loop_turn(f->core.loop, 0);
	}
	assert_true(f->http->stats.requests <= 2); /* of some hundred sent */
	assert_true(sent > 2000);
	assert_true(f->http->stats.buffered < 2 * BIG + 2 * XN_HTTP_SCRATCH);
	close(fd);
}

static void a_large_answer_arrives_whole(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);

	for (int i = 0; i < 2; i++) {
		send_text(fd, "GET /big HTTP/1.1\r\n\r\n");
		read_until(f, fd, "m>");
		assert_true(f->got.len > BIG);
		assert_int_equal(f->got.data[f->got.len - BIG - 2], '<');
	}
	settle_loop(f);
	assert_int_equal(f->http->stats.buffered, 0);
	close(fd);
}

/* ---- refusals ---- */

static void requests_that_two_readers_could_cut_differently_are_refused(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {
		"POST /echo HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
		"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nok",
		"POST /echo HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
		"POST /echo HTTP/1.1\r\nContent-Length: 2, 2\r\n\r\nok",
		"POST /echo HTTP/1.1\r\nContent-Length: +2\r\n\r\nok",
		"POST /echo HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"POST /echo HTTP/1.1\r\nContent-Length : 2\r\n\r\nok",
		"POST /echo HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
		"POST /echo HTTP/1.1\r\nX: a\rContent-Length: 2\r\n\r\n",
		"POST /echo HTTP/1.1\nContent-Length: 2\n\n",
		"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(bad); i++)
		assert_refused(f, bad[i], 400);
	assert_refused(f, "POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501);
	assert_int_equal(f->http->stats.bad_requests, XN_ARRAY_SIZE(bad) + 1);
}

static void paths_that_are_not_text_are_refused(void **state)
{
	struct fixture *f = *state;

	assert_refused(f, "GET /describe/%zz HTTP/1.1\r\n\r\n", 400);
	assert_refused(f, "GET /describe/%0 HTTP/1.1\r\n\r\n", 400);
	assert_refused(f, "GET /describe/%00 HTTP/1.1\r\n\r\n", 400);
	assert_refused(f, "GET /describe/%0d%0aX:y HTTP/1.1\r\n\r\n", 400);
	assert_refused(f, "GET /describe/%c0%af HTTP/1.1\r\n\r\n", 400);
	assert_refused(f, "GET /describe/\xff HTTP/1.1\r\n\r\n", 400);
	assert_refused(f, "GET /describe?a=%ff HTTP/1.1\r\n\r\n", 400);
	assert_refused(f, "GET describe HTTP/1.1\r\n\r\n", 400);
	assert_refused(f, "GET / HTTP/2.0\r\n\r\n", 505);
}

static void heads_that_are_too_large_are_refused(void **state)
{
	struct fixture *f = *state;
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf request = {0};

	xn_buf_add_string(&request, "GET /");
	for (int i = 0; i < 20000; i++)
		xn_buf_add_char(&request, 'a');
	assert_refused(f, xn_buf_cstr(&request), 414);
	request.len = 0;
	xn_buf_add_string(&request, "GET / HTTP/1.1\r\n");
	for (int i = 0; i < 400; i++)
		xn_buf_printf(&request, "X-%038d: v\r\n", i % 10);
	assert_refused(f, xn_buf_cstr(&request), 431);
	request.len = 0;
	xn_buf_add_string(&request, "GET / HTTP/1.1\r\n");
	for (int i = 0; i <= XN_HTTP_MAX_HEADERS; i++)
		xn_buf_add_string(&request, "A: b\r\n");
	xn_buf_add_string(&request, "\r\n");
	assert_refused(f, xn_buf_cstr(&request), 431);
}

/* ---- routes ---- */

static void the_longest_prefix_answers(void **state)
{
	struct fixture *f = *state;
	static const struct xn_http_route routes[] = {
		{.method = "GET", .path = "/a", .prefix = true, .run = run_name},
		{.method = "GET", .path = "/a/b", .prefix = true, .run = run_name},
		{.method = "GET", .path = "/a/exact", .run = run_name},
		{.method = "POST", .path = "", .run = run_name},
	};
	static const struct {
		const char *method, *path, *answer;
	} cases[] = {
		{"GET", "/a", "r0"},	    {"GET", "/a/", "r0"},     {"GET", "/a/x/y", "r0"},
		{"GET", "/ab", "404 "},	    {"GET", "/a/b", "r1"},    {"GET", "/a/b/c", "r1"},
		{"GET", "/a/exact", "r2"},  {"GET", "/a/exact/x", "r0"}, {"POST", "/any", "r3"},
		{"POST", "/", "r3"},	    {"POST", "/RPC2", "r3"},  {"POST", "/a", "405 "},
		{"DELETE", "/a", "405 "},   {"GET", "/any", "404 "},  {"GET", "/echo", "405 "},
		{"DELETE", "/any", "404 "},
	};
	const char *names[] = {"r0", "r1", "r2", "r3"};
	int fd = connect_tcp(f);

	for (size_t i = 0; i < XN_ARRAY_SIZE(routes); i++)
		xn_http_add_route(f->http, &routes[i], (void *)names[i]);
	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		char request[128];
		const char *reply;

		snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\n\r\n", cases[i].method,
			 cases[i].path);
		send_text(fd, request);
		reply = read_until(f, fd, cases[i].answer);
		assert_true(has(reply, "\r\n\r\n"));
	}
	close(fd);
}

static void another_method_on_a_known_path_is_told_what_is_allowed(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);

	send_text(fd, "PUT /describe HTTP/1.1\r\nContent-Length: 3\r\n\r\nxxx");
	assert_true(has(read_until(f, fd, "405 Method Not Allowed\n"), "Allow: GET, HEAD, OPTIONS\r\n"));
	send_text(fd, "OPTIONS /describe HTTP/1.1\r\n\r\n");
	assert_true(has(read_until(f, fd, "\r\n\r\n"), "Allow: GET, HEAD, OPTIONS\r\n"));
	close(fd);
}

static void where_head_is_not_answered_it_is_not_allowed(void **state)
{
	static const struct xn_http_route streamed = {
		.method = "GET", .path = "/streamed", .kind = XN_HTTP_STREAM_OUT, .run = run_describe};
	static const char *const methods[] = {"HEAD", "OPTIONS"};
	struct fixture *f = *state;
	int fd = connect_tcp(f);

	xn_http_add_route(f->http, &streamed, f);
	for (size_t i = 0; i < XN_ARRAY_SIZE(methods); i++) {
		char request[64];

		snprintf(request, sizeof(request), "%s /streamed HTTP/1.1\r\n\r\n", methods[i]);
		send_text(fd, request);
		assert_true(has(read_until(f, fd, "\r\n\r\n"), "Allow: GET, OPTIONS\r\n"));
	}
	close(fd);
}

static void browsers_may_ask_before_they_post(void **state)
{
	struct fixture *f = *state;
	const char *paths[] = {"/", "/json", "/jsonrpc"};
	int fd = connect_tcp(f);

	for (size_t i = 0; i < XN_ARRAY_SIZE(paths); i++) {
		char request[128];
		const char *reply;

		snprintf(request, sizeof(request), "OPTIONS %s HTTP/1.1\r\nOrigin: x\r\n\r\n", paths[i]);
		send_text(fd, request);
		reply = read_until(f, fd, "\r\n\r\n");
		assert_true(starts_with(reply, "HTTP/1.1 200 OK\r\n"));
		assert_true(has(reply, "Access-Control-Allow-Origin: *\r\n"));
		assert_true(has(reply, "Access-Control-Allow-Headers: X-Requested-With"));
	}
	close(fd);
}

static void the_index_page_says_what_this_is(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);

	send_text(fd, "GET / HTTP/1.1\r\n\r\n");
	assert_true(has(read_until(f, fd, "</html>"), "Xenolith " XN_VERSION ": XenAPI server"));
	close(fd);
}

static void a_target_with_spaces_is_understood_from_http_1_0(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);

	send_text(fd, "GET /describe?q=a b HTTP/1.0\r\n\r\n");
	assert_true(has(read_to_eof(f, fd), "[a b]"));
	close(fd);
	assert_refused(f, "GET /describe?q=a b HTTP/1.1\r\n\r\n", 400);
}

/* ---- long answers ---- */

static void a_long_call_keeps_its_client_waiting_with_white_space(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);
	const char *reply;

	send_text(fd, "POST /later HTTP/1.1\r\n\r\n");
	settle_loop(f);
	xn_http_keep_waiting(f->waiting, "application/json", NULL);
	reply = read_until(f, fd, "1\r\n \r\n");
	assert_true(has(reply, "Transfer-Encoding: chunked\r\n"));
	xn_http_keep_waiting(f->waiting, "application/json", NULL);
	assert_string_equal(read_until(f, fd, "\n \r\n"), "1\r\n \r\n");
	answer_later(f, "{}");
	assert_string_equal(read_until(f, fd, "0\r\n\r\n"), "2\r\n{}\r\n0\r\n\r\n");
	send_text(fd, "POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nok");
	read_until(f, fd, "\r\n\r\nok");
	close(fd);
}

static void a_long_call_over_http_1_0_ends_with_the_connection(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);

	send_text(fd, "POST /later HTTP/1.0\r\n\r\n");
	settle_loop(f);
	xn_http_keep_waiting(f->waiting, "application/json", NULL);
	read_until(f, fd, "\r\n\r\n ");
	answer_later(f, "{}");
	assert_string_equal(read_to_eof(f, fd), "{}");
	close(fd);
}

/* ---- limits ---- */

static void hurry(struct fixture *f)
{
	f->http->limits.head_idle_us = 20000;
	f->http->limits.head_total_us = 60000;
	f->http->limits.body_idle_us = 20000;
	f->http->limits.write_us = 20000;
	f->http->limits.linger_us = 20000;
	f->http->limits.sweep_us = 5000;
}

static void a_connection_that_says_nothing_is_closed(void **state)
{
	struct fixture *f = *state;
	int fd;

	hurry(f);
	fd = connect_tcp(f);
	assert_true(is_closed_by_peer(f, fd));
	assert_int_equal(f->http->stats.timed_out, 1);
	close(fd);
}

static void a_request_that_does_not_go_on_is_told_so(void **state)
{
	struct fixture *f = *state;
	int fd;

	hurry(f);
	fd = connect_tcp(f);
	send_text(fd, "GET / HT");
	assert_true(starts_with(read_to_eof(f, fd), "HTTP/1.1 408 "));
	close(fd);
	fd = connect_tcp(f);
	send_text(fd, "POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel");
	assert_true(starts_with(read_to_eof(f, fd), "HTTP/1.1 408 "));
	close(fd);
}

static void a_head_in_drops_has_its_time_in_all(void **state)
{
	struct fixture *f = *state;
	int64_t dropped_at = 0, now;
	int fd, drops = 0;

	hurry(f);
	fd = connect_tcp(f);
	now = xn_now_us(f->core.loop);
	while (f->http->stats.timed_out == 0 && drops < 200) { /* its time is up after a dozen */
		if (now - dropped_at > 5000) { /* in time, each of them */
			send(fd, drops ? "a" : "GET /", drops ? 1 : 5, MSG_NOSIGNAL);
			dropped_at = now;
			drops++;
		}
		xn_loop_turn(f->core.loop, 5000);
		now = xn_now_us(f->core.loop);
	}
	assert_int_equal(f->http->stats.timed_out, 1);
	assert_true(drops < 100);
	close(fd);
}

static void a_crowd_that_is_late_is_told_so_in_more_than_one_go(void **state)
{
	enum { CROWD = 100 };
	struct fixture *f = *state;
	uint64_t most = 0, before = 0;
	int64_t give_up_us = 0;
	int fds[CROWD];

	for (int i = 0; i < CROWD; i++) {
		fds[i] = connect_tcp(f);
		send_text(fds[i], "GET /");
	}
	settle_loop(f);
	hurry(f);
	for (int i = 0; i < CROWD; i++)
		send_text(fds[i], "x"); /* its deadline is the new one */
	while (f->http->stats.timed_out < CROWD) {
		assert_true(turn_with_patience(f->core.loop, &give_up_us));
		if (f->http->stats.timed_out - before > most)
			most = f->http->stats.timed_out - before;
		before = f->http->stats.timed_out;
	}
	assert_int_equal(f->http->stats.timed_out, CROWD);
	assert_true(most <= 50);
	for (int i = 0; i < CROWD; i++)
		close(fds[i]);
}

static void a_client_that_never_reads_is_cut(void **state)
{
	struct fixture *f = *state;
	int fd;

	hurry(f);
	fd = connect_pair(f);
	send_text(fd, "GET /big HTTP/1.1\r\n\r\n");
	TURN_UNTIL(f->core.loop, f->http->n_open == 0);
	assert_int_equal(f->http->stats.timed_out, 1);
	close(fd);
}

static void at_the_cap_the_oldest_idle_connection_makes_room(void **state)
{
	struct fixture *f = *state;
	int fds[3], fresh;

	f->http->limits.max_strangers[XN_DOOR_TCP] = 3;
	for (int i = 0; i < 3; i++) {
		fds[i] = connect_tcp(f);
		send_text(fds[i], "POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nok");
		read_until(f, fds[i], "ok");
	}
	send_text(fds[0], "POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nok");
	read_until(f, fds[0], "ok"); /* so fds[1] is the oldest */
	fresh = connect_tcp(f);
	assert_true(is_closed_by_peer(f, fds[1]));
	send_text(fresh, "POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nok");
	read_until(f, fresh, "ok");
	assert_int_equal(f->http->stats.evicted, 1);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	close(fresh);
}

static int a_reader_of_nothing(struct fixture *f)
{
	int fd = connect_tcp(f);

	for (int i = 0; i < 8; i++) /* more than sockets take */
		send_text(fd, "GET /big HTTP/1.1\r\n\r\n");
	settle_loop(f);
	return fd;
}

static void at_the_cap_who_does_not_read_goes_after_the_idle(void **state)
{
	struct fixture *f = *state;
	int slow[2], idle, busy, fresh;

	f->http->limits.max_strangers[XN_DOOR_TCP] = 3;
	for (int i = 0; i < 2; i++)
		slow[i] = a_reader_of_nothing(f);
	idle = connect_tcp(f);
	send_text(idle, "POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nok");
	read_until(f, idle, "ok");
	read_until(f, slow[0], ">"); /* so slow[1] moved least recently */
	busy = connect_tcp(f);
	send_text(busy, "POST /later HTTP/1.1\r\n\r\n");
	assert_true(is_closed_by_peer(f, idle));
	settle_loop(f);
	fresh = connect_tcp(f);
	send_text(fresh, "POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nok");
	read_until(f, fresh, "ok");
	assert_int_equal(f->http->stats.evicted, 2);
	read_to_eof(f, slow[1]);
	read_until(f, slow[0], ">");
	answer_later(f, "still here");
	read_until(f, busy, "still here");
	for (int i = 0; i < 2; i++)
		close(slow[i]);
	close(idle);
	close(busy);
	close(fresh);
}

static void at_the_cap_busy_connections_stay_and_the_new_one_goes(void **state)
{
	struct fixture *f = *state;
	int busy, fresh;

	f->http->limits.max_strangers[XN_DOOR_TCP] = 1;
	busy = connect_tcp(f);
	send_text(busy, "POST /later HTTP/1.1\r\n\r\n");
	settle_loop(f);
	fresh = connect_tcp(f);
	assert_true(is_closed_by_peer(f, fresh));
	assert_int_equal(f->http->stats.refused, 1);
	xn_http_set_authenticated(f->waiting);
	close(fresh);
	fresh = connect_tcp(f);
	send_text(fresh, "POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nok");
	read_until(f, fresh, "ok");
	answer_later(f, "still here");
	read_until(f, busy, "still here");
	close(busy);
	close(fresh);
}

static void strangers_cannot_fill_memory_with_half_sent_bodies(void **state)
{
	struct fixture *f = *state;
	char *body = xn_calloc(1, 90000);
	int fds[8];

	f->http->limits.max_strangers_bytes = 300000;
	for (int i = 0; i < 8; i++) {
		fds[i] = connect_pair(f);
		send_text(fds[i], "POST /echo HTTP/1.1\r\nContent-Length: 100000\r\n\r\n");
		settle_loop(f);
		for (int part = 0; part < 9; part++) {
			send(fds[i], body, 10000, MSG_NOSIGNAL);
			settle_loop(f);
		}
		assert_true(f->http->stats.buffered <= 300000);
	}
	assert_true(f->http->stats.refused > 0);
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	free(body);
}

static void running_out_of_descriptors_does_not_spin_or_stop_the_server(void **state)
{
	struct fixture *f = *state;
	struct rlimit old, tight;
	int busy = connect_tcp(f), late, n_filler = 0, filler[64];

	send_text(busy, "POST /later HTTP/1.1\r\n\r\n");
	settle_loop(f);
	late = connect_tcp(f); /* waits in the backlog */
	getrlimit(RLIMIT_NOFILE, &old);
	tight = (struct rlimit){(rlim_t)late + 1, old.rlim_max};
	setrlimit(RLIMIT_NOFILE, &tight);
	while (n_filler < 64 && (filler[n_filler] = dup(busy)) >= 0)
		n_filler++;
	assert_true(is_closed_by_peer(f, late));
	assert_int_equal(f->http->stats.refused, 1);
	while (n_filler)
		close(filler[--n_filler]);
	setrlimit(RLIMIT_NOFILE, &old);
	assert_true(f->http->reserve_fd >= 0);
	answer_later(f, "fine");
	read_until(f, busy, "fine");
	close(late);
	close(busy);
}

static void an_idle_connection_owns_no_buffer(void **state)
{
	struct fixture *f = *state;
	int fd = connect_tcp(f);

	send_text(fd, "POST /echo HTTP/1.1\r\nContent-Length: 100000\r\n\r\n");
	settle_loop(f);
	for (int i = 0; i < 100; i++) {
		char part[1000];

		memset(part, i == 99 ? 'z' : 'a', sizeof(part));
		send_bytes(f, fd, part, sizeof(part));
	}
	read_until(f, fd, "zzzz");
	settle_loop(f);
	assert_int_equal(f->http->n_kept, 1);
	assert_int_equal(f->http->stats.buffered, 0);
	assert_true(sizeof(struct xn_http_conn) < 512);
	close(fd);
}

/* ---- listeners ---- */

static int connect_unix(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void the_unix_socket_is_private_and_trusts_its_owner(void **state)
{
	struct fixture *f = *state;
	struct xn_error err = {0};
	char *dir = xn_asprintf("%s/deep", f->folder), *path = xn_asprintf("%s/er/sock", dir);
	char *parent = xn_asprintf("%s/er", dir);
	struct stat st;
	int fd;

	assert_int_equal(xn_http_listen_unix(f->http, path, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	fd = connect_unix(path);
	send_text(fd, "GET /describe HTTP/1.1\r\n\r\n");
	read_until(f, fd, "unix trusted");
	assert_int_equal(f->http->n_door[XN_DOOR_UNIX], 1);
	close(fd);
	xn_http_drain(f->http);
	assert_int_equal(stat(path, &st), -1);
	rmdir(parent);
	rmdir(dir);
	free(parent);
	free(dir);
	free(path);
}

static void a_socket_file_is_replaced_only_when_nobody_listens(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct xn_error err = {0};
	int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/sock", f->folder);
	assert_int_equal(bind(other, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(other, 1), 0);
	assert_int_equal(xn_http_listen_unix(f->http, addr.sun_path, &err), -1);
	assert_true(has(err.params[0], "another program"));
	close(other);
	assert_int_equal(xn_http_listen_unix(f->http, addr.sun_path, &err), 0);
	close(connect_unix(addr.sun_path));
	xn_error_clear(&err);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct xn_error err = {0};
	char *path = xn_asprintf("%s/file", f->folder);
	FILE *file = fopen(path, "w");

	fclose(file);
	assert_int_equal(xn_http_listen_unix(f->http, path, &err), -1);
	assert_true(has(err.params[0], "not a socket"));
	assert_int_equal(access(path, F_OK), 0);
	xn_error_clear(&err);
	unlink(path);
	free(path);
}

static void addresses_are_numbers_with_a_port(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {"", "80", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x",
					  "127.0.0.1:65536", "example.org:80", "[::1:80", "1.2.3:80",
					  "127.0.0.1:+5", "127.0.0.1:80 "};

	for (size_t i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		struct xn_error err = {0};

		assert_int_equal(xn_http_listen_tcp(f->http, bad[i], &err), -1);
		assert_true(has(err.params[0], "cannot listen on"));
		xn_error_clear(&err);
	}
}

static void the_chosen_port_is_shown(void **state)
{
	struct fixture *f = *state;
	const char *const *addresses = xn_http_addresses(f->http);

	assert_true(starts_with(addresses[0], "127.0.0.1:"));
	assert_true(atoi(addresses[0] + 10) > 0);
	assert_null(addresses[1]);
}

/* ---- the orderly end ---- */

static void answer_from_timer(struct xn_timer *timer);
static struct { struct xn_timer timer; struct fixture *f; } soon;

static void answer_from_timer(struct xn_timer *timer)
{
	answer_later(soon.f, "just in time");
}

static void draining_sends_the_answers_under_way_and_closes_the_rest(void **state)
{
	struct fixture *f = *state;
	int idle = connect_tcp(f), busy = connect_tcp(f);

	send_text(idle, "POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nok");
	read_until(f, idle, "ok");
	send_text(busy, "POST /later HTTP/1.1\r\n\r\n");
	settle_loop(f);
	soon.f = f;
	xn_timer_arm(f->core.loop, &soon.timer, 20000, answer_from_timer);
	xn_http_drain(f->http);
	assert_true(is_closed_by_peer(f, idle));
	assert_true(has(read_to_eof(f, busy), "Connection: close\r\n\r\njust in time"));
	assert_int_equal(f->http->n_open, 0);
	close(idle);
	close(busy);
}

static void draining_begins_no_request(void **state)
{
	struct fixture *f = *state;
	int half = connect_tcp(f), busy = connect_tcp(f);

	send_text(half, "POST /echo HTTP/1.1\r\nContent-Length: 4\r\n\r\nok");
	send_text(busy, "POST /later HTTP/1.1\r\n\r\n");
	settle_loop(f);
	send_text(half, "ay");
	soon.f = f;
	xn_timer_arm(f->core.loop, &soon.timer, 20000, answer_from_timer);
	xn_http_drain(f->http);
	assert_true(is_closed_by_peer(f, half));
	assert_true(has(read_to_eof(f, busy), "just in time"));
	close(half);
	close(busy);
}

static void draining_does_not_wait_for_ever(void **state)
{
	struct fixture *f = *state;
	int busy = connect_tcp(f);

	f->http->limits.drain_us = 20000;
	send_text(busy, "POST /later HTTP/1.1\r\n\r\n");
	settle_loop(f);
	xn_http_drain(f->http);
	assert_int_equal(f->n_closed, 1);
	assert_true(is_closed_by_peer(f, busy));
	close(busy);
}

static void the_counters_tell_what_happened(void **state)
{
	struct fixture *f = *state;
	struct xn_http_stats stats;
	int fd = connect_tcp(f);

	send_text(fd, "POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nokGET /nothing HTTP/1.1\r\n\r\n");
	read_until(f, fd, "404 Not Found\n");
	settle_loop(f);
	xn_http_stats(f->http, &stats);
	assert_int_equal(stats.open, 1);
	assert_int_equal(stats.idle, 1);
	assert_int_equal(stats.accepted, 1);
	assert_int_equal(stats.requests, 2);
	assert_int_equal(stats.replies[2], 1);
	assert_int_equal(stats.replies[4], 1);
	assert_true(stats.bytes_in > 60 && stats.bytes_out > 200);
	close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, http_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_request_over_tcp_is_answered_and_the_connection_kept),
		TEST(a_request_in_single_bytes_is_answered),
		TEST(a_body_of_the_largest_size_is_taken_and_a_larger_refused),
		TEST(a_chunked_body_is_put_together),
		TEST(curl_is_told_to_go_on),
		TEST(a_handler_sees_header_query_and_cookie_decoded),
		TEST(a_head_request_gets_the_head_alone),
		TEST(http_1_0_is_answered_and_closed_unless_asked_otherwise),
		TEST(connection_close_is_honoured),
		TEST(a_client_that_closed_only_its_own_direction_gets_its_answer),
		TEST(a_handler_is_told_once_that_its_client_is_gone),
		TEST(an_answer_after_the_client_left_is_harmless_without_on_close),
		TEST(pipelined_requests_are_answered_in_order_in_one_write),
		TEST(a_pipelined_error_waits_for_the_answer_before_it),
		TEST(hundreds_of_pipelined_requests_are_all_answered),
		TEST(a_client_that_does_not_read_is_not_read_from),
		TEST(a_large_answer_arrives_whole),
		TEST(requests_that_two_readers_could_cut_differently_are_refused),
		TEST(paths_that_are_not_text_are_refused),
		TEST(heads_that_are_too_large_are_refused),
		TEST(the_longest_prefix_answers),
		TEST(another_method_on_a_known_path_is_told_what_is_allowed),
		TEST(where_head_is_not_answered_it_is_not_allowed),
		TEST(browsers_may_ask_before_they_post),
		TEST(the_index_page_says_what_this_is),
		TEST(a_target_with_spaces_is_understood_from_http_1_0),
		TEST(a_long_call_keeps_its_client_waiting_with_white_space),
		TEST(a_long_call_over_http_1_0_ends_with_the_connection),
		TEST(a_connection_that_says_nothing_is_closed),
		TEST(a_request_that_does_not_go_on_is_told_so),
		TEST(a_head_in_drops_has_its_time_in_all),
		TEST(a_crowd_that_is_late_is_told_so_in_more_than_one_go),
		TEST(a_client_that_never_reads_is_cut),
		TEST(at_the_cap_the_oldest_idle_connection_makes_room),
		TEST(at_the_cap_who_does_not_read_goes_after_the_idle),
		TEST(at_the_cap_busy_connections_stay_and_the_new_one_goes),
		TEST(strangers_cannot_fill_memory_with_half_sent_bodies),
		TEST(running_out_of_descriptors_does_not_spin_or_stop_the_server),
		TEST(an_idle_connection_owns_no_buffer),
		TEST(the_unix_socket_is_private_and_trusts_its_owner),
		TEST(a_socket_file_is_replaced_only_when_nobody_listens),
		TEST(a_file_that_is_no_socket_is_left_alone),
		TEST(addresses_are_numbers_with_a_port),
		TEST(the_chosen_port_is_shown),
		TEST(draining_sends_the_answers_under_way_and_closes_the_rest),
		TEST(draining_begins_no_request),
		TEST(draining_does_not_wait_for_ever),
		TEST(the_counters_tell_what_happened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
