/*
 * Starting a process: the one place that does, for child.c (a helper with its output) and peer.c (a
 * child that one talks with). Nobody else includes this.
 */
#ifndef XN_PROCESS_H
#define XN_PROCESS_H

#include <sys/types.h>

#include "core/base.h"

struct xn_process {
	pid_t pid;
	int pid_fd; /* readable once it has ended: no signal handler, no other wait() can steal it */
};

/*
 * xn_process_start - run argv[0] (a path) in a process group of its own, with default signals
 * @env: NULL: PATH and LANG=C only
 * @fds: fds[i] becomes its descriptor i, @n of them; it gets no other of ours
 */
int xn_process_start(const char *const *argv, const char *const *env, const int *fds, unsigned n,
		     struct xn_process *out) XN_MUST_CHECK;

struct xn_process_end {
	int exit_status; /* -1 when a signal ended it */
	int signal;	 /* or 0 */
};
/* Whether it has ended; then it is reaped. */
bool xn_process_reap(struct xn_process *process, struct xn_process_end *out);
void xn_process_kill(const struct xn_process *process); /* its group; it still wants reaping */
/* Kills, waits (not long, unless a disk hangs under it), closes. */
void xn_process_abandon(struct xn_process *process);

#endif
