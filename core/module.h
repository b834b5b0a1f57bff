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
#include "core/metrics.h"
#include "core/op.h"
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
	struct xn_store *store; /* a simulated disk; NULL: files in the state folder */
	struct xn_modules *modules;
	struct xn_engine *engine; /* core/op.h */
	struct xn_metrics *metrics; /* what modules count; each adds its source in init */
	/* Tests break steps of operations with these; else NULL. */
	enum xn_op_fault (*op_fault)(const struct xn_op *op, int member, void *arg);
	void *op_fault_arg;
	struct xn_buf addresses;  /* what is served, one a word: for the log line that says so */
};

/* Makes @core around a loop, log and configuration, which stay the caller's. */
void xn_core_init(struct xn_core *core, struct xn_loop *loop, struct xn_log *log,
		  struct xn_config *config);
void xn_core_clear(struct xn_core *core); /* modules are stopped before */
/* "http://127.0.0.1:80": told by whoever opened a listener, in its start. */
void xn_core_add_address(struct xn_core *core, const char *address);

/*
 * init allocates, subscribes to the bus (so that --graph sees it) and does no I/O; start opens and
 * listens; stop undoes whatever happened so far, also without or after a failed start, frees the
 * state, and cannot fail. A failed init has cleaned up after itself.
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

struct xn_modules;
/*
 * xn_modules_init - put modules in order of `.needs` (as listed where that leaves it open), then
 * init each, declare what it publishes, register its methods
 * @list: ends with NULL; the caller's, for as long as the modules live. core->modules is set.
 * Return: NULL with @err for a cycle, a missing module, a failure; what was begun is undone.
 */
struct xn_modules *xn_modules_init(struct xn_core *core, const struct xn_module *const *list,
				   struct xn_error *err);
/* The same, then start of all. */
struct xn_modules *xn_modules_start(struct xn_core *core, const struct xn_module *const *list,
				    struct xn_error *err);
void xn_modules_stop(struct xn_modules *modules); /* in reverse order; NULL is fine */
/* State of a module in the caller's .needs: the way to another module's public functions. */
void *xn_module_state(struct xn_core *core, const char *name);

#endif
