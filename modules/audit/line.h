/*
 * One line of the audit log: JSON, of which these members stand in these places.
 *
 *   {"seq":N,"time":"2026-01-31T23:59:59.123456Z","event":"...", ... ,"prev":"H","hash":"H"}
 *
 * seq counts from 1 without a gap. prev is the hash of the line before (of the first: 64 zeros). hash
 * is the SHA-256, in small hexadecimal letters, of all that stands before `,"hash":`; so a line that
 * was changed does not fit its own hash, and one that was left out, added or moved does not fit the
 * prev of the next.
 */
#ifndef XN_AUDIT_LINE_H
#define XN_AUDIT_LINE_H

#include "core/buf.h"
#include "core/sha256.h"

enum {
	AUDIT_LINE_MAX = 32768, /* the line's end included; no line that we write comes near it */
	AUDIT_TIME_LEN = 27,
};

struct audit_line {
	uint64_t seq;
	char time[AUDIT_TIME_LEN + 1];
	char event[16];
	char prev[XN_SHA256_HEX], hash[XN_SHA256_HEX];
	bool is_whole; /* its hash is that of its text */
};

struct audit_head { /* the last line of a chain */
	uint64_t seq; /* 0: none yet */
	char hash[XN_SHA256_HEX];
};
extern const char audit_no_hash[XN_SHA256_HEX];

void audit_time_print(int64_t wall_us, char out[AUDIT_TIME_LEN + 1]);

/* Begins the line behind @head in @line; members are added by the caller, each with a comma in
 * front; audit_line_end() adds the rest with the line's end and moves @head on. */
void audit_line_begin(struct xn_buf *line, const struct audit_head *head, int64_t wall_us,
		      const char *event);
void audit_line_end(struct xn_buf *line, struct audit_head *head);

/* @text: a line without its end. Total over bytes. -EBADMSG: not of the form above. */
int audit_line_read(const char *text, size_t len, struct audit_line *out) XN_MUST_CHECK;

#endif
