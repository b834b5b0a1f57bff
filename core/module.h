/*
 * A module: one concern, one public header, one ops struct, state that hangs off `state`.
 * modules/modules.c is the only list of them; the order comes from `.needs`.
 */
#ifndef XN_MODULE_H
#define XN_MODULE_H

#include "core/bus.h"
#include "core/call.h"
#include "core/config.h"
#include "core/error.h"
#include "core/log.h"
#include "core/worker.h"

struct xn_module;
struct xn_op_store;

/* What all modules share; one a daemon, so a test runs two daemons in one process. */
struct xn_core {
	struct xn_loop *loop;
	struct xn_bus *bus;
	struct xn_log *log;
	struct xn_config *config;
	struct xn_pool *workers; /* general blocking work: files, PAM, copies */
	struct xn_methods *methods; /* implemented API methods, core/call.h */
	const struct xn_op_store *op_store; /* journal of operations, set by modules/task */
	struct xn_modules *modules;
	struct xn_engine *engine; /* core/op.h */
};

/*
 * init allocates and does no I/O; start opens, subscribes, listens; stop undoes whatever
 * happened so far, also after a failed start, frees the state, and cannot fail.
 */
struct xn_module {
	const char *name;	  /* the folder's name, and the prefix of its log lines */
	const char *const *needs; /* modules that start before it; NULL-terminated or NULL */
	const enum xn_event_id *publishes; /* ends with XN_EVENT_COUNT; NULL: nothing */
	const struct xn_method_impl *methods; /* API calls it answers; ends with .name == NULL */
	int (*init)(struct xn_core *core, void **state_out, struct xn_error *err);
	int (*start)(void *state, struct xn_error *err);
	void (*stop)(void *state);
};

/* @list ends with NULL. init of all, then start of all, in the order of `.needs`; on failure what
 * was begun is stopped. Methods are registered between init and start. */
struct xn_modules *xn_modules_start(struct xn_core *core, const struct xn_module *const *list,
				    struct xn_error *err);
void xn_modules_stop(struct xn_modules *modules); /* in reverse order; NULL is fine */
/* State of a module that is in the caller's .needs: the way to another module's public functions. */
void *xn_module_state(struct xn_core *core, const char *name);

#endif
