/* The whole daemon behind main(): apart from it, so that tests run it with a module more. */
#ifndef XN_DAEMON_H
#define XN_DAEMON_H

#include "core/module.h"

/* @modules ends with NULL. Returns the process's exit status. */
int xn_daemon_main(int argc, char **argv, const struct xn_module *const *modules);

#endif
