/* Modules put in order, begun and ended; and what they share. See module.h. */
#include "core/module.h"

#include <assert.h>
#include <stdlib.h>

#include "core/op.h"

enum { WORKERS = 4 };

struct entry {
	const struct xn_module *module;
	void *state;
	enum { UNSEEN, ON_PATH, PLACED } mark; /* while ordering */
};

struct xn_modules {
	struct xn_core *core;
	unsigned n_begun; /* the first so many have been initialised */
	unsigned n;
	struct entry *entries; /* in starting order */
};

/* ---- what all modules share ---- */

static int64_t wall_us_of_loop(void *arg)
{
	return xn_wall_us(arg);
}

void xn_core_init(struct xn_core *core, struct xn_loop *loop, struct xn_log *log,
		  struct xn_config *config)
{
	*core = (struct xn_core){.loop = loop, .log = log, .config = config};
	if (log)
		xn_log_set_clock(log, wall_us_of_loop, loop);
	core->bus = xn_bus_new(loop);
	core->workers = xn_pool_new(loop, "worker", WORKERS);
	core->methods = xn_methods_new();
	core->metrics = xn_metrics_new();
	xn_engine_init(core);
}

void xn_core_clear(struct xn_core *core)
{
	assert(!core->modules);
	xn_engine_free(core);
	xn_pool_free(core->workers);
	xn_metrics_free(core->metrics);
	xn_methods_free(core->methods);
	xn_bus_free(core->bus);
	xn_buf_clear(&core->addresses);
	if (core->log)
		xn_log_set_clock(core->log, NULL, NULL);
	*core = (struct xn_core){0};
}

void xn_core_add_address(struct xn_core *core, const char *address)
{
	if (core->addresses.len)
		xn_buf_add_char(&core->addresses, ' ');
	xn_buf_add_string(&core->addresses, address);
}

/* ---- order ---- */

struct ordering {
	struct entry *unordered;
	unsigned n;
	struct xn_modules *modules;
	struct xn_error *err;
};

static int find_by_name(const struct entry *entries, unsigned n, const char *name)
{
	for (unsigned i = 0; i < n; i++)
		if (strcmp(entries[i].module->name, name) == 0)
			return i;
	return -1;
}

/* Depth first: what an entry needs is placed before it. */
static int place(struct ordering *o, struct entry *entry)
{
	const char *const *needs = entry->module->needs;

	if (entry->mark == PLACED)
		return 0;
	if (entry->mark == ON_PATH)
		return xn_error_setf(o->err, XN_ERR_INTERNAL_ERROR,
				     "module %s needs itself through others", entry->module->name);
	entry->mark = ON_PATH;
	for (; needs && *needs; needs++) {
		int i = find_by_name(o->unordered, o->n, *needs);

		if (i < 0)
			return xn_error_setf(o->err, XN_ERR_INTERNAL_ERROR,
					     "module %s needs %s, which is not there",
					     entry->module->name, *needs);
		if (place(o, &o->unordered[i]) < 0)
			return -1;
	}
	entry->mark = PLACED;
	o->modules->entries[o->modules->n++] = *entry;
	return 0;
}

static int put_in_order(struct xn_modules *modules, const struct xn_module *const *list,
			struct xn_error *err)
{
	struct ordering o = {.modules = modules, .err = err};
	int rc = 0;

	while (list[o.n])
		o.n++;
	o.unordered = xn_calloc(o.n, sizeof(*o.unordered));
	modules->entries = xn_calloc(o.n, sizeof(*modules->entries));
	for (unsigned i = 0; i < o.n; i++) {
		if (find_by_name(o.unordered, i, list[i]->name) >= 0)
			rc = xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "two modules are named %s",
					   list[i]->name);
		o.unordered[i].module = list[i];
	}
	for (unsigned i = 0; rc == 0 && i < o.n; i++)
		rc = place(&o, &o.unordered[i]);
	free(o.unordered);
	return rc;
}

/* ---- life ---- */

static int init_one(struct xn_core *core, struct entry *entry, struct xn_error *err)
{
	const struct xn_module *module = entry->module;
	const enum xn_event_id *event = module->publishes;

	xn_log_debug(core->log, "main", "module %s: init", module->name);
	if (module->init && module->init(core, &entry->state, err) < 0)
		return -1;
	core->modules->n_begun++; /* from here on it must be stopped */
	for (; event && *event != XN_EVENT_COUNT; event++)
		xn_bus_declare_publisher(core->bus, *event, module->name);
	for (const struct xn_method_impl *impl = module->methods; impl && impl->name; impl++)
		if (xn_methods_add(core->methods, impl, entry->state, err) < 0)
			return -1;
	return 0;
}

struct xn_modules *xn_modules_init(struct xn_core *core, const struct xn_module *const *list,
				   struct xn_error *err)
{
	struct xn_modules *modules = xn_calloc(1, sizeof(*modules));
	int rc;

	modules->core = core;
	core->modules = modules;
	rc = put_in_order(modules, list, err);
	for (unsigned i = 0; rc == 0 && i < modules->n; i++)
		rc = init_one(core, &modules->entries[i], err);
	if (rc == 0)
		return modules;
	xn_modules_stop(modules);
	return NULL;
}

struct xn_modules *xn_modules_start(struct xn_core *core, const struct xn_module *const *list,
				    struct xn_error *err)
{
	struct xn_modules *modules = xn_modules_init(core, list, err);

	for (unsigned i = 0; modules && i < modules->n; i++) {
		const struct entry *entry = &modules->entries[i];

		xn_log_debug(core->log, "main", "module %s: start", entry->module->name);
		if (entry->module->start && entry->module->start(entry->state, err) < 0) {
			xn_modules_stop(modules);
			return NULL;
		}
	}
	return modules;
}

/* So that modules can be started again on the same core. */
static void renew_workers(struct xn_core *core)
{
	xn_pool_free(core->workers);
	core->workers = xn_pool_new(core->loop, "worker", WORKERS);
}

void xn_modules_stop(struct xn_modules *modules)
{
	if (!modules)
		return;
	/* Operations and jobs use what the modules are about to free. */
	xn_engine_drop(modules->core);
	xn_pool_stop(modules->core->workers);
	while (modules->n_begun) {
		const struct entry *entry = &modules->entries[--modules->n_begun];

		xn_log_debug(modules->core->log, "main", "module %s: stop", entry->module->name);
		if (entry->module->stop)
			entry->module->stop(entry->state);
	}
	renew_workers(modules->core);
	modules->core->modules = NULL;
	free(modules->entries);
	free(modules);
}

void *xn_module_state(struct xn_core *core, const char *name)
{
	const struct xn_modules *modules = core->modules;
	int i = find_by_name(modules->entries, modules->n_begun, name);

	assert(i >= 0); /* not in .needs, or asked for before its init */
	return modules->entries[i].state;
}
