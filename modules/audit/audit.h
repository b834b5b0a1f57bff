/*
 * The audit log: who did what, and who was refused what, as lines of JSON in a chain of hashes
 * (line.h) in STATE/audit. rpc adds a line for each call that changes something and for each denied
 * one. Lines are written by a worker; who must not tell its client before its line is safe from
 * SIGKILL waits for it. No argument that could be a secret is ever in it (subject.c).
 *
 * What cannot be written is not dropped quietly: while the disk refuses, changes are refused
 * (xn_audit_writable), and lines of denied calls beyond their share of the queue, or beyond a rate
 * that no honest client has, are counted, and a later line tells how many there were.
 */
#ifndef XN_AUDIT_H
#define XN_AUDIT_H

#include "core/call.h"
#include "core/module.h"

extern const struct xn_module xn_audit_module;

struct xn_audit;
struct xn_db;
struct xn_row;

static inline struct xn_audit *xn_audit_of(struct xn_core *core)
{
	return xn_module_state(core, "audit");
}

enum xn_audit_event {
	XN_AUDIT_CALL,	 /* a call has ended: .result says how */
	XN_AUDIT_BEGUN,	 /* it goes on: its end gets a line of its own, or a restart cut it off */
	XN_AUDIT_DENIED, /* it was not allowed, or the login failed */
	XN_AUDIT_DAEMON, /* start, stop, what was found then */
};

struct xn_audit_entry { /* all strings borrowed; NULL or "": left out */
	enum xn_audit_event event;
	const struct xn_caller *caller;
	const char *method, *result, *task, *trace, *user_agent;
	const char *session;	      /* instead of the caller's: what a login made */
	const char *created;	      /* reference of what the call made */
	const struct xn_buf *subject; /* from xn_audit_describe() */
};

/* False in a simulation, whose disk has no place for it: then subjects need not be described. */
bool xn_audit_is_kept(const struct xn_audit *audit);
/* Return: the line's number, for xn_audit_when_written(); 0: not taken, only counted. */
uint64_t xn_audit_add(struct xn_audit *audit, const struct xn_audit_entry *entry);

/* Appends JSON members about the arguments: objects with their names, numbers, flags; of text only
 * what names something. Called before the call runs: afterwards an object may be gone. */
void xn_audit_describe(struct xn_db *db, const struct xn_method *method,
		       struct xn_value *const *args, unsigned n_args, struct xn_buf *out);

/* The same of a request that is no call: the objects that it is about. */
void xn_audit_describe_rows(struct xn_db *db, const struct xn_row *const *rows, unsigned n,
			    struct xn_buf *out);

struct xn_audit_wait { /* embedded; all zero bytes: not waiting */
	struct xn_list link;
	uint64_t seq;
	int rc;
	void (*run)(struct xn_audit_wait *wait, int rc); /* rc < 0: it may be lost */
};
bool xn_audit_is_written(const struct xn_audit *audit, uint64_t seq);
/* run() once, later, from the loop. */
void xn_audit_when_written(struct xn_audit *audit, struct xn_audit_wait *wait, uint64_t seq,
			   void (*run)(struct xn_audit_wait *wait, int rc));
void xn_audit_wait_cancel(struct xn_audit_wait *wait);
/* 0, or -errno: changes must be refused, since their lines could not be written. */
int xn_audit_writable(const struct xn_audit *audit);

/* Whose lines may wait for the disk, each beside less of the queue than the next: so that strangers
 * who are refused, and files that are fetched, do not keep anybody from logging in. */
enum xn_audit_share {
	XN_AUDIT_DENIALS, /* half of the queue */
	XN_AUDIT_WORK,	  /* changes and requests of HTTP handlers: three quarters */
	XN_AUDIT_LOGINS,  /* logins and logouts: seven eighths, */
	XN_AUDIT_LOCAL,	  /* and root's on the Unix socket: all of it */
};
/* 0, or -errno: the queue has no room for one more line of this kind. */
int xn_audit_has_room(const struct xn_audit *audit, enum xn_audit_share share);
/* The error of who is refused for what one of the two, or a wait, said. -1. */
int xn_audit_error(int neg_errno, struct xn_error *err);

/* For diagnostics: the chain's end, files, what is missing; a new map. */
struct xn_value *xn_audit_status(const struct xn_audit *audit);

/* ---- reading the log: on a worker thread ---- */

struct xn_audit_reader;
/* @since: "" or the beginning of a line's time, as of ISO 8601: lines before are left out.
 * The lines that are there now. NULL with -errno in *rc. */
struct xn_audit_reader *xn_audit_read(const char *state_dir, const char *since, int *rc);
/* Appends lines, about @piece bytes. 1: there is more; 0: that was all; -errno. */
int xn_audit_read_next(struct xn_audit_reader *reader, size_t piece, struct xn_buf *out);
void xn_audit_read_end(struct xn_audit_reader *reader); /* NULL is fine */

/*
 * xn_audit_check - proves the chain in a state folder, for `xenolithd --check-audit`
 * Appends to @report a sentence for each break (at most 20), to @summary what there is.
 * The database tells how far the log had come, unless a daemon holds the folder.
 * Return: the number of breaks.
 */
unsigned xn_audit_check(const char *state_dir, struct xn_config *config, struct xn_buf *report,
			struct xn_buf *summary);

#endif
