/*
 * A child process seen from the loop: argv in, output and exit status back, a deadline, and a kill
 * that takes its whole process group along. For helpers whose work may block or crash.
 */
#ifndef XN_CHILD_H
#define XN_CHILD_H

#include "core/loop.h"

struct xn_child;

struct xn_child_spec {
	const char *const *argv; /* argv[0]: the program's path, no search; ends with NULL */
	const char *const *env;	 /* ends with NULL; NULL: PATH and LANG=C only */
	const void *input;	 /* for its standard input, which ends after it; copied */
	size_t input_len;
	size_t max_output;   /* of standard output, and of standard error; one byte more kills it */
	unsigned timeout_ms; /* then it is killed; never 0 */
};

struct xn_child_result {
	/* 0: ended by itself with status 0. Else -ETIMEDOUT, -EFBIG (too much output), -ECANCELED
	 * (xn_child_kill), -EIO (any other status, or a signal; see below). */
	int rc;
	int exit_status; /* -1 when a signal ended it */
	int signal;	 /* or 0 */
	const char *out, *err; /* terminated, borrowed for the call */
	size_t out_len, err_len;
};

/*
 * xn_child_start - run a program
 * @done: once, later, from the loop, when the process is gone; then @child is freed
 * Return: 0 with *child_out (may be NULL), or -errno and no call: -ENOENT, -EACCES, -EMFILE ...;
 * -ENOTSUP on a virtual loop, whose world has no processes.
 */
int xn_child_start(struct xn_loop *loop, const struct xn_child_spec *spec,
		   void (*done)(const struct xn_child_result *result, void *arg), void *arg,
		   struct xn_child **child_out) XN_MUST_CHECK;
void xn_child_kill(struct xn_child *child); /* done() still comes */
/* Kills and forgets at once, done() does not come: for a module's stop. NULL is fine. */
void xn_child_abandon(struct xn_child *child);

#endif
