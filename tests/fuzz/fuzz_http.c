/*
 * HTTP heads, chunked bodies, queries and cookies: no input breaks a parser; a prefix of what is
 * good waits for more; a head printed from its parts is parsed to the same parts; a body comes out
 * the same in whatever pieces it arrives.
 */
#include <assert.h>
#include <stdlib.h>

#include "core/buf.h"
#include "core/value.h"
#include "rpc/http_parse.h"
#include "rpc/http_query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add_span(struct xn_buf *out, const char *data, struct xn_http_span span)
{
	xn_buf_add(out, data + span.at, span.len);
}

static void print_head(const struct xn_http_head *head, const char *data, struct xn_buf *out)
{
	add_span(out, data, head->method);
	xn_buf_add_char(out, ' ');
	add_span(out, data, head->path);
	if (head->query.len) {
		xn_buf_add_char(out, '?');
		add_span(out, data, head->query);
	}
	xn_buf_printf(out, " HTTP/1.%d\r\n", head->minor_version);
	for (unsigned i = 0; i < head->n_fields; i++) {
		add_span(out, data, head->fields[i].name);
		xn_buf_add_char(out, ':');
		add_span(out, data, head->fields[i].value);
		xn_buf_add_string(out, "\r\n");
	}
	xn_buf_add_string(out, "\r\n");
}

static void assert_same_span(const char *a, struct xn_http_span in_a, const char *b,
			     struct xn_http_span in_b)
{
	assert(in_a.len == in_b.len && memcmp(a + in_a.at, b + in_b.at, in_a.len) == 0);
}

static void assert_same_head(const char *a, const struct xn_http_head *in_a, const char *b,
			     const struct xn_http_head *in_b)
{
	assert_same_span(a, in_a->method, b, in_b->method);
	assert_same_span(a, in_a->path, b, in_b->path);
	assert_same_span(a, in_a->query, b, in_b->query);
	assert(in_a->minor_version == in_b->minor_version);
	assert(in_a->keep_alive == in_b->keep_alive && in_a->chunked == in_b->chunked);
	assert(in_a->expects_continue == in_b->expects_continue);
	assert(in_a->has_length == in_b->has_length && in_a->length == in_b->length);
	assert(in_a->n_fields == in_b->n_fields);
	for (unsigned i = 0; i < in_a->n_fields; i++) {
		assert_same_span(a, in_a->fields[i].name, b, in_b->fields[i].name);
		assert_same_span(a, in_a->fields[i].value, b, in_b->fields[i].value);
	}
}

static void check_query(const char *data, size_t len, bool cookies)
{
	const char *at = data, *end = data + len;
	struct xn_http_pair pair;
	size_t n = 0;

	while (xn_http_next_pair(&at, end, cookies, &pair)) {
		assert(pair.name >= data && pair.name + pair.name_len <= end);
		assert(pair.value >= data && pair.value + pair.value_len <= end);
		assert(++n <= len);
	}
	free(xn_http_find_pair(data, len, cookies, "session_id"));
}

static void check_decode(const char *data, size_t len)
{
	char *text = xn_malloc(len);
	ssize_t n = xn_http_decode(text, data, len, true);

	assert(n <= (ssize_t)len);
	assert(n < 0 || xn_text_is_valid(text, (size_t)n));
	free(text);
}

static void check_head(const char *data, size_t size)
{
	struct xn_buf XN_CLEANUP(xn_buf_clear_p) printed = {0};
	struct xn_http_head head, again;
	int rc = xn_http_parse_head(data, size, &head);

	assert(rc == 0 || (rc > 0 && (size_t)rc <= size) || (rc <= -400 && rc > -600));
	for (size_t n = size > 40 ? size - 40 : 0; n < size; n++) {
		int earlier = xn_http_parse_head(data, n, &again);

		/* Bytes that follow neither heal a refusal nor change a whole head. */
		assert(earlier == 0 || (earlier < 0) == (rc < 0));
		assert(earlier <= 0 || earlier == rc);
		assert(rc <= 0 || n >= (size_t)rc || earlier == 0);
	}
	if (rc <= 0)
		return;
	print_head(&head, data, &printed);
	assert(xn_http_parse_head(printed.data, printed.len, &again) == (int)printed.len);
	assert_same_head(data, &head, printed.data, &again);
	check_query(data + head.query.at, head.query.len, false);
	check_decode(data + head.path.at, head.path.len);
}

/* False when refused; else what came out, and whether the body is over, in pieces of @step. */
static bool unchunk(const char *data, size_t size, size_t step, struct xn_buf *out,
		    size_t *used_out, bool *done_out)
{
	struct xn_http_chunks chunks = {0};
	size_t at = 0;

	while (at < size && !xn_http_chunks_done(&chunks)) {
		size_t piece = size - at < step ? size - at : step, run_len;
		const char *run;
		ssize_t used = xn_http_next_chunk(&chunks, data + at, piece, &run, &run_len);

		if (used < 0)
			return false;
		assert(used > 0 && (size_t)used <= piece);
		assert(run >= data + at && run + run_len <= data + at + used);
		xn_buf_add(out, run, run_len);
		at += (size_t)used;
	}
	*used_out = at;
	*done_out = xn_http_chunks_done(&chunks);
	return true;
}

static void check_chunks(const char *data, size_t size)
{
	struct xn_buf XN_CLEANUP(xn_buf_clear_p) whole = {0};
	struct xn_buf XN_CLEANUP(xn_buf_clear_p) pieces = {0};
	size_t used_whole = 0, used_pieces = 0;
	bool done_whole = false, done_pieces = false;
	bool ok = unchunk(data, size, size, &whole, &used_whole, &done_whole);

	assert(unchunk(data, size, 3, &pieces, &used_pieces, &done_pieces) == ok);
	if (!ok)
		return;
	assert(used_whole == used_pieces && done_whole == done_pieces);
	assert(whole.len == pieces.len);
	assert(!whole.len || memcmp(whole.data, pieces.data, whole.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	const char *data = (const char *)bytes;
	const char *end = memmem(data, size, "\r\n\r\n", 4);

	check_head(data, size);
	check_chunks(data, size);
	if (end)
		check_chunks(end + 4, size - (size_t)(end + 4 - data));
	check_query(data, size, false);
	check_query(data, size, true);
	check_decode(data, size);
	return 0;
}
