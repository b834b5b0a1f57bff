/* Listening on a socket file: who calls it decides about those who connect. */
#ifndef XN_UNIX_LISTENER_H
#define XN_UNIX_LISTENER_H

#include <sys/types.h>

#include "core/error.h"

struct xn_unix_listener {
	int fd; /* not blocking */
	char *path;
	dev_t dev; /* of the file, so that only our own is removed */
	ino_t ino;
};

/* Makes missing folders, replaces a file that a dead server left, never one of a living server or
 * what is no socket. The file's mode is 0600 from its first moment. -1 with @err. */
int xn_unix_listen(struct xn_unix_listener *out, const char *path, struct xn_error *err) XN_MUST_CHECK;
/* Closes, and removes the file if it is still ours. */
void xn_unix_listener_close(struct xn_unix_listener *listener);

#endif
