/*
 * History for people and programs: calls of the API (History.get_changes ...) and the flag
 * --history. What it answers from is modules/db/history.h; reading happens on a worker of its own,
 * which also keeps history within its bounds.
 */
#ifndef XN_HISTORY_H
#define XN_HISTORY_H

#include "core/module.h"

extern const struct xn_module xn_history_module;

/*
 * xn_history_print - for `xenolithd --history QUERY`: prints the answer on stdout
 * Only reads the state folder; a daemon may run on it. What is missing goes to stderr.
 * Return: 0, or -1 with a sentence in *why (the caller frees).
 */
int xn_history_print(struct xn_config *config, const char *query, char **why);

#endif
