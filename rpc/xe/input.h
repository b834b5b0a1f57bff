/*
 * What a client of the thin CLI protocol sends, as events: its hello, its responses, and the blobs that
 * were asked for, in whatever pieces the bytes come. Knows nothing of sockets. Total over bytes, with a
 * fuzz target; holds at most the beginning of one message and the blob as far as it is allowed.
 */
#ifndef XE_INPUT_H
#define XE_INPUT_H

#include "rpc/xe/protocol.h"

enum xe_input_event {
	XE_INPUT_MORE, /* all is taken, and more has to come */
	XE_INPUT_HELLO,
	XE_INPUT_OK,
	XE_INPUT_FAILED,
	XE_INPUT_WAIT,
	XE_INPUT_INTERRUPT,
	XE_INPUT_BLOB, /* whole, in .blob */
};

struct xe_input { /* all zero bytes: from the beginning */
	int minor;	   /* of the client's version */
	bool expects_blob; /* its chunks may come */
	bool is_cut;	   /* .blob has only the beginning of it */
	size_t max_blob;
	struct xn_buf blob;
	/* this file's own */
	bool is_greeted;
	size_t raw_left; /* of the chunk */
	struct xn_buf held;
};

/* A blob may come now: of longer ones than @max the rest is thrown away. */
void xe_input_expect_blob(struct xe_input *in, size_t max);
/* The next event; *data and *len move on behind what it takes. -EPROTO, -EPROTONOSUPPORT: nothing that
 * follows has a meaning. */
int xe_input_take(struct xe_input *in, const char **data, size_t *len) XN_MUST_CHECK;
void xe_input_clear(struct xe_input *in);

#endif
