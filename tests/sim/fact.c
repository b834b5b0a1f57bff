/*
 * The model; see sim.h. A fact is compared with the row itself: what clients are shown of rows is
 * compared with events and records elsewhere.
 */
#include <stdlib.h>

#include "core/json.h"
#include "sim.h"

static struct xn_value *read_row(const struct sim_fact *f, struct xn_row *row)
{
	const struct xn_value *value;

	if (!row)
		return xn_nil();
	if (f->field < 0)
		return xn_bool(true);
	value = xn_row_get(row, f->field);
	if (f->key[0])
		value = xn_map_get(value, f->key);
	return value ? xn_value_ref(value) : xn_nil();
}

static struct xn_value *read_now(const struct sim_fact *f)
{
	return read_row(f, xn_db_get(sim_db(f->world), f->class_id, f->ref));
}

static bool is_among(const struct xn_value *set, const struct xn_value *value)
{
	for (size_t i = 0; i < xn_set_len(set); i++)
		if (xn_value_equal(xn_set_at(set, i), value))
			return true;
	return false;
}

static void add_maybe(struct sim_fact *f, const struct xn_value *value)
{
	if (!is_among(f->maybe, value))
		xn_set_append(&f->maybe, xn_value_ref(value));
}

static void replace(struct xn_value **slot, const struct xn_value *value)
{
	struct xn_value *old = *slot;

	*slot = xn_value_ref(value);
	xn_value_unref(old);
}

struct sim_fact *sim_fact_new(struct sim_world *w, int class_id, const char *ref, int field,
			      const char *key, struct xn_value *value)
{
	struct sim_fact *f = xn_calloc(1, sizeof(*f));

	f->world = w;
	f->class_id = class_id;
	f->field = field;
	memcpy(f->ref, ref, strnlen(ref, sizeof(f->ref) - 1));
	memcpy(f->key, key, strnlen(key, sizeof(f->key) - 1));
	f->durable = value;
	f->seen = xn_value_ref(value);
	f->maybe = xn_set_new();
	xn_list_push(&w->facts, &f->link);
	return f;
}

static void fact_free(struct sim_fact *f)
{
	xn_list_remove(&f->link);
	xn_value_unref(f->durable);
	xn_value_unref(f->seen);
	xn_value_unref(f->maybe);
	free(f);
}

void sim_facts_free(struct sim_world *w)
{
	while (!xn_list_empty(&w->facts))
		fact_free(xn_list_entry(w->facts.next, struct sim_fact, link));
}

void sim_fact_try(struct sim_fact *f, struct xn_value *value)
{
	add_maybe(f, value);
	xn_value_unref(value);
	f->open = true;
}

void sim_fact_slow(struct sim_fact *f)
{
	f->is_slow = f->was_slow = true;
}

void sim_fact_ack(struct sim_fact *f, struct xn_value *value)
{
	replace(&f->durable, value);
	replace(&f->seen, value);
	xn_value_unref(value);
	xn_value_unref(f->maybe);
	f->maybe = xn_set_new();
	f->open = f->is_slow = f->was_slow = f->unproven = false;
}

/* What was tried stays among what may be: an earlier attempt may have been the same. */
void sim_fact_refused(struct sim_fact *f)
{
	f->open = f->is_slow = false;
}

void sim_fact_forget(struct sim_fact *f)
{
	f->forgotten = true;
}

const char *sim_fact_string(const struct sim_fact *f)
{
	return f->seen->kind == XN_STRING ? xn_value_string(f->seen) : "";
}

/* ---- looking ---- */

/* A guest does not outlive its host, but what it was saved to does. */
static bool is_after_boot(const struct xn_value *expected, const struct xn_value *now)
{
	const char *was = expected->kind == XN_STRING ? xn_value_string(expected) : "";

	if (strcmp(was, "Running") == 0 || strcmp(was, "Paused") == 0)
		return now->kind == XN_STRING && strcmp(xn_value_string(now), "Halted") == 0;
	return xn_value_equal(expected, now);
}

static bool fits(const struct sim_fact *f, const struct xn_value *expected,
		 const struct xn_value *now)
{
	if (f->is_power && f->world->worst == SIM_POWER_CUT)
		return is_after_boot(expected, now);
	return xn_value_equal(expected, now);
}

static bool fits_any(const struct sim_fact *f, const struct xn_value *now)
{
	for (size_t i = 0; i < xn_set_len(f->maybe); i++)
		/* An operation that goes on makes it so again, in spite of what was cut off. */
		if (fits(f, xn_set_at(f->maybe, i), now) ||
		    (f->open && xn_value_equal(xn_set_at(f->maybe, i), now)))
			return true;
	return false;
}

/* It goes on from where the disk knows it, and holds the row back as it did then. */
static bool is_under_way(const struct sim_fact *f)
{
	const struct xn_row *vm = xn_db_get(sim_db(f->world), XN_CLASS_VM, f->ref);

	return vm && xn_map_len(xn_row_get(vm, XN_VM_current_operations)) > 0;
}

/* What the hypervisor tells is not lost with what the disk lost. */
static bool may_have_lost(const struct sim_fact *f)
{
	return f->world->worst == SIM_POWER_CUT ||
	       (f->world->doubtful && (!f->is_power || is_under_way(f)));
}

static bool is_possible(const struct sim_fact *f, const struct xn_value *now)
{
	if (fits(f, f->seen, now))
		return true;
	if (may_have_lost(f))
		return f->unproven || fits(f, f->durable, now) || fits_any(f, now);
	return f->open && fits_any(f, now);
}

static void XN_NORETURN complain(const struct sim_fact *f, const struct xn_value *now)
{
	struct xn_buf is = {0}, was = {0}, maybe = {0}, durable = {0};
	const struct xn_class *cls = &xn_classes[f->class_id];

	xn_json_write(now, &is);
	xn_json_write(f->seen, &was);
	xn_json_write(f->durable, &durable);
	xn_json_write(f->maybe, &maybe);
	sim_fail(f->world, "%s %s %s%s%s is %s; it was %s%s, durably %s, or one of %s", cls->name, f->ref,
		 f->field < 0 ? "(exists)" : cls->fields[f->field].name, f->key[0] ? ":" : "",
		 f->key, xn_buf_cstr(&is), xn_buf_cstr(&was), f->open ? " (open)" : "", xn_buf_cstr(&durable),
		 xn_buf_cstr(&maybe));
}

static bool row_is_there(const struct sim_fact *f)
{
	return xn_db_get(sim_db(f->world), f->class_id, f->ref) != NULL;
}

/* ---- what the daemon collects of the tasks that have ended ---- */

/* As modules/task/task_gc.c has it. An end may be on its way to the disk when it is late. */
enum {
	KEPT_S = 3900,
	SETTLED = 200, /* beyond: the oldest, when clients had their time to see them ... */
	SETTLE_S = 60,
	AT_MOST = 1000, /* ... or else beyond this many */
	ENDING_S = 2,
};

/* Whether one that ended clearly earlier is still there. */
static bool older_one_stays(const struct sim_fact *f)
{
	struct xn_db *db = sim_db(f->world);

	for (struct xn_row *row = xn_db_first(db, XN_CLASS_task); row; row = xn_db_next(db, row))
		if (strcmp(xn_row_string(row, XN_task_status), "pending") != 0 &&
		    xn_row_int(row, XN_task_finished) + ENDING_S < f->finished_s)
			return true;
	return false;
}

static bool may_be_collected(const struct sim_fact *f)
{
	const struct sim_world *w = f->world;
	int64_t age_s;

	if (f->gone_after_us)
		return xn_wall_us(w->loop) > f->gone_after_us;
	if (!f->finished_s)
		return false;
	age_s = xn_wall_s(w->loop) - f->finished_s;
	if (age_s > KEPT_S)
		return true;
	return w->most_tasks > (age_s < SETTLE_S ? AT_MOST : SETTLED) && !older_one_stays(f);
}

static void look(struct sim_fact *f)
{
	struct xn_value *now;

	if (f->forgotten)
		return;
	now = read_now(f);
	if (now->kind == XN_NIL && may_be_collected(f))
		return;
	if (now->kind == XN_NIL && f->of && !row_is_there(f) &&
	    (is_possible(f->of, now) || may_be_collected(f->of)))
		return;
	if (!is_possible(f, now))
		complain(f, now);
	add_maybe(f, f->seen);
	replace(&f->seen, now);
	if (f->world->doubtful) {
		replace(&f->durable, now); /* a start syncs what it found */
		f->open |= f->was_slow;	   /* and goes on with what had ended */
		f->is_slow |= f->was_slow;
		f->unproven = false;
	}
	xn_value_unref(now);
}

void sim_fact_settle(struct sim_fact *f)
{
	look(f);
	f->open = f->is_slow = false;
}

void sim_facts_check(struct sim_world *w, bool after_start)
{
	xn_list_each(link, &w->facts) {
		struct sim_fact *f = xn_list_entry(link, struct sim_fact, link);

		look(f);
		if (after_start && !f->is_slow)
			f->open = false;
	}
	w->worst = SIM_ALIVE;
	w->doubtful = false;
}
