/*
 * What xenolithd does instead of serving: one row a command, told by a flag (--check-config). The
 * command line, --help and xn_daemon_main() read the table.
 */
#ifndef XN_COMMANDS_H
#define XN_COMMANDS_H

#include "core/config.h"
#include "core/module.h"

struct xn_invocation {
	const struct xn_module *const *modules; /* of this program; ends with NULL */
	struct xn_config *config;		/* flags and file, nothing settled yet */
	const char *argument;			/* of the command; NULL when it takes none */
	const char *operand;			/* behind it; NULL when none is given */
};

struct xn_command {
	const char *flag;     /* "check-db" */
	const char *argument; /* "FILE" for --help: it takes one; NULL: it takes none */
	const char *doc;
	/* Prints what it finds, on stdout, and what stopped it, on stderr; returns the exit status. */
	int (*run)(const struct xn_invocation *invocation);
	const char *operand; /* "[PATH]" for --help: one word more may follow; NULL: none */
};
extern const struct xn_command xn_commands[]; /* ends with .flag == NULL */

/* For commands that were asked for wrongly. */
enum { XN_EXIT_USAGE = 2 };

#endif
