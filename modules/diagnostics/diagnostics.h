/*
 * What the daemon does now, for people and programs: operations and what each waits for, queues and
 * who holds what, workers, updates, tasks, sessions, the loop's stalls, domains that are not ours.
 * Only looks. Holds names, references, numbers; never a secret.
 */
#ifndef XN_DIAGNOSTICS_H
#define XN_DIAGNOSTICS_H

#include "core/module.h"

extern const struct xn_module xn_diagnostics_module;

/* All of it, as a new map of maps and sets. */
struct xn_value *xn_diagnostics(struct xn_core *core);
/* The same as a page of text; appended. */
void xn_diagnostics_page(const struct xn_value *all, struct xn_buf *out);

/* Handlers about the heap: memory.c. */
void xn_diagnostics_gc_compact(struct xn_call *call);
void xn_diagnostics_gc_stats(struct xn_call *call);

/* For `xenolithd --diagnostics`: asks the daemon that serves on this Unix socket and prints the
 * page. Return: 0, or -1 with a sentence in *why (the caller frees). */
int xn_diagnostics_ask(const char *socket_path, char **why);

#endif
