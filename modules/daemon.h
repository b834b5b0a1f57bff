/* The whole daemon behind main(): apart from it, so that tests run it with a module more; and the parts
 * of it that commands (commands.c) use. */
#ifndef XN_DAEMON_H
#define XN_DAEMON_H

#include "core/config.h"
#include "core/log.h"
#include "core/module.h"

/* The log that the configuration asks for, on stderr. */
struct xn_log *xn_daemon_log(const struct xn_config *config);
/* Settles what depends on this machine; says on stderr what is wrong and in @log what may surprise.
 * 0 or -1. */
int xn_daemon_settle(struct xn_config *config, struct xn_log *log);
/* Initialises @modules without starting them, so that nothing is opened and nothing changes, and
 * calls @print. Returns the process's exit status. */
int xn_daemon_describe(struct xn_config *config, const struct xn_module *const *modules,
		       void (*print)(const struct xn_core *core));

/* @modules ends with NULL. Returns the process's exit status. */
int xn_daemon_main(int argc, char **argv, const struct xn_module *const *modules);

#endif
