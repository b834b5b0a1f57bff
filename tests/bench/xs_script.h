/*
 * A transaction as a client plays it: its requests in order, told at which of them it waits for all
 * answers before it goes on. For the benchmarks with many clients in one process.
 */
#ifndef XN_BENCH_XS_SCRIPT_H
#define XN_BENCH_XS_SCRIPT_H

#include "tests/bench/xs_client.h"

enum { XS_SCRIPT_MAX = 64 };

struct xs_script {
	struct xn_buf bytes;
	struct {
		size_t end; /* in bytes */
		bool waits; /* the next is sent when this one was answered */
		int counts; /* a read: the write whose value is this one's, plus one; or -1 */
	} requests[XS_SCRIPT_MAX];
	unsigned n, sent, answered;
};

void xs_script_begin(struct xs_script *script); /* empties it; a transaction starts */
void xs_script_add(struct xs_script *script, uint32_t type, const char *path, const void *value,
		   size_t len, bool waits);
/* The last but @back request reads a number of 8 digits for the last one, a write. */
void xs_script_count(struct xs_script *script, unsigned back);
void xs_script_end(struct xs_script *script); /* the transaction ends */

/*
 * Plays scripts, one after the other on each connection. @next makes the connection's next script,
 * or returns false: it is done. @aborted: whether its last one was; then it makes the same again.
 */
struct xs_play {
	struct xs_conn *conns;
	struct xs_script *scripts;
	unsigned n;
	bool (*next)(struct xs_play *play, unsigned conn, bool aborted);
	uint64_t committed, aborted;
};
void xs_play(struct xs_play *play);

#endif
