/*
 * Bytes of the database: values, and transactions as the journal gives them to a start. The first
 * byte of the input says which. What is taken must come back the same: a value from its own bytes,
 * a database from its checkpoint. What is not taken must be refused without harm.
 */
#include <stdlib.h>

#include "modules/db/db_internal.h"
#include "modules/db/store_sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_value(const uint8_t *data, size_t size)
{
	struct xn_cursor in = xn_cursor(data, size), skipped = in;
	struct xn_value *v = xn_take_value(&in), *again;
	struct xn_buf out = {0};

	if (!v)
		return;
	if (xn_skip_value(&skipped) < 0 || skipped.at != in.at)
		abort();
	xn_put_value(&out, v);
	in = xn_cursor(out.data, out.len);
	again = xn_take_value(&in);
	if (!again || in.at != in.end || !xn_value_equal(v, again))
		abort();
	xn_value_unref(v);
	xn_value_unref(again);
	xn_buf_clear(&out);
}

/* ---- a start on these transactions ---- */

struct world {
	struct xn_sim_disk *disk;
	struct xn_core core;
	struct xn_config *config;
	struct xn_loop *loop;
	struct xn_log *log;
};

static void make_core(struct world *w)
{
	w->config = xn_config_new();
	w->loop = xn_loop_new_virtual(1);
	w->log = xn_log_new(XN_LOG_ERROR, false, -1);
	xn_core_init(&w->core, w->loop, w->log, w->config);
	w->core.store = xn_store_sim_new(&w->core, w->disk);
}

static void end_core(struct world *w)
{
	xn_modules_stop(w->core.modules);
	xn_core_clear(&w->core);
	xn_config_free(w->config);
	xn_log_free(w->log);
	xn_loop_free(w->loop);
}

static bool start(struct world *w, uint64_t *hash)
{
	static const struct xn_module *const modules[] = {&xn_db_module, NULL};
	struct xn_error err = {0};
	bool started;

	make_core(w);
	started = xn_modules_start(&w->core, modules, &err) != NULL;
	if (started) {
		struct xn_buf report = {0};

		*hash = xn_db_state_hash(xn_db_of(&w->core));
		xn_db_check(xn_db_of(&w->core), &report);
		xn_buf_clear(&report);
	}
	xn_error_clear(&err);
	return started;
}

/* The input is cut into transactions: 16 bits length, bytes. */
static void append_all(struct world *w, const uint8_t *data, size_t size)
{
	struct xn_store *store = w->core.store;

	while (size > 2) {
		size_t len = data[0] | (size_t)data[1] << 8;

		data += 2;
		size -= 2;
		if (len > size || !len)
			len = size;
		if (store->ops->append(store, data, len) < 0)
			abort();
		data += len;
		size -= len;
	}
}

static void check_transactions(const uint8_t *data, size_t size)
{
	struct world w = {.disk = xn_sim_disk_new(1)};
	uint64_t loaded, folded;

	if (!start(&w, &loaded)) /* gives the disk the dictionary of names */
		abort();
	append_all(&w, data, size);
	xn_sim_disk_crash(w.disk, XN_CRASH_KILL);
	end_core(&w);
	if (start(&w, &loaded)) {
		end_core(&w); /* writes the checkpoint */
		if (!start(&w, &folded) || loaded != folded)
			abort();
	}
	end_core(&w);
	xn_sim_disk_free(w.disk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] & 1)
		check_value(data + 1, size - 1);
	else
		check_transactions(data + 1, size - 1);
	return 0;
}
