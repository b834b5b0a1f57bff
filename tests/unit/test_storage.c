/*
 * Storage in virtual time, with real files: disks, repositories, scans, and what a restart makes of
 * the file names that a crash leaves.
 */
#include "tests/unit/cmocka_all.h"

#include "core/json.h"
#include "modules/auth/auth.h"
#include "modules/event/event.h"
#include "modules/host/host.h"
#include "modules/message/message.h"
#include "modules/operation/operation.h"
#include "modules/records/records.h"
#include "modules/storage/storage_internal.h"
#include "modules/task/task.h"
#include "tests/unit/api_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct xn_module *const modules[] = {
	&xn_db_module,      &xn_auth_module,
	&xn_task_module,    &xn_event_module,
	&xn_message_module, &xn_records_module,
	&xn_host_module,    &xn_operation_module,
	&xn_storage_module, NULL,
};

static const long long MIB = 1 << 20;

static int setup(void **state)
{
	return api_setup_with(state, modules);
}

/* ---- what tests look at ---- */

static const char *local_sr(struct api *api)
{
	return xn_storage_default_sr(xn_storage_of(&api->core));
}

static struct xn_row *sr_row(struct api *api, const char *sr)
{
	return xn_db_get(api->db, XN_CLASS_SR, sr);
}

static struct xn_row *iso_sr(struct api *api)
{
	struct xn_row *row = xn_db_first(api->db, XN_CLASS_SR);

	while (row && strcmp(xn_row_string(row, XN_SR_type), "iso") != 0)
		row = xn_db_next(api->db, row);
	assert_non_null(row);
	return row;
}

static const char *pbd_of(struct api *api, const char *sr)
{
	return xn_value_string(xn_set_at(xn_row_get(sr_row(api, sr), XN_SR_PBDs), 0));
}

/* Path of a file in the SR's folder; the test's to free. */
static char *file_in(struct api *api, const char *sr, const char *name)
{
	struct xn_row *pbd = xn_db_get(api->db, XN_CLASS_PBD, pbd_of(api, sr));
	const char *location = xn_row_map_string(pbd, XN_PBD_device_config, "location");

	return location[0] == '/' ? xn_asprintf("%s/%s", location, name)
				  : xn_asprintf("%s/%s/%s", api->dir, location, name);
}

static char *image_of(struct api *api, const char *vdi, const char *suffix)
{
	struct xn_row *row = xn_db_get(api->db, XN_CLASS_VDI, vdi);
	char *name = xn_asprintf("%s.raw%s", xn_row_uuid(row), suffix);
	char *path = file_in(api, xn_row_string(row, XN_VDI_SR), name);

	free(name);
	return path;
}

static long long size_of_file(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? -1 : (long long)st.st_size;
}

static void given_file(const char *path, long long size)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, text, strlen(text), 4096), strlen(text));
	close(fd);
}

static bool file_has(const char *path, const char *text)
{
	char found[64] = "";
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : pread(fd, found, strlen(text), 4096);

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(text) && memcmp(found, text, strlen(text)) == 0;
}

static struct xn_row *vdi_row(struct api *api, const char *vdi)
{
	return xn_db_get(api->db, XN_CLASS_VDI, vdi);
}

/* ---- calls ---- */

/* A call that answers a reference. */
static void call_for_ref(struct api *api, char out[48], const char *method, const char *args)
{
	char *text = api_do(api, method, args);

	assert_int_equal(strlen(text), 48); /* in quotes */
	snprintf(out, 48, "%.46s", text + 1);
	free(text);
}

static void call_on(struct api *api, const char *method, const char *ref, const char *more)
{
	char *args = xn_asprintf("[\"%s\"%s]", ref, more);

	free(api_do(api, method, args));
	free(args);
}

static void refuse_on(struct api *api, const char *method, const char *ref, const char *more,
		      const char *code, struct xn_error *err)
{
	char *args = xn_asprintf("[\"%s\"%s]", ref, more);

	api_fail(api, method, args, code, err);
	free(args);
}

/* A call that the stop cut off: nobody else frees what it held. */
static void drop_call(struct api_call *call)
{
	for (unsigned i = 0; !call->done && i < call->call.n_args; i++)
		xn_value_unref(call->call.args[i]);
	api_call_clear(call);
}

static char *vdi_args(const char *sr, long long size, const char *more)
{
	return xn_asprintf(
		"[{\"SR\":\"%s\",\"virtual_size\":%lld,\"type\":\"user\",\"sharable\":false,"
		"\"read_only\":false,\"other_config\":{}%s}]",
		sr, size, more);
}

static void given_vdi(struct api *api, char vdi[48])
{
	char *args = vdi_args(local_sr(api), 16 * MIB, ",\"name_label\":\"disk\"");

	call_for_ref(api, vdi, "VDI.create", args);
	free(args);
}

static void given_vbd(struct api *api, const char *vdi, const char *mode, bool attached)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *v = xn_map_new();

	xn_map_put_string(&v, "VDI", vdi);
	xn_map_put_string(&v, "VM", xn_host_control_domain(xn_host_of(&api->core)));
	xn_map_put_string(&v, "type", "Disk");
	xn_map_put_string(&v, "mode", mode);
	xn_map_put(&v, "currently_attached", xn_bool(attached));
	xn_db_create(api->db, XN_CLASS_VBD, NULL, v);
	xn_operation_refresh(xn_operations_of(&api->core), vdi_row(api, vdi));
	api_turn(api);
}

static void assert_database_is_sound(struct api *api)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf report = {0};

	if (xn_db_check(api->db, &report))
		fail_msg("%s", xn_buf_cstr(&report));
}

/* ---- first start ---- */

static void the_first_start_makes_repositories_that_are_attached(void **state)
{
	struct api *api = *state;
	char *folder = file_in(api, local_sr(api), "");

	assert_int_equal(xn_db_count(api->db, XN_CLASS_SR), 2);
	assert_true(size_of_file(folder) >= 0);
	for (struct xn_row *pbd = xn_db_first(api->db, XN_CLASS_PBD); pbd;
	     pbd = xn_db_next(api->db, pbd))
		assert_true(xn_row_bool(pbd, XN_PBD_currently_attached));
	free(folder);
	assert_database_is_sound(api);
}

static void each_repository_type_has_a_driver_record(void **state)
{
	struct api *api = *state;

	for (struct xn_row *sr = xn_db_first(api->db, XN_CLASS_SR); sr;
	     sr = xn_db_next(api->db, sr)) {
		struct xn_row *sm = xn_db_first(api->db, XN_CLASS_SM);

		while (sm &&
		       strcmp(xn_row_string(sm, XN_SM_type), xn_row_string(sr, XN_SR_type)) != 0)
			sm = xn_db_next(api->db, sm);
		assert_non_null(sm);
	}
}

static void a_repository_that_was_destroyed_does_not_come_back(void **state)
{
	struct api *api = *state;
	char sr[48];

	snprintf(sr, sizeof(sr), "%s", xn_row_ref(iso_sr(api)));
	call_on(api, "PBD.unplug", pbd_of(api, sr), "");
	call_on(api, "SR.destroy", sr, "");
	api_restart(api);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_SR), 1);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_PBD), 1);
}

/* ---- disks ---- */

static void a_new_disk_is_a_sparse_file(void **state)
{
	struct api *api = *state;
	char vdi[48];
	char *path;

	given_vdi(api, vdi);
	path = image_of(api, vdi, "");
	assert_int_equal(size_of_file(path), 16 * MIB);
	assert_string_equal(xn_row_string(vdi_row(api, vdi), XN_VDI_name_label), "disk");
	assert_true(xn_row_bool(vdi_row(api, vdi), XN_VDI_managed));
	assert_int_equal(xn_row_int(sr_row(api, local_sr(api)), XN_SR_virtual_allocation),
			 16 * MIB);
	free(path);
	path = image_of(api, vdi, ".new");
	assert_int_equal(size_of_file(path), -1);
	free(path);
	assert_database_is_sound(api);
}

static void sizes_are_rounded_up_to_blocks(void **state)
{
	struct api *api = *state;
	static const long long sizes[][2] = {{0, 4096}, {1, 4096}, {4096, 4096}, {4097, 8192}};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(sizes); i++) {
		char *args = vdi_args(local_sr(api), sizes[i][0], "");
		char vdi[48];

		call_for_ref(api, vdi, "VDI.create", args);
		assert_int_equal(xn_row_int(vdi_row(api, vdi), XN_VDI_virtual_size), sizes[i][1]);
		free(args);
	}
}

static void a_disk_of_negative_size_is_refused(void **state)
{
	struct api *api = *state;
	char *args = vdi_args(local_sr(api), -1, "");
	struct xn_error err = {0};

	api_fail(api, "VDI.create", args, "INVALID_VALUE", &err);
	assert_string_equal(err.params[0], "virtual_size");
	assert_string_equal(err.params[1], "-1");
	xn_error_clear(&err);
	free(args);
}

static void a_library_takes_no_new_disks(void **state)
{
	struct api *api = *state;
	char *args = vdi_args(xn_row_ref(iso_sr(api)), 4096, "");

	api_fail(api, "VDI.create", args, "SR_OPERATION_NOT_SUPPORTED", NULL);
	free(args);
}

static void a_destroyed_disk_leaves_no_file_and_no_row(void **state)
{
	struct api *api = *state;
	char vdi[48];
	char *path;

	given_vdi(api, vdi);
	path = image_of(api, vdi, "");
	call_on(api, "VDI.destroy", vdi, "");
	assert_int_equal(size_of_file(path), -1);
	assert_null(vdi_row(api, vdi));
	assert_int_equal(xn_row_int(sr_row(api, local_sr(api)), XN_SR_virtual_allocation), 0);
	free(path);
}

static void a_disk_in_use_is_not_destroyed(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	char vdi[48];
	char *path;

	given_vdi(api, vdi);
	given_vbd(api, vdi, "RW", true);
	path = image_of(api, vdi, "");
	refuse_on(api, "VDI.destroy", vdi, "", "VDI_IN_USE", &err);
	assert_string_equal(err.params[0], vdi);
	assert_string_equal(err.params[1], "destroy");
	assert_true(size_of_file(path) > 0);
	xn_error_clear(&err);
	free(path);
}

static void destroying_a_disk_removes_its_unplugged_devices(void **state)
{
	struct api *api = *state;
	char vdi[48];

	given_vdi(api, vdi);
	given_vbd(api, vdi, "RW", false);
	call_on(api, "VDI.destroy", vdi, "");
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VBD), 0);
	assert_database_is_sound(api);
}

static void a_disk_whose_image_is_lost_can_be_destroyed(void **state)
{
	struct api *api = *state;
	char vdi[48];
	char *path;

	given_vdi(api, vdi);
	path = image_of(api, vdi, "");
	assert_int_equal(unlink(path), 0);
	call_on(api, "VDI.destroy", vdi, "");
	assert_null(vdi_row(api, vdi));
	free(path);
}

static void a_disk_grows_but_never_shrinks(void **state)
{
	struct api *api = *state;
	char vdi[48];
	char *path;

	given_vdi(api, vdi);
	path = image_of(api, vdi, "");
	call_on(api, "VDI.resize", vdi, ",33554432");
	assert_int_equal(size_of_file(path), 32 * MIB);
	assert_int_equal(xn_row_int(vdi_row(api, vdi), XN_VDI_virtual_size), 32 * MIB);
	assert_int_equal(xn_row_int(sr_row(api, local_sr(api)), XN_SR_virtual_allocation),
			 32 * MIB);
	refuse_on(api, "VDI.resize", vdi, ",4096", "VDI_TOO_SMALL", NULL);
	assert_int_equal(size_of_file(path), 32 * MIB);
	free(path);
}

static enum xn_op_fault disk_refuses_when_it_grows(const struct xn_op *op, int member, void *arg)
{
	const struct xn_sim_faults faults = {.append_failures = 1, .reopen_failures = 1};

	if (strcmp(xn_op_step_name(op), "grow the image") == 0 && !op->undoing)
		xn_sim_disk_set_faults(arg, &faults);
	return XN_FAULT_NONE;
}

/* However long that is: it is told, and nothing has grown. */
static void a_growth_that_the_database_cannot_keep_is_taken_back(void **state)
{
	const struct xn_sim_faults works = {0};
	struct api *api = *state;
	struct api_call call;
	char vdi[48];
	char *path, *args;
	int64_t before;

	given_vdi(api, vdi);
	api_run(api, 1);
	path = image_of(api, vdi, "");
	before = size_of_file(path);
	api->core.op_fault = disk_refuses_when_it_grows;
	api->core.op_fault_arg = api->disk;
	args = xn_asprintf("[\"%s\",33554432]", vdi);
	api_begin(api, &call, "VDI.resize", args);
	api_wait(api, &call.done);
	assert_string_equal(call.err.code, XN_ERR_INTERNAL_ERROR);
	assert_int_equal(size_of_file(path), before);
	assert_int_equal(xn_row_int(vdi_row(api, vdi), XN_VDI_virtual_size), before);

	api->core.op_fault = NULL;
	xn_sim_disk_set_faults(api->disk, &works);
	api_run(api, 5);
	assert_int_equal(xn_map_len(xn_row_get(vdi_row(api, vdi), XN_VDI_current_operations)), 0);
	call_on(api, "SR.scan", local_sr(api), "");
	assert_int_equal(xn_row_int(vdi_row(api, vdi), XN_VDI_virtual_size), before);
	call_on(api, "VDI.resize", vdi, ",33554432");
	assert_int_equal(size_of_file(path), 32 * MIB);
	api_call_clear(&call);
	free(args);
	free(path);
}

/* ---- copies ---- */

static void a_clone_has_the_content_and_a_life_of_its_own(void **state)
{
	struct api *api = *state;
	char vdi[48], copy[48];
	char *path, *copy_path;

	given_vdi(api, vdi);
	path = image_of(api, vdi, "");
	write_file(path, "content");
	call_on(api, "VDI.add_to_other_config", vdi, ",\"k\",\"v\"");
	{
		char *args = xn_asprintf("[\"%s\"]", vdi);

		call_for_ref(api, copy, "VDI.clone", args);
		free(args);
	}
	copy_path = image_of(api, copy, "");
	assert_true(file_has(copy_path, "content"));
	write_file(copy_path, "CHANGED");
	assert_true(file_has(path, "content"));
	assert_string_equal(xn_row_map_string(vdi_row(api, copy), XN_VDI_other_config, "k"), "v");
	assert_string_equal(xn_row_string(vdi_row(api, copy), XN_VDI_name_label), "disk");
	assert_false(xn_row_bool(vdi_row(api, copy), XN_VDI_is_a_snapshot));
	assert_int_equal(xn_map_len(xn_row_get(vdi_row(api, vdi), XN_VDI_current_operations)), 0);
	free(path);
	free(copy_path);
}

static void a_snapshot_knows_its_origin_and_time(void **state)
{
	struct api *api = *state;
	char vdi[48], snapshot[48];
	char *args;

	given_vdi(api, vdi);
	args = xn_asprintf("[\"%s\"]", vdi);
	call_for_ref(api, snapshot, "VDI.snapshot", args);
	assert_true(xn_row_bool(vdi_row(api, snapshot), XN_VDI_is_a_snapshot));
	assert_string_equal(xn_row_string(vdi_row(api, snapshot), XN_VDI_snapshot_of), vdi);
	assert_true(xn_value_int(xn_row_get(vdi_row(api, snapshot), XN_VDI_snapshot_time)) > 0);
	assert_true(xn_set_has_string(xn_row_get(vdi_row(api, vdi), XN_VDI_snapshots), snapshot));
	free(args);
}

static void a_clone_of_a_snapshot_is_a_disk(void **state)
{
	struct api *api = *state;
	char vdi[48], snapshot[48], clone[48];
	char *args;

	given_vdi(api, vdi);
	args = xn_asprintf("[\"%s\"]", vdi);
	call_for_ref(api, snapshot, "VDI.snapshot", args);
	free(args);
	args = xn_asprintf("[\"%s\"]", snapshot);
	call_for_ref(api, clone, "VDI.clone", args);
	free(args);
	assert_false(xn_row_bool(vdi_row(api, clone), XN_VDI_is_a_snapshot));
	assert_string_equal(xn_row_string(vdi_row(api, clone), XN_VDI_snapshot_of), XN_NULL_REF);
}

static void the_copy_of_a_library_image_is_a_disk(void **state)
{
	struct api *api = *state;
	char sr[48], copy[48];
	char *path, *args, *copy_path;

	snprintf(sr, sizeof(sr), "%s", xn_row_ref(iso_sr(api)));
	path = file_in(api, sr, "tool.iso");
	given_file(path, 8192);
	write_file(path, "install");
	call_on(api, "SR.scan", sr, "");
	args = xn_asprintf("[\"%s\",\"%s\"]",
			   xn_value_string(xn_set_at(xn_row_get(sr_row(api, sr), XN_SR_VDIs), 0)),
			   local_sr(api));
	call_for_ref(api, copy, "VDI.copy", args);
	copy_path = image_of(api, copy, "");
	assert_true(file_has(copy_path, "install"));
	free(copy_path);
	free(args);
	free(path);
}

static void a_disk_that_is_written_to_is_not_copied(void **state)
{
	struct api *api = *state;
	char vdi[48];
	char *more = xn_asprintf(",\"%s\"", local_sr(api));

	given_vdi(api, vdi);
	given_vbd(api, vdi, "RW", true);
	refuse_on(api, "VDI.copy", vdi, more, "VDI_IN_USE", NULL);
	free(more);
}

static void a_copy_into_a_smaller_disk_is_refused(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	char vdi[48], small[48];
	char *args = vdi_args(local_sr(api), 4096, "");
	char *more;

	given_vdi(api, vdi);
	call_for_ref(api, small, "VDI.create", args);
	more = xn_asprintf(",\"OpaqueRef:NULL\",\"OpaqueRef:NULL\",\"%s\"", small);
	refuse_on(api, "VDI.copy", vdi, more, "VDI_TOO_SMALL", &err);
	assert_string_equal(err.params[0], small);
	assert_string_equal(err.params[1], "16777216");
	xn_error_clear(&err);
	free(more);
	free(args);
}

static void a_disk_is_not_copied_over_itself(void **state)
{
	struct api *api = *state;
	char vdi[48];
	char *more;

	given_vdi(api, vdi);
	more = xn_asprintf(",\"OpaqueRef:NULL\",\"OpaqueRef:NULL\",\"%s\"", vdi);
	refuse_on(api, "VDI.copy", vdi, more, "VDI_IN_USE", NULL);
	free(more);
}

/* Neither is it changed meanwhile, nor is the change refused: it waits. */
static void a_disk_that_is_copied_grows_afterwards(void **state)
{
	struct api *api = *state;
	struct api_call copies[2], grown;
	char vdi[48];
	char *copy, *grow;

	given_vdi(api, vdi);
	copy = xn_asprintf("[\"%s\",\"%s\"]", vdi, local_sr(api));
	grow = xn_asprintf("[\"%s\",33554432]", vdi);
	for (int i = 0; i < 2; i++)
		api_begin(api, &copies[i], "VDI.copy", copy);
	api_turn(api);
	assert_int_equal(xn_map_len(xn_row_get(vdi_row(api, vdi), XN_VDI_current_operations)), 2);
	api_begin(api, &grown, "VDI.resize", grow);
	api_turn(api);
	assert_int_equal(xn_map_len(xn_row_get(vdi_row(api, vdi), XN_VDI_current_operations)), 2);
	api_wait(api, &grown.done);
	assert_int_equal(xn_row_int(vdi_row(api, vdi), XN_VDI_virtual_size), 32 * MIB);
	for (int i = 0; i < 2; i++) {
		assert_true(copies[i].done);
		assert_non_null(copies[i].json);
		api_call_clear(&copies[i]);
	}
	api_call_clear(&grown);
	free(copy);
	free(grow);
}

/* ---- over a disk that is there ---- */

static int no_work(struct xn_work *work)
{
	return 0;
}

static void no_end(struct xn_work *work, int rc)
{
}

/* For a second or more nothing is copied but behind this. The test's to free, after that. */
static struct xn_work *given_busy_copiers(struct api *api)
{
	enum { WORKS = 2000 };
	struct xn_work *works = xn_calloc(WORKS, sizeof(*works));

	for (int i = 0; i < WORKS; i++) {
		works[i] = (struct xn_work){.run = no_work, .done = no_end};
		xn_pool_submit(xn_storage_of(&api->core)->copies, &works[i]);
	}
	return works;
}

/* A disk that says "new" and one that says "old"; the call that copies the first over the second.
 */
struct overwriting {
	char source[48], into[48];
	char *path, *args;
	const char *method;
	struct api_call call;
};

static void given_overwriting(struct api *api, struct overwriting *w, bool is_revert)
{
	char *path, *args;

	given_vdi(api, w->into);
	w->path = image_of(api, w->into, "");
	write_file(w->path, "new");
	args = xn_asprintf("[\"%s\"]", w->into);
	call_for_ref(api, w->source, "VDI.snapshot", args);
	write_file(w->path, "old");
	w->method = is_revert ? "VDI.revert" : "VDI.copy";
	w->args = is_revert ? xn_asprintf("[\"%s\"]", w->source)
			    : xn_asprintf("[\"%s\",\"OpaqueRef:NULL\",\"OpaqueRef:NULL\",\"%s\"]",
					  w->source, w->into);
	path = image_of(api, w->source, "");
	assert_true(file_has(path, "new"));
	free(path);
	free(args);
}

static void clear_overwriting(struct overwriting *w)
{
	free(w->path);
	free(w->args);
}

/* The request that copies, once it is queued. */
static struct xn_sr_request *copying_request(struct api *api)
{
	for (int us = 0; us < 1000000; us++) {
		struct xn_storage *st = xn_storage_of(&api->core);

		xn_list_each(node, &st->requests) {
			struct xn_sr_request *rq = xn_list_entry(node, struct xn_sr_request, link);

			if (rq->source)
				return rq;
		}
		xn_loop_turn(api->core.loop, 1);
	}
	fail_msg("nothing is copied");
	return NULL;
}

static void note_token(const struct xn_op *op, void *arg)
{
	*(struct xn_op_token *)arg = xn_op_token(op);
}

/* As its deadline would. */
static void give_up(struct api *api)
{
	struct xn_error err = {0};
	struct xn_op_token token = {0};

	xn_op_each(&api->core, note_token, &token);
	xn_error_set(&err, XN_ERR_INTERNAL_ERROR, "late");
	xn_op_fail_late(&api->core, &token, &err);
}

static void who_gives_up_copying_over_a_disk_leaves_it_alone(void **state)
{
	struct api *api = *state;

	for (int is_revert = 0; is_revert < 2; is_revert++) {
		struct overwriting w;
		struct xn_work *works;

		given_overwriting(api, &w, is_revert);
		works = given_busy_copiers(api);
		api_begin(api, &w.call, w.method, w.args);
		copying_request(api);
		give_up(api);
		api_wait(api, &w.call.done);
		assert_string_equal(w.call.err.code, XN_ERR_INTERNAL_ERROR);
		write_file(w.path, "own"); /* by who has the disk now */
		api_run(api, 60);
		assert_true(file_has(w.path, "own"));
		assert_int_equal(
			xn_map_len(xn_row_get(vdi_row(api, w.into), XN_VDI_current_operations)), 0);
		api_call_clear(&w.call);
		clear_overwriting(&w);
		free(works);
	}
}

static void copying_over_a_disk_goes_on_after_a_restart(void **state)
{
	struct api *api = *state;

	for (int is_revert = 0; is_revert < 2; is_revert++) {
		struct overwriting w;

		given_overwriting(api, &w, is_revert);
		api_begin(api, &w.call, w.method, w.args);
		copying_request(api);
		api_restart(api);
		drop_call(&w.call);
		assert_true(file_has(w.path, "old"));
		api_run(api, 60);
		assert_true(file_has(w.path, "new"));
		assert_int_equal(
			xn_map_len(xn_row_get(vdi_row(api, w.into), XN_VDI_current_operations)), 0);
		clear_overwriting(&w);
	}
}

static const char *pending_task(struct api *api)
{
	for (struct xn_row *row = xn_db_first(api->db, XN_CLASS_task); row;
	     row = xn_db_next(api->db, row))
		if (strcmp(xn_row_string(row, XN_task_status), "pending") == 0)
			return xn_row_ref(row);
	return NULL;
}

static void copying_over_a_disk_tells_how_far_it_is(void **state)
{
	struct api *api = *state;
	struct overwriting w;
	struct xn_work *works;
	struct xn_sr_request *rq;
	int64_t begun_us;

	given_overwriting(api, &w, true);
	works = given_busy_copiers(api);
	api_begin(api, &w.call, w.method, w.args);
	rq = copying_request(api);
	atomic_store(&rq->progress.total, 100);
	atomic_store(&rq->progress.done, 40);
	begun_us = xn_now_us(api->core.loop);
	while (xn_now_us(api->core.loop) < begun_us + 500000)
		xn_loop_turn(api->core.loop, 1000);
	assert_false(w.call.done);
	assert_true(xn_value_float(xn_row_get(xn_db_get(api->db, XN_CLASS_task, pending_task(api)),
					      XN_task_progress)) == 0.4);
	api_wait(api, &w.call.done);
	assert_true(file_has(w.path, "new"));
	api_call_clear(&w.call);
	clear_overwriting(&w);
	api_run(api, 60);
	free(works);
}

static void a_cancelled_copy_leaves_nothing(void **state)
{
	struct api *api = *state;
	struct api_call call;
	char vdi[48], task[48];
	char *args;

	given_vdi(api, vdi);
	args = xn_asprintf("[\"%s\",\"%s\"]", vdi, local_sr(api));
	api_begin(api, &call, "VDI.copy", args);
	api_turn(api);
	assert_non_null(pending_task(api));
	snprintf(task, sizeof(task), "%s", pending_task(api));
	call_on(api, "task.cancel", task, "");
	api_wait(api, &call.done);
	assert_string_equal(call.err.code, "TASK_CANCELLED");
	api_run(api, 60);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), 1);
	assert_int_equal(xn_map_len(xn_row_get(vdi_row(api, vdi), XN_VDI_current_operations)), 0);
	api_call_clear(&call);
	free(args);
}

/* Who gives up waiting for others' copies holds nothing any longer than that. */
static void a_cancelled_copy_does_not_wait_for_its_turn(void **state)
{
	struct api *api = *state;
	struct xn_pool *copies = xn_storage_of(&api->core)->copies;
	struct api_call call;
	struct xn_work *works;
	char vdi[48];
	char *args, *task;
	unsigned queued;

	given_vdi(api, vdi);
	works = given_busy_copiers(api);
	queued = xn_pool_queued(copies);
	args = xn_asprintf("[\"%s\",\"%s\"]", vdi, local_sr(api));
	api_begin(api, &call, "VDI.copy", args);
	copying_request(api);
	task = xn_asprintf("%s", pending_task(api));
	call_on(api, "task.cancel", task, "");
	api_wait(api, &call.done);
	assert_string_equal(call.err.code, "TASK_CANCELLED");
	assert_in_range(xn_pool_queued(copies), 1, queued);
	assert_int_equal(xn_map_len(xn_row_get(vdi_row(api, vdi), XN_VDI_current_operations)), 0);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), 1);
	api_call_clear(&call);
	api_run(api, 60);
	free(works);
	free(task);
	free(args);
}

/* It is not there any more when the module stops, before anybody was told. */
static void a_stop_right_after_a_cancel_forgets_the_copy(void **state)
{
	struct api *api = *state;
	struct api_call call;
	struct xn_work *works;
	char vdi[48];
	char *args;

	given_vdi(api, vdi);
	works = given_busy_copiers(api);
	args = xn_asprintf("[\"%s\",\"%s\"]", vdi, local_sr(api));
	api_begin(api, &call, "VDI.copy", args);
	xn_sr_request_stop(xn_storage_of(&api->core), copying_request(api));
	api_restart(api);
	drop_call(&call);
	api_run(api, 60);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), 1);
	assert_int_equal(xn_map_len(xn_row_get(vdi_row(api, vdi), XN_VDI_current_operations)), 0);
	free(works);
	free(args);
}

/* Its row is there, and the disk says that it may not survive. */
static void a_cancelled_disk_goes_also_when_its_sync_fails(void **state)
{
	struct xn_sim_faults faults = {.sync_min_us = 100000, .sync_max_us = 100000};
	struct api *api = *state;
	struct api_call call, cancel;
	char *args = vdi_args(local_sr(api), MIB, ""), *task, *image;

	xn_sim_disk_set_faults(api->disk, &faults);
	api_begin(api, &call, "VDI.create", args);
	for (int ms = 0; ms < 10000 && xn_db_count(api->db, XN_CLASS_VDI) == 0; ms++)
		xn_loop_turn(api->core.loop, 1000);
	image = image_of(api, xn_row_ref(xn_db_first(api->db, XN_CLASS_VDI)), ".new");
	task = xn_asprintf("[\"%s\"]", pending_task(api));
	api_begin(api, &cancel, "task.cancel", task);
	faults.sync_failures = faults.reopen_failures = 1;
	xn_sim_disk_set_faults(api->disk, &faults);
	api_run(api, 60);
	assert_true(xn_db_writable(api->db) < 0);
	assert_true(size_of_file(image) > 0); /* a power cut now leaves no image without a row */
	xn_sim_disk_set_faults(api->disk, &(struct xn_sim_faults){0});
	api_wait(api, &call.done);
	assert_string_equal(call.err.code, "TASK_CANCELLED");
	api_run(api, 60);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), 0);
	assert_int_equal(size_of_file(image), -1);
	assert_database_is_sound(api);
	api_call_clear(&call);
	api_call_clear(&cancel);
	free(image);
	free(task);
	free(args);
}

static enum xn_op_fault late_on_a_full_disk(const struct xn_op *op, int member, void *arg)
{
	const struct xn_sim_faults full = {.append_failures = 1, .reopen_failures = 1};
	const char *step = op->kind->steps[op->step].name;
	struct api *api = arg;

	if (op->undoing || strcmp(step, "stop who writes to the disk") == 0) /* nobody: no wait */
		return XN_FAULT_NONE;
	xn_sim_disk_set_faults(api->disk, &full);
	return XN_FAULT_LATE;
}

/* The step's deadline passes while the disk is full; what the step began ends after that. */
static void goes_late_on_a_full_disk(struct api *api, const char *vdi, const char *method,
				     const char *args)
{
	const struct xn_sim_faults none = {0};
	struct api_call call;

	api->core.op_fault = late_on_a_full_disk;
	api->core.op_fault_arg = api;
	api_begin(api, &call, method, args);
	api_run(api, 60);
	api->core.op_fault = NULL;
	xn_sim_disk_set_faults(api->disk, &none);
	api_wait(api, &call.done);
	assert_string_equal(call.err.code, XN_ERR_INTERNAL_ERROR);
	api_run(api, 60);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), 1);
	assert_int_equal(xn_map_len(xn_row_get(vdi_row(api, vdi), XN_VDI_current_operations)), 0);
	assert_database_is_sound(api);
	api_call_clear(&call);
}

static void what_ends_late_on_a_full_disk_ends_nothing_else(void **state)
{
	static const char *const methods[] = {"VDI.clone", "VDI.snapshot", "VDI.update"};
	struct api *api = *state;
	char *create = vdi_args(local_sr(api), MIB, ""), *one, *copy, *scan;
	char vdi[48];

	given_vdi(api, vdi);
	one = xn_asprintf("[\"%s\"]", vdi);
	copy = xn_asprintf("[\"%s\",\"%s\"]", vdi, local_sr(api));
	scan = xn_asprintf("[\"%s\"]", local_sr(api));
	goes_late_on_a_full_disk(api, vdi, "VDI.create", create);
	goes_late_on_a_full_disk(api, vdi, "VDI.copy", copy);
	goes_late_on_a_full_disk(api, vdi, "SR.scan", scan);
	for (size_t i = 0; i < XN_ARRAY_SIZE(methods); i++)
		goes_late_on_a_full_disk(api, vdi, methods[i], one);
	free(create);
	free(copy);
	free(scan);
	free(one);
}

/* ---- what a crash leaves ---- */

static void an_image_without_a_row_that_was_being_made_is_removed(void **state)
{
	struct api *api = *state;
	char *path = file_in(api, local_sr(api), "00000000-0000-4000-8000-000000000001.raw.new");

	given_file(path, 4096);
	api_restart(api);
	api_run(api, 1);
	assert_int_equal(size_of_file(path), -1);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), 0);
	free(path);
}

static void an_image_without_a_row_that_was_being_destroyed_is_removed(void **state)
{
	struct api *api = *state;
	char *path = file_in(api, local_sr(api), "00000000-0000-4000-8000-000000000001.raw.gone");

	given_file(path, 4096);
	api_restart(api);
	api_run(api, 1);
	assert_int_equal(size_of_file(path), -1);
	free(path);
}

static void restart_with_image_as(struct api *api, const char *suffix)
{
	char vdi[48];
	char *plain, *odd;

	given_vdi(api, vdi);
	plain = image_of(api, vdi, "");
	odd = image_of(api, vdi, suffix);
	write_file(plain, "content");
	assert_int_equal(rename(plain, odd), 0);
	api_restart(api);
	api_run(api, 1);
	assert_true(file_has(plain, "content"));
	assert_int_equal(size_of_file(odd), -1);
	assert_false(xn_row_bool(vdi_row(api, vdi), XN_VDI_missing));
	free(plain);
	free(odd);
}

static void a_disk_with_a_row_that_was_being_made_gets_its_name(void **state)
{
	restart_with_image_as(*state, ".new");
}

static void a_disk_with_a_row_that_was_being_destroyed_comes_back(void **state)
{
	restart_with_image_as(*state, ".gone");
}

static void note_failure(const struct xn_error *err, void *arg)
{
	bool *failed = arg;

	assert_non_null(err);
	*failed = true;
}

static void a_disk_whose_destruction_the_database_refused_keeps_its_image(void **state)
{
	struct api *api = *state;
	struct xn_sim_faults faults = {.append_failures = 1};
	bool failed = false;
	char *plain, *gone;
	char vdi[48];

	given_vdi(api, vdi);
	api_run(api, 1);
	plain = image_of(api, vdi, "");
	gone = image_of(api, vdi, ".gone");
	write_file(plain, "content");
	xn_sim_disk_set_faults(api->disk, &faults);
	xn_storage_destroy_vdi(xn_storage_of(&api->core), vdi, note_failure, &failed);
	api_wait(api, &failed);
	assert_non_null(vdi_row(api, vdi));
	assert_true(file_has(plain, "content"));
	assert_int_equal(size_of_file(gone), -1);
	faults = (struct xn_sim_faults){0};
	xn_sim_disk_set_faults(api->disk, &faults);
	free(plain);
	free(gone);
}

static void an_image_put_there_by_hand_is_never_removed(void **state)
{
	struct api *api = *state;
	char *path = file_in(api, local_sr(api), "00000000-0000-4000-8000-000000000001.raw");
	struct xn_row *vdi;

	given_file(path, 8192);
	api_restart(api);
	api_run(api, 1);
	assert_int_equal(size_of_file(path), 8192);
	call_on(api, "SR.scan", local_sr(api), "");
	vdi = xn_db_by_uuid(api->db, XN_CLASS_VDI, "00000000-0000-4000-8000-000000000001");
	assert_non_null(vdi);
	assert_int_equal(xn_row_int(vdi, XN_VDI_virtual_size), 8192);
	free(path);
}

static void a_disk_whose_image_went_is_missing_until_it_is_back(void **state)
{
	struct api *api = *state;
	char vdi[48];
	char *path, *aside;

	given_vdi(api, vdi);
	path = image_of(api, vdi, "");
	aside = xn_asprintf("%s/aside", api->dir);
	assert_int_equal(rename(path, aside), 0);
	call_on(api, "SR.scan", local_sr(api), "");
	assert_true(xn_row_bool(vdi_row(api, vdi), XN_VDI_missing));
	assert_int_equal(rename(aside, path), 0);
	call_on(api, "SR.scan", local_sr(api), "");
	assert_false(xn_row_bool(vdi_row(api, vdi), XN_VDI_missing));
	free(path);
	free(aside);
}

static void a_repository_that_cannot_be_reached_is_detached_at_the_start(void **state)
{
	struct api *api = *state;
	char *folder = file_in(api, local_sr(api), "");
	char *aside = xn_asprintf("%s/aside", api->dir);

	folder[strlen(folder) - 1] = '\0';
	assert_int_equal(rename(folder, aside), 0);
	api_restart(api);
	api_run(api, 1);
	assert_false(xn_row_bool(xn_db_get(api->db, XN_CLASS_PBD, pbd_of(api, local_sr(api))),
				 XN_PBD_currently_attached));
	assert_string_equal(xn_row_string(xn_db_first(api->db, XN_CLASS_message), XN_message_name),
			    "PBD_PLUG_FAILED_ON_SERVER_START");
	refuse_on(api, "PBD.plug", pbd_of(api, local_sr(api)), "", "SR_BACKEND_FAILURE", NULL);
	assert_int_equal(rename(aside, folder), 0);
	call_on(api, "PBD.plug", pbd_of(api, local_sr(api)), "");
	free(folder);
	free(aside);
}

static bool is_attached(struct api *api, const char *sr)
{
	return xn_row_bool(xn_db_get(api->db, XN_CLASS_PBD, pbd_of(api, sr)),
			   XN_PBD_currently_attached);
}

static void what_was_unplugged_stays_so_until_the_machine_boots(void **state)
{
	struct api *api = *state;
	struct xn_row *host;

	call_on(api, "PBD.unplug", pbd_of(api, local_sr(api)), "");
	api_restart(api);
	api_run(api, 1);
	assert_false(is_attached(api, local_sr(api)));
	host = xn_db_get(api->db, XN_CLASS_host, xn_host_ref(xn_host_of(&api->core)));
	xn_db_map_put(api->db, host, XN_host_other_config, "boot_time", "1234567.");
	api_turn(api);
	api_restart(api);
	api_run(api, 1);
	assert_true(is_attached(api, local_sr(api)));
}

static void disks_are_the_same_after_a_restart(void **state)
{
	struct api *api = *state;
	char vdi[48], uuid[37], sr[48];

	given_vdi(api, vdi);
	snprintf(uuid, sizeof(uuid), "%s", xn_row_uuid(vdi_row(api, vdi)));
	snprintf(sr, sizeof(sr), "%s", local_sr(api));
	api_restart(api);
	assert_string_equal(local_sr(api), sr);
	assert_non_null(vdi_row(api, vdi));
	assert_string_equal(xn_row_uuid(vdi_row(api, vdi)), uuid);
	assert_database_is_sound(api);
}

/* ---- scans ---- */

static void a_library_lists_its_images_only(void **state)
{
	struct api *api = *state;
	char *sr = xn_strdup(xn_row_ref(iso_sr(api)));
	static const char *const names[] = {"debian.iso", "WINDOWS.ISO", "notes.txt", ".hidden.iso",
					    "\xff.iso"};
	const struct xn_value *vdis;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(names); i++) {
		char *path = file_in(api, sr, names[i]);

		given_file(path, 4096);
		free(path);
	}
	call_on(api, "SR.scan", sr, "");
	vdis = xn_row_get(sr_row(api, sr), XN_SR_VDIs);
	assert_int_equal(xn_set_len(vdis), 2);
	for (size_t i = 0; i < 2; i++) {
		struct xn_row *vdi = vdi_row(api, xn_value_string(xn_set_at(vdis, i)));

		assert_true(xn_row_bool(vdi, XN_VDI_read_only));
		assert_string_equal(xn_row_string(vdi, XN_VDI_name_label),
				    xn_row_string(vdi, XN_VDI_location));
	}
	free(sr);
}

static void an_image_that_left_the_library_leaves_the_list(void **state)
{
	struct api *api = *state;
	char *sr = xn_strdup(xn_row_ref(iso_sr(api)));
	char *path = file_in(api, sr, "debian.iso");

	given_file(path, 4096);
	call_on(api, "SR.scan", sr, "");
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), 1);
	assert_int_equal(unlink(path), 0);
	call_on(api, "SR.scan", sr, "");
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), 0);
	free(path);
	free(sr);
}

static void new_images_are_found_without_a_call(void **state)
{
	struct api *api = *state;
	char *path = file_in(api, xn_row_ref(iso_sr(api)), "debian.iso");

	given_file(path, 4096);
	api_run(api, 60);
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), 1);
	free(path);
}

/* Scans and changes at the same time, in many orders: no ghost is adopted, nothing is lost. */
static void scans_beside_changes_see_no_ghosts(void **state)
{
	struct api *api = *state;
	enum { N = 24 };
	struct api_call made[N], scanned[N], removed[N];
	char sr[48];
	char *args, *scan_args;

	snprintf(sr, sizeof(sr), "%s", local_sr(api));
	args = vdi_args(sr, 4096, "");
	scan_args = xn_asprintf("[\"%s\"]", sr);
	for (int i = 0; i < N; i++) {
		api_begin(api, &made[i], "VDI.create", args);
		api_begin(api, &scanned[i], "SR.scan", scan_args);
	}
	for (int i = 0; i < N; i++) {
		api_wait(api, &made[i].done);
		assert_non_null(made[i].json);
	}
	for (int i = 0; i < N; i++) {
		char *one = xn_asprintf("[%s]", made[i].json);

		api_wait(api, &scanned[i].done);
		assert_non_null(scanned[i].json);
		api_call_clear(&scanned[i]);
		if (i % 2)
			api_begin(api, &removed[i], "VDI.destroy", one);
		api_begin(api, &scanned[i], "SR.scan", scan_args);
		free(one);
	}
	for (int i = 0; i < N; i++) {
		api_wait(api, &scanned[i].done);
		api_call_clear(&scanned[i]);
		api_call_clear(&made[i]);
		if (i % 2) {
			api_wait(api, &removed[i].done);
			assert_non_null(removed[i].json);
			api_call_clear(&removed[i]);
		}
	}
	call_on(api, "SR.scan", sr, "");
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), N / 2);
	for (struct xn_row *row = xn_db_first(api->db, XN_CLASS_VDI); row;
	     row = xn_db_next(api->db, row))
		assert_false(xn_row_bool(row, XN_VDI_missing));
	assert_int_equal(xn_row_int(sr_row(api, sr), XN_SR_virtual_allocation), N / 2 * 4096);
	assert_database_is_sound(api);
	free(scan_args);
	free(args);
}

/* ---- repositories ---- */

static void given_sr(struct api *api, const char *name, char sr[48])
{
	char *args =
		xn_asprintf("[\"%s\",{\"location\":\"%s/%s\"},0,\"mine\",\"\",\"FILE\",\"user\","
			    "false]",
			    xn_host_ref(xn_host_of(&api->core)), api->dir, name);

	call_for_ref(api, sr, "SR.create", args);
	free(args);
}

static void a_repository_lives_and_goes(void **state)
{
	struct api *api = *state;
	char sr[48], pbd[48];
	char *folder = xn_asprintf("%s/mine", api->dir);

	given_sr(api, "mine", sr);
	snprintf(pbd, sizeof(pbd), "%s", pbd_of(api, sr));
	assert_true(size_of_file(folder) >= 0);
	assert_string_equal(xn_row_string(sr_row(api, sr), XN_SR_type), "file");
	assert_true(xn_row_int(sr_row(api, sr), XN_SR_physical_size) > 0);
	refuse_on(api, "SR.destroy", sr, "", "SR_HAS_PBD", NULL);
	call_on(api, "PBD.unplug", pbd, "");
	call_on(api, "SR.destroy", sr, "");
	assert_null(sr_row(api, sr));
	assert_null(xn_db_get(api->db, XN_CLASS_PBD, pbd));
	assert_int_equal(size_of_file(folder), -1);
	free(folder);
	assert_database_is_sound(api);
}

static void two_repositories_do_not_share_a_folder(void **state)
{
	struct api *api = *state;
	char sr[48];
	char *args = xn_asprintf(
		"[\"%s\",{\"location\":\"%s/mine\"},0,\"\",\"\",\"file\",\"user\",false]",
		xn_host_ref(xn_host_of(&api->core)), api->dir);

	given_sr(api, "mine", sr);
	api_fail(api, "SR.create", args, "SR_DEVICE_IN_USE", NULL);
	free(args);
}

static void locations_that_lead_astray_are_refused(void **state)
{
	struct api *api = *state;
	static const char *const locations[] = {"",          "/",       "..",  "../x",
						"a/../../x", "/tmp/..", "./sr"};
	size_t before = xn_db_count(api->db, XN_CLASS_SR);

	for (unsigned i = 0; i < XN_ARRAY_SIZE(locations); i++) {
		char *args = xn_asprintf(
			"[\"%s\",{\"location\":\"%s\"},0,\"\",\"\",\"file\",\"user\",false]",
			xn_host_ref(xn_host_of(&api->core)), locations[i]);

		api_fail(api, "SR.create", args, "SR_BACKEND_FAILURE", NULL);
		free(args);
	}
	assert_int_equal(xn_db_count(api->db, XN_CLASS_SR), before);
}

static void a_password_goes_into_a_secret_that_goes_with_the_pbd(void **state)
{
	struct api *api = *state;
	char *args =
		xn_asprintf("[\"%s\",{\"location\":\"%s/mine\",\"password\":\"pw\","
			    "\"chapPassword\":\"too\"},0,\"\",\"\",\"file\",\"user\",false]",
			    xn_host_ref(xn_host_of(&api->core)), api->dir);
	char sr[48], pbd[48];
	struct xn_row *row;

	call_for_ref(api, sr, "SR.create", args);
	snprintf(pbd, sizeof(pbd), "%s", pbd_of(api, sr));
	row = xn_db_get(api->db, XN_CLASS_PBD, pbd);
	assert_null(xn_row_map_string(row, XN_PBD_device_config, "password"));
	assert_null(xn_row_map_string(row, XN_PBD_device_config, "chapPassword"));
	assert_non_null(xn_row_map_string(row, XN_PBD_device_config, "chapPassword_secret"));
	row = xn_db_by_uuid(api->db, XN_CLASS_secret,
			    xn_row_map_string(row, XN_PBD_device_config, "password_secret"));
	assert_non_null(row);
	assert_string_equal(xn_row_string(row, XN_secret_value), "pw");
	call_on(api, "PBD.unplug", pbd, "");
	call_on(api, "PBD.destroy", pbd, "");
	assert_int_equal(xn_db_count(api->db, XN_CLASS_secret), 0);
	free(args);
}

static void a_repository_with_disks_is_not_destroyed(void **state)
{
	struct api *api = *state;
	char sr[48], vdi[48], pbd[48];
	char *args, *path;

	given_sr(api, "mine", sr);
	snprintf(pbd, sizeof(pbd), "%s", pbd_of(api, sr));
	args = vdi_args(sr, 4096, "");
	call_for_ref(api, vdi, "VDI.create", args);
	path = image_of(api, vdi, "");
	call_on(api, "PBD.unplug", pbd, "");
	refuse_on(api, "SR.destroy", sr, "", "SR_NOT_EMPTY", NULL);
	refuse_on(api, "VDI.destroy", vdi, "", "SR_HAS_NO_PBDS", NULL);
	call_on(api, "SR.forget", sr, "");
	assert_int_equal(size_of_file(path), 4096); /* forgotten is not lost */
	free(path);
	free(args);
}

static void a_pbd_whose_disks_are_in_use_is_not_unplugged(void **state)
{
	struct api *api = *state;
	struct xn_error err = {0};
	char vdi[48];

	given_vdi(api, vdi);
	given_vbd(api, vdi, "RO", true);
	refuse_on(api, "PBD.unplug", pbd_of(api, local_sr(api)), "", "VDI_IN_USE", &err);
	assert_string_equal(err.params[0], vdi);
	xn_error_clear(&err);
}

static void a_pbd_is_not_unplugged_while_a_disk_is_made(void **state)
{
	struct api *api = *state;
	struct api_call made;
	char *args = vdi_args(local_sr(api), 4096, "");

	api_begin(api, &made, "VDI.create", args);
	refuse_on(api, "PBD.unplug", pbd_of(api, local_sr(api)), "", "OTHER_OPERATION_IN_PROGRESS",
		  NULL);
	api_wait(api, &made.done);
	assert_non_null(made.json);
	api_call_clear(&made);
	free(args);
}

static void forgetting_the_default_repository_clears_the_default(void **state)
{
	struct api *api = *state;
	char sr[48];

	snprintf(sr, sizeof(sr), "%s", local_sr(api));
	call_on(api, "PBD.unplug", pbd_of(api, sr), "");
	call_on(api, "SR.forget", sr, "");
	assert_string_equal(local_sr(api), XN_NULL_REF);
}

/* An unplugged repository with rows of so many disks. */
static void given_many_disks(struct api *api, char sr[48], int n)
{
	given_sr(api, "many", sr);
	call_on(api, "PBD.unplug", pbd_of(api, sr), "");
	for (int i = 0; i < n; i++) {
		XN_CLEANUP(xn_value_unref_p) struct xn_value *v = xn_map_new();

		xn_map_put_string(&v, "SR", sr);
		xn_db_create(api->db, XN_CLASS_VDI, NULL, v);
	}
	api_turn(api);
}

static void a_repository_of_many_disks_is_forgotten_in_slices(void **state)
{
	enum { DISKS = 130, A_TURN = 50 };
	struct api *api = *state;
	struct api_call call;
	char sr[48];
	char *args;
	size_t left = DISKS;

	given_many_disks(api, sr, DISKS);
	args = xn_asprintf("[\"%s\"]", sr);
	api_begin(api, &call, "SR.forget", args);
	while (!call.done) {
		size_t before = left;

		xn_loop_turn(api->core.loop, 1000);
		left = xn_db_count(api->db, XN_CLASS_VDI);
		assert_in_range(before - left, 0, A_TURN);
		assert_true(sr_row(api, sr) || left == 0);
	}
	assert_non_null(call.json);
	assert_null(sr_row(api, sr));
	assert_int_equal(left, 0);
	assert_database_is_sound(api);
	api_call_clear(&call);
	free(args);
}

static void a_repository_that_is_half_forgotten_goes_after_a_restart(void **state)
{
	enum { DISKS = 130 };
	struct api *api = *state;
	struct api_call call;
	char sr[48];
	char *args;

	given_many_disks(api, sr, DISKS);
	args = xn_asprintf("[\"%s\"]", sr);
	api_begin(api, &call, "SR.forget", args);
	while (xn_db_count(api->db, XN_CLASS_VDI) == DISKS)
		xn_loop_turn(api->core.loop, 1000);
	assert_non_null(sr_row(api, sr));
	api_crash(api, XN_CRASH_KILL);
	drop_call(&call);
	api_run(api, 60);
	assert_null(sr_row(api, sr));
	assert_int_equal(xn_db_count(api->db, XN_CLASS_VDI), 0);
	assert_database_is_sound(api);
	free(args);
}

/* ---- domains ---- */

struct active {
	bool done;
	char *path;
	struct xn_error err;
};

static void on_active(const struct xn_error *err, const char *path, const char *format, void *arg)
{
	struct active *active = arg;

	active->done = true;
	if (err) {
		xn_error_copy(&active->err, err);
		return;
	}
	assert_string_equal(format, "raw");
	active->path = xn_strdup(path);
}

static void mark_done(const struct xn_error *err, void *arg)
{
	assert_null(err);
	*(bool *)arg = true;
}

static void a_domain_gets_the_path_of_an_image_that_is_there(void **state)
{
	struct api *api = *state;
	struct xn_storage *st = xn_storage_of(&api->core);
	struct active active = {0};
	bool done = false;
	char vdi[48];

	given_vdi(api, vdi);
	xn_storage_activate(st, vdi, "vbd/1/xvda", true, on_active, &active);
	api_wait(api, &active.done);
	assert_int_equal(size_of_file(active.path), 16 * MIB);
	assert_int_equal(active.path[0], '/');
	xn_storage_deactivate(st, vdi, "vbd/1/xvda", mark_done, &done);
	api_wait(api, &done);
	free(active.path);
}

static void a_domain_does_not_get_an_image_that_is_missing(void **state)
{
	struct api *api = *state;
	struct active active = {0};
	char vdi[48];
	char *path;

	given_vdi(api, vdi);
	path = image_of(api, vdi, "");
	assert_int_equal(unlink(path), 0);
	xn_storage_activate(xn_storage_of(&api->core), vdi, "vbd/1/xvda", true, on_active, &active);
	api_wait(api, &active.done);
	assert_string_equal(active.err.code, "VDI_MISSING");
	assert_true(xn_row_bool(vdi_row(api, vdi), XN_VDI_missing));
	xn_error_clear(&active.err);
	free(path);
}

static void a_library_image_is_not_given_for_writing(void **state)
{
	struct api *api = *state;
	struct active active = {0};
	char *path = file_in(api, xn_row_ref(iso_sr(api)), "debian.iso");

	given_file(path, 4096);
	call_on(api, "SR.scan", xn_row_ref(iso_sr(api)), "");
	xn_storage_activate(xn_storage_of(&api->core),
			    xn_row_ref(xn_db_first(api->db, XN_CLASS_VDI)), "vbd/1/xvdd", true,
			    on_active, &active);
	api_wait(api, &active.done);
	assert_string_equal(active.err.code, "VDI_READONLY");
	xn_error_clear(&active.err);
	free(path);
}

/* The daemon stops in the midst of everything; what was begun is gone or whole afterwards. */
static void a_stop_in_the_midst_of_work_loses_nothing(void **state)
{
	struct api *api = *state;
	struct api_call made[8], cloned;
	char vdi[48], sr[48];
	char *args, *clone_args;

	given_vdi(api, vdi);
	snprintf(sr, sizeof(sr), "%s", local_sr(api));
	args = vdi_args(sr, 4096, "");
	clone_args = xn_asprintf("[\"%s\"]", vdi);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(made); i++)
		api_begin(api, &made[i], "VDI.create", args);
	api_begin(api, &cloned, "VDI.clone", clone_args);
	for (int i = 0; i < 6; i++)
		xn_loop_turn(api->core.loop, 100);
	api_restart(api);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(made); i++)
		drop_call(&made[i]);
	drop_call(&cloned);
	api_run(api, 60);
	call_on(api, "SR.scan", sr, "");
	assert_int_equal(xn_map_len(xn_row_get(vdi_row(api, vdi), XN_VDI_current_operations)), 0);
	for (struct xn_row *row = xn_db_first(api->db, XN_CLASS_VDI); row;
	     row = xn_db_next(api->db, row)) {
		char *path = image_of(api, xn_row_ref(row), "");

		assert_true(size_of_file(path) > 0);
		assert_false(xn_row_bool(row, XN_VDI_missing));
		free(path);
	}
	assert_database_is_sound(api);
	free(clone_args);
	free(args);
}

#define STORAGE(test) cmocka_unit_test_setup_teardown(test, setup, api_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORAGE(the_first_start_makes_repositories_that_are_attached),
		STORAGE(each_repository_type_has_a_driver_record),
		STORAGE(a_repository_that_was_destroyed_does_not_come_back),
		STORAGE(a_new_disk_is_a_sparse_file),
		STORAGE(sizes_are_rounded_up_to_blocks),
		STORAGE(a_disk_of_negative_size_is_refused),
		STORAGE(a_library_takes_no_new_disks),
		STORAGE(a_destroyed_disk_leaves_no_file_and_no_row),
		STORAGE(a_disk_in_use_is_not_destroyed),
		STORAGE(destroying_a_disk_removes_its_unplugged_devices),
		STORAGE(a_disk_whose_image_is_lost_can_be_destroyed),
		STORAGE(a_disk_grows_but_never_shrinks),
		STORAGE(a_growth_that_the_database_cannot_keep_is_taken_back),
		STORAGE(a_clone_has_the_content_and_a_life_of_its_own),
		STORAGE(a_snapshot_knows_its_origin_and_time),
		STORAGE(a_clone_of_a_snapshot_is_a_disk),
		STORAGE(the_copy_of_a_library_image_is_a_disk),
		STORAGE(a_disk_that_is_written_to_is_not_copied),
		STORAGE(a_copy_into_a_smaller_disk_is_refused),
		STORAGE(a_disk_is_not_copied_over_itself),
		STORAGE(a_disk_that_is_copied_grows_afterwards),
		STORAGE(who_gives_up_copying_over_a_disk_leaves_it_alone),
		STORAGE(copying_over_a_disk_goes_on_after_a_restart),
		STORAGE(copying_over_a_disk_tells_how_far_it_is),
		STORAGE(a_cancelled_copy_leaves_nothing),
		STORAGE(a_cancelled_copy_does_not_wait_for_its_turn),
		STORAGE(a_stop_right_after_a_cancel_forgets_the_copy),
		STORAGE(a_cancelled_disk_goes_also_when_its_sync_fails),
		STORAGE(what_ends_late_on_a_full_disk_ends_nothing_else),
		STORAGE(an_image_without_a_row_that_was_being_made_is_removed),
		STORAGE(an_image_without_a_row_that_was_being_destroyed_is_removed),
		STORAGE(a_disk_with_a_row_that_was_being_made_gets_its_name),
		STORAGE(a_disk_with_a_row_that_was_being_destroyed_comes_back),
		STORAGE(a_disk_whose_destruction_the_database_refused_keeps_its_image),
		STORAGE(an_image_put_there_by_hand_is_never_removed),
		STORAGE(a_disk_whose_image_went_is_missing_until_it_is_back),
		STORAGE(a_repository_that_cannot_be_reached_is_detached_at_the_start),
		STORAGE(what_was_unplugged_stays_so_until_the_machine_boots),
		STORAGE(disks_are_the_same_after_a_restart),
		STORAGE(a_library_lists_its_images_only),
		STORAGE(an_image_that_left_the_library_leaves_the_list),
		STORAGE(new_images_are_found_without_a_call),
		STORAGE(scans_beside_changes_see_no_ghosts),
		STORAGE(a_repository_lives_and_goes),
		STORAGE(two_repositories_do_not_share_a_folder),
		STORAGE(locations_that_lead_astray_are_refused),
		STORAGE(a_password_goes_into_a_secret_that_goes_with_the_pbd),
		STORAGE(a_repository_with_disks_is_not_destroyed),
		STORAGE(a_pbd_whose_disks_are_in_use_is_not_unplugged),
		STORAGE(a_pbd_is_not_unplugged_while_a_disk_is_made),
		STORAGE(forgetting_the_default_repository_clears_the_default),
		STORAGE(a_repository_of_many_disks_is_forgotten_in_slices),
		STORAGE(a_repository_that_is_half_forgotten_goes_after_a_restart),
		STORAGE(a_domain_gets_the_path_of_an_image_that_is_there),
		STORAGE(a_domain_does_not_get_an_image_that_is_missing),
		STORAGE(a_library_image_is_not_given_for_writing),
		STORAGE(a_stop_in_the_midst_of_work_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
