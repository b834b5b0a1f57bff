/* Rows, relations, stamps, tombstones, records; on real files where a restart matters. */
#include "tests/unit/db_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

static bool has(const struct xn_row *row, int field, const struct xn_row *member)
{
	return xn_set_has_string(xn_row_get(row, field), xn_row_ref(member));
}

static void a_row_is_found_by_reference_and_uuid(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one");
	struct xn_error err = {0};

	assert_ptr_equal(xn_db_get(f->db, XN_CLASS_VM, xn_row_ref(vm)), vm);
	assert_ptr_equal(xn_db_by_uuid(f->db, XN_CLASS_VM, xn_row_uuid(vm)), vm);
	assert_null(xn_db_get(f->db, XN_CLASS_VBD, xn_row_ref(vm)));
	assert_null(xn_db_need(f->db, XN_CLASS_VM, "OpaqueRef:x", &err));
	assert_string_equal(err.code, "HANDLE_INVALID");
	assert_string_equal(err.params[0], "VM");
	assert_string_equal(err.params[1], "OpaqueRef:x");
	assert_null(xn_db_need_uuid(f->db, XN_CLASS_VBD, xn_row_uuid(vm), &err));
	assert_string_equal(err.code, "UUID_INVALID");
	xn_error_clear(&err);
}

static void a_row_that_changes_its_uuid_is_found_by_the_new_one(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one");
	char *old = xn_strdup(xn_row_uuid(vm));

	xn_db_set_string(f->db, vm, XN_VM_uuid, "c97c0d0e-0000-4000-8000-000000000001");
	assert_null(xn_db_by_uuid(f->db, XN_CLASS_VM, old));
	assert_ptr_equal(
		xn_db_by_uuid(f->db, XN_CLASS_VM, "c97c0d0e-0000-4000-8000-000000000001"), vm);
	free(old);
}

static void an_equal_write_vanishes(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one");
	uint64_t before;

	xn_db_map_put(f->db, vm, XN_VM_other_config, "a", "b");
	before = xn_db_generation(f->db);
	assert_false(xn_db_set_string(f->db, vm, XN_VM_name_label, "one"));
	assert_false(xn_db_set(f->db, vm, XN_VM_name_label, xn_string("one")));
	assert_false(xn_db_map_put(f->db, vm, XN_VM_other_config, "a", "b"));
	assert_false(xn_db_map_remove(f->db, vm, XN_VM_other_config, "z"));
	assert_int_equal(xn_db_generation(f->db), before);
}

static void a_change_stamps_with_the_generation_before_it(void **state)
{
	struct fixture *f = *state;
	uint64_t g = xn_db_generation(f->db);
	struct xn_row *vm = a_vm(f, "one");

	assert_int_equal(xn_row_created(vm), g);
	assert_int_equal(xn_row_modified(vm), g);
	assert_true(xn_db_set_string(f->db, vm, XN_VM_name_label, "two"));
	assert_int_equal(xn_row_created(vm), g);
	assert_int_equal(xn_row_modified(vm), g + 1);
	assert_int_equal(xn_db_generation(f->db), g + 2);
}

static void a_touch_stamps_once_and_spends_two_generations(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one");
	uint64_t g = xn_db_generation(f->db);

	assert_int_equal(xn_db_touch(f->db, vm), g - 1);
	assert_int_equal(xn_row_modified(vm), g);
	assert_int_equal(xn_db_generation(f->db), g + 2);
}

static void both_ends_of_a_relation_move_in_one_generation(void **state)
{
	struct fixture *f = *state;
	struct xn_row *one = a_vm(f, "one"), *two = a_vm(f, "two");
	struct xn_row *vbd = a_vbd(f, one);

	assert_true(has(one, XN_VM_VBDs, vbd));
	assert_int_equal(xn_row_modified(one), xn_row_modified(vbd));
	xn_db_set_string(f->db, vbd, XN_VBD_VM, xn_row_ref(two));
	assert_false(has(one, XN_VM_VBDs, vbd));
	assert_true(has(two, XN_VM_VBDs, vbd));
	assert_int_equal(xn_row_modified(one), xn_row_modified(vbd));
	assert_int_equal(xn_row_modified(two), xn_row_modified(vbd));
	assert_clean(f);
}

static void a_derived_end_cannot_be_written(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one");

	assert_false(xn_db_set(f->db, vm, XN_VM_VBDs, xn_set_new()));
	assert_false(xn_db_set_add(f->db, vm, XN_VM_VBDs, "OpaqueRef:x"));
	assert_int_equal(xn_set_len(xn_row_get(vm, XN_VM_VBDs)), 0);
}

static void a_many_to_many_set_is_kept_at_both_ends(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one");
	struct xn_row *red = a_row(f, XN_CLASS_VM_group, "name_label", "red");
	struct xn_row *blue = a_row(f, XN_CLASS_VM_group, "name_label", "blue");

	xn_db_set_add(f->db, vm, XN_VM_groups, xn_row_ref(red));
	assert_true(has(red, XN_VM_group_VMs, vm));
	assert_int_equal(xn_row_modified(red), xn_row_modified(vm));
	xn_db_set_add(f->db, blue, XN_VM_group_VMs, xn_row_ref(vm));
	assert_true(has(vm, XN_VM_groups, blue));
	xn_db_set_remove(f->db, red, XN_VM_group_VMs, xn_row_ref(vm));
	assert_false(has(vm, XN_VM_groups, red));
	xn_db_delete(f->db, blue);
	assert_int_equal(xn_set_len(xn_row_get(vm, XN_VM_groups)), 0);
	assert_clean(f);
}

static void deleting_a_row_empties_the_other_ends(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one"), *vbd = a_vbd(f, vm), *other = a_vbd(f, vm);
	uint64_t g;

	xn_db_delete(f->db, other);
	assert_false(has(vm, XN_VM_VBDs, other));
	g = xn_db_generation(f->db);
	xn_db_delete(f->db, vm);
	assert_string_equal(xn_row_string(vbd, XN_VBD_VM), XN_NULL_REF);
	assert_int_equal(xn_row_modified(vbd), g);
	assert_int_equal(xn_db_generation(f->db), g + 1);
	assert_null(xn_row_follow(f->db, vbd, XN_VBD_VM));
	assert_clean(f);
}

static void a_row_made_under_a_reference_adopts_those_that_name_it(void **state)
{
	struct fixture *f = *state;
	const char *ref = "OpaqueRef:c97c0d0e-0000-4000-8000-000000000002";
	struct xn_row *vbd = a_row(f, XN_CLASS_VBD, "VM", ref);
	struct xn_row *vm = xn_db_create(f->db, XN_CLASS_VM, ref, NULL);

	assert_true(has(vm, XN_VM_VBDs, vbd));
	assert_clean(f);
}

static void those_that_name_a_row_are_adopted_after_a_restart_too(void **state)
{
	struct fixture *f = *state;
	const char *ref = "OpaqueRef:c97c0d0e-0000-4000-8000-000000000002";
	char vbd[XN_REF_LEN];
	struct xn_row *vm;

	snprintf(vbd, sizeof(vbd), "%s", xn_row_ref(a_row(f, XN_CLASS_VBD, "VM", ref)));
	assert_int_equal(sync_all(f), 0);
	restart(f);
	vm = xn_db_create(f->db, XN_CLASS_VM, ref, NULL);
	assert_true(has(vm, XN_VM_VBDs, xn_db_get(f->db, XN_CLASS_VBD, vbd)));
	assert_clean(f);
}

/* What would make each new one search tables of ten thousands of rows. */
static void nothing_is_awaited_that_nobody_has_named(void **state)
{
	struct fixture *f = *state;
	const char *ref = "OpaqueRef:c97c0d0e-0000-4000-8000-000000000002";

	for (int i = 0; i < 2; i++) {
		struct xn_row *vbd;

		a_vbd(f, xn_db_create(f->db, XN_CLASS_VM, ref, NULL));
		assert_int_equal(sync_all(f), 0);
		restart(f);
		vbd = xn_db_first(f->db, XN_CLASS_VBD);
		xn_db_set_string(f->db, vbd, XN_VBD_VM, xn_row_ref(a_vm(f, "other")));
		xn_db_set_string(f->db, vbd, XN_VBD_VM, ref);
		xn_db_delete(f->db, xn_db_get(f->db, XN_CLASS_VM, ref));
		commit(f);
		assert_string_equal(xn_row_string(vbd, XN_VBD_VM), XN_NULL_REF);
		xn_db_delete(f->db, vbd);
		commit(f);
		for (int c = 0; c < XN_CLASS_COUNT; c++)
			assert_false(f->db->tables[c].is_awaited);
	}
	a_row(f, XN_CLASS_VBD, "VM", ref);
	assert_true(f->db->tables[XN_CLASS_VM].is_awaited);
}

static void rows_lie_in_the_order_of_their_last_change(void **state)
{
	struct fixture *f = *state;
	struct xn_row *one = a_vm(f, "one"), *two = a_vm(f, "two"), *three = a_vm(f, "three");

	xn_db_set_string(f->db, one, XN_VM_name_label, "uno");
	assert_ptr_equal(xn_db_newest(f->db, XN_CLASS_VM), one);
	assert_ptr_equal(xn_db_older(f->db, one), three);
	assert_ptr_equal(xn_db_first(f->db, XN_CLASS_VM), two);
	assert_null(xn_db_older(f->db, two));
	assert_int_equal(xn_db_count(f->db, XN_CLASS_VM), 3);
}

static void a_deleted_row_leaves_a_tombstone(void **state)
{
	struct fixture *f = *state;
	struct xn_row *one = a_vm(f, "one"), *two = a_vm(f, "two");
	char *ref = xn_strdup(xn_row_ref(one));
	const struct xn_tombstone *tomb;
	uint64_t created = xn_row_created(one), g;

	commit(f);
	g = xn_db_generation(f->db);
	xn_db_delete(f->db, one);
	xn_db_delete(f->db, two);
	tomb = xn_db_tombstone(f->db, XN_CLASS_VM, NULL);
	assert_int_equal(tomb->deleted, g + 1);
	tomb = xn_db_tombstone(f->db, XN_CLASS_VM, tomb);
	assert_int_equal(tomb->deleted, g);
	assert_int_equal(tomb->created, created);
	assert_string_equal(tomb->ref, ref);
	assert_null(xn_db_tombstone(f->db, XN_CLASS_VM, tomb));
	assert_null(xn_db_tombstone(f->db, XN_CLASS_VBD, NULL));
	free(ref);
}

static void a_row_that_nobody_saw_leaves_no_tombstone(void **state)
{
	struct fixture *f = *state;

	xn_db_delete(f->db, a_vm(f, "one"));
	assert_null(xn_db_tombstone(f->db, XN_CLASS_VM, NULL));
}

static void forgotten_tombstones_make_old_tokens_invalid(void **state)
{
	struct fixture *f = *state;
	uint64_t old;

	a_vm(f, "one");
	commit(f);
	old = xn_db_generation(f->db) - 1;
	for (int i = 0; i < XN_TOMBSTONES_MAX + 10; i += 500) {
		struct xn_row *rows[500];

		for (int k = 0; k < 500; k++)
			rows[k] = a_row(f, XN_CLASS_blob, "name_label", "x");
		commit(f);
		for (int k = 0; k < 500; k++)
			xn_db_delete(f->db, rows[k]);
		commit(f);
	}
	assert_false(xn_db_token_is_valid(f->db, old));
	assert_true(xn_db_token_is_valid(f->db, 0));
	assert_true(xn_db_token_is_valid(f->db, xn_db_generation(f->db) - 1));
	assert_true(xn_db_token_is_valid(
		f->db, xn_db_generation(f->db) - (XN_TOMBSTONES_MAX - 1000)));
	restart(f);
	assert_false(xn_db_token_is_valid(f->db, old));
	assert_true(xn_db_token_is_valid(
		f->db, xn_db_generation(f->db) - (XN_TOMBSTONES_MAX - 1000)));
}

static void a_token_of_the_future_is_invalid(void **state)
{
	struct fixture *f = *state;

	a_vm(f, "one");
	commit(f);
	assert_true(xn_db_token_is_valid(f->db, xn_db_generation(f->db) - 1));
	assert_false(xn_db_token_is_valid(f->db, xn_db_generation(f->db)));
}

static void a_record_has_every_public_field_and_follows_changes(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one");
	struct xn_value *map = xn_row_to_map(vm);
	const char *json;
	size_t len;
	char *text;

	assert_int_equal(xn_map_len(map), xn_classes[XN_CLASS_VM].n_public);
	xn_value_unref(map);
	json = xn_row_json(vm, &len);
	assert_ptr_equal(xn_row_json(vm, &len), json);
	text = xn_strndup(json, len);
	assert_non_null(strstr(text, "\"name_label\":\"one\""));
	assert_true(text[0] == '{' && text[len - 1] == '}');
	free(text);
	xn_db_set_string(f->db, vm, XN_VM_name_label, "two");
	json = xn_row_json(vm, &len);
	text = xn_strndup(json, len);
	assert_non_null(strstr(text, "\"name_label\":\"two\""));
	free(text);
}

static void the_record_cache_keeps_to_its_limit(void **state)
{
	struct fixture *f = *state;
	struct xn_row *rows[100];
	struct xn_value *all;
	struct xn_buf out = {0};
	size_t len;

	f->db->cache_limit = 20000;
	for (int i = 0; i < 100; i++) {
		rows[i] = a_vm(f, "x");
		xn_row_json(rows[i], &len);
		assert_true(f->db->cached_bytes <= 20000 + len);
	}
	all = xn_rows_records(rows, 100);
	xn_embed_write(all, XN_FORMAT_JSON, &out);
	assert_true(out.len > 100 * len);
	assert_true(f->db->cached_bytes <= 20000 + len);
	xn_value_unref(all);
	xn_buf_clear(&out);
}

/* ---- restarts ---- */

/* Whoever lets it through: one row's odd bytes must not keep the daemon from coming up. */
static void what_is_no_text_is_not_kept(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "cut \xe2\x82");
	XN_CLEANUP(xn_value_unref_p) struct xn_value *map = xn_map_new();
	char ref[XN_REF_LEN];

	snprintf(ref, sizeof(ref), "%s", xn_row_ref(vm));
	xn_map_put_string(&map, "key \x01", "value \xff");
	xn_db_set(f->db, vm, XN_VM_other_config, xn_value_ref(map));
	xn_db_map_put(f->db, vm, XN_VM_other_config, "two", "\xc3");
	restart(f);
	vm = xn_db_get(f->db, XN_CLASS_VM, ref);
	assert_string_equal(xn_row_string(vm, XN_VM_name_label),
			    "cut \xef\xbf\xbd\xef\xbf\xbd");
	assert_string_equal(xn_row_map_string(vm, XN_VM_other_config, "key \xef\xbf\xbd"),
			    "value \xef\xbf\xbd");
	assert_string_equal(xn_row_map_string(vm, XN_VM_other_config, "two"), "\xef\xbf\xbd");
}

static void a_restart_finds_the_same_state(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one"), *gone;
	uint64_t hash, generation;

	for (int i = 0; i < 3; i++)
		a_vbd(f, vm);
	gone = a_vm(f, "two");
	commit(f);
	xn_db_delete(f->db, gone);
	xn_db_map_put(f->db, vm, XN_VM_other_config, "key", "value");
	commit(f);
	hash = xn_db_state_hash(f->db);
	generation = xn_db_generation(f->db);
	for (int i = 0; i < 2; i++) { /* from journal and checkpoint, from the checkpoint alone */
		restart(f);
		assert_true(hash == xn_db_state_hash(f->db));
		assert_int_equal(generation, xn_db_generation(f->db));
		assert_non_null(xn_db_tombstone(f->db, XN_CLASS_VM, NULL));
		assert_clean(f);
	}
}

static void a_rolled_back_turn_leaves_no_trace(void **state)
{
	struct fixture *f = *state;
	struct xn_row *vm = a_vm(f, "one"), *two = a_vm(f, "two"), *vbd = a_vbd(f, vm);
	uint64_t hash, generation;
	size_t len;

	commit(f);
	hash = xn_db_state_hash(f->db);
	generation = xn_db_generation(f->db);
	xn_row_json(vm, &len);
	xn_db_set_string(f->db, vm, XN_VM_name_label, "uno");
	xn_db_set_string(f->db, vm, XN_VM_uuid, "c97c0d0e-0000-4000-8000-000000000003");
	xn_db_set_string(f->db, vbd, XN_VBD_VM, xn_row_ref(two));
	xn_db_set_add(f->db, two, XN_VM_groups,
		      xn_row_ref(a_row(f, XN_CLASS_VM_group, "name_label", "red")));
	xn_db_delete(f->db, vbd);
	xn_db_delete(f->db, a_vbd(f, vm));
	xn_db_delete(f->db, vm);
	xn_db_touch(f->db, two);
	xn_turn_roll_back(f->db);
	assert_true(hash == xn_db_state_hash(f->db));
	assert_int_equal(generation, xn_db_generation(f->db));
	assert_null(xn_db_tombstone(f->db, XN_CLASS_VM, NULL));
	assert_clean(f);
}

static void a_second_database_on_the_folder_is_refused(void **state)
{
	struct fixture *f = *state;
	struct fixture second = {0};

	strcpy(second.dir, f->dir);
	assert_false(try_start(&second));
	assert_non_null(strstr(second.why, "in use"));
	stop(&second);
}

static void write_file(struct fixture *f, const char *name, const char *text)
{
	char *path = xn_asprintf("%s/db/%s", f->dir, name);
	FILE *file = fopen(path, "w");

	fputs(text, file);
	fclose(file);
	free(path);
}

static void a_newer_format_is_refused_in_words(void **state)
{
	struct fixture *f = *state;

	stop(f);
	write_file(f, "format", "xenolith database 99\n");
	assert_false(try_start(f));
	assert_non_null(strstr(f->why, "newer version"));
	stop(f);
	write_file(f, "format", "xenolith database 2\n");
	start(f);
}

static void a_journal_damaged_in_the_middle_is_refused(void **state)
{
	struct fixture *f = *state;
	char *path = xn_asprintf("%s/db/journal-00000001", f->dir);
	int fd;

	/* Two syncs: the second record tells that the first was durable. No checkpoint: as killed.
	 */
	a_vm(f, "one");
	assert_int_equal(sync_all(f), 0);
	a_vm(f, "two");
	assert_int_equal(sync_all(f), 0);
	f->db->error = -EIO; /* no checkpoint at the stop */
	stop(f);
	fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, "damage", 6, 64 + 200), 6);
	close(fd);
	assert_false(try_start(f));
	assert_non_null(strstr(f->why, "damaged"));
	free(path);
}

static void limit_files_to(rlim_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_disk_that_refuses_and_then_works_again_loses_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t hash;

	a_vm(f, "one");
	assert_int_equal(sync_all(f), 0);
	hash = xn_db_state_hash(f->db);
	signal(SIGXFSZ, SIG_IGN);
	limit_files_to(100);
	a_vm(f, "two");
	commit(f);
	assert_true(xn_db_writable(f->db) < 0);
	assert_true(hash == xn_db_state_hash(f->db));
	limit_files_to(RLIM_INFINITY);
	TURN_UNTIL(f->core.loop, xn_db_writable(f->db) == 0);
	a_vm(f, "three");
	assert_int_equal(sync_all(f), 0);
	hash = xn_db_state_hash(f->db);
	f->db->error = -EIO; /* no checkpoint: the journal alone must do */
	restart(f);
	assert_true(hash == xn_db_state_hash(f->db));
	assert_int_equal(xn_db_count(f->db, XN_CLASS_VM), 2);
}

static void a_name_that_the_schema_has_not_is_left_out(void **state)
{
	struct fixture *f = *state;
	struct xn_names names;

	xn_names_init(&names);
	assert_int_equal(xn_names_load(&names, "\7VM.gone\2VM\15VM.name_label", 25), 0);
	assert_int_equal(xn_names_field(&names, XN_CLASS_VM, 1), -1);
	assert_int_equal(xn_names_class(&names, 2), XN_CLASS_VM);
	assert_int_equal(xn_names_field(&names, XN_CLASS_VM, 3), XN_VM_name_label);
	assert_true(xn_names_complete(&names));
	assert_int_equal(names.class_no[XN_CLASS_VM], 2);
	assert_int_equal(names.field_no[XN_CLASS_VM][XN_VM_name_label], 3);
	assert_true(names.field_no[XN_CLASS_VM][XN_VM_uuid] > 3);
	xn_names_clear(&names);
	(void)f;
}

#define FILES(test) cmocka_unit_test_setup_teardown(test, setup_files, teardown)
#define SIM(test)   cmocka_unit_test_setup_teardown(test, setup_sim, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SIM(a_row_is_found_by_reference_and_uuid),
		SIM(a_row_that_changes_its_uuid_is_found_by_the_new_one),
		SIM(an_equal_write_vanishes),
		SIM(a_change_stamps_with_the_generation_before_it),
		SIM(a_touch_stamps_once_and_spends_two_generations),
		SIM(both_ends_of_a_relation_move_in_one_generation),
		SIM(a_derived_end_cannot_be_written),
		SIM(a_many_to_many_set_is_kept_at_both_ends),
		SIM(deleting_a_row_empties_the_other_ends),
		SIM(a_row_made_under_a_reference_adopts_those_that_name_it),
		SIM(those_that_name_a_row_are_adopted_after_a_restart_too),
		SIM(nothing_is_awaited_that_nobody_has_named),
		SIM(rows_lie_in_the_order_of_their_last_change),
		SIM(a_deleted_row_leaves_a_tombstone),
		SIM(a_row_that_nobody_saw_leaves_no_tombstone),
		FILES(forgotten_tombstones_make_old_tokens_invalid),
		SIM(a_token_of_the_future_is_invalid),
		SIM(a_record_has_every_public_field_and_follows_changes),
		SIM(the_record_cache_keeps_to_its_limit),
		FILES(what_is_no_text_is_not_kept),
		FILES(a_restart_finds_the_same_state),
		SIM(a_rolled_back_turn_leaves_no_trace),
		FILES(a_second_database_on_the_folder_is_refused),
		FILES(a_newer_format_is_refused_in_words),
		FILES(a_journal_damaged_in_the_middle_is_refused),
		FILES(a_disk_that_refuses_and_then_works_again_loses_nothing),
		SIM(a_name_that_the_schema_has_not_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
