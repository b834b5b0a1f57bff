/*
 * What a worker child does with libxl, and the frames in which the daemon asks for it. libxl blocks
 * while it builds a guest, so no call to it is made by the daemon's own process: children of the
 * same binary (worker.c) run one call at a time, each with a libxl context of its own, and pool.c
 * on the loop hands out the work, watches the deadlines and kills who outlives one.
 *
 *	pool.c (the loop)                          worker.c (a child)
 *	   {"call": "create", "args": {...}} + fd  ->
 *	                                           <-  {"says": "text"}      any number: progress, log
 *	                                           <-  {"rc": 0, "result": ..., "message": "text"}
 *
 * A frame is a length (32 bits, this machine's byte order: both ends are one binary) and so many
 * bytes of JSON; a descriptor goes along with the first byte of a request. A child whose socket
 * ends, ends too.
 */
#ifndef XN_LIBXL_CALLS_H
#define XN_LIBXL_CALLS_H

#include <stddef.h>

#include "core/value.h"

enum { XN_LIBXL_FRAME_MAX = 4 << 20, XN_LIBXL_MESSAGE_MAX = 512 };

struct xn_libxl_child; /* worker.c: the libxl context, the logger, the socket */

struct xn_libxl_answer {
	struct xn_value *result;	    /* or NULL */
	char message[XN_LIBXL_MESSAGE_MAX]; /* what libxl said about a failure, or "" */
};

struct xn_libxl_call {
	const char *name;
	/* In the child. @fd: the descriptor that came along, or -1; the caller closes it. 0, or
	 * -errno with the meanings of backend.h. */
	int (*run)(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		   struct xn_libxl_answer *answer);
	unsigned timeout_ms; /* then the child is killed and the call is -ETIMEDOUT */
};

/* By name; the last row's name is NULL. Which arguments each takes: at its function. */
extern const struct xn_libxl_call xn_libxl_calls[];

#endif
