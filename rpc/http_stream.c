/*
 * Bodies that do not fit in memory, both ways, with back-pressure: a source is asked for more when
 * its last piece is out; a sink that takes less than it is given is not read for until it resumes.
 * Callbacks come from the loop, never from inside the handler's own calls.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "rpc/http_internal.h"

struct xn_http_stream {
	enum xn_http_kind kind;
	/* out */
	void (*want)(struct xn_http_conn *conn, void *arg);
	void *want_arg;
	bool begun, chunked_out, declared;
	bool wants_call; /* something was written since want() was called last */
	int64_t out_left; /* declared */
	/* in */
	size_t (*data)(struct xn_http_conn *conn, const char *bytes, size_t len, void *arg);
	void *data_arg;
	struct xn_http_chunks chunks;
	bool chunked_in, to_eof;
	bool expects_continue;
	bool paused, busy, told_end, cut;
	int64_t in_left; /* declared */
	size_t in_done;  /* of conn->in, by a feed() under way, which drops it at its end */
	/* Since the peer last brought a whole STEP: what it brought, how long it was waited for. */
	size_t step_bytes;
	int64_t awaited_us, awaited_since_us; /* the latter 0: not now */
};

/* Of a body's bytes. Fewer in http-body-idle are as good as silence. */
enum { STEP = 4096 };

/* Of a body that a callback hands on, however short the peer made its chunks. */
enum { RUNS = 1000 };

void xn_http_stream_open(struct xn_http_conn *conn, enum xn_http_kind kind,
			 const struct xn_http_head *head)
{
	struct xn_http_stream *stream = xn_calloc(1, sizeof(*stream));

	stream->kind = kind;
	stream->expects_continue = head->expects_continue;
	if (kind == XN_HTTP_STREAM_IN) {
		stream->chunked_in = head->chunked;
		stream->in_left = head->length;
		/* Uploads from a pipe by clients that cannot chunk. */
		stream->to_eof = head->minor_version == 0 && !head->has_length;
		if (stream->to_eof)
			conn->keep_alive = false;
	}
	conn->stream = stream;
}

void xn_http_stream_close(struct xn_http_conn *conn)
{
	free(conn->stream);
	conn->stream = NULL;
}

bool xn_http_stream_is_in(const struct xn_http_conn *conn)
{
	return conn->stream && conn->stream->kind == XN_HTTP_STREAM_IN;
}

bool xn_http_stream_has_begun(const struct xn_http_conn *conn)
{
	return conn->stream && conn->stream->begun;
}

static size_t input_left(const struct xn_http_conn *conn)
{
	return conn->in.len - conn->stream->in_done;
}

bool xn_http_stream_input_is_over(const struct xn_http_conn *conn)
{
	const struct xn_http_stream *stream = conn->stream;

	if (!stream || stream->cut)
		return true;
	if (stream->to_eof)
		return conn->end_of_input && !input_left(conn);
	return stream->chunked_in ? xn_http_chunks_done(&stream->chunks) : stream->in_left == 0;
}

bool xn_http_stream_was_cut(const struct xn_http_conn *conn)
{
	return conn->stream && conn->stream->cut;
}

bool xn_http_stream_reads(const struct xn_http_conn *conn)
{
	return !conn->stream->paused;
}

bool xn_http_stream_awaits_peer(const struct xn_http_conn *conn)
{
	const struct xn_http_stream *stream = conn->stream;

	return xn_http_stream_is_in(conn) && stream->data && !stream->paused && !stream->busy &&
	       !stream->told_end && !xn_http_stream_input_is_over(conn);
}

/* ---- in ---- */

bool xn_http_stream_book_waiting(struct xn_http_conn *conn, int64_t now_us, int64_t *awaited_us)
{
	struct xn_http_stream *stream = conn->stream;
	bool awaits = xn_http_stream_awaits_peer(conn);

	if (!stream)
		return false;
	if (stream->awaited_since_us)
		stream->awaited_us += now_us - stream->awaited_since_us;
	stream->awaited_since_us = awaits ? now_us : 0;
	*awaited_us = stream->awaited_us;
	return awaits;
}

static void note_brought(struct xn_http_stream *stream, size_t bytes)
{
	stream->step_bytes += bytes;
	if (stream->step_bytes < STEP)
		return;
	stream->step_bytes = 0;
	stream->awaited_us = stream->awaited_since_us = 0;
}

/* Whether data() has something to be told. */
static bool has_input(const struct xn_http_conn *conn)
{
	const struct xn_http_stream *stream = conn->stream;

	return stream->data && !stream->paused && !stream->told_end &&
	       (input_left(conn) || conn->end_of_input || xn_http_stream_input_is_over(conn));
}

static void tell_end(struct xn_http_conn *conn)
{
	conn->stream->told_end = true;
	conn->stream->data(conn, "", 0, conn->stream->data_arg);
}

/* The next run of body bytes that conn->in has, booked as read. Returns the bytes used, framing
 * included; a broken framing ends the input. */
static size_t next_run(struct xn_http_conn *conn, const char **run_out, size_t *run_len_out)
{
	struct xn_http_stream *stream = conn->stream;
	const char *input = conn->in.data + stream->in_done;
	size_t left = input_left(conn);
	ssize_t used;

	*run_out = input;
	*run_len_out = left;
	if (stream->chunked_in) {
		used = xn_http_next_chunk(&stream->chunks, input, left, run_out, run_len_out);
		if (used >= 0)
			return (size_t)used;
		stream->cut = true;
		conn->keep_alive = false;
		*run_len_out = 0;
		return left;
	}
	if (!stream->to_eof) {
		if ((int64_t)*run_len_out > stream->in_left)
			*run_len_out = (size_t)stream->in_left;
		stream->in_left -= (int64_t)*run_len_out;
	}
	return *run_len_out;
}

static void put_back(struct xn_http_stream *stream, size_t len)
{
	if (stream->chunked_in)
		xn_http_put_back_chunk(&stream->chunks, len);
	else if (!stream->to_eof)
		stream->in_left += (int64_t)len;
}

/* Gives data() what is next; *done grows by what conn->in has to lose. False: nothing more now. */
static bool feed_run(struct xn_http_conn *conn, size_t *done)
{
	struct xn_http_stream *stream = conn->stream;
	const char *run;
	size_t used, run_len, taken;

	if (!stream || !has_input(conn))
		return false;
	if (xn_http_stream_input_is_over(conn)) {
		/* Without TLS's farewell anybody on the way may have ended it. */
		if (stream->to_eof && conn->tls && xn_tls_was_cut(conn->tls))
			stream->cut = true;
		tell_end(conn);
		return false;
	}
	if (!input_left(conn)) {
		stream->cut = true; /* end of file before the declared end */
		tell_end(conn);
		return false;
	}
	used = next_run(conn, &run, &run_len);
	stream->paused = true; /* so that a resume from inside counts */
	taken = run_len ? stream->data(conn, run, run_len, stream->data_arg) : 0;
	if (conn->stream == stream) {
		note_brought(stream, taken);
		put_back(stream, run_len - taken);
		used -= run_len - taken;
		stream->paused = stream->paused && taken < run_len;
		stream->in_done += used;
	}
	*done += used;
	return conn->state != XN_CONN_CLOSED;
}

/* What has gone is dropped once, not run by run: each time the rest is moved. */
static void feed(struct xn_http_conn *conn)
{
	size_t done = 0;

	for (unsigned runs = 0; runs < RUNS && feed_run(conn, &done);)
		runs++;
	if (conn->state == XN_CONN_CLOSED || !done)
		return;
	xn_buf_drop(&conn->in, done);
	if (conn->stream)
		conn->stream->in_done = 0;
	conn->stalled = conn->state == XN_CONN_HEAD && conn->in.len;
}

void xn_http_stream_read(struct xn_http_conn *conn,
			 size_t (*data)(struct xn_http_conn *conn, const char *bytes, size_t len, void *arg),
			 void *arg)
{
	struct xn_http_stream *stream = conn->stream;
	bool begun;

	if (conn->state == XN_CONN_CLOSED)
		return;
	assert(stream->kind == XN_HTTP_STREAM_IN);
	xn_http_conn_enter(conn);
	begun = xn_http_output_begin(conn);
	stream->data = data;
	stream->data_arg = arg;
	if (stream->expects_continue && !conn->in.len)
		xn_buf_add_string(xn_http_output(conn), "HTTP/1.1 100 Continue\r\n\r\n");
	stream->expects_continue = false;
	xn_http_output_end(conn, begun);
	xn_http_conn_leave(conn);
}

void xn_http_stream_resume(struct xn_http_conn *conn)
{
	if (conn->state == XN_CONN_CLOSED)
		return;
	xn_http_conn_enter(conn);
	conn->stream->paused = false;
	xn_http_conn_leave(conn);
}

void xn_http_stream_set_busy(struct xn_http_conn *conn, bool busy)
{
	if (conn->state == XN_CONN_CLOSED || conn->stream->busy == busy)
		return;
	xn_http_conn_enter(conn);
	conn->stream->busy = busy;
	xn_http_conn_leave(conn);
}

/* ---- out ---- */

void xn_http_stream_begin(struct xn_http_conn *conn, int status, const char *headers,
			  int64_t length, void (*want)(struct xn_http_conn *conn, void *arg),
			  void *arg)
{
	struct xn_http_stream *stream;
	bool begun;
	int64_t framing = length;

	if (conn->state == XN_CONN_CLOSED)
		return;
	if (!conn->stream) { /* a handler of whole bodies whose answer is long */
		conn->stream = xn_calloc(1, sizeof(*conn->stream));
		conn->stream->kind = XN_HTTP_STREAM_OUT;
	}
	stream = conn->stream;
	if (conn->waiting_sent)
		length = -1; /* the head is out, and says nothing of it */
	xn_http_conn_enter(conn);
	begun = xn_http_output_begin(conn);
	stream->begun = true;
	stream->want = want;
	stream->want_arg = arg;
	stream->wants_call = true;
	stream->declared = length >= 0;
	stream->out_left = length;
	stream->chunked_out = length < 0 && conn->minor_version > 0;
	if (length < 0)
		framing = stream->chunked_out ? XN_HTTP_LENGTH_CHUNKED : XN_HTTP_LENGTH_NONE;
	if (framing == XN_HTTP_LENGTH_NONE)
		conn->keep_alive = false;
	/* curl takes a final answer before "100 Continue" for a refusal of its body. */
	if (stream->expects_continue)
		xn_buf_add_string(xn_http_output(conn), "HTTP/1.1 100 Continue\r\n\r\n");
	stream->expects_continue = false;
	if (!conn->waiting_sent)
		xn_http_add_head(conn, status, NULL, headers, framing);
	xn_http_output_end(conn, begun);
	xn_http_conn_leave(conn);
}

void xn_http_stream_write(struct xn_http_conn *conn, const void *data, size_t len)
{
	struct xn_http_stream *stream = conn->stream;
	struct xn_http_piece pieces[3] = {{"", 0}, {data, len}, {"", 0}};
	char size_line[24];
	bool begun;

	if (conn->state == XN_CONN_CLOSED || !len)
		return;
	assert(stream->begun && (!stream->declared || (int64_t)len <= stream->out_left));
	if (stream->declared)
		stream->out_left -= (int64_t)len;
	if (conn->is_head)
		return;
	if (stream->chunked_out) {
		pieces[0].len = (size_t)snprintf(size_line, sizeof(size_line), "%zx\r\n", len);
		pieces[0].data = size_line;
		pieces[2] = (struct xn_http_piece){"\r\n", 2};
	}
	xn_http_conn_enter(conn);
	begun = xn_http_output_begin(conn);
	stream->wants_call = true;
	xn_http_output_pieces(conn, pieces, 3);
	xn_http_output_end(conn, begun);
	xn_http_conn_leave(conn);
}

bool xn_http_stream_is_waiting(const struct xn_http_conn *conn)
{
	return conn->out.len > 0;
}

void xn_http_stream_end(struct xn_http_conn *conn, bool ok)
{
	struct xn_http_stream *stream = conn->stream;
	bool begun;

	xn_http_conn_enter(conn);
	begun = xn_http_output_begin(conn);
	if (conn->state == XN_CONN_CLOSED) {
		/* Its handler did not ask to be told. */
	} else if (!ok || !stream->begun || (stream->declared && stream->out_left)) {
		/* The only way to say that the body is not all there. */
		conn->broken = true;
	} else if (stream->chunked_out && !conn->is_head) {
		xn_buf_add_string(xn_http_output(conn), "0\r\n\r\n");
	}
	xn_http_conn_answered(conn);
	xn_http_output_end(conn, begun);
	xn_http_conn_leave(conn);
}

/* ---- from the loop ---- */

bool xn_http_stream_has_work(const struct xn_http_conn *conn)
{
	const struct xn_http_stream *stream = conn->stream;

	if (!stream || conn->state != XN_CONN_RUNNING)
		return false;
	return has_input(conn) || (stream->want && stream->wants_call && !conn->out.len);
}

void xn_http_stream_work(struct xn_http_conn *conn)
{
	struct xn_http_stream *stream = conn->stream;

	if (!stream || conn->state != XN_CONN_RUNNING)
		return;
	feed(conn);
	stream = conn->stream;
	if (stream && stream->want && stream->wants_call && !conn->out.len) {
		stream->wants_call = false;
		stream->want(conn, stream->want_arg);
	}
}
