/*
 * Control commands: what "xenstore-control" sends. For the control domain only. The set is that of
 * Xen's C xenstored, as far as a command means something here.
 */
#include <errno.h>
#include <stdlib.h>

#include "modules/xenstore/server/server_internal.h"

enum { MOST_ARGUMENTS = 4 };

struct command {
	const char *name;
	const char *arguments; /* for help */
	size_t most;
	int (*run)(struct xn_xs_call *call, const char **arguments, size_t n);
};

static int reply(struct xn_xs_call *call, const char *text)
{
	xn_buf_add(call->reply, text, strlen(text) + 1);
	return 0;
}

static int do_print(struct xn_xs_call *call, const char **arguments, size_t n)
{
	if (n != 1)
		return -EINVAL;
	xn_log_info(call->connection->server->core->log, "xenstore", "control: %s", arguments[0]);
	return reply(call, "OK");
}

static int do_log(struct xn_xs_call *call, const char **arguments, size_t n)
{
	struct xn_xs_server *server = call->connection->server;

	if (n == 0)
		return reply(call, server->is_logging ? "on" : "off");
	if (strcmp(arguments[0], "on") != 0 && strcmp(arguments[0], "off") != 0)
		return -EINVAL;
	server->is_logging = strcmp(arguments[0], "on") == 0;
	return reply(call, "OK");
}

static int do_help(struct xn_xs_call *call, const char **arguments, size_t n);

static const struct command commands[] = {
	{"help", "", 0, do_help},
	{"log", "[on|off]", 1, do_log},
	{"print", "<string>", 1, do_print},
};

static int do_help(struct xn_xs_call *call, const char **arguments, size_t n)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(commands); i++)
		xn_buf_printf(call->reply, "%-15s %s\n", commands[i].name, commands[i].arguments);
	xn_buf_add_char(call->reply, '\0');
	return 0;
}

int xn_xs_control(struct xn_xs_call *call)
{
	const char *arguments[MOST_ARGUMENTS + 1];
	size_t n = 0, at = 0, len;
	const char *text;

	while ((text = xn_xs_frame_string(&call->frame, &at, &len))) {
		if (at > call->frame.len || text[len] || n > MOST_ARGUMENTS)
			return -EINVAL;
		arguments[n++] = text;
	}
	for (size_t i = 0; n && i < XN_ARRAY_SIZE(commands); i++)
		if (strcmp(arguments[0], commands[i].name) == 0)
			return n - 1 > commands[i].most
				       ? -EINVAL
				       : commands[i].run(call, arguments + 1, n - 1);
	return -EINVAL;
}
