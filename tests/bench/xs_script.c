/* Transactions as clients play them; see xs_script.h. */
#include "tests/bench/xs_script.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

static void note_last(struct xs_script *script, bool waits)
{
	if (script->n == XS_SCRIPT_MAX)
		abort();
	script->requests[script->n].end = script->bytes.len;
	script->requests[script->n].waits = waits;
	script->requests[script->n++].counts = -1;
}

void xs_script_begin(struct xs_script *script)
{
	script->n = script->sent = script->answered = 0;
	script->bytes.len = 0;
	xs_add(&script->bytes, XN_XS_WIRE_TRANSACTION_START, 0, "", NULL, 0);
	note_last(script, true);
}

void xs_script_add(struct xs_script *script, uint32_t type, const char *path, const void *value,
		   size_t len, bool waits)
{
	xs_add(&script->bytes, type, 0, path, value, len);
	note_last(script, waits);
}

void xs_script_count(struct xs_script *script, unsigned back)
{
	script->requests[script->n - 1 - back].counts = (int)script->n - 1;
}

void xs_script_end(struct xs_script *script)
{
	xs_add(&script->bytes, XN_XS_WIRE_TRANSACTION_END, 0, "T", NULL, 0);
	note_last(script, true);
}

static size_t start_of(const struct xs_script *script, unsigned request)
{
	return request ? script->requests[request - 1].end : 0;
}

static void send_some(struct xs_script *script, struct xs_conn *conn)
{
	size_t from = start_of(script, script->sent);

	while (!script->requests[script->sent++].waits)
		;
	xs_send(conn, script->bytes.data + from, script->requests[script->sent - 1].end - from);
}

static void set_transaction(struct xs_script *script, const struct xn_xs_frame *reply)
{
	uint32_t id = (uint32_t)strtoul(reply->body, NULL, 10);

	for (unsigned i = 1; i < script->n; i++)
		memcpy(script->bytes.data + start_of(script, i) + 8, &id, sizeof(id));
}

static void count_up(struct xs_script *script, const struct xn_xs_frame *reply, int write)
{
	char *value = script->bytes.data + script->requests[write].end - 8;
	unsigned long number;
	char digits[9] = "";

	memcpy(digits, reply->body, reply->len < 8 ? reply->len : 8);
	number = strtoul(digits, NULL, 10) + 1;
	for (int i = 7; i >= 0; i--, number /= 10)
		value[i] = (char)('0' + number % 10);
}

enum outcome { UNDER_WAY, COMMITTED, ABORTED };

static enum outcome take_reply(struct xs_script *script, struct xs_conn *conn,
			       const struct xn_xs_frame *reply)
{
	unsigned request = script->answered++;
	bool is_last = script->answered == script->n;

	if (is_last && xs_is_error(reply, "EAGAIN"))
		return ABORTED;
	xs_expect(reply, "transaction");
	if (request == 0)
		set_transaction(script, reply);
	if (script->requests[request].counts >= 0)
		count_up(script, reply, script->requests[request].counts);
	if (is_last)
		return COMMITTED;
	if (script->answered == script->sent)
		send_some(script, conn);
	return UNDER_WAY;
}

/* Return false when the connection has played its last script. */
static bool go_on(struct xs_play *play, unsigned i)
{
	struct xs_script *script = &play->scripts[i];
	struct xn_xs_frame reply;

	xs_receive(&play->conns[i]);
	while (xs_next(&play->conns[i], &reply)) {
		enum outcome outcome = take_reply(script, &play->conns[i], &reply);

		if (outcome == UNDER_WAY)
			continue;
		play->committed += outcome == COMMITTED;
		play->aborted += outcome == ABORTED;
		if (!play->next(play, i, outcome == ABORTED))
			return false;
		send_some(script, &play->conns[i]);
	}
	return true;
}

void xs_play(struct xs_play *play)
{
	int epoll = xs_poll_all(play->conns, play->n);
	struct epoll_event ready[64];
	unsigned left = 0;

	play->committed = play->aborted = 0;
	play->scripts = xn_calloc(play->n, sizeof(*play->scripts));
	for (unsigned i = 0; i < play->n; i++) {
		if (!play->next(play, i, false))
			continue;
		send_some(&play->scripts[i], &play->conns[i]);
		left++;
	}
	while (left) {
		int n = epoll_wait(epoll, ready, XN_ARRAY_SIZE(ready), -1);

		for (int i = 0; i < n; i++)
			left -= !go_on(play, (unsigned)((struct xs_conn *)ready[i].data.ptr -
							play->conns));
	}
	for (unsigned i = 0; i < play->n; i++)
		xn_buf_clear(&play->scripts[i].bytes);
	free(play->scripts);
	close(epoll);
}
