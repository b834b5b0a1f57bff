/*
 * Signals "something about this object may have changed": at most one pending an object, turned
 * into one reconcile call each, in order; and barriers that pass when all signals of an object
 * given before them were reconciled. An object that is signalled without end is slowed down alone:
 * beyond a burst its refreshes come at a fixed rate, barriers still at once.
 */
#ifndef XN_UPDATES_H
#define XN_UPDATES_H

#include "core/module.h"

extern const struct xn_module xn_updates_module;

struct xn_updates;

static inline struct xn_updates *xn_updates_of(struct xn_core *core)
{
	return xn_module_state(core, "updates");
}

enum { XN_UPDATES_OBJECT_MAX = 80 };

/*
 * A reconciler reads the object's true state and writes the rows that differ; it ends in one
 * xn_updates_done(), later or inside. @object: any key that the registrar understands, for
 * domains the VM's uuid. No second one runs for the object until then.
 */
struct xn_reconcile;
void xn_updates_register(struct xn_updates *updates, const char *kind,
			 void (*reconcile)(struct xn_reconcile *r, const char *object, void *arg),
			 void *arg);
void xn_updates_done(struct xn_reconcile *r);

void xn_updates_touch(struct xn_updates *updates, const char *kind, const char *object);
/* Forgets the object (it is gone): a pending signal is dropped, its barriers pass. */
void xn_updates_drop(struct xn_updates *updates, const char *kind, const char *object);

struct xn_barrier { /* embedded in the caller's object; all zero bytes = not waiting */
	struct xn_list link;
	void (*passed)(struct xn_barrier *barrier);
	void *arg;
	uint64_t needs;	 /* the object's signals up to this one */
	uint64_t caller; /* for whom it was placed: barriers of several callers take turns */
	struct xn_job job;
};
/* passed() from the loop when signals of @object made before now are reconciled. The object's
 * pending signal overtakes those of other objects. */
void xn_updates_barrier(struct xn_updates *updates, struct xn_barrier *barrier, const char *kind,
			const char *object, void (*passed)(struct xn_barrier *barrier), void *arg);
void xn_updates_barrier_cancel(struct xn_barrier *barrier); /* not waiting: nothing */

/* For diagnostics: objects with a signal not yet reconciled, and reconciles now running. */
unsigned xn_updates_pending(const struct xn_updates *updates);
unsigned xn_updates_running(const struct xn_updates *updates);
unsigned xn_updates_barriers(const struct xn_updates *updates); /* that wait */

#endif
