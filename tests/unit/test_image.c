/* Disk images: names, copies with their holes, and what each state of a name means. On real files.
 */
#include "tests/unit/cmocka_all.h"

#include "modules/storage/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISK "00000000-0000-4000-8000-000000000001"
#define ANOTHER "00000000-0000-4000-8000-000000000002"

static const int64_t SIZE = 64 << 20;

/* Not in memory: tmpfs knows no holes in the way that disks do. */
static int make_folder(void **state)
{
	char *folder = strdup("/var/tmp/xn-test-image-XXXXXX");

	*state = folder;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char *command = xn_asprintf("rm -rf '%s'", (char *)*state);
	int rc = system(command);

	free(command);
	free(*state);
	return rc;
}

static bool exists(const char *folder, const char *name)
{
	char *path = xn_asprintf("%s/%s", folder, name);
	bool found = access(path, F_OK) == 0;

	free(path);
	return found;
}

static void write_at(const char *path, off_t at, const char *text)
{
	int fd = open(path, O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, text, strlen(text), at), strlen(text));
	close(fd);
}

static void assert_text_at(const char *path, off_t at, const char *text)
{
	char found[64] = "";
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, found, strlen(text), at), strlen(text));
	assert_memory_equal(found, text, strlen(text));
	close(fd);
}

/* A settled disk with two stretches of data. */
static char *given_disk(const char *folder, const char *uuid)
{
	char *path = xn_image_path(folder, uuid);

	assert_int_equal(xn_image_make(folder, uuid, XN_IMAGE_RAW, SIZE), 0);
	assert_int_equal(xn_image_settle(folder, uuid), 0);
	write_at(path, 4096, "near the start");
	write_at(path, SIZE - 8192, "near the end");
	return path;
}

static struct xn_image_info info_of(const char *path)
{
	struct xn_image_info info;

	assert_int_equal(xn_image_stat(path, &info), 0);
	return info;
}

/* ---- names ---- */

static void a_file_name_tells_disk_and_state(void **state)
{
	enum xn_image_state found;
	char uuid[37];

	assert_true(xn_image_parse_name(DISK ".raw", uuid, &found));
	assert_string_equal(uuid, DISK);
	assert_int_equal(found, XN_IMAGE_READY);
	assert_true(xn_image_parse_name(DISK ".raw.new", uuid, &found));
	assert_int_equal(found, XN_IMAGE_NEW);
	assert_true(xn_image_parse_name(DISK ".raw.gone", uuid, &found));
	assert_int_equal(found, XN_IMAGE_GONE);
	assert_true(xn_image_parse_name(DISK ".qcow2.new", uuid, &found));
	assert_int_equal(found, XN_IMAGE_NEW);
}

static void other_file_names_are_no_disks(void **state)
{
	static const char *const names[] = {
		"",
		".raw",
		DISK,
		DISK ".vhd",
		DISK ".raw.",
		DISK ".raw.new2",
		DISK ".qcow2x",
		DISK "qcow2",
		"x" DISK ".raw",
		"00000000-0000-4000-8000-00000000000G.raw",
		"00000000-0000-4000-8000-00000000000A.raw",
	};
	enum xn_image_state found;
	char uuid[37];

	for (unsigned i = 0; i < XN_ARRAY_SIZE(names); i++)
		if (xn_image_parse_name(names[i], uuid, &found))
			fail_msg("%s", names[i]);
}

static void a_name_that_leads_elsewhere_is_refused(void **state)
{
	static const char *const names[] = {"", "..", "../../../../etc/passwd",
					    "../../../../../../../../../../tmp/x"};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(names); i++) {
		assert_int_equal(xn_image_make(*state, names[i], XN_IMAGE_RAW, SIZE), -EINVAL);
		assert_int_equal(xn_image_remove(*state, names[i]), -EINVAL);
		assert_int_equal(xn_image_settle(*state, names[i]), -EINVAL);
	}
}

/* ---- life ---- */

static void a_new_disk_is_long_and_takes_no_room(void **state)
{
	char *path = xn_image_path(*state, DISK);

	assert_int_equal(xn_image_make(*state, DISK, XN_IMAGE_RAW, 1ll << 40), 0);
	assert_true(exists(*state, DISK ".raw.new"));
	assert_false(exists(*state, DISK ".raw"));
	assert_int_equal(xn_image_settle(*state, DISK), 0);
	assert_false(exists(*state, DISK ".raw.new"));
	assert_true(info_of(path).virtual_size == 1ll << 40);
	assert_int_equal(info_of(path).physical_size, 0);
	free(path);
}

static void a_retired_disk_can_come_back(void **state)
{
	char *path = given_disk(*state, DISK);

	assert_int_equal(xn_image_retire(*state, DISK), 0);
	assert_true(exists(*state, DISK ".raw.gone"));
	assert_false(exists(*state, DISK ".raw"));
	assert_int_equal(xn_image_settle(*state, DISK), 0);
	assert_text_at(path, 4096, "near the start");
	free(path);
}

static void each_change_of_name_may_be_repeated(void **state)
{
	free(given_disk(*state, DISK));
	assert_int_equal(xn_image_settle(*state, DISK), 0);
	assert_int_equal(xn_image_retire(*state, DISK), 0);
	assert_int_equal(xn_image_retire(*state, DISK), 0);
	assert_int_equal(xn_image_remove(*state, DISK), 0);
	assert_int_equal(xn_image_remove(*state, DISK), 0);
	assert_int_equal(xn_image_retire(*state, DISK), -ENOENT);
	assert_int_equal(xn_image_settle(*state, DISK), -ENOENT);
}

static void settling_never_replaces_a_disk(void **state)
{
	char *path = given_disk(*state, DISK);

	assert_int_equal(xn_image_make(*state, DISK, XN_IMAGE_RAW, 4096), 0); /* a second one beside it */
	assert_int_equal(xn_image_settle(*state, DISK), 0);
	assert_text_at(path, 4096, "near the start");
	free(path);
}

static void a_disk_grows_and_keeps_its_content(void **state)
{
	char *path = given_disk(*state, DISK);

	assert_int_equal(xn_image_grow(*state, DISK, 2 * SIZE), 0);
	assert_true(info_of(path).virtual_size == 2 * SIZE);
	assert_text_at(path, SIZE - 8192, "near the end");
	assert_int_equal(xn_image_grow(*state, DISK, SIZE), -EINVAL);
	free(path);
}

static void what_grew_shrinks_again_unless_something_was_written_there(void **state)
{
	char *path = given_disk(*state, DISK);

	assert_int_equal(xn_image_grow(*state, DISK, 2 * SIZE), 0);
	assert_int_equal(xn_image_shrink(*state, DISK, 3 * SIZE), 0);
	assert_true(info_of(path).virtual_size == 2 * SIZE);
	assert_int_equal(xn_image_shrink(*state, DISK, SIZE), 0);
	assert_true(info_of(path).virtual_size == SIZE);
	assert_text_at(path, SIZE - 8192, "near the end");
	assert_int_equal(xn_image_shrink(*state, DISK, SIZE - 65536), -ENOTEMPTY);
	assert_true(info_of(path).virtual_size == SIZE);
	free(path);
}

/* ---- copies ---- */

static void a_copy_has_the_content_and_the_holes(void **state)
{
	struct xn_copy_progress progress = {0};
	char *source = given_disk(*state, DISK);
	char *copy = xn_image_path(*state, ANOTHER);

	assert_int_equal(xn_image_copy(*state, ANOTHER, source, SIZE, &progress), 0);
	assert_int_equal(xn_image_settle(*state, ANOTHER), 0);
	assert_text_at(copy, 4096, "near the start");
	assert_text_at(copy, SIZE - 8192, "near the end");
	assert_true(info_of(copy).virtual_size == SIZE);
	assert_true(info_of(copy).physical_size <= info_of(source).physical_size + 65536);
	assert_true(progress.done == progress.total && progress.total == SIZE);
	free(source);
	free(copy);
}

static void a_copy_may_be_longer_than_its_source(void **state)
{
	struct xn_copy_progress progress = {0};
	char *source = given_disk(*state, DISK);
	char *copy = xn_image_path(*state, ANOTHER);

	assert_int_equal(xn_image_copy(*state, ANOTHER, source, 2 * SIZE, &progress), 0);
	assert_int_equal(xn_image_settle(*state, ANOTHER), 0);
	assert_true(info_of(copy).virtual_size == 2 * SIZE);
	assert_text_at(copy, SIZE - 8192, "near the end");
	free(source);
	free(copy);
}

static void a_stopped_copy_leaves_nothing(void **state)
{
	struct xn_copy_progress progress = {.stop = true};
	char *source = given_disk(*state, DISK);
	int rc = xn_image_copy(*state, ANOTHER, source, SIZE, &progress);

	if (rc != 0) /* a file system that shares blocks is done at once */
		assert_int_equal(rc, -ECANCELED);
	assert_int_equal(exists(*state, ANOTHER ".raw.new"), rc == 0);
	free(source);
}

static void a_copy_over_a_disk_leaves_nothing_of_the_old_content(void **state)
{
	struct xn_copy_progress progress = {0};
	char *source = given_disk(*state, DISK);
	char *target = given_disk(*state, ANOTHER);

	write_at(target, 32 << 20, "only in the target");
	write_at(target, 4096, "NEAR THE START");
	assert_int_equal(xn_image_overwrite(target, source, &progress), 0);
	assert_text_at(target, 4096, "near the start");
	assert_text_at(target, SIZE - 8192, "near the end");
	for (off_t at = 32 << 20; at < (32 << 20) + 18; at++) {
		int fd = open(target, O_RDONLY);
		char byte;

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		assert_int_equal(byte, 0);
		close(fd);
	}
	free(source);
	free(target);
}

/* ---- QEMU's format ---- */

static void a_qcow2_disk_is_made_copied_grown_and_removed_like_any(void **state)
{
	struct xn_copy_progress progress = {0};
	char *source, *copy;

	assert_int_equal(xn_image_make(*state, DISK, XN_IMAGE_QCOW2, SIZE), 0);
	assert_true(exists(*state, DISK ".qcow2.new"));
	assert_int_equal(xn_image_settle(*state, DISK), 0);
	source = xn_image_path(*state, DISK);
	assert_true(xn_image_format_of(source) == XN_IMAGE_QCOW2);
	assert_true(info_of(source).virtual_size == SIZE);
	assert_int_equal(xn_image_grow(*state, DISK, 2 * SIZE), 0);
	assert_int_equal(xn_image_grow(*state, DISK, SIZE), -EINVAL);
	assert_int_equal(xn_image_shrink(*state, DISK, SIZE), 0);
	assert_true(info_of(source).virtual_size == SIZE);
	assert_int_equal(xn_image_grow(*state, DISK, 2 * SIZE), 0);

	assert_int_equal(xn_image_copy(*state, ANOTHER, source, 3 * SIZE, &progress), 0);
	assert_int_equal(xn_image_settle(*state, ANOTHER), 0);
	copy = xn_image_path(*state, ANOTHER);
	assert_true(info_of(copy).format == XN_IMAGE_QCOW2);
	assert_true(info_of(copy).virtual_size == 3 * SIZE);
	assert_true(info_of(source).virtual_size == 2 * SIZE);
	/* What it had in its file goes with its tables; how large it is stays. */
	assert_int_equal(truncate(copy, 8 << 20), 0);
	assert_int_equal(xn_image_overwrite(copy, source, &progress), 0);
	assert_true(info_of(copy).virtual_size == 3 * SIZE);

	assert_int_equal(xn_image_retire(*state, DISK), 0);
	assert_true(exists(*state, DISK ".qcow2.gone"));
	assert_int_equal(xn_image_remove(*state, DISK), 0);
	assert_false(exists(*state, DISK ".qcow2.gone"));
	free(source);
	free(copy);
}

static void content_is_not_written_over_a_disk_of_another_format(void **state)
{
	struct xn_copy_progress progress = {0};
	char *raw = given_disk(*state, DISK), *qcow2;

	assert_int_equal(xn_image_make(*state, ANOTHER, XN_IMAGE_QCOW2, SIZE), 0);
	assert_int_equal(xn_image_settle(*state, ANOTHER), 0);
	qcow2 = xn_image_path(*state, ANOTHER);
	assert_int_equal(xn_image_overwrite(raw, qcow2, &progress), -EOPNOTSUPP);
	assert_int_equal(xn_image_overwrite(qcow2, raw, &progress), -EOPNOTSUPP);
	assert_text_at(raw, 4096, "near the start");
	free(raw);
	free(qcow2);
}

static void a_missing_source_is_told(void **state)
{
	struct xn_copy_progress progress = {0};

	assert_int_equal(xn_image_copy(*state, DISK, "/nonexistent", SIZE, &progress), -ENOENT);
	assert_false(exists(*state, DISK ".raw.new"));
}

static void a_folder_is_no_image(void **state)
{
	struct xn_copy_progress progress = {0};
	struct xn_image_info info;

	assert_int_equal(xn_image_stat(*state, &info), -EINVAL);
	assert_int_equal(xn_image_copy(*state, DISK, *state, SIZE, &progress), -EINVAL);
}

#define ON_FILES(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_name_tells_disk_and_state),
		cmocka_unit_test(other_file_names_are_no_disks),
		ON_FILES(a_name_that_leads_elsewhere_is_refused),
		ON_FILES(a_new_disk_is_long_and_takes_no_room),
		ON_FILES(a_retired_disk_can_come_back),
		ON_FILES(each_change_of_name_may_be_repeated),
		ON_FILES(settling_never_replaces_a_disk),
		ON_FILES(a_disk_grows_and_keeps_its_content),
		ON_FILES(what_grew_shrinks_again_unless_something_was_written_there),
		ON_FILES(a_copy_has_the_content_and_the_holes),
		ON_FILES(a_copy_may_be_longer_than_its_source),
		ON_FILES(a_stopped_copy_leaves_nothing),
		ON_FILES(a_copy_over_a_disk_leaves_nothing_of_the_old_content),
		ON_FILES(a_qcow2_disk_is_made_copied_grown_and_removed_like_any),
		ON_FILES(content_is_not_written_over_a_disk_of_another_format),
		ON_FILES(a_missing_source_is_told),
		ON_FILES(a_folder_is_no_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
