/* Request heads and chunked bodies: what is understood, what is refused, and that prefixes wait. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/buf.h"
#include "rpc/http_parse.h"

static struct xn_http_head head;

static int parse(const char *text)
{
	return xn_http_parse_head(text, strlen(text), &head);
}

static void assert_span(const char *data, struct xn_http_span span, const char *expected)
{
	assert_int_equal(span.len, strlen(expected));
	assert_memory_equal(data + span.at, expected, span.len);
}

static void a_head_is_cut_into_its_parts(void **state)
{
	const char *text = "PUT /import/?sr_id=x&y HTTP/1.1\r\nHost: h:80\r\nX-Empty:\r\n"
			   "content-LENGTH: 1125899906842624 \r\n\r\nbody";

	assert_int_equal(parse(text), strlen(text) - 4);
	assert_span(text, head.method, "PUT");
	assert_span(text, head.path, "/import/");
	assert_span(text, head.query, "sr_id=x&y");
	assert_int_equal(head.minor_version, 1);
	assert_true(head.keep_alive);
	assert_true(head.has_length);
	assert_int_equal(head.length, 1125899906842624);
	assert_int_equal(head.n_fields, 3);
	assert_span(text, xn_http_find_field(&head, text, "x-empty")->value, "");
	assert_span(text, xn_http_find_field(&head, text, "HOST")->value, "h:80");
	assert_null(xn_http_find_field(&head, text, "hos"));
}

static void every_prefix_of_a_good_head_waits_for_more(void **state)
{
	const char *text = "\r\nPOST http://host/RPC2?a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
			   "Transfer-Encoding: chunked\r\n\r\n";
	size_t len = strlen(text);

	for (size_t n = 0; n < len; n++)
		assert_int_equal(xn_http_parse_head(text, n, &head), 0);
	assert_int_equal(xn_http_parse_head(text, len, &head), len);
	assert_span(text, head.path, "/RPC2");
	assert_true(head.chunked && head.expects_continue);
}

static void keep_alive_follows_version_and_connection(void **state)
{
	static const struct {
		const char *text;
		bool kept;
	} cases[] = {
		{"GET / HTTP/1.1\r\n\r\n", true},
		{"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", false},
		{"GET / HTTP/1.1\r\nConnection: Upgrade, CLOSE\r\n\r\n", false},
		{"GET / HTTP/1.1\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false},
		{"GET / HTTP/1.1\r\nConnection: closed\r\n\r\n", true},
		{"GET / HTTP/1.0\r\n\r\n", false},
		{"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
		{"GET / HTTP/1.9\r\n\r\n", true},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		assert_int_equal(parse(cases[i].text), strlen(cases[i].text));
		assert_int_equal(head.keep_alive, cases[i].kept);
	}
}

static void what_is_wrong_gets_its_status(void **state)
{
	static const struct {
		const char *text;
		int status;
	} cases[] = {
		{" GET / HTTP/1.1\r\n\r\n", 400},
		{"GET  / HTTP/1.1\r\n\r\n", 400},
		{"GET / HTTP/1.1 \r\n\r\n", 400},
		{"GET /\r\n\r\n", 400},
		{"G\x01T / HTTP/1.1\r\n\r\n", 400},
		{"GET /\x01 HTTP/1.1\r\n\r\n", 400},
		{"GET /#f HTTP/1.1\r\n\r\n", 400},
		{"GET host:80 HTTP/1.1\r\n\r\n", 400},
		{"GET http://host HTTP/1.1\r\n\r\n", 400},
		{"GET / HTTP/1\r\n\r\n", 400},
		{"GET / http/1.1\r\n\r\n", 400},
		{"GET / HTTP/3.0\r\n\r\n", 505},
		{"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\n: empty\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nA: \x7f\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nA: \xff\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nContent-Length:\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nContent-Length: 0x10\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n", 501},
		{"AMETHODTHATISMUCHTOOLONGTOBEONE / HTTP/1.1\r\n\r\n", 501},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		if (parse(cases[i].text) != -cases[i].status)
			fail_msg("case %zu gave %d, not %d", i, parse(cases[i].text),
				 -cases[i].status);
	}
}

static void the_same_length_twice_is_one_length(void **state)
{
	assert_true(parse("GET / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n") > 0);
	assert_int_equal(head.length, 3);
}

static void a_body_end_where_a_head_is_too_long_is_not_looked_for(void **state)
{
	struct xn_buf XN_CLEANUP(xn_buf_clear_p) text = {0};

	xn_buf_add_string(&text, "GET / HTTP/1.1\r\nA: ");
	while (text.len < XN_HTTP_MAX_HEAD - 4)
		xn_buf_add_char(&text, 'a');
	xn_buf_add_string(&text, "\r\n\r\n");
	assert_int_equal(xn_http_parse_head(text.data, text.len, &head), XN_HTTP_MAX_HEAD);
	text.len -= 4;
	xn_buf_add_string(&text, "a\r\n\r\n");
	assert_int_equal(xn_http_parse_head(text.data, text.len, &head), -431);
}

/* ---- chunks ---- */

/* Decodes @text given in pieces of @step bytes; NULL when it is refused. */
static char *unchunk(const char *text, size_t step, bool *done_out)
{
	struct xn_http_chunks chunks = {0};
	struct xn_buf out = {0};
	size_t len = strlen(text), at = 0;

	while (at < len && !xn_http_chunks_done(&chunks)) {
		size_t piece = len - at < step ? len - at : step;
		const char *run;
		size_t run_len;
		ssize_t used = xn_http_next_chunk(&chunks, text + at, piece, &run, &run_len);

		if (used < 0) {
			xn_buf_clear(&out);
			return NULL;
		}
		xn_buf_add(&out, run, run_len);
		at += (size_t)used;
	}
	*done_out = xn_http_chunks_done(&chunks);
	return xn_buf_steal(&out);
}

static void chunks_come_out_the_same_in_any_pieces(void **state)
{
	const char *text = "5\r\nhello\r\n00A;ext=\"v\"\r\n 123456789\r\n0\r\nTrailer: x\r\n\r\n";

	for (size_t step = 1; step <= strlen(text); step++) {
		bool done = false;
		char *out = unchunk(text, step, &done);

		assert_string_equal(out, "hello 123456789");
		assert_true(done);
		free(out);
	}
}

static void broken_chunks_are_refused(void **state)
{
	static const char *const bad[] = {
		"\r\n", "g\r\n", "-1\r\n", "1\n", "1\r\nab\r\n", "1\r\na\n", "1\rx", "0\r\n\n", "0\r\n :x\r\n",
		"ffffffffffffffff\r\n", "1;\x01\r\n",
	};
	bool done;

	for (size_t i = 0; i < XN_ARRAY_SIZE(bad); i++)
		assert_null(unchunk(bad[i], 100, &done));
}

static void what_was_put_back_comes_again(void **state)
{
	struct xn_http_chunks chunks = {0};
	const char *text = "4\r\nabcd\r\n0\r\n\r\n", *run;
	size_t run_len;
	ssize_t used = xn_http_next_chunk(&chunks, text, strlen(text), &run, &run_len);

	assert_int_equal(used, 7);
	xn_http_put_back_chunk(&chunks, 3);
	used = xn_http_next_chunk(&chunks, text + 4, strlen(text) - 4, &run, &run_len);
	assert_int_equal(used, 3);
	assert_memory_equal(run, "bcd", 3);
}

static void endless_size_lines_and_trailers_are_refused(void **state)
{
	struct xn_buf XN_CLEANUP(xn_buf_clear_p) text = {0};
	bool done;

	for (int i = 0; i < 1000; i++)
		xn_buf_add_char(&text, '0');
	assert_null(unchunk(xn_buf_cstr(&text), 7, &done));
	text.len = 0;
	xn_buf_add_string(&text, "0\r\n");
	for (int i = 0; i < 1000; i++)
		xn_buf_add_string(&text, "T: x\r\n");
	assert_null(unchunk(xn_buf_cstr(&text), 7, &done));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_head_is_cut_into_its_parts),
		cmocka_unit_test(every_prefix_of_a_good_head_waits_for_more),
		cmocka_unit_test(keep_alive_follows_version_and_connection),
		cmocka_unit_test(what_is_wrong_gets_its_status),
		cmocka_unit_test(the_same_length_twice_is_one_length),
		cmocka_unit_test(a_body_end_where_a_head_is_too_long_is_not_looked_for),
		cmocka_unit_test(chunks_come_out_the_same_in_any_pieces),
		cmocka_unit_test(broken_chunks_are_refused),
		cmocka_unit_test(what_was_put_back_comes_again),
		cmocka_unit_test(endless_size_lines_and_trailers_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
