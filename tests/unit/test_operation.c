/* Claims, queues and whole operations, with rows in a real database and small rules of the test's
 * own. */
#include "tests/unit/cmocka_all.h"

#include "modules/auth/auth.h"
#include "modules/db/store_sim.h"
#include "modules/operation/operation.h"
#include "modules/task/task.h"

#include <stdio.h>
#include <stdlib.h>

#define NULL_TASK "OpaqueRef:00000000-0000-0000-0000-00000000000"

struct fixture {
	char dir[40]; /* "": on a simulated disk */
	struct xn_sim_disk *disk;
	struct xn_core core;
	struct xn_db *db;
	struct xn_operations *ops;
	struct xn_row *vm;
	char granted[64]; /* letters of the holders, as they were granted */
	char error[200];
	unsigned ended_events;
	char story[64]; /* what a whole operation did */
	struct xn_claim claims[128];
};

/* "start" excludes all; "clone" goes with "clone"; "hard_shutdown" goes with everything. */
static int refuse(struct xn_db *db, struct xn_row *row, const char *operation, const char *self,
		  struct xn_error *err)
{
	const struct xn_value *current = xn_row_get(row, XN_VM_current_operations);

	if (strcmp(operation, "resume") == 0)
		return xn_error_set(err, XN_ERR_VM_BAD_POWER_STATE, xn_row_ref(row), "suspended",
				    "halted");
	for (size_t i = 0; i < xn_map_len(current); i++) {
		const char *other = xn_value_string(xn_map_at(current, i));

		if (strcmp(operation, "hard_shutdown") != 0 &&
		    (strcmp(operation, "clone") != 0 || strcmp(other, "clone") != 0))
			return xn_operation_busy(err, "VM", xn_row_ref(row), current, self, ",");
	}
	return 0;
}

static const char *const advertised[] = {"start", "clone", "resume", "hard_shutdown", NULL};
static const char *const urgent[] = {"hard_shutdown", NULL};
static const struct xn_operation_rules rules = {
	.class_id = XN_CLASS_VM,
	.current_field = XN_VM_current_operations,
	.allowed_field = XN_VM_allowed_operations,
	.advertised = advertised,
	.urgent = urgent,
	.refuse = refuse,
};

static void on_ended(const struct xn_ev_operation_ended *ev, void *arg)
{
	((struct fixture *)arg)->ended_events++;
}

static int setup_on(void **state, bool sim)
{
	static const struct xn_module *const modules[] = {
		&xn_db_module, &xn_auth_module, &xn_task_module, &xn_operation_module, NULL};
	struct fixture *f = calloc(1, sizeof(*f));
	struct xn_config *config = xn_config_new();
	struct xn_error err = {0};
	struct xn_value *fields = xn_map_new();

	if (sim) {
		f->disk = xn_sim_disk_new(1);
	} else {
		strcpy(f->dir, "/tmp/xn-test-op-XXXXXX");
		if (!mkdtemp(f->dir))
			return -1;
		xn_config_decide(config, "state-dir", f->dir);
	}
	xn_core_init(&f->core, sim ? xn_loop_new_virtual(1) : xn_loop_new(),
		     xn_log_new(XN_LOG_ERROR, false, sim ? -1 : 2), config);
	if (sim)
		f->core.store = xn_store_sim_new(&f->core, f->disk);
	if (!xn_modules_start(&f->core, modules, &err))
		fail_msg("%s %s", err.code, err.params[0]);
	f->db = xn_db_of(&f->core);
	f->ops = xn_operations_of(&f->core);
	xn_operation_register_rules(f->ops, &rules);
	xn_subscribe_operation_ended(f->core.bus, "test", on_ended, f);
	f->vm = xn_db_create(f->db, XN_CLASS_VM, NULL, fields);
	xn_value_unref(fields);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return setup_on(state, false);
}

static int setup_sim(void **state)
{
	return setup_on(state, true);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	struct xn_loop *loop = f->core.loop;
	struct xn_log *log = f->core.log;
	struct xn_config *config = f->core.config;
	char *command = *f->dir ? xn_asprintf("rm -rf '%s'", f->dir) : NULL;
	int rc = 0;

	for (size_t i = 0; i < XN_ARRAY_SIZE(f->claims); i++)
		xn_operation_release(&f->claims[i]);
	xn_modules_stop(f->core.modules);
	xn_core_clear(&f->core);
	xn_config_free(config);
	xn_log_free(log);
	xn_loop_free(loop);
	if (command)
		rc = system(command);
	free(command);
	xn_sim_disk_free(f->disk);
	free(f);
	return rc;
}

static void settle(struct fixture *f)
{
	for (int i = 0; i < 20; i++)
		xn_loop_turn(f->core.loop, 0);
}

static void on_granted(struct xn_claim *claim, struct xn_error *err)
{
	struct fixture *f = claim->arg;

	if (!err) {
		strncat(f->granted, claim->holder + strlen(NULL_TASK), 1);
		return;
	}
	snprintf(f->error, sizeof(f->error), "%s", err->code);
	for (unsigned i = 0; i < err->n_params; i++)
		snprintf(f->error + strlen(f->error), sizeof(f->error) - strlen(f->error), " %s",
			 err->params[i]);
}

static void take(struct fixture *f, char letter, const char *operation, unsigned wait_ms)
{
	char holder[60];

	snprintf(holder, sizeof(holder), "%s%c", NULL_TASK, letter);
	xn_operation_take(f->ops, &f->claims[(unsigned char)letter % 128], XN_CLASS_VM,
			  xn_row_ref(f->vm), operation, holder, wait_ms, on_granted, f);
}

static void release(struct fixture *f, char letter)
{
	xn_operation_release(&f->claims[(unsigned char)letter % 128]);
}

static void assert_allowed(struct fixture *f, const char *operation, bool yes)
{
	assert_int_equal(xn_set_has_string(xn_row_get(f->vm, XN_VM_allowed_operations), operation),
			 yes);
}

static void a_free_object_is_held_and_shows_it(void **state)
{
	struct fixture *f = *state;

	take(f, 'a', "start", 1000);
	settle(f);
	assert_string_equal(f->granted, "a");
	assert_string_equal(xn_row_map_string(f->vm, XN_VM_current_operations, NULL_TASK "a"),
			    "start");
	assert_allowed(f, "start", false);
	assert_allowed(f, "hard_shutdown", true);
	release(f, 'a');
	assert_int_equal(xn_map_len(xn_row_get(f->vm, XN_VM_current_operations)), 0);
	assert_allowed(f, "start", true);
	settle(f);
	assert_int_equal(f->ended_events, 1);
}

static void those_that_wait_go_on_in_the_order_they_came(void **state)
{
	struct fixture *f = *state;

	take(f, 'a', "start", 1000);
	take(f, 'b', "start", 1000);
	take(f, 'c', "start", 1000);
	settle(f);
	assert_string_equal(f->granted, "a");
	release(f, 'a');
	settle(f);
	assert_string_equal(f->granted, "ab");
	release(f, 'b');
	settle(f);
	assert_string_equal(f->granted, "abc");
}

static void what_goes_together_does_not_overtake_who_waits(void **state)
{
	struct fixture *f = *state;

	take(f, 'a', "clone", 1000);
	take(f, 'b', "start", 1000);
	take(f, 'c', "clone", 1000);
	settle(f);
	assert_string_equal(f->granted, "a");
	release(f, 'a');
	settle(f);
	assert_string_equal(f->granted, "ab");
	release(f, 'b');
	settle(f);
	assert_string_equal(f->granted, "abc");
}

static void what_is_urgent_overtakes_who_waits(void **state)
{
	struct fixture *f = *state;

	take(f, 'a', "start", 1000);
	take(f, 'b', "start", 1000);
	take(f, 'c', "hard_shutdown", 1000);
	settle(f);
	assert_string_equal(f->granted, "ac");
}

static void another_refusal_is_told_at_once_although_the_object_is_busy(void **state)
{
	struct fixture *f = *state;

	take(f, 'a', "start", 1000);
	take(f, 'b', "resume", 1000);
	settle(f);
	assert_string_equal(f->granted, "a");
	assert_memory_equal(f->error, "VM_BAD_POWER_STATE", 18);
}

static void a_deadline_names_the_holder(void **state)
{
	struct fixture *f = *state;
	char wanted[200];

	take(f, 'a', "start", 1000);
	take(f, 'b', "clone", 1);
	while (!f->error[0])
		xn_loop_turn(f->core.loop, 100000);
	snprintf(wanted, sizeof(wanted), "OTHER_OPERATION_IN_PROGRESS VM %s start %s",
		 xn_row_ref(f->vm), NULL_TASK "a");
	assert_string_equal(f->error, wanted);
}

static void those_behind_one_that_gives_up_are_looked_at(void **state)
{
	struct fixture *f = *state;

	take(f, 'a', "clone", 1000);
	take(f, 'b', "start", 1000);
	take(f, 'c', "clone", 1000);
	settle(f);
	release(f, 'b');
	settle(f);
	assert_string_equal(f->granted, "ac");
}

static void the_hundred_and_first_in_the_queue_is_refused(void **state)
{
	struct fixture *f = *state;
	struct xn_claim *claims = calloc(102, sizeof(*claims));

	for (int i = 0; i < 102; i++) {
		assert_string_equal(f->error, "");
		xn_operation_take(f->ops, &claims[i], XN_CLASS_VM, xn_row_ref(f->vm), "start",
				  NULL_TASK "x", 100000, on_granted, f);
	}
	settle(f);
	assert_string_equal(f->error, "TOO_MANY_PENDING_TASKS");
	for (int i = 101; i >= 0; i--)
		xn_operation_release(&claims[i]);
	free(claims);
}

static void a_claim_on_a_row_that_is_gone_fails(void **state)
{
	struct fixture *f = *state;

	take(f, 'a', "start", 1000);
	take(f, 'b', "start", 1000);
	settle(f);
	xn_db_delete(f->db, f->vm);
	release(f, 'a');
	settle(f);
	assert_memory_equal(f->error, "HANDLE_INVALID VM", 17);
}

static void take_now_refuses_what_take_would_wait_for(void **state)
{
	struct fixture *f = *state;
	struct xn_error err = {0};

	take(f, 'a', "start", 1000);
	assert_int_equal(xn_operation_take_now(f->ops, &f->claims[1], XN_CLASS_VM,
					       xn_row_ref(f->vm), "clone", NULL_TASK "b", &err),
			 -1);
	assert_string_equal(err.code, XN_ERR_OTHER_OPERATION_IN_PROGRESS);
	assert_false(f->claims[1].held);
	xn_error_clear(&err);
}

static void alone_means_that_nobody_else_holds_it(void **state)
{
	struct fixture *f = *state;

	assert_true(xn_operation_is_alone(f->ops, xn_row_ref(f->vm), NULL));
	take(f, 'a', "start", 1000);
	assert_false(xn_operation_is_alone(f->ops, xn_row_ref(f->vm), NULL));
	assert_true(xn_operation_is_alone(f->ops, xn_row_ref(f->vm), NULL_TASK "a"));
	take(f, 'b', "hard_shutdown", 1000);
	assert_false(xn_operation_is_alone(f->ops, xn_row_ref(f->vm), NULL_TASK "a"));
}

static void rows_with_the_same_answer_share_one_set(void **state)
{
	struct fixture *f = *state;
	struct xn_value *fields = xn_map_new();
	struct xn_row *other = xn_db_create(f->db, XN_CLASS_VM, NULL, fields);

	xn_value_unref(fields);
	xn_operation_refresh(f->ops, f->vm);
	xn_operation_refresh(f->ops, other);
	assert_ptr_equal(xn_row_get(f->vm, XN_VM_allowed_operations),
			 xn_row_get(other, XN_VM_allowed_operations));
}

/* ---- a disk that refuses ---- */

static void refuse_changes(struct fixture *f, bool yes)
{
	struct xn_sim_faults faults = {.append_failures = yes, .reopen_failures = yes};

	xn_sim_disk_set_faults(f->disk, &faults);
}

static void pass_seconds(struct fixture *f, int n)
{
	int64_t end_us = xn_now_us(f->core.loop) + n * INT64_C(1000000);

	while (xn_now_us(f->core.loop) < end_us)
		xn_loop_turn(f->core.loop, 100000);
}

static void what_ended_while_the_disk_refused_does_not_stay_in_current_operations(void **state)
{
	struct fixture *f = *state;

	take(f, 'a', "start", 1000);
	settle(f);
	refuse_changes(f, true);
	release(f, 'a');
	settle(f);
	assert_int_equal(xn_map_len(xn_row_get(f->vm, XN_VM_current_operations)), 1);
	refuse_changes(f, false);
	pass_seconds(f, 5);
	assert_int_equal(xn_map_len(xn_row_get(f->vm, XN_VM_current_operations)), 0);
	assert_allowed(f, "start", true);
	take(f, 'b', "start", 1000);
	settle(f);
	assert_string_equal(f->granted, "ab");
}

static void who_waits_behind_what_ended_while_the_disk_refused_goes_on(void **state)
{
	struct fixture *f = *state;

	take(f, 'a', "start", 60000);
	settle(f);
	take(f, 'b', "start", 60000);
	refuse_changes(f, true);
	release(f, 'a');
	settle(f);
	refuse_changes(f, false);
	pass_seconds(f, 5);
	assert_string_equal(f->granted, "ab");
	assert_string_equal(xn_row_map_string(f->vm, XN_VM_current_operations, NULL_TASK "b"),
			    "start");
}

static int refuse_none(struct xn_db *db, struct xn_row *row, const char *operation,
		       const char *self, struct xn_error *err)
{
	return 0;
}

static const struct xn_operation_rules rules_of_disks = {
	.class_id = XN_CLASS_VDI,
	.current_field = XN_VDI_current_operations,
	.allowed_field = XN_VDI_allowed_operations,
	.advertised = advertised,
	.refuse = refuse_none,
};

static void create_rows(struct fixture *f, int class_id, int field, struct xn_row **out, int n)
{
	struct xn_value *fields = xn_map_new();

	for (int i = 0; i < n; i++) {
		out[i] = xn_db_create(f->db, class_id, NULL, fields);
		xn_db_map_put(f->db, out[i], field, "OpaqueRef:of-nobody", "start");
	}
	xn_value_unref(fields);
}

enum { MARKED = 100 };
struct marked {
	struct xn_row *vms[MARKED], *disks[MARKED];
	int before, most; /* marks; that went in one callback */
};

static int count_marks(struct xn_row *const *rows, int field)
{
	int n = 0;

	for (int i = 0; i < MARKED; i++)
		n += xn_map_len(xn_row_get(rows[i], field)) > 0;
	return n;
}

static void after_callback(void *arg)
{
	struct marked *m = arg;
	int now = count_marks(m->vms, XN_VM_current_operations) +
		  count_marks(m->disks, XN_VDI_current_operations);

	m->most = m->before - now > m->most ? m->before - now : m->most;
	m->before = now;
}

static void what_the_disk_refused_is_set_right_class_by_class(void **state)
{
	static const struct xn_ev_db_failed works = {0};
	struct marked m = {.before = 2 * MARKED};
	struct fixture *f = *state;

	xn_operation_register_rules(f->ops, &rules_of_disks);
	create_rows(f, XN_CLASS_VM, XN_VM_current_operations, m.vms, MARKED);
	create_rows(f, XN_CLASS_VDI, XN_VDI_current_operations, m.disks, MARKED);
	take(f, 'a', "start", 1000);
	settle(f);
	xn_db_map_remove(f->db, f->vm, XN_VM_current_operations, NULL_TASK "a");
	xn_publish_db_failed(f->core.bus, &works);
	xn_loop_virtual_watch(f->core.loop, after_callback, &m);
	pass_seconds(f, 1);
	xn_loop_virtual_watch(f->core.loop, NULL, NULL);
	assert_int_equal(m.before, 0);
	assert_int_equal(m.most, MARKED);
	assert_string_equal(xn_row_map_string(f->vm, XN_VM_current_operations, NULL_TASK "a"),
			    "start");
	assert_allowed(f, "start", false);
	for (int i = 0; i < MARKED; i++) {
		assert_true(xn_set_has_string(xn_row_get(m.vms[i], XN_VM_allowed_operations),
					      "start"));
		assert_true(xn_set_has_string(xn_row_get(m.disks[i], XN_VDI_allowed_operations),
					      "start"));
	}
}

/* ---- whole operations ---- */

static void step_runs(struct xn_op *op)
{
	strcat((char *)(intptr_t)xn_map_get_int(op->args, "story", 0), "run ");
	xn_op_done(op, 0);
}

static struct xn_op *make_small(struct xn_core *core, const struct xn_value *args);

static void free_small(struct xn_op *op)
{
	free(op);
}

static const struct xn_step small_steps[] = {
	{"run", step_runs, NULL, 1000},
	{NULL, NULL, NULL, 0},
};
static const struct xn_op_kind small = {
	.name = "VM.start",
	.version = 1,
	.steps = small_steps,
	.make = make_small,
	.free = free_small,
};

static struct xn_op *make_small(struct xn_core *core, const struct xn_value *args)
{
	struct xn_op *op = xn_calloc(1, sizeof(*op));

	xn_op_init(op, &small, core, args);
	return op;
}

static void start_small(struct fixture *f)
{
	struct xn_run_spec spec = {
		.class_id = XN_CLASS_VM, .ref = xn_row_ref(f->vm), .operation = "start"};
	struct xn_value *args = xn_map_new();

	xn_map_put(&args, "story", xn_int((intptr_t)f->story));
	xn_operation_run_internal(make_small(&f->core, args), &spec);
	xn_value_unref(args);
}

static void an_operation_takes_its_object_runs_and_lets_go(void **state)
{
	struct fixture *f = *state;

	start_small(f);
	settle(f);
	assert_string_equal(f->story, "run ");
	assert_true(xn_operation_is_alone(f->ops, xn_row_ref(f->vm), NULL));
}

static void what_nobody_called_has_a_task_while_it_runs(void **state)
{
	struct fixture *f = *state;
	struct xn_row *task;

	start_small(f);
	task = xn_db_first(f->db, XN_CLASS_task);
	assert_non_null(task);
	assert_string_equal(xn_row_string(task, XN_task_name_label), small.name);
	assert_string_equal(xn_row_string(task, XN_task_status), "pending");
	assert_string_equal(xn_row_map_string(f->vm, XN_VM_current_operations, xn_row_ref(task)),
			    "start");
	settle(f);
	assert_string_equal(f->story, "run ");
	assert_int_equal(xn_db_count(f->db, XN_CLASS_task), 0);
}

static void a_cancel_between_the_grant_and_the_first_step_ends_it_once(void **state)
{
	struct fixture *f = *state;

	start_small(f); /* holds the VM; that it does is told by a job */
	xn_operation_cancel_holders(f->ops, xn_row_ref(f->vm), NULL, NULL);
	settle(f);
	assert_string_equal(f->story, "");
	assert_true(xn_operation_is_alone(f->ops, xn_row_ref(f->vm), NULL));
	assert_int_equal(xn_map_len(xn_row_get(f->vm, XN_VM_current_operations)), 0);
	assert_int_equal(xn_db_count(f->db, XN_CLASS_xn_operation), 0);
}

/* Argument "objects": references, to be taken in this order. */
static void take_objects(struct xn_op *op, struct xn_run *run)
{
	const struct xn_value *objects = xn_map_get(op->args, "objects");

	for (size_t i = 0; i < xn_set_len(objects); i++)
		xn_run_also_take(run, XN_CLASS_VM, xn_value_string(xn_set_at(objects, i)), "start");
}

static void start_on(struct fixture *f, const struct xn_row *first, const struct xn_row *second)
{
	struct xn_run_spec spec = {.also = take_objects};
	struct xn_value *args = xn_map_new(), *objects = xn_set_new();

	xn_set_append_string(&objects, xn_row_ref(first));
	xn_set_append_string(&objects, xn_row_ref(second));
	xn_map_put(&args, "objects", objects);
	xn_map_put(&args, "story", xn_int((intptr_t)f->story));
	xn_operation_run_internal(make_small(&f->core, args), &spec);
	xn_value_unref(args);
}

static void two_that_want_the_same_objects_in_other_orders_both_run(void **state)
{
	struct fixture *f = *state;
	struct xn_row *other = xn_db_create(f->db, XN_CLASS_VM, NULL, NULL);

	start_on(f, f->vm, other);
	start_on(f, other, f->vm);
	settle(f);
	assert_string_equal(f->story, "run run ");
}

/* Two whose main objects cross: waiting would never end, so the second is refused at once. */
static void start_holding(struct fixture *f, struct xn_row *main, const struct xn_row *further)
{
	struct xn_run_spec spec = {.class_id = XN_CLASS_VM,
				   .ref = xn_row_ref(main),
				   .operation = "start",
				   .also = take_objects};
	struct xn_value *args = xn_map_new(), *objects = xn_set_new();

	xn_set_append_string(&objects, xn_row_ref(further));
	xn_map_put(&args, "objects", objects);
	xn_map_put(&args, "story", xn_int((intptr_t)f->story));
	xn_operation_run_internal(make_small(&f->core, args), &spec);
	xn_value_unref(args);
}

static void claims_that_cross_do_not_wait_for_each_other(void **state)
{
	struct fixture *f = *state;
	struct xn_row *other = xn_db_create(f->db, XN_CLASS_VM, NULL, NULL);
	int64_t began = xn_now_us(f->core.loop);

	start_holding(f, f->vm, other);
	start_holding(f, other, f->vm);
	settle(f);
	assert_string_equal(f->story, "run ");
	assert_true(xn_now_us(f->core.loop) - began < 1000000);
	start_holding(f, f->vm, other); /* nothing is held any more */
	settle(f);
	assert_string_equal(f->story, "run run ");
}

static void an_object_named_twice_is_taken_once(void **state)
{
	struct fixture *f = *state;

	start_on(f, f->vm, f->vm);
	settle(f);
	assert_string_equal(f->story, "run ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_SIM(name) cmocka_unit_test_setup_teardown(name, setup_sim, teardown)
		TEST(a_free_object_is_held_and_shows_it),
		TEST(those_that_wait_go_on_in_the_order_they_came),
		TEST(what_goes_together_does_not_overtake_who_waits),
		TEST(what_is_urgent_overtakes_who_waits),
		TEST(another_refusal_is_told_at_once_although_the_object_is_busy),
		TEST(a_deadline_names_the_holder),
		TEST(those_behind_one_that_gives_up_are_looked_at),
		TEST(the_hundred_and_first_in_the_queue_is_refused),
		TEST(a_claim_on_a_row_that_is_gone_fails),
		TEST(take_now_refuses_what_take_would_wait_for),
		TEST(alone_means_that_nobody_else_holds_it),
		TEST(rows_with_the_same_answer_share_one_set),
		TEST(an_operation_takes_its_object_runs_and_lets_go),
		TEST(two_that_want_the_same_objects_in_other_orders_both_run),
		TEST(claims_that_cross_do_not_wait_for_each_other),
		TEST(an_object_named_twice_is_taken_once),
		TEST(what_nobody_called_has_a_task_while_it_runs),
		TEST(a_cancel_between_the_grant_and_the_first_step_ends_it_once),
		TEST_SIM(what_ended_while_the_disk_refused_does_not_stay_in_current_operations),
		TEST_SIM(what_the_disk_refused_is_set_right_class_by_class),
		TEST_SIM(who_waits_behind_what_ended_while_the_disk_refused_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
