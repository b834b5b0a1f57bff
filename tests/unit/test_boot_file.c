/* A guest gets no file of the host but those that lie in the folders for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base.h"
#include "modules/domain/libxl/boot_file.h"

struct place {
	char top[64];
	char *folders; /* "TOP/guest:TOP/lib" */
};

static char *in(const struct place *place, const char *name)
{
	return xn_asprintf("%s/%s", place->top, name);
}

static void make(const struct place *place, const char *name, bool folder)
{
	char *path = in(place, name);
	int fd = folder ? mkdir(path, 0755) : open(path, O_CREAT | O_WRONLY, 0644);

	assert_true(fd >= 0);
	if (!folder)
		close(fd);
	free(path);
}

static void link_to(const struct place *place, const char *name, const char *target)
{
	char *path = in(place, name);

	assert_int_equal(symlink(target, path), 0);
	free(path);
}

static int set_up(void **state)
{
	struct place *place = xn_calloc(1, sizeof(*place));

	strcpy(place->top, "/tmp/xn-boot-file-XXXXXX");
	assert_non_null(mkdtemp(place->top));
	make(place, "guest", true);
	make(place, "guest-secret", true);
	make(place, "lib", true);
	make(place, "guest/vmlinuz", false);
	make(place, "guest-secret/key", false);
	make(place, "shadow", false);
	make(place, "lib/grub", false);
	link_to(place, "guest/link", "../lib/grub");
	link_to(place, "guest/escape", "../shadow");
	link_to(place, "guest/dangling", "nothing");
	place->folders = xn_asprintf("%s/guest:%s/lib", place->top, place->top);
	*state = place;
	return 0;
}

static int tear_down(void **state)
{
	struct place *place = *state;
	char *command = xn_asprintf("rm -rf %s", place->top);

	assert_int_equal(system(command), 0);
	free(command);
	free(place->folders);
	free(place);
	return 0;
}

/* @wanted: NULL for a refusal. */
static void expect(const struct place *place, const char *name, const char *wanted)
{
	char *path = in(place, name), *want = wanted ? in(place, wanted) : NULL;
	char *got = xn_boot_file_resolve(path, place->folders);

	if (want)
		assert_string_equal(got, want);
	else
		assert_null(got);
	free(path);
	free(want);
	free(got);
}

static void a_file_below_a_folder_is_found_behind_links(void **state)
{
	expect(*state, "guest/vmlinuz", "guest/vmlinuz");
	expect(*state, "guest/link", "lib/grub");
	expect(*state, "shadow/../guest/vmlinuz", NULL);
	expect(*state, "lib/../guest/vmlinuz", "guest/vmlinuz");
}

static void what_lies_elsewhere_or_is_no_file_is_refused(void **state)
{
	static const char *const names[] = {
		"shadow", "guest/escape", "guest/../shadow", "guest/dangling", "guest/nothing",
		"guest", "guest-secret/key", "",
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++)
		expect(*state, names[i], NULL);
	assert_null(xn_boot_file_resolve("guest/vmlinuz", ((struct place *)*state)->folders));
	assert_null(xn_boot_file_resolve("/etc/passwd", ""));
	assert_null(xn_boot_file_resolve("/etc/passwd", "/"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_file_below_a_folder_is_found_behind_links, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_lies_elsewhere_or_is_no_file_is_refused,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
