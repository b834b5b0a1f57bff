/*
 * The other side of diagnostics: a short-lived process that asks the running daemon over its Unix
 * socket, where root and the daemon's own user need no password. Blocks; there is no loop.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/json.h"
#include "core/unix_client.h"
#include "core/write.h"
#include "modules/diagnostics/diagnostics.h"

enum { MAX_ANSWER = 64 << 20, PATIENCE_S = 10 };

static int read_all(int fd, struct xn_buf *out)
{
	char part[16384];
	ssize_t n;

	while ((n = read(fd, part, sizeof(part))) > 0) {
		if (out->len + (size_t)n > MAX_ANSWER)
			return -EMSGSIZE;
		xn_buf_add(out, part, (size_t)n);
	}
	return n < 0 ? -errno : 0;
}

/* One call on a connection of its own; the result, or NULL with -errno in *rc. @args: JSON. */
static struct xn_value *call(const char *path, const char *method, const char *args, int *rc)
{
	struct xn_buf body XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf request XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf answer XN_CLEANUP(xn_buf_clear_p) = {0};
	XN_CLEANUP(xn_value_unref_p) struct xn_value *whole = NULL;
	const struct xn_value *result;
	const char *json;
	int fd = xn_unix_connect(path, PATIENCE_S);

	*rc = fd;
	if (fd < 0)
		return NULL;
	xn_buf_printf(&body, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\",\"params\":[%s]}",
		      method, args);
	xn_buf_printf(&request,
		      "POST /jsonrpc HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
		      "Content-Length: %zu\r\n\r\n%s",
		      body.len, xn_buf_cstr(&body));
	*rc = xn_write_all(fd, request.data, request.len);
	if (*rc == 0)
		*rc = read_all(fd, &answer);
	close(fd);
	if (*rc < 0)
		return NULL;
	json = strstr(xn_buf_cstr(&answer), "\r\n\r\n");
	*rc = -EPROTO;
	if (!json || xn_json_parse(json + 4, strlen(json + 4), &whole, NULL) < 0 ||
	    whole->kind != XN_MAP)
		return NULL;
	result = xn_map_get(whole, "result");
	*rc = -EACCES;
	return result && result->kind == XN_STRING ? xn_value_ref(result) : NULL;
}

int xn_diagnostics_ask(const char *path, char **why)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *session = NULL, *page = NULL, *end = NULL;
	char *args XN_CLEANUP(xn_free_p) = NULL;
	int rc, ignored;

	session = call(path, "session.login_with_password", "\"root\",\"\",\"1.0\",\"diagnostics\"",
		       &rc);
	if (session) {
		args = xn_asprintf("\"%s\"", xn_value_string(session));
		page = call(path, "Diagnostics.get_text", args, &rc);
		end = call(path, "session.logout", args, &ignored);
	}
	if (!page) {
		*why = xn_asprintf("the daemon on %s does not tell: %s", path, strerror(-rc));
		return -1;
	}
	fputs(xn_value_string(page), stdout);
	return 0;
}
