/* The two marks, changes that wait for their sync, crashes and a failing store: on a simulated
 * disk. */
#include "tests/unit/db_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static void wait_visible(struct fixture *f, struct flag *flag)
{
	*flag = (struct flag){0};
	xn_db_when_visible(f->db, &flag->wait, on_wait_flag);
}

static void wait_durable(struct fixture *f, struct flag *flag)
{
	*flag = (struct flag){0};
	xn_db_when_durable(f->db, &flag->wait, on_wait_flag);
}

static struct xn_row *find_vm(struct fixture *f, const char *name)
{
	struct xn_row *row = xn_db_first(f->db, XN_CLASS_VM);

	while (row && strcmp(xn_row_string(row, XN_VM_name_label), name) != 0)
		row = xn_db_next(f->db, row);
	return row;
}

static void what_is_visible_survives_a_kill(void **state)
{
	struct fixture *f = *state;
	struct flag flag;
	uint64_t generation;

	a_vm(f, "one");
	wait_visible(f, &flag);
	assert_false(flag.told);
	run_until(f, &flag.told);
	assert_int_equal(flag.rc, 0);
	generation = xn_db_generation(f->db);
	crash(f, XN_CRASH_KILL);
	assert_non_null(find_vm(f, "one"));
	assert_int_equal(xn_db_generation(f->db), generation);
}

static void what_is_durable_survives_a_power_loss(void **state)
{
	struct fixture *f = *state;

	a_vm(f, "one");
	assert_int_equal(sync_all(f), 0);
	crash(f, XN_CRASH_POWER);
	assert_non_null(find_vm(f, "one"));
}

static void a_wait_with_nothing_to_wait_for_is_told_from_the_loop(void **state)
{
	struct fixture *f = *state;
	struct flag visible, durable;

	assert_int_equal(sync_all(f), 0);
	wait_visible(f, &visible);
	wait_durable(f, &durable);
	assert_false(visible.told || durable.told);
	run_until(f, &visible.told);
	run_until(f, &durable.told);
}

static void a_cancelled_wait_is_not_told(void **state)
{
	struct fixture *f = *state;
	struct flag flag;

	a_vm(f, "one");
	wait_durable(f, &flag);
	xn_db_wait_cancel(&flag.wait);
	assert_int_equal(sync_all(f), 0);
	assert_false(flag.told);
}

static void many_turns_share_a_sync(void **state)
{
	struct fixture *f = *state;
	struct xn_sim_faults slow = {.sync_min_us = 100000, .sync_max_us = 100000};
	struct flag flags[10];
	int64_t begun = xn_now_us(f->core.loop);

	xn_sim_disk_set_faults(f->disk, &slow);
	for (int i = 0; i < 10; i++) {
		a_vm(f, "x");
		wait_durable(f, &flags[i]);
		commit(f);
	}
	run_until(f, &flags[9].told);
	assert_true(xn_now_us(f->core.loop) - begun <= 200000);
}

static void a_change_nobody_waits_for_becomes_durable_soon(void **state)
{
	struct fixture *f = *state;
	int64_t begun = xn_now_us(f->core.loop);

	a_vm(f, "one");
	commit(f);
	while (xn_db_durable_generation(f->db) < xn_db_generation(f->db))
		xn_loop_turn(f->core.loop, 1000000);
	assert_true(xn_now_us(f->core.loop) - begun <= XN_LAZY_SYNC_US + 10000);
}

/* ---- tokens ---- */

static void a_token_beyond_what_a_power_loss_left_is_invalid(void **state)
{
	struct fixture *f = *state;
	uint64_t durable, lost;

	a_vm(f, "one");
	assert_int_equal(sync_all(f), 0);
	durable = xn_db_generation(f->db) - 1;
	for (int i = 0; i < 5; i++) {
		a_vm(f, "two");
		commit(f);
	}
	lost = xn_db_generation(f->db) - 1;
	/* Whatever of the five is left, a lost token must not become valid by later changes. */
	crash(f, XN_CRASH_POWER);
	if (!find_vm(f, "two"))
		assert_false(xn_db_token_is_valid(f->db, lost));
	assert_true(xn_db_token_is_valid(f->db, durable));
	assert_true(xn_db_generation(f->db) >= (uint64_t)1 << 32);
	assert_true(xn_db_token_is_valid(f->db, xn_db_generation(f->db) - 1));
	for (int i = 0; i < 10; i++)
		a_vm(f, "three");
	assert_true(xn_db_count(f->db, XN_CLASS_VM) == 16 || !xn_db_token_is_valid(f->db, lost));
}

static void skipped_ranges_are_kept_for_ever(void **state)
{
	struct fixture *f = *state;
	uint64_t lost;

	a_vm(f, "one");
	assert_int_equal(sync_all(f), 0);
	lost = xn_db_generation(f->db) + 3;
	for (int i = 0; i < 4; i++) {
		crash(f, XN_CRASH_POWER);
		a_vm(f, "more");
		assert_int_equal(sync_all(f), 0);
		restart(f);
		assert_false(xn_db_token_is_valid(f->db, lost));
		assert_true(xn_db_token_is_valid(f->db, xn_db_generation(f->db) - 1));
	}
	assert_true(xn_db_generation(f->db) > (uint64_t)4 << 32);
}

static void a_kill_skips_nothing(void **state)
{
	struct fixture *f = *state;

	a_vm(f, "one");
	commit(f);
	crash(f, XN_CRASH_KILL);
	assert_true(xn_db_generation(f->db) < 100);
}

/* ---- changes that wait ---- */

struct later {
	bool told;
	int rc;
};

static void on_later(int rc, void *arg)
{
	struct later *later = arg;

	later->told = true;
	later->rc = rc;
}

static struct xn_value *renamed(const char *name)
{
	struct xn_value *fields = xn_map_new();

	xn_map_put_string(&fields, "name_label", name);
	return fields;
}

static void a_later_change_is_not_seen_before_it_is_durable(void **state)
{
	struct fixture *f = *state;
	struct later later = {0};
	struct xn_row *vm = a_vm(f, "one");
	uint64_t generation;

	assert_int_equal(sync_all(f), 0);
	generation = xn_db_generation(f->db);
	xn_db_set_later(f->db, xn_row_ref(vm), XN_CLASS_VM, renamed("two"), on_later, &later);
	commit(f);
	assert_string_equal(xn_row_string(vm, XN_VM_name_label), "one");
	assert_int_equal(xn_db_generation(f->db), generation);
	run_until(f, &later.told);
	assert_int_equal(later.rc, 0);
	assert_string_equal(xn_row_string(vm, XN_VM_name_label), "two");
	assert_int_equal(xn_db_generation(f->db), generation + 1);
}

static void a_later_change_that_a_crash_caught_is_applied_at_the_start(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one");

	assert_int_equal(sync_all(f), 0);
	xn_db_set_later(f->db, xn_row_ref(vm), XN_CLASS_VM, renamed("two"), NULL, NULL);
	commit(f);
	crash(f, XN_CRASH_KILL);
	assert_non_null(find_vm(f, "two"));
	commit(f);
	xn_db_set_string(f->db, find_vm(f, "two"), XN_VM_name_label, "three");
	commit(f);
	crash(f, XN_CRASH_KILL); /* it is done: not applied again */
	assert_non_null(find_vm(f, "three"));
}

static void a_later_change_in_the_checkpoint_is_applied_too(void **state)
{
	struct fixture *f = *state;
	struct xn_sim_faults slow = {.sync_min_us = 100, .sync_max_us = 100};
	struct xn_row *vm = a_vm(f, "one");

	xn_sim_disk_set_faults(f->disk, &slow);
	xn_db_set_later(f->db, xn_row_ref(vm), XN_CLASS_VM, renamed("two"), NULL, NULL);
	commit(f);
	f->core.store->ops->flush(f->core.store);
	f->core.store->ops->close(f->core.store, true); /* folds it */
	f->db->store = NULL;
	restart(f);
	assert_non_null(find_vm(f, "two"));
	restart(f);
	assert_non_null(find_vm(f, "two"));
}

static void a_later_change_of_a_row_that_went_is_told_so(void **state)
{
	struct fixture *f = *state;
	struct later later = {0};
	struct xn_row *vm = a_vm(f, "one");

	commit(f);
	xn_db_set_later(f->db, xn_row_ref(vm), XN_CLASS_VM, renamed("two"), on_later, &later);
	xn_db_delete(f->db, vm);
	run_until(f, &later.told);
	assert_int_equal(later.rc, -ENOENT);
	crash(f, XN_CRASH_KILL);
	assert_int_equal(xn_db_count(f->db, XN_CLASS_VM), 0);
}

static void later_changes_of_a_row_keep_their_order(void **state)
{
	struct fixture *f = *state;
	struct later first = {0}, second = {0};
	struct xn_row *vm = a_vm(f, "one");

	commit(f);
	xn_db_set_later(f->db, xn_row_ref(vm), XN_CLASS_VM, renamed("two"), on_later, &first);
	commit(f);
	xn_db_set_later(f->db, xn_row_ref(vm), XN_CLASS_VM, renamed("three"), on_later, &second);
	run_until(f, &second.told);
	assert_true(first.told);
	assert_string_equal(xn_row_string(vm, XN_VM_name_label), "three");
}

/* ---- a failing store ---- */

static void fail_appends(struct fixture *f, bool on)
{
	struct xn_sim_faults faults = {.sync_min_us = 50, .sync_max_us = 500};

	faults.append_failures = faults.reopen_failures = on;
	xn_sim_disk_set_faults(f->disk, &faults);
}

static void fail_syncs(struct fixture *f, bool on)
{
	struct xn_sim_faults faults = {.sync_min_us = 50, .sync_max_us = 500};

	faults.sync_failures = faults.reopen_failures = on;
	xn_sim_disk_set_faults(f->disk, &faults);
}

static void wait_until_writable(struct fixture *f)
{
	for (int i = 0; i < 1000 && xn_db_writable(f->db) < 0; i++)
		xn_loop_turn(f->core.loop, 10000000);
	assert_int_equal(xn_db_writable(f->db), 0);
}

static void a_turn_that_cannot_be_journaled_is_rolled_back_and_told(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one");
	struct flag visible, durable;
	struct later later = {0};
	uint64_t hash;

	assert_int_equal(sync_all(f), 0);
	hash = xn_db_state_hash(f->db);
	fail_appends(f, true);
	xn_db_set_string(f->db, vm, XN_VM_name_label, "two");
	a_vm(f, "three");
	wait_visible(f, &visible);
	wait_durable(f, &durable);
	xn_db_set_later(f->db, xn_row_ref(vm), XN_CLASS_VM, renamed("four"), on_later, &later);
	commit(f);
	assert_true(hash == xn_db_state_hash(f->db));
	assert_true(xn_db_writable(f->db) < 0);
	run_until(f, &visible.told);
	run_until(f, &durable.told);
	run_until(f, &later.told);
	assert_true(visible.rc < 0 && durable.rc < 0 && later.rc < 0);
	assert_clean(f);
}

static void a_store_that_works_again_takes_changes_again(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one");

	assert_int_equal(sync_all(f), 0);
	fail_appends(f, true);
	xn_db_set_string(f->db, vm, XN_VM_name_label, "two");
	commit(f);
	for (int i = 0; i < 50; i++) {
		xn_loop_turn(f->core.loop, 10000000);
		assert_true(xn_db_writable(f->db) < 0);
	}
	fail_appends(f, false);
	wait_until_writable(f);
	xn_db_set_string(f->db, vm, XN_VM_name_label, "three");
	assert_int_equal(sync_all(f), 0);
	crash(f, XN_CRASH_POWER);
	assert_non_null(find_vm(f, "three"));
}

static void a_failed_sync_tells_its_waiters_and_keeps_what_was_seen(void **state)
{
	struct fixture *f = *state;
	struct flag durable;

	fail_syncs(f, true);
	a_vm(f, "one");
	wait_durable(f, &durable);
	run_until(f, &durable.told);
	assert_true(durable.rc < 0);
	assert_true(xn_db_writable(f->db) < 0);
	assert_non_null(find_vm(f, "one")); /* it was visible */
	a_vm(f, "two");
	commit(f);
	assert_null(find_vm(f, "two"));
	fail_syncs(f, false);
	wait_until_writable(f);
	assert_int_equal(xn_db_durable_generation(f->db), xn_db_generation(f->db));
	crash(f, XN_CRASH_POWER);
	assert_non_null(find_vm(f, "one"));
}

static void tombstones_are_right_after_a_refused_deletion_beyond_their_number(void **state)
{
	struct fixture *f = *state;
	struct xn_row *kept, *vms[256];
	unsigned n = 0;

	kept = a_vm(f, "kept");
	commit(f);
	for (unsigned i = 0; i < XN_TOMBSTONES_MAX / XN_ARRAY_SIZE(vms); i++) {
		for (size_t k = 0; k < XN_ARRAY_SIZE(vms); k++)
			vms[k] = a_vm(f, "gone");
		commit(f);
		for (size_t k = 0; k < XN_ARRAY_SIZE(vms); k++)
			xn_db_delete(f->db, vms[k]);
		commit(f);
	}
	fail_appends(f, true);
	xn_db_delete(f->db, kept);
	commit(f);
	for (const struct xn_tombstone *t = xn_db_tombstone(f->db, XN_CLASS_VM, NULL); t;
	     t = xn_db_tombstone(f->db, XN_CLASS_VM, t), n++)
		assert_string_not_equal(t->ref, xn_row_ref(kept));
	assert_int_equal(n, XN_TOMBSTONES_MAX - 1);
}

static struct xn_value *long_text(size_t len)
{
	char *text = xn_malloc(len);
	struct xn_value *v;

	memset(text, 'x', len);
	v = xn_string_len(text, len);
	free(text);
	return v;
}

static void a_start_that_cuts_the_journal_gives_no_stamp_out_again(void **state)
{
	struct fixture *f = *state;
	char *path = xn_asprintf("%s/db/journal-00000001", f->dir);
	uint64_t seen;
	int fd;

	a_vm(f, "one");
	assert_int_equal(sync_all(f), 0);
	seen = xn_db_generation(f->db) - 1;
	stop(f);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "x", 1, lseek(fd, 0, SEEK_END) - 1), 1);
	close(fd);
	free(path);
	start(f);
	assert_true(xn_db_token_is_valid(f->db, seen));
	assert_false(xn_db_token_is_valid(f->db, seen + 1));
	assert_true(xn_db_generation(f->db) > UINT32_MAX);
	restart(f); /* this time it is whole */
	assert_true(xn_db_generation(f->db) < (uint64_t)2 << 32);
	assert_non_null(find_vm(f, "one"));
}

static void a_turn_too_large_for_the_journal_is_refused_alone(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one");
	struct flag visible;

	commit(f);
	xn_db_set(f->db, vm, XN_VM_name_label, long_text(XN_TX_MAX));
	wait_visible(f, &visible);
	commit(f);
	run_until(f, &visible.told);
	assert_int_equal(visible.rc, -EMSGSIZE);
	assert_string_equal(xn_row_string(vm, XN_VM_name_label), "one");
	assert_int_equal(xn_db_writable(f->db), 0);
	xn_db_set_string(f->db, vm, XN_VM_name_label, "two");
	assert_int_equal(sync_all(f), 0);
}

/* They are in the journal, and their sync runs. */
static void who_waits_for_a_turn_before_one_too_large_is_told_the_truth(void **state)
{
	struct fixture *f = *state;
	struct xn_sim_faults slow = {.sync_min_us = 100000, .sync_max_us = 100000};
	struct flag before, with;
	struct xn_row *vm;

	xn_sim_disk_set_faults(f->disk, &slow);
	vm = a_vm(f, "one");
	wait_durable(f, &before);
	commit(f);
	xn_db_set(f->db, vm, XN_VM_name_label, long_text(XN_TX_MAX));
	wait_durable(f, &with);
	commit(f);
	run_until(f, &with.told);
	assert_int_equal(with.rc, -EMSGSIZE);
	assert_false(before.told);
	run_until(f, &before.told);
	assert_int_equal(before.rc, 0);
	crash(f, XN_CRASH_POWER);
	assert_non_null(find_vm(f, "one"));
}

/* The turn in which a sync ends. */
static void make_too_large(enum xn_sim_point point, void *arg)
{
	struct fixture *f = arg;

	if (point != XN_SIM_AFTER_SYNC)
		return;
	xn_sim_disk_watch(f->disk, NULL, NULL);
	xn_db_set(f->db, find_vm(f, "other"), XN_VM_name_label, long_text(XN_TX_MAX));
}

/* Though nothing follows that needs a sync. */
static void a_later_change_applied_in_a_turn_too_large_is_applied_again(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one");
	struct later later = {0};

	a_vm(f, "other");
	assert_int_equal(sync_all(f), 0);
	xn_sim_disk_watch(f->disk, make_too_large, f);
	xn_db_set_later(f->db, xn_row_ref(vm), XN_CLASS_VM, renamed("two"), on_later, &later);
	run_until(f, &later.told);
	assert_int_equal(f->db->metrics.refused, 1);
	assert_int_equal(later.rc, 0);
	assert_string_equal(xn_row_string(vm, XN_VM_name_label), "two");
	assert_non_null(find_vm(f, "other"));
}

static void what_many_calls_change_in_one_turn_is_journaled_in_parts(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one");

	xn_db_bound_turn(f->db);
	assert_true(xn_db_turn_changes(f->db) > 0);
	xn_db_set(f->db, vm, XN_VM_name_label, long_text(XN_TURN_LARGE));
	xn_db_bound_turn(f->db);
	assert_int_equal(xn_db_turn_changes(f->db), 0);
	crash(f, XN_CRASH_KILL);
	assert_int_equal(xn_db_count(f->db, XN_CLASS_VM), 1);
}

static void a_later_change_outlives_a_failed_sync(void **state)
{
	struct fixture *f = *state;
	struct later later = {0};
	struct xn_row *vm = a_vm(f, "one");

	assert_int_equal(sync_all(f), 0);
	fail_syncs(f, true);
	xn_db_set_later(f->db, xn_row_ref(vm), XN_CLASS_VM, renamed("two"), on_later, &later);
	commit(f);
	for (int i = 0; i < 20; i++)
		xn_loop_turn(f->core.loop, 10000000);
	assert_false(later.told);
	assert_string_equal(xn_row_string(vm, XN_VM_name_label), "one");
	fail_syncs(f, false);
	run_until(f, &later.told);
	assert_string_equal(xn_row_string(vm, XN_VM_name_label), "two");
}

static void a_later_change_whose_turn_is_refused_is_made_again(void **state)
{
	struct fixture *f = *state;
	struct later later = {0};
	struct xn_row *vm = a_vm(f, "one");

	assert_int_equal(sync_all(f), 0);
	xn_db_set_later(f->db, xn_row_ref(vm), XN_CLASS_VM, renamed("two"), on_later, &later);
	commit(f); /* it is in the journal; from now on nothing more gets there */
	fail_appends(f, true);
	while (xn_db_writable(f->db) == 0)
		xn_loop_turn(f->core.loop, 1000000);
	for (int i = 0; i < 20; i++)
		xn_loop_turn(f->core.loop, 10000000);
	assert_false(later.told);
	assert_string_equal(xn_row_string(vm, XN_VM_name_label), "one");
	fail_appends(f, false);
	run_until(f, &later.told);
	assert_int_equal(later.rc, 0);
	assert_string_equal(xn_row_string(vm, XN_VM_name_label), "two");
	crash(f, XN_CRASH_KILL);
	assert_non_null(find_vm(f, "two"));
}

static void a_thousand_waits_are_told_in_many_calls(void **state)
{
	enum { N = 1000 };
	struct fixture *f = *state;
	struct flag *flags = calloc(N, sizeof(*flags));
	struct xn_stall_stats stats;
	size_t n = 0;

	a_vm(f, "one");
	for (int i = 0; i < N; i++)
		wait_visible(f, &flags[i]);
	commit(f);
	xn_loop_stalls(f->core.loop, &stats, true);
	run_until(f, &flags[N - 1].told);
	for (int i = 0; i < N; i++)
		n += flags[i].told;
	assert_int_equal(n, N);
	xn_loop_stalls(f->core.loop, &stats, false);
	assert_true(stats.callbacks >= N / 32);
	free(flags);
}

/* ---- checkpoints ---- */

static int setup_files_in_virtual_time(void **state)
{
	struct fixture *f;
	int rc = setup_files(state);

	if (rc < 0)
		return rc;
	f = *state;
	stop(f);
	f->in_virtual_time = true;
	start(f);
	return 0;
}

static uint64_t slices_written(struct fixture *f)
{
	return xn_histogram_count(&f->db->store->checkpoint_times);
}

static void run_for(struct fixture *f, int64_t us)
{
	int64_t until = xn_now_us(f->core.loop) + us;

	while (xn_now_us(f->core.loop) < until)
		xn_loop_turn(f->core.loop, until - xn_now_us(f->core.loop));
}

/* Else each sync under load would be followed by a slice of its own. */
static void a_checkpoint_ends_where_the_journal_stood_when_it_was_asked_for(void **state)
{
	struct fixture *f = *state;
	struct flag later;

	a_vm(f, "one");
	assert_int_equal(sync_all(f), 0);
	a_vm(f, "synced while the checkpoint waits for the worker");
	wait_durable(f, &later);
	while (!f->db->syncing)
		commit(f);
	f->db->store->ops->checkpoint(f->db->store);
	run_until(f, &later.told);
	run_for(f, 1000000);
	assert_int_equal(slices_written(f), 1);
}

static void all_is_in_a_checkpoint_in_the_end_though_nothing_follows(void **state)
{
	struct fixture *f = *state;
	char *large = xn_malloc(XN_CHECKPOINT_BACKLOG + 1);

	run_for(f, 2 * XN_CHECKPOINT_AFTER_US);
	assert_int_equal(xn_db_backlog(f->db), 0);
	memset(large, 'x', XN_CHECKPOINT_BACKLOG);
	large[XN_CHECKPOINT_BACKLOG] = 0;
	xn_db_set_string(f->db, a_vm(f, "one"), XN_VM_name_description, large);
	free(large);
	commit(f); /* asks for a checkpoint before any of it is durable */
	run_for(f, 2 * XN_CHECKPOINT_AFTER_US);
	assert_int_equal(xn_db_backlog(f->db), 0);
}

#define FILES(test) cmocka_unit_test_setup_teardown(test, setup_files, teardown)
#define SIM(test) cmocka_unit_test_setup_teardown(test, setup_sim, teardown)
#define VIRTUAL(test) cmocka_unit_test_setup_teardown(test, setup_files_in_virtual_time, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SIM(what_is_visible_survives_a_kill),
		SIM(what_is_durable_survives_a_power_loss),
		SIM(a_wait_with_nothing_to_wait_for_is_told_from_the_loop),
		SIM(a_cancelled_wait_is_not_told),
		SIM(many_turns_share_a_sync),
		SIM(a_change_nobody_waits_for_becomes_durable_soon),
		SIM(a_token_beyond_what_a_power_loss_left_is_invalid),
		SIM(skipped_ranges_are_kept_for_ever),
		SIM(a_kill_skips_nothing),
		SIM(a_later_change_is_not_seen_before_it_is_durable),
		SIM(a_later_change_that_a_crash_caught_is_applied_at_the_start),
		SIM(a_later_change_in_the_checkpoint_is_applied_too),
		SIM(a_later_change_of_a_row_that_went_is_told_so),
		SIM(later_changes_of_a_row_keep_their_order),
		SIM(a_turn_that_cannot_be_journaled_is_rolled_back_and_told),
		SIM(a_store_that_works_again_takes_changes_again),
		SIM(a_failed_sync_tells_its_waiters_and_keeps_what_was_seen),
		SIM(a_later_change_outlives_a_failed_sync),
		SIM(a_later_change_whose_turn_is_refused_is_made_again),
		SIM(a_thousand_waits_are_told_in_many_calls),
		FILES(a_start_that_cuts_the_journal_gives_no_stamp_out_again),
		SIM(a_turn_too_large_for_the_journal_is_refused_alone),
		SIM(who_waits_for_a_turn_before_one_too_large_is_told_the_truth),
		SIM(a_later_change_applied_in_a_turn_too_large_is_applied_again),
		SIM(what_many_calls_change_in_one_turn_is_journaled_in_parts),
		SIM(tombstones_are_right_after_a_refused_deletion_beyond_their_number),
		VIRTUAL(a_checkpoint_ends_where_the_journal_stood_when_it_was_asked_for),
		VIRTUAL(all_is_in_a_checkpoint_in_the_end_though_nothing_follows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
