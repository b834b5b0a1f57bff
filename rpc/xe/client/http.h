/* The little HTTP of transfers: a url's parts, and the head of a reply. Total over bytes. */
#ifndef XE_HTTP_H
#define XE_HTTP_H

#include <sys/types.h>

#include "core/buf.h"

enum { XE_HTTP_HEAD_MAX = 65536 };

/*
 * @host_out: NULL: the server that the client speaks with already; the path is the text as it is.
 * "https://host/path": the path with its percent signs decoded, as servers expect it from xe; a port is
 * not looked at. Both are the caller's. -EINVAL: it would break out of the request's line.
 */
int xe_url_parse(const char *url, size_t len, char **host_out, char **path_out) XN_MUST_CHECK;

struct xe_http_reply {
	int status;
	char line[100]; /* the first line, printable */
	char *location; /* or NULL; the caller's */
	int64_t length; /* -1: not said */
};

/* Return: how many bytes the head takes; 0: more is needed; -EPROTO: no HTTP, or too long. */
ssize_t xe_http_read_head(const char *data, size_t len, struct xe_http_reply *reply_out) XN_MUST_CHECK;

#endif
