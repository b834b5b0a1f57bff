/* The database on real files: rows, relations, stamps, marks, restarts. */
#include "tests/unit/cmocka_all.h"

#include "modules/db/db.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct fixture {
	char dir[40];
	struct xn_core core;
	struct xn_db *db;
};

static void start(struct fixture *f)
{
	static const struct xn_module *const modules[] = {&xn_db_module, NULL};
	struct xn_config *config = xn_config_new();
	struct xn_error err = {0};

	xn_config_decide(config, "state-dir", f->dir);
	xn_core_init(&f->core, xn_loop_new(), xn_log_new(XN_LOG_ERROR, false, 2), config);
	if (!xn_modules_start(&f->core, modules, &err))
		fail_msg("%s %s", err.params[0], err.n_params > 1 ? err.params[1] : "");
	f->db = xn_db_of(&f->core);
}

static void stop(struct fixture *f)
{
	struct xn_loop *loop = f->core.loop;
	struct xn_log *log = f->core.log;
	struct xn_config *config = f->core.config;

	xn_modules_stop(f->core.modules);
	xn_core_clear(&f->core);
	xn_config_free(config);
	xn_log_free(log);
	xn_loop_free(loop);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/xn-test-db-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	start(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char *command = xn_asprintf("rm -rf '%s'", f->dir);
	int rc;

	stop(f);
	rc = system(command);
	free(command);
	free(f);
	return rc;
}

static void do_nothing(struct xn_job *job)
{
	(void)job;
}

/* A turn, so that its end commits. */
static void commit(struct fixture *f)
{
	struct xn_job job = {0};

	xn_loop_defer(f->core.loop, &job, XN_PRIO_REPLY, do_nothing);
	xn_loop_turn(f->core.loop, 0);
}

static struct xn_row *a_vm(struct fixture *f, const char *name)
{
	struct xn_value *fields = xn_map_new();
	struct xn_row *row;

	xn_map_put_string(&fields, "name_label", name);
	row = xn_db_create(f->db, XN_CLASS_VM, NULL, fields);
	xn_value_unref(fields);
	return row;
}

static struct xn_row *a_vbd(struct fixture *f, const struct xn_row *vm)
{
	struct xn_value *fields = xn_map_new();
	struct xn_row *row;

	xn_map_put_string(&fields, "VM", xn_row_ref(vm));
	row = xn_db_create(f->db, XN_CLASS_VBD, NULL, fields);
	xn_value_unref(fields);
	return row;
}

static void a_row_is_found_by_reference_and_uuid(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one");

	assert_ptr_equal(xn_db_get(f->db, XN_CLASS_VM, xn_row_ref(vm)), vm);
	assert_ptr_equal(xn_db_by_uuid(f->db, XN_CLASS_VM, xn_row_uuid(vm)), vm);
	assert_null(xn_db_get(f->db, XN_CLASS_VBD, xn_row_ref(vm)));
}

static void both_ends_of_a_relation_move_in_one_generation(void **state)
{
	struct fixture *f = *state;
	struct xn_row *one = a_vm(f, "one"), *two = a_vm(f, "two");
	struct xn_row *vbd = a_vbd(f, one);

	assert_true(xn_set_has_string(xn_row_get(one, XN_VM_VBDs), xn_row_ref(vbd)));
	assert_int_equal(xn_row_modified(one), xn_row_modified(vbd));
	xn_db_set_string(f->db, vbd, XN_VBD_VM, xn_row_ref(two));
	assert_int_equal(xn_set_len(xn_row_get(one, XN_VM_VBDs)), 0);
	assert_true(xn_set_has_string(xn_row_get(two, XN_VM_VBDs), xn_row_ref(vbd)));
	assert_int_equal(xn_row_modified(one), xn_row_modified(vbd));
	assert_int_equal(xn_row_modified(two), xn_row_modified(vbd));
}

static void a_restart_finds_the_same_state(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one"), *gone;
	uint64_t hash;

	for (int i = 0; i < 3; i++)
		a_vbd(f, vm);
	gone = a_vm(f, "two");
	commit(f);
	xn_db_delete(f->db, gone);
	xn_db_map_put(f->db, vm, XN_VM_other_config, "key", "value");
	commit(f);
	hash = xn_db_state_hash(f->db);
	stop(f);
	start(f);
	assert_true(hash == xn_db_state_hash(f->db));
	assert_non_null(xn_db_tombstone(f->db, XN_CLASS_VM, NULL));
	stop(f);
	start(f);
	assert_true(hash == xn_db_state_hash(f->db));
	assert_non_null(xn_db_tombstone(f->db, XN_CLASS_VM, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_row_is_found_by_reference_and_uuid, setup, teardown),
		cmocka_unit_test_setup_teardown(both_ends_of_a_relation_move_in_one_generation, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_restart_finds_the_same_state, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
