/*
 * The table of commands, and those that are a few lines: what needs more lives with its module and
 * is only called here. None of them serves; see daemon.c for that.
 */
#include "modules/commands.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "modules/audit/audit.h"
#include "modules/backup/backup.h"
#include "modules/daemon.h"
#include "modules/db/backup.h"
#include "modules/db/db.h"
#include "modules/diagnostics/diagnostics.h"
#include "modules/history/history.h"
#include "modules/options.h"
#include "modules/xenstore/xenstore.h"

/* For commands that end with a sentence when they cannot do their work. */
static int end_with(int rc, const char *why)
{
	if (rc == 0)
		return EXIT_SUCCESS;
	fprintf(stderr, "xenolithd: %s\n", why ? why : "it failed");
	return EXIT_FAILURE;
}

static int help(const struct xn_invocation *in)
{
	xn_options_print_help();
	return EXIT_SUCCESS;
}

static int print_version(const struct xn_invocation *in)
{
	puts("xenolithd " XN_VERSION);
	return EXIT_SUCCESS;
}

static int check_config(const struct xn_invocation *in)
{
	struct xn_log *log = xn_daemon_log(in->config);
	int rc = xn_daemon_settle(in->config, log);

	xn_log_free(log);
	if (rc < 0)
		return XN_EXIT_USAGE;
	puts("the configuration is good");
	return EXIT_SUCCESS;
}

/* ---- what the modules say of themselves ---- */

static void print_unimplemented(const struct xn_core *core)
{
	void *state;

	for (unsigned i = 0; i < xn_n_methods; i++) {
		const struct xn_method *method = &xn_methods[i];

		if (method->kind == XN_M_EXPLICIT && !(method->flags & XN_MF_REMOVED) &&
		    !xn_methods_find(core->methods, method, &state))
			puts(method->name);
	}
}

static void print_graph(const struct xn_core *core)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_bus_print_graph(core->bus, &out);
	fputs(xn_buf_cstr(&out), stdout);
}

static int unimplemented(const struct xn_invocation *in)
{
	return xn_daemon_describe(in->config, in->modules, print_unimplemented);
}

static int graph(const struct xn_invocation *in)
{
	return xn_daemon_describe(in->config, in->modules, print_graph);
}

/* ---- what the running daemon says ---- */

/* The Unix socket of the daemon to ask. */
static const char *socket_of(const struct xn_config *config)
{
	const char *path = xn_config_string(config, "socket");

	return path ? path : XN_DEFAULT_SOCKET;
}

static int diagnostics(const struct xn_invocation *in)
{
	char *why XN_CLEANUP(xn_free_p) = NULL;
	int rc = xn_diagnostics_ask(socket_of(in->config), &why);

	return end_with(rc, why);
}

static int backup(const struct xn_invocation *in)
{
	struct xn_buf said XN_CLEANUP(xn_buf_clear_p) = {0};
	char *why XN_CLEANUP(xn_free_p) = NULL;
	int rc = xn_backup_fetch(socket_of(in->config), in->argument, &said, &why);

	fputs(xn_buf_cstr(&said), stdout);
	return end_with(rc, why);
}

/* ---- the state folder of a daemon that does not run ---- */

static int tell_findings(unsigned n, struct xn_buf *report, struct xn_buf *summary)
{
	fputs(xn_buf_cstr(report), stdout);
	fputs(xn_buf_cstr(summary), stdout);
	if (n)
		printf("%u findings\n", n);
	else
		puts("clean");
	return n ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void on_unreadable(int signo)
{
	static const char text[] = "the checkpoint is damaged: its pages cannot be read\n1 findings\n";

	(void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
	_exit(EXIT_FAILURE);
}

/* LMDB trusts its pages: a file that was cut short or scribbled over ends whoever reads it. */
static void name_what_cannot_be_read(void)
{
	static const int signals[] = {SIGBUS, SIGSEGV, SIGFPE, SIGABRT};

	for (size_t i = 0; i < XN_ARRAY_SIZE(signals); i++)
		signal(signals[i], on_unreadable);
}

static int check_db(const struct xn_invocation *in)
{
	const char *dir = xn_config_string(in->config, "state-dir");
	struct xn_buf report XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf summary XN_CLEANUP(xn_buf_clear_p) = {0};
	unsigned n;

	name_what_cannot_be_read();
	n = xn_db_check_folder(dir, in->config, &report, &summary);
	return tell_findings(n, &report, &summary);
}

static int check_audit(const struct xn_invocation *in)
{
	const char *dir = xn_config_string(in->config, "state-dir");
	struct xn_buf report XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf summary XN_CLEANUP(xn_buf_clear_p) = {0};
	unsigned n = xn_audit_check(dir, in->config, &report, &summary);

	return tell_findings(n, &report, &summary);
}

/* Of one that runs, too. */
static int history(const struct xn_invocation *in)
{
	char *why XN_CLEANUP(xn_free_p) = NULL;
	int rc = xn_history_print(in->config, in->argument, &why);

	return end_with(rc, why);
}

static int xenstore_history(const struct xn_invocation *in)
{
	char *why XN_CLEANUP(xn_free_p) = NULL;
	int rc = xn_xenstore_print_history(in->config, in->argument, &why);

	return end_with(rc, why);
}

static int xenstore_at(const struct xn_invocation *in)
{
	char *why XN_CLEANUP(xn_free_p) = NULL;
	int rc = xn_xenstore_print_tree(in->config, in->argument, in->operand, &why);

	return end_with(rc, why);
}

static int xenstore_export(const struct xn_invocation *in)
{
	char *why XN_CLEANUP(xn_free_p) = NULL;
	int rc = xn_xenstore_export(in->config, &why);

	return end_with(rc, why);
}

static int restore_into(const struct xn_invocation *in, bool over)
{
	struct xn_buf said XN_CLEANUP(xn_buf_clear_p) = {0};
	char *why XN_CLEANUP(xn_free_p) = NULL;
	int rc = xn_backup_restore(in->argument, in->config, over, &said, &why);

	fputs(xn_buf_cstr(&said), stdout);
	return end_with(rc, why);
}

static int restore(const struct xn_invocation *in)
{
	return restore_into(in, false);
}

static int restore_over(const struct xn_invocation *in)
{
	return restore_into(in, true);
}

/* In the order of --help. */
const struct xn_command xn_commands[] = {
	/* flag, argument, what --help says, what runs */
	{"check-config", NULL, "check flags and configuration file, then end", check_config},
	{"graph", NULL, "print who publishes and reads which event, as Graphviz dot", graph},
	{"unimplemented", NULL, "list the API calls that answer NOT_IMPLEMENTED", unimplemented},
	{"diagnostics", NULL,
	 "ask the daemon that serves on --socket what it does and what it waits for", diagnostics},
	{"check-db", NULL,
	 "prove the database in --state-dir of a daemon that does not run, name what is wrong",
	 check_db},
	{"check-audit", NULL, "prove the chain of the audit log in --state-dir, name its first breaks",
	 check_audit},
	{"history", "QUERY",
	 "tell what changed in --state-dir, when and by whom: class=VM uuid=... since=...", history},
	{"xenstore-history", "QUERY",
	 "tell what changed in the xenstore, when and by which domain: path=/local since=...",
	 xenstore_history},
	{"xenstore-at", "MOMENT", "print the xenstore, or what is below [PATH], as it was then",
	 xenstore_at, .operand = "[PATH]"},
	{"xenstore-export", NULL, "print the xenstore's history for git fast-import", xenstore_export},
	{"backup", "FILE", "ask the daemon that serves on --socket for a backup of its database",
	 backup},
	{"restore", "FILE", "make the database of an empty --state-dir from a backup", restore},
	{"restore-over", "FILE", "the same in place of a database, which is kept as db.replaced",
	 restore_over},
	{"version", NULL, "print the version", print_version},
	{"help", NULL, "print this text", help},
	{NULL},
};
