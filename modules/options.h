/* Command line and configuration of the daemon, checked as a whole. */
#ifndef XN_OPTIONS_H
#define XN_OPTIONS_H

#include "core/config.h"

#define XN_DEFAULT_HTTP "127.0.0.1:80"
#define XN_DEFAULT_HTTPS "127.0.0.1:443"
#define XN_DEFAULT_SOCKET "/var/lib/xcp/xapi" /* where clients on the host look for xapi */

struct xn_command;
struct xn_choice { /* what the command line says to do */
	const struct xn_command *command; /* NULL: serve */
	const char *argument;		  /* of argv; NULL when it takes none */
	const char *operand;		  /* of argv; NULL when none is given */
};

/* Reads flags and the file that --config names into @config. 0, or -1 with a sentence in *why. */
int xn_options_read(struct xn_config *config, int argc, char **argv, struct xn_choice *choice,
		    char **why);

struct xn_machine {
	const char *root; /* put before the paths of the kernel's files; "" but in tests */
	bool has_libxl;	  /* of this build */
};

/*
 * xn_options_settle - what depends on this machine: the back end that `auto` means, the listeners
 * @notes: gets a sentence a line about what the user may not expect; may stay empty
 * Return: 0, or -1 with a sentence in *why.
 */
struct xn_buf;
int xn_options_settle(struct xn_config *config, const struct xn_machine *machine,
		      struct xn_buf *notes, char **why);

void xn_options_print_help(void);

#endif
