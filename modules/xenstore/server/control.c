/*
 * Control commands: what "xenstore-control" sends. For the control domain only. The set is that of
 * Xen's C xenstored; what means nothing here is refused as an unknown command is.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "modules/xenstore/server/server_internal.h"

enum { MOST_ARGUMENTS = 5 };

struct command {
	const char *name;
	const char *arguments; /* for help */
	size_t most;
	int (*run)(struct xn_xs_call *call, const char **arguments, size_t n);
};

/* What does not fit ends with a line that says so: a reply has 4096 bytes. */
static int reply(struct xn_xs_call *call, struct xn_buf *text)
{
	static const char more[] = "... (cut)\n";
	size_t most = XN_XS_BODY_MAX - sizeof(more);

	if (text->len > most) {
		while (most && text->data[most - 1] != '\n')
			most--;
		text->len = most;
		xn_buf_add_string(text, more);
	}
	xn_buf_add(call->reply, text->data, text->len);
	xn_buf_add_char(call->reply, '\0');
	xn_buf_clear(text);
	return 0;
}

/* ---- check ---- */

static int do_check(struct xn_xs_call *call, const char **arguments, size_t n)
{
	struct xn_xs_server *server = call->connection->server;
	struct xn_buf report = {0};
	unsigned n_wrong = xn_xs_store_check(server->store, &report);
	char *line, *rest;

	if (!n_wrong) {
		xn_buf_clear(&report);
		return xn_xs_reply_ok(call);
	}
	rest = (char *)xn_buf_cstr(&report);
	while ((line = strsep(&rest, "\n")))
		if (*line)
			xn_log_error(server->core->log, "xenstore", "check: %s", line);
	xn_buf_clear(&report);
	return -EIO;
}

/* ---- log ---- */

static int do_log(struct xn_xs_call *call, const char **arguments, size_t n)
{
	struct xn_xs_server *server = call->connection->server;
	struct xn_buf text = {0};

	if (n == 0) {
		xn_buf_printf(&text, "Log switch settings:\n%-8s: %s\n", "io",
			      server->is_logging ? "on" : "off");
		return reply(call, &text);
	}
	if (strcmp(arguments[0], "on") == 0 || strcmp(arguments[0], "+io") == 0)
		server->is_logging = true;
	else if (strcmp(arguments[0], "off") == 0 || strcmp(arguments[0], "-io") == 0)
		server->is_logging = false;
	else
		return -EINVAL;
	return xn_xs_reply_ok(call);
}

static int do_print(struct xn_xs_call *call, const char **arguments, size_t n)
{
	if (n != 1)
		return -EINVAL;
	xn_log_info(call->connection->server->core->log, "xenstore", "control: %s", arguments[0]);
	return xn_xs_reply_ok(call);
}

/* ---- memory ---- */

static void add_domain(const struct xn_xs_domain *domain, void *arg)
{
	const struct xn_xs_account *a = &domain->account;
	struct xn_buf *out = arg;

	xn_buf_printf(out, "%6u %8" PRIu64 " %10" PRIu64 " %8" PRIu64 " %8" PRIu64 " %10" PRIu64
			   " %8" PRIu64 " %8" PRIu64 "\n",
		      domain->domid, a->nodes, a->node_bytes, a->watches, a->watch_bytes,
		      a->transaction_bytes, a->event_bytes, a->buffer_bytes);
}

static int do_memreport(struct xn_xs_call *call, const char **arguments, size_t n)
{
	struct xn_xs_account sum;
	struct xn_buf text = {0};

	xn_xs_store_account(call->connection->server->store, &sum);
	xn_buf_printf(&text, "all: %" PRIu64 " bytes in nodes, %" PRIu64 " in watches, %" PRIu64
			     " in transactions, %" PRIu64 " in events, %" PRIu64 " in buffers\n",
		      sum.node_bytes, sum.watch_bytes, sum.transaction_bytes, sum.event_bytes,
		      sum.buffer_bytes);
	xn_buf_printf(&text, "%6s %8s %10s %8s %8s %10s %8s %8s\n", "domid", "nodes", "bytes",
		      "watches", "bytes", "transact.", "events", "buffers");
	xn_xs_store_each_domain(call->connection->server->store, add_domain, &text);
	return reply(call, &text);
}

/* ---- quotas ---- */

/* "quota set NAME VALUE" for all, "quota set DOMID NAME VALUE" for one. */
static int set_quota(struct xn_xs_call *call, const char **arguments, size_t n, bool soft)
{
	struct xn_xs_server *server = call->connection->server;
	struct xn_xs_domain *domain = NULL;
	char *name;
	int rc = 0;

	if (n < 2 || n > 3)
		return -EINVAL;
	if (n == 3)
		rc = xn_xs_quota_domain(server, arguments[0], &domain);
	if (rc < 0)
		return rc;
	name = xn_asprintf("%s%s", soft ? "soft-" : "", arguments[n - 2]);
	rc = xn_xs_quota_set(server, domain, name, arguments[n - 1]);
	free(name);
	return rc < 0 ? rc : xn_xs_reply_ok(call);
}

static int do_quota(struct xn_xs_call *call, const char **arguments, size_t n)
{
	struct xn_xs_server *server = call->connection->server;
	struct xn_xs_domain *domain;
	struct xn_buf text = {0};
	int rc;

	if (n == 0) {
		xn_xs_quota_list(server, false, &text);
		return reply(call, &text);
	}
	if (strcmp(arguments[0], "set") == 0)
		return set_quota(call, arguments + 1, n - 1, false);
	if (n != 1)
		return -EINVAL;
	rc = xn_xs_quota_domain(server, arguments[0], &domain);
	if (rc < 0)
		return rc;
	xn_xs_quota_list_domain(domain, &text);
	return reply(call, &text);
}

static int do_quota_soft(struct xn_xs_call *call, const char **arguments, size_t n)
{
	struct xn_buf text = {0};

	if (n == 0) {
		xn_xs_quota_list(call->connection->server, true, &text);
		return reply(call, &text);
	}
	if (strcmp(arguments[0], "set") != 0)
		return -EINVAL;
	return set_quota(call, arguments + 1, n - 1, true);
}

/* ---- a new binary ---- */

static int do_live_update(struct xn_xs_call *call, const char **arguments, size_t n)
{
	static const char text[] = "Install the new xenolithd and restart it: guests do not notice "
				   "that, and all that is in the store stays.";

	xn_buf_add(call->reply, text, sizeof(text));
	return 0;
}

/* ---- the table ---- */

static int do_help(struct xn_xs_call *call, const char **arguments, size_t n);

static const struct command commands[] = {
	{"check", "", 0, do_check},
	{"log", "[on|off|+io|-io]", 1, do_log},
	{"live-update", "(restart the daemon instead)", MOST_ARGUMENTS, do_live_update},
	{"memreport", "", 0, do_memreport},
	{"print", "<string>", 1, do_print},
	{"quota", "[set [<domid>] <name> <val>|<domid>]", 4, do_quota},
	{"quota-soft", "[set [<domid>] <name> <val>]", 4, do_quota_soft},
	{"help", "", 0, do_help},
};

static int do_help(struct xn_xs_call *call, const char **arguments, size_t n)
{
	struct xn_buf text = {0};

	for (size_t i = 0; i < XN_ARRAY_SIZE(commands); i++)
		xn_buf_printf(&text, "%-15s %s\n", commands[i].name, commands[i].arguments);
	return reply(call, &text);
}

int xn_xs_control(struct xn_xs_call *call)
{
	const char *strings[MOST_ARGUMENTS + 2];
	size_t n = xn_xs_call_strings(call, strings, XN_ARRAY_SIZE(strings));

	for (size_t i = 0; n && i < XN_ARRAY_SIZE(commands); i++)
		if (strcmp(strings[0], commands[i].name) == 0)
			return n - 1 > commands[i].most
				       ? -EINVAL
				       : commands[i].run(call, strings + 1, n - 1);
	return -EINVAL;
}
