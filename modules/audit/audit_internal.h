/* What the files of this folder share; see audit.h. */
#ifndef XN_AUDIT_INTERNAL_H
#define XN_AUDIT_INTERNAL_H

#include "modules/audit/audit.h"
#include "modules/audit/files.h"
#include "modules/db/db.h"

enum {
	AUDIT_QUEUE_MAX = 4 << 20, /* bytes that wait for the disk */
	AUDIT_DENIED_BURST = 1000, /* lines of denied calls at once, ... */
	AUDIT_DENIED_RATE = 100,   /* ... then so many a second */
	AUDIT_RETRY_US = 1000000,  /* after the disk refused */
	AUDIT_ANCHOR_US = 1000000, /* from a line to its place in the database */
	AUDIT_TRIM_US = 3600 * 1000000LL,
};

/* One job of the worker: what it gets and gives; nothing is shared while it runs. */
struct audit_batch {
	struct xn_work work;
	struct audit_writer *writer;
	struct xn_buf entries; /* not lines yet */
	struct xn_buf bytes;   /* lines to be written */
	uint64_t first;
	struct audit_head head; /* given: before its first line; then of its last one */
	bool is_appended;	/* what failed came later */
	bool sync;
	uint64_t remove_below; /* 0: nothing */
	bool wants_trim;
	uint64_t max_bytes;
	int64_t oldest_s;
	uint64_t keep_from; /* what the trim found; 0: nothing is to go */
	int room;	    /* for what comes next; -errno */
	bool running;
};

struct xn_audit {
	struct xn_core *core;
	struct xn_db *db;
	struct xn_pool *pool;
	bool is_open; /* false in a simulation: lines are only counted */
	struct audit_writer writer; /* the worker's while batch.running */
	uint64_t last;		    /* number of the last entry taken */
	struct audit_head written;  /* survives SIGKILL */
	struct audit_head anchored; /* synced, and told to the database */
	struct xn_buf queue;	    /* of entries */
	struct audit_batch batch;
	bool batch_pending; /* failed, and is to be written again */
	int error;
	struct xn_list waits;
	struct xn_list due; /* waits that have passed, with their rc */
	struct xn_job run_due;
	struct xn_turn_hook hook;
	struct xn_job submit;
	bool wanted; /* a batch, after the turn's end */
	struct xn_timer retry, anchor, trim;
	bool trim_due;
	uint64_t remove_below; /* told in the chain; removed once that line is written */
	uint64_t remove_after; /* that line's number */
	int64_t credit, credited_us; /* of AUDIT_DENIED_RATE */
	uint64_t suppressed;	 /* not told yet */
	struct xn_metrics_source metrics;
	uint64_t lines[4], bytes, batches, failures, suppressed_all;
	struct xn_histogram write_times;
	int64_t batch_began_us;
};

/* chain.c: from an entry to the queue, and on the worker from there to lines behind @head */
void audit_tell_daemon(struct xn_audit *audit, const char *what, const char *members);
void audit_chain_lines(const struct xn_buf *entries, struct audit_head *head, struct xn_buf *out);

/* writing.c: from the queue to the disk and to the database */
void audit_writing_start(struct xn_audit *audit);
void audit_writing_stop(struct xn_audit *audit);
void audit_submit(struct xn_audit *audit); /* after the turn's end */

struct xn_row *audit_anchor_row(struct xn_db *db); /* or NULL */

#endif
