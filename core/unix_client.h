/* For short-lived programs that ask the daemon over its Unix socket. Blocks. */
#ifndef XN_UNIX_CLIENT_H
#define XN_UNIX_CLIENT_H

#include "core/base.h"

/* A connected socket whose reads wait @patience_s at most; or -errno. */
int xn_unix_connect(const char *path, int patience_s) XN_MUST_CHECK;

#endif
