/*
 * The check of a whole folder: what the database itself would never write is put behind its back
 * into the journal, or a file is damaged, and the check must name it; and it must change nothing.
 */
#include "tests/unit/db_fixture.h"

#include <sys/stat.h>

static const char vm_ref[] = "OpaqueRef:11111111-1111-4111-8111-111111111111";
static const char other_vm_ref[] = "OpaqueRef:22222222-2222-4222-8222-222222222222";
static const char vbd_ref[] = "OpaqueRef:33333333-3333-4333-8333-333333333333";
static const char group_ref[] = "OpaqueRef:44444444-4444-4444-8444-444444444444";
static const char no_ref[] = "OpaqueRef:55555555-5555-4555-8555-555555555555";

static void make_row(struct fixture *f, int class_id, const char *ref, const char *field,
		     const char *value)
{
	struct xn_value *fields = xn_map_new();

	xn_map_put_string(&fields, field, value);
	xn_db_create(f->db, class_id, ref, fields);
	xn_value_unref(fields);
}

static void label(struct fixture *f, const char *vm, const char *text)
{
	xn_db_set_string(f->db, xn_db_get(f->db, XN_CLASS_VM, vm), XN_VM_name_label, text);
}

static int set_up(void **state)
{
	struct fixture *f;

	if (setup_files(state) < 0)
		return -1;
	f = *state;
	make_row(f, XN_CLASS_VM, vm_ref, "name_label", "one");
	make_row(f, XN_CLASS_VM, other_vm_ref, "name_label", "two");
	make_row(f, XN_CLASS_VBD, vbd_ref, "VM", vm_ref);
	make_row(f, XN_CLASS_VM_group, group_ref, "name_label", "group");
	assert_int_equal(sync_all(f), 0);
	return 0;
}

/* ---- the check ---- */

static unsigned check_folder(struct fixture *f, struct xn_buf *report)
{
	struct xn_config *config = xn_config_new();
	struct xn_buf summary = {0};
	unsigned n = xn_db_check_folder(f->dir, config, report, &summary);

	xn_buf_clear(&summary);
	xn_config_free(config);
	return n;
}

static void empty(struct fixture *f)
{
	char *command = xn_asprintf("rm -rf '%s/db'", f->dir);

	assert_int_equal(system(command), 0);
	free(command);
}

/* Stops without a checkpoint, checks, and starts anew for the teardown in an empty folder. */
static void assert_found_all(struct fixture *f, const char *const *lines)
{
	struct xn_buf report = {0};
	unsigned n;

	f->db->error = -1;
	stop(f);
	n = check_folder(f, &report);
	for (; *lines; lines++)
		if (!n || !strstr(xn_buf_cstr(&report), *lines))
			fail_msg("%u findings:\n%sno \"%s\"", n, xn_buf_cstr(&report), *lines);
	xn_buf_clear(&report);
	empty(f);
	start(f);
}

static void assert_found(struct fixture *f, const char *line)
{
	assert_found_all(f, (const char *const[]){line, NULL});
}

/* ---- a transaction of our own ---- */

struct forged {
	struct fixture *f;
	struct xn_tx_head head;
	struct xn_buf entries;
};

static struct forged forge(struct fixture *f)
{
	const uint64_t next = xn_db_generation(f->db);

	return (struct forged){f, {.first = next, .next = next + 10}, {0}};
}

static void put_entry(struct forged *t, enum xn_tx_op op, int class_id, const char *ref,
		      uint64_t stamp)
{
	xn_buf_add_char(&t->entries, (char)op);
	xn_put_varint(&t->entries, t->f->db->names.class_no[class_id]);
	xn_put_string(&t->entries, ref);
	xn_put_varint(&t->entries, stamp);
}

/* One field that is changed; @value is taken. */
static void put_set(struct forged *t, int class_id, const char *ref, int field,
		    struct xn_value *value)
{
	put_entry(t, XN_TX_SET, class_id, ref, 1);
	xn_put_varint(&t->entries, 1);
	xn_put_varint(&t->entries, t->f->db->names.field_no[class_id][field]);
	xn_put_value(&t->entries, value);
	xn_value_unref(value);
}

static void append(struct forged *t)
{
	struct xn_store *store = t->f->db->store;
	struct xn_buf bytes = {0};

	xn_put_tx_head(&bytes, &t->head);
	xn_buf_add(&bytes, t->entries.data, t->entries.len);
	assert_int_equal(store->ops->append(store, bytes.data, bytes.len), 0);
	assert_int_equal(store->ops->flush(store), 0);
	xn_buf_clear(&bytes);
	xn_buf_clear(&t->entries);
}

static void forge_set(struct fixture *f, int class_id, const char *ref, int field,
		      struct xn_value *value)
{
	struct forged t = forge(f);

	put_set(&t, class_id, ref, field, value);
	append(&t);
}

static struct xn_value *set_of(const char *text)
{
	struct xn_value *set = xn_set_new();

	xn_set_append_string(&set, text);
	return set;
}

/* ---- rows ---- */

static void a_whole_database_is_clean_and_is_not_touched(void **state)
{
	struct fixture *f = *state;
	struct xn_buf report = {0};
	char *list = xn_asprintf("cd '%s/db' && ls -l --time-style=full-iso > ../before", f->dir);
	char *again = xn_asprintf("cd '%s/db' && ls -l --time-style=full-iso | cmp - ../before",
				  f->dir);

	stop(f);
	assert_int_equal(system(list), 0);
	if (check_folder(f, &report))
		fail_msg("%s", xn_buf_cstr(&report));
	assert_int_equal(system(again), 0);
	start(f);
	f->db->error = -1; /* no checkpoint: the journal is what is read */
	stop(f);
	assert_int_equal(check_folder(f, &report), 0);
	start(f);
	free(list);
	free(again);
}

static void a_value_of_another_type_is_named(void **state)
{
	struct fixture *f = *state;

	forge_set(f, XN_CLASS_VM, vm_ref, XN_VM_memory_target, xn_string("much"));
	assert_found(f, "VM OpaqueRef:11111111-1111-4111-8111-111111111111 memory_target: is not "
			"of the type int: \"much\"");
}

static void a_value_that_the_enumeration_lacks_is_named(void **state)
{
	struct fixture *f = *state;

	forge_set(f, XN_CLASS_VM, vm_ref, XN_VM_power_state, xn_string("Flying"));
	assert_found(f, " power_state: is not of the type");
}

static void a_uuid_that_two_rows_have_is_named(void **state)
{
	struct fixture *f = *state;
	const char *uuid = xn_row_uuid(xn_db_get(f->db, XN_CLASS_VM, other_vm_ref));

	forge_set(f, XN_CLASS_VM, vm_ref, XN_VM_uuid, xn_string(uuid));
	assert_found(f, " uuid: is also another row's: ");
}

static void a_reference_that_two_rows_have_is_named(void **state)
{
	struct fixture *f = *state;
	struct forged t = forge(f);

	put_entry(&t, XN_TX_CREATE, XN_CLASS_VM, vm_ref, 1);
	xn_put_varint(&t.entries, 0);
	append(&t);
	assert_found(f, "OpaqueRef:11111111-1111-4111-8111-111111111111: holds a reference that "
			"two rows have");
}

static void a_reference_to_a_row_of_another_class_is_named(void **state)
{
	struct fixture *f = *state;

	forge_set(f, XN_CLASS_VM, vm_ref, XN_VM_affinity, xn_string(vbd_ref));
	assert_found(f, " affinity: is for host but names a VBD: OpaqueRef:33333333");
}

static void a_relation_to_a_row_that_is_gone_is_named(void **state)
{
	struct fixture *f = *state;

	forge_set(f, XN_CLASS_VBD, vbd_ref, XN_VBD_VM, xn_string(no_ref));
	assert_found(f, "VBD OpaqueRef:33333333-3333-4333-8333-333333333333 VM: names a row that "
			"is gone: OpaqueRef:55555555");
}

static void a_relation_with_one_end_is_named(void **state)
{
	struct fixture *f = *state;

	forge_set(f, XN_CLASS_VM, vm_ref, XN_VM_groups, set_of(group_ref));
	assert_found(f, " groups: is not answered by the other end of OpaqueRef:44444444");
}

static void a_field_of_no_name_is_named(void **state)
{
	struct fixture *f = *state;
	struct forged t = forge(f);

	put_entry(&t, XN_TX_SET, XN_CLASS_VM, vm_ref, 1);
	xn_put_varint(&t.entries, 1);
	xn_put_varint(&t.entries, 60000);
	xn_put_string(&t.entries, "x");
	append(&t);
	assert_found(f, "has a field of no name, number 60000");
}

static void an_operation_that_no_restart_could_read_is_named(void **state)
{
	struct fixture *f = *state;
	struct forged t = forge(f);

	put_entry(&t, XN_TX_CREATE, XN_CLASS_xn_operation, no_ref, 1);
	xn_put_varint(&t.entries, 1);
	xn_put_varint(&t.entries,
		      f->db->names.field_no[XN_CLASS_xn_operation][XN_xn_operation_args_json]);
	xn_put_string(&t.entries, "{not json");
	append(&t);
	assert_found(f, "xn_operation OpaqueRef:55555555-5555-4555-8555-555555555555 args_json: is "
			"no JSON object");
}

/* ---- changes that wait ---- */

static void put_later(struct forged *t, int class_no, const char *ref, int field,
		      struct xn_value *value)
{
	xn_buf_add_char(&t->entries, XN_TX_LATER);
	xn_put_varint(&t->entries, 1000);
	xn_put_varint(&t->entries, (uint64_t)class_no);
	xn_put_string(&t->entries, ref);
	xn_put_varint(&t->entries, 1);
	xn_put_varint(&t->entries, t->f->db->names.field_no[XN_CLASS_VM][field]);
	xn_put_value(&t->entries, value);
	xn_value_unref(value);
}

static void assert_later_found(struct fixture *f, int class_no, const char *ref, int field,
			       struct xn_value *value, const char *line)
{
	struct forged t = forge(f);

	put_later(&t, class_no, ref, field, value);
	append(&t);
	assert_found(f, line);
}

static void what_waits_and_is_not_what_it_should_be_is_named(void **state)
{
	struct fixture *f = *state;
	int vm = f->db->names.class_no[XN_CLASS_VM];
	char long_ref[200] = {0};

	assert_later_found(f, vm, vm_ref, XN_VM_affinity, xn_string(vbd_ref),
			   " affinity: is for host but names a VBD: OpaqueRef:33333333");
	assert_later_found(f, vm, vm_ref, XN_VM_power_state, xn_string("Flying"),
			   "VM OpaqueRef:11111111-1111-4111-8111-111111111111 power_state: what "
			   "waits is not of the type");
	assert_later_found(f, vm, vm_ref, XN_VM_memory_target, xn_string("much"),
			   " memory_target: what waits is not of the type int: \"much\"");
	assert_later_found(f, 60000, vm_ref, XN_VM_name_label, xn_string("x"),
			   "holds a class of no name");
	memset(long_ref, 'x', sizeof(long_ref) - 1);
	assert_later_found(f, vm, long_ref, XN_VM_name_label, xn_string("x"),
			   "holds a malformed reference");
}

/* ---- stamps ---- */

static void a_stamp_that_was_not_given_out_is_named(void **state)
{
	struct fixture *f = *state;
	struct forged t = forge(f);

	put_entry(&t, XN_TX_STAMP, XN_CLASS_VM, vm_ref, 1000);
	append(&t);
	assert_found(f, "holds a malformed transaction");
}

static void transactions_that_do_not_follow_on_each_other_are_named(void **state)
{
	struct fixture *f = *state;
	struct forged t = forge(f);

	t.head.first += 5;
	put_entry(&t, XN_TX_STAMP, XN_CLASS_VM, vm_ref, 1);
	append(&t);
	assert_found(f, "a transaction has the generations");
}

static void a_deletion_before_the_creation_is_named(void **state)
{
	struct fixture *f = *state;
	struct forged t = forge(f);

	put_entry(&t, XN_TX_DELETE, XN_CLASS_VM_group, group_ref, 1);
	xn_put_fixed(&t.entries, t.head.next + 100);
	append(&t);
	assert_found(f, "VM_group OpaqueRef:44444444-4444-4444-8444-444444444444: its deletion has "
			"a stamp that cannot be");
}

static void a_living_row_that_is_told_to_be_deleted_is_named(void **state)
{
	struct fixture *f = *state;
	struct forged t = forge(f);

	put_entry(&t, XN_TX_DELETE, XN_CLASS_VM_group, group_ref, 5);
	xn_put_fixed(&t.entries, 1);
	put_entry(&t, XN_TX_CREATE, XN_CLASS_VM_group, group_ref, 2);
	xn_put_varint(&t.entries, 0);
	append(&t);
	assert_found(f, "OpaqueRef:44444444-4444-4444-8444-444444444444: is also told to be "
			"deleted");
}

static void a_skipped_range_in_the_future_is_named(void **state)
{
	struct fixture *f = *state;
	struct forged t = forge(f);
	struct xn_buf range = {0};

	xn_put_fixed(&range, t.head.next + 50);
	xn_put_fixed(&range, t.head.next + 60);
	xn_buf_add_char(&t.entries, XN_TX_META);
	xn_put_text(&t.entries, XN_META_SKIPPED, strlen(XN_META_SKIPPED));
	xn_put_text(&t.entries, range.data, range.len);
	append(&t);
	xn_buf_clear(&range);
	assert_found(f, "generations: the skipped range from");
}

/* The oldest of them are joined then, with what was given out in between. */
static void more_ranges_than_are_kept_are_no_finding(void **state)
{
	struct fixture *f = *state;
	struct xn_buf report = {0};

	for (int i = 0; i < XN_SKIPPED_MAX + 10; i++) {
		xn_generation_skip(f->db);
		if (i == 3)
			label(f, vm_ref, "in between");
	}
	label(f, other_vm_ref, "behind them");
	xn_turn_put_skipped(f->db);
	assert_int_equal(sync_all(f), 0);
	assert_int_equal(f->db->n_skipped, XN_SKIPPED_MAX);
	stop(f);
	if (check_folder(f, &report))
		fail_msg("%s", xn_buf_cstr(&report));
	xn_buf_clear(&report);
	start(f);
}

static void several_findings_are_all_named(void **state)
{
	struct fixture *f = *state;
	struct xn_buf report = {0};
	struct forged t = forge(f);

	put_set(&t, XN_CLASS_VM, vm_ref, XN_VM_power_state, xn_string("Flying"));
	put_set(&t, XN_CLASS_VM, other_vm_ref, XN_VM_power_state, xn_string("Diving"));
	put_set(&t, XN_CLASS_VBD, vbd_ref, XN_VBD_VM, xn_string(no_ref));
	append(&t);
	f->db->error = -1;
	stop(f);
	assert_int_equal(check_folder(f, &report), 3);
	assert_non_null(strstr(xn_buf_cstr(&report), "Flying"));
	assert_non_null(strstr(xn_buf_cstr(&report), "Diving"));
	assert_non_null(strstr(xn_buf_cstr(&report), "is gone"));
	xn_buf_clear(&report);
	start(f);
}

/* ---- files ---- */

static void a_damaged_record_of_the_journal_is_named(void **state)
{
	struct fixture *f = *state;

	a_vm(f, "damaged here");
	assert_int_equal(sync_all(f), 0);
	a_vm(f, "behind it"); /* proves that the one before was durable */
	assert_int_equal(sync_all(f), 0);
	damage(f, "journal-00000001", "damaged here");
	assert_found(f, "journal-00000001 is damaged at position");
}

static void a_damaged_record_of_the_past_is_named(void **state)
{
	struct fixture *f = *state;

	a_vm(f, "damaged here");
	assert_int_equal(sync_all(f), 0);
	restart(f); /* what is before is in the checkpoint now */
	damage(f, "journal-00000001", "damaged here");
	assert_found(f, "a record before the checkpoint's place is not valid");
}

/* The row is; what refers to it is proven all the same. */
static void a_damaged_row_of_the_checkpoint_is_named(void **state)
{
	struct fixture *f = *state;

	label(f, vm_ref, "damaged here");
	restart(f);
	damage(f, "checkpoint.mdb", "damaged here");
	assert_found_all(f,
			 (const char *const[]){
				 "VM OpaqueRef:11111111-1111-4111-8111-111111111111: "
				 "is damaged in the checkpoint\n",
				 "VBD OpaqueRef:33333333-3333-4333-8333-333333333333 VM: "
				 "names a row that is gone",
				 NULL});
}

static void a_start_refuses_a_damaged_row(void **state)
{
	struct fixture *f = *state;

	label(f, vm_ref, "damaged here");
	stop(f);
	damage(f, "checkpoint.mdb", "damaged here");
	assert_false(try_start(f));
	assert_non_null(strstr(f->why, "reading the checkpoint in"));
	stop(f);
	empty(f);
	start(f);
}

/* Neither hides what is wrong in the journal. */
static void damage_of_the_checkpoint_and_the_journal_is_all_named(void **state)
{
	struct fixture *f = *state;

	label(f, vm_ref, "damaged here");
	label(f, other_vm_ref, "damaged there");
	restart(f);
	a_vm(f, "damaged then");
	assert_int_equal(sync_all(f), 0);
	a_vm(f, "behind it");
	assert_int_equal(sync_all(f), 0);
	damage(f, "checkpoint.mdb", "damaged here");
	damage(f, "checkpoint.mdb", "damaged there");
	damage(f, "journal-00000001", "damaged then");
	assert_found_all(f, (const char *const[]){
				    "VM OpaqueRef:11111111-1111-4111-8111-111111111111: is damaged",
				    "VM OpaqueRef:22222222-2222-4222-8222-222222222222: is damaged",
				    "journal-00000001 is damaged at position", NULL});
}

/* Without the dictionary no row can be read, but each is proven to be as it was written. */
static void damaged_housekeeping_does_not_hide_damaged_rows(void **state)
{
	struct fixture *f = *state;

	label(f, vm_ref, "damaged here");
	restart(f);
	damage(f, "checkpoint.mdb", "name_label");
	damage(f, "checkpoint.mdb", "damaged here");
	assert_found_all(f, (const char *const[]){
				    "the database's \"names\": is damaged in the checkpoint",
				    "OpaqueRef:11111111-1111-4111-8111-111111111111: is damaged",
				    NULL});
}

static void a_missing_segment_is_named(void **state)
{
	struct fixture *f = *state;
	char *path = xn_asprintf("%s/db/journal-00000001", f->dir);

	restart(f);
	assert_int_equal(unlink(path), 0);
	free(path);
	assert_found(f, "journal is damaged at position");
}

static void a_newer_format_is_named(void **state)
{
	struct fixture *f = *state;
	char *command = xn_asprintf("echo 'xenolith database 99' > '%s/db/format'", f->dir);

	assert_int_equal(system(command), 0);
	free(command);
	assert_found(f, "has format 99, written by a newer version");
}

static void a_folder_in_use_is_not_checked(void **state)
{
	struct fixture *f = *state;
	struct xn_buf report = {0};

	assert_int_equal(check_folder(f, &report), 1);
	assert_non_null(strstr(xn_buf_cstr(&report), "is in use by a daemon that runs"));
	xn_buf_clear(&report);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_whole_database_is_clean_and_is_not_touched),
		TEST(a_value_of_another_type_is_named),
		TEST(a_value_that_the_enumeration_lacks_is_named),
		TEST(a_uuid_that_two_rows_have_is_named),
		TEST(a_reference_that_two_rows_have_is_named),
		TEST(a_reference_to_a_row_of_another_class_is_named),
		TEST(a_relation_to_a_row_that_is_gone_is_named),
		TEST(a_relation_with_one_end_is_named),
		TEST(a_field_of_no_name_is_named),
		TEST(an_operation_that_no_restart_could_read_is_named),
		TEST(a_stamp_that_was_not_given_out_is_named),
		TEST(transactions_that_do_not_follow_on_each_other_are_named),
		TEST(a_deletion_before_the_creation_is_named),
		TEST(a_living_row_that_is_told_to_be_deleted_is_named),
		TEST(a_skipped_range_in_the_future_is_named),
		TEST(more_ranges_than_are_kept_are_no_finding),
		TEST(what_waits_and_is_not_what_it_should_be_is_named),
		TEST(several_findings_are_all_named),
		TEST(a_damaged_record_of_the_journal_is_named),
		TEST(a_damaged_record_of_the_past_is_named),
		TEST(a_damaged_row_of_the_checkpoint_is_named),
		TEST(a_start_refuses_a_damaged_row),
		TEST(damage_of_the_checkpoint_and_the_journal_is_all_named),
		TEST(damaged_housekeeping_does_not_hide_damaged_rows),
		TEST(a_missing_segment_is_named),
		TEST(a_newer_format_is_named),
		TEST(a_folder_in_use_is_not_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
