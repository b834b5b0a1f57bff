/* See line.h. */
#include "modules/audit/line.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

const char audit_no_hash[XN_SHA256_HEX] =
	"0000000000000000000000000000000000000000000000000000000000000000";

static const char seq_mark[] = "{\"seq\":";
static const char time_mark[] = ",\"time\":\"";
static const char event_mark[] = "\",\"event\":\"";
static const char prev_mark[] = ",\"prev\":\"";
static const char hash_mark[] = "\",\"hash\":\"";
static const char end_mark[] = "\"}";

/* ---- writing ---- */

void audit_time_print(int64_t wall_us, char out[AUDIT_TIME_LEN + 1])
{
	time_t seconds = (time_t)(wall_us / 1000000);
	struct tm tm;

	if (wall_us < 0 || !gmtime_r(&seconds, &tm) || tm.tm_year > 8099) {
		seconds = 0;
		wall_us = 0;
		gmtime_r(&seconds, &tm);
	}
	snprintf(out, AUDIT_TIME_LEN + 1, "%04u-%02u-%02uT%02u:%02u:%02u.%06uZ",
		 (unsigned)(tm.tm_year + 1900) % 10000u, (unsigned)(tm.tm_mon + 1) % 100u,
		 (unsigned)tm.tm_mday % 100u, (unsigned)tm.tm_hour % 100u,
		 (unsigned)tm.tm_min % 100u, (unsigned)tm.tm_sec % 100u,
		 (unsigned)(wall_us % 1000000));
}

void audit_line_begin(struct xn_buf *line, const struct audit_head *head, int64_t wall_us,
		      const char *event)
{
	char when[AUDIT_TIME_LEN + 1];

	audit_time_print(wall_us, when);
	line->len = 0;
	xn_buf_add_string(line, seq_mark);
	xn_buf_add_int(line, (int64_t)(head->seq + 1));
	xn_buf_add_string(line, time_mark);
	xn_buf_add(line, when, AUDIT_TIME_LEN);
	xn_buf_add_string(line, event_mark);
	xn_buf_add_string(line, event);
	xn_buf_add_char(line, '"');
}

void audit_line_end(struct xn_buf *line, struct audit_head *head)
{
	xn_buf_add_string(line, prev_mark);
	xn_buf_add_string(line, head->seq ? head->hash : audit_no_hash);
	xn_buf_add_char(line, '"');
	xn_sha256_hex(line->data, line->len, head->hash);
	head->seq++;
	xn_buf_add_string(line, hash_mark + 1);
	xn_buf_add_string(line, head->hash);
	xn_buf_add_string(line, end_mark);
	xn_buf_add_char(line, '\n');
}

/* ---- reading ---- */

struct cursor {
	const char *at, *end;
};

static bool skip(struct cursor *c, const char *mark)
{
	size_t len = strlen(mark);

	if ((size_t)(c->end - c->at) < len || memcmp(c->at, mark, len) != 0)
		return false;
	c->at += len;
	return true;
}

static bool read_number(struct cursor *c, uint64_t *out)
{
	const char *begin = c->at;

	for (*out = 0; c->at < c->end && isdigit((unsigned char)*c->at); c->at++)
		if (__builtin_mul_overflow(*out, 10, out) ||
		    __builtin_add_overflow(*out, (uint64_t)(*c->at - '0'), out))
			return false;
	/* As lines are written: with a sign, and there is one more behind it. */
	return c->at > begin && *begin != '0' && *out < INT64_MAX;
}

/* 2026-01-31T23:59:59.123456Z: digits where digits are; compares like the time it is. */
static bool read_time(struct cursor *c, char out[AUDIT_TIME_LEN + 1])
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd.ddddddZ";

	if (c->end - c->at < AUDIT_TIME_LEN)
		return false;
	for (int i = 0; i < AUDIT_TIME_LEN; i++)
		if (form[i] == 'd' ? !isdigit((unsigned char)c->at[i]) : c->at[i] != form[i])
			return false;
	memcpy(out, c->at, AUDIT_TIME_LEN);
	out[AUDIT_TIME_LEN] = '\0';
	c->at += AUDIT_TIME_LEN;
	return true;
}

static bool read_word(struct cursor *c, char *out, size_t size)
{
	size_t n = 0;

	while (c->at < c->end && n + 1 < size && (islower((unsigned char)*c->at) || *c->at == '_'))
		out[n++] = *c->at++;
	out[n] = '\0';
	return n > 0;
}

static bool read_hash(struct cursor *c, char out[XN_SHA256_HEX])
{
	const size_t n = XN_SHA256_HEX - 1;

	if ((size_t)(c->end - c->at) < n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isdigit((unsigned char)c->at[i]) && (c->at[i] < 'a' || c->at[i] > 'f'))
			return false;
	memcpy(out, c->at, n);
	out[n] = '\0';
	c->at += n;
	return true;
}

int audit_line_read(const char *text, size_t len, struct audit_line *out)
{
	const size_t tail = sizeof(prev_mark) - 1 + sizeof(hash_mark) - 1 + sizeof(end_mark) - 1 +
			    2 * (XN_SHA256_HEX - 1);
	struct cursor c = {text, text + len};
	char right[XN_SHA256_HEX];
	const char *hashed_end;

	*out = (struct audit_line){0};
	if (len >= AUDIT_LINE_MAX || !skip(&c, seq_mark) || !read_number(&c, &out->seq) ||
	    !skip(&c, time_mark) || !read_time(&c, out->time) || !skip(&c, event_mark) ||
	    !read_word(&c, out->event, sizeof(out->event)) || !skip(&c, "\""))
		return -EBADMSG;
	if ((size_t)(c.end - c.at) < tail || memchr(c.at, '\n', (size_t)(c.end - c.at)))
		return -EBADMSG;
	c.at = c.end - tail;
	if (!skip(&c, prev_mark) || !read_hash(&c, out->prev))
		return -EBADMSG;
	hashed_end = c.at + 1; /* the quote behind prev */
	if (!skip(&c, hash_mark) || !read_hash(&c, out->hash) || !skip(&c, end_mark))
		return -EBADMSG;
	xn_sha256_hex(text, (size_t)(hashed_end - text), right);
	out->is_whole = strcmp(right, out->hash) == 0;
	return 0;
}
