/* Command lines: flags, the configuration file, defaults of listeners and hypervisor. */
#include "modules/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/buf.h"
#include "modules/commands.h"

struct fixture {
	struct xn_config *config;
	struct xn_machine machine;
	char root[32];
	struct xn_buf notes;
	char *why;
	struct xn_choice choice;
};

static const char *const machine_folders[] = {
	"/proc", "/proc/xen", "/sys", "/sys/hypervisor", "/sys/hypervisor/properties",
};

/* Below the machine's root. */
static void write_file(const struct fixture *f, const char *path, const char *text)
{
	char whole[128];
	FILE *file;

	for (size_t i = 0; i < XN_ARRAY_SIZE(machine_folders); i++) {
		snprintf(whole, sizeof(whole), "%s%s", f->root, machine_folders[i]);
		(void)mkdir(whole, 0700);
	}
	snprintf(whole, sizeof(whole), "%s%s", f->root, path);
	file = fopen(whole, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void remove_tree(const struct fixture *f)
{
	static const char *const files[] = {"/proc/xen/capabilities", "/sys/hypervisor/type",
					    "/sys/hypervisor/properties/features"};
	char whole[128];

	for (size_t i = 0; i < XN_ARRAY_SIZE(files); i++) {
		snprintf(whole, sizeof(whole), "%s%s", f->root, files[i]);
		(void)unlink(whole);
	}
	for (size_t i = XN_ARRAY_SIZE(machine_folders); i-- > 0;) {
		snprintf(whole, sizeof(whole), "%s%s", f->root, machine_folders[i]);
		(void)rmdir(whole);
	}
	(void)rmdir(f->root);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->config = xn_config_new();
	strcpy(f->root, "/tmp/xn-test-XXXXXX");
	assert_non_null(mkdtemp(f->root));
	f->machine = (struct xn_machine){.root = f->root, .has_libxl = true};
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	remove_tree(f);
	xn_config_free(f->config);
	xn_buf_clear(&f->notes);
	free(f->why);
	free(f);
	return 0;
}

/* Words are separated by single spaces. */
static int read_line(struct fixture *f, const char *line)
{
	char *copy = strdup(line), *rest = copy;
	char *argv[16] = {(char *)"xenolithd"};
	int argc = 1, rc;

	while ((argv[argc] = strsep(&rest, " ")))
		argc++;
	rc = xn_options_read(f->config, argc, argv, &f->choice, &f->why);
	free(copy);
	return rc;
}

static void assert_refused(int rc, struct fixture *f, const char *words)
{
	assert_int_equal(rc, -1);
	assert_non_null(f->why);
	if (!strstr(f->why, words))
		fail_msg("\"%s\" lacks \"%s\"", f->why, words);
	free(f->why);
	f->why = NULL;
}

static void flags_set_configuration(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_line(f, "--state-dir /s --hypervisor=sim --http 127.0.0.1:0"), 0);
	assert_null(f->choice.command);
	assert_string_equal(xn_config_string(f->config, "state-dir"), "/s");
	assert_string_equal(xn_config_string(f->config, "hypervisor"), "sim");
	assert_string_equal(xn_config_string(f->config, "http"), "127.0.0.1:0");
}

static void each_command_is_a_flag_and_takes_its_argument(void **state)
{
	struct fixture *f = *state;
	char line[64];

	for (const struct xn_command *command = xn_commands; command->flag; command++) {
		snprintf(line, sizeof(line), "--%s%s", command->flag,
			 command->argument ? "=word" : "");
		assert_int_equal(read_line(f, line), 0);
		assert_ptr_equal(f->choice.command, command);
		assert_int_equal(f->choice.argument != NULL, command->argument != NULL);
		assert_non_null(command->run);
	}
}

static void two_commands_are_refused(void **state)
{
	struct fixture *f = *state;

	assert_refused(read_line(f, "--graph --unimplemented"), f,
		       "--graph and --unimplemented exclude each other");
}

static void wrong_command_lines_are_refused_in_words(void **state)
{
	struct fixture *f = *state;

	assert_refused(read_line(f, "--colour red"), f, "there is no option --colour");
	assert_refused(read_line(f, "serve"), f, "\"serve\" is not an option");
	assert_refused(read_line(f, "--http"), f, "--http needs a value");
	assert_refused(read_line(f, "--http here"), f, "--http: http: \"here\" is no address");
	assert_refused(read_line(f, "--config /nowhere/at/all"), f,
		       "/nowhere/at/all: No such file");
}

static int settle(struct fixture *f)
{
	return xn_options_settle(f->config, &f->machine, &f->notes, &f->why);
}

static void xen_needs_a_build_with_libxl(void **state)
{
	struct fixture *f = *state;

	f->machine.has_libxl = false;
	write_file(f, "/proc/xen/capabilities", "control_d\n");
	assert_int_equal(read_line(f, "--hypervisor xen --http 127.0.0.1:0"), 0);
	assert_refused(settle(f), f, "no Xen back end");
}

static void xen_needs_a_control_domain(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_line(f, "--hypervisor xen --http 127.0.0.1:0"), 0);
	assert_refused(settle(f), f, "no Xen control domain");
	write_file(f, "/proc/xen/capabilities", ""); /* a guest with xenfs */
	assert_refused(settle(f), f, "no Xen control domain");
	write_file(f, "/proc/xen/capabilities", "control_d\n");
	assert_int_equal(settle(f), 0);
	assert_string_equal(xn_config_string(f->config, "hypervisor"), "xen");
}

static void auto_becomes_xen_on_a_control_domain(void **state)
{
	struct fixture *f = *state;

	write_file(f, "/proc/xen/capabilities", "control_d\n");
	assert_int_equal(read_line(f, "--http 127.0.0.1:0"), 0);
	assert_int_equal(settle(f), 0);
	assert_string_equal(xn_config_string(f->config, "hypervisor"), "xen");
	assert_int_equal(f->notes.len, 0);
}

static void a_control_domain_is_known_without_xenfs(void **state)
{
	struct fixture *f = *state;

	write_file(f, "/sys/hypervisor/type", "xen\n");
	write_file(f, "/sys/hypervisor/properties/features", "00002705\n"); /* a guest's */
	assert_int_equal(read_line(f, "--hypervisor xen --http 127.0.0.1:0"), 0);
	assert_refused(settle(f), f, "no Xen control domain");
	write_file(f, "/sys/hypervisor/properties/features", "00002f0d\n");
	assert_int_equal(settle(f), 0);
}

static void auto_without_libxl_is_the_simulator_and_says_so(void **state)
{
	struct fixture *f = *state;

	f->machine.has_libxl = false;
	write_file(f, "/proc/xen/capabilities", "control_d\n");
	assert_int_equal(read_line(f, "--http 127.0.0.1:0"), 0);
	assert_int_equal(settle(f), 0);
	assert_string_equal(xn_config_string(f->config, "hypervisor"), "sim");
	assert_non_null(strstr(xn_buf_cstr(&f->notes), "no Xen back end"));
}

static void auto_becomes_the_simulator_with_a_note(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_line(f, "--http 127.0.0.1:0"), 0);
	assert_int_equal(settle(f), 0);
	assert_string_equal(xn_config_string(f->config, "hypervisor"), "sim");
	assert_non_null(strstr(xn_buf_cstr(&f->notes), "no Xen control domain"));
}

static void a_named_listener_is_the_only_one(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_line(f, "--socket /s --hypervisor sim"), 0);
	assert_int_equal(settle(f), 0);
	assert_false(xn_config_is_set(f->config, "http"));
	assert_int_equal(f->notes.len, 0);
}

static void only_root_has_default_listeners(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_line(f, "--hypervisor sim"), 0);
	if (geteuid() != 0) {
		assert_refused(settle(f), f,
			       "no listener is named");
		return;
	}
	assert_int_equal(settle(f), 0);
	assert_string_equal(xn_config_string(f->config, "http"), "127.0.0.1:80");
	assert_string_equal(xn_config_string(f->config, "socket"), "/var/lib/xcp/xapi");
	assert_string_equal(xn_config_string(f->config, "https"), "127.0.0.1:443");
}

static void each_hypervisor_has_its_own_xenstore(void **state)
{
	struct fixture *f = *state;

	xn_config_decide(f->config, "hypervisor", "sim");
	xn_config_decide(f->config, "http", "127.0.0.1:0");
	xn_config_decide(f->config, "xenstore", "system");
	assert_refused(settle(f), f, "use embedded");
	xn_config_decide(f->config, "xenstore", "embedded");
	assert_int_equal(settle(f), 0);
	write_file(f, "/proc/xen/capabilities", "control_d\n");
	f->machine.has_libxl = true;
	xn_config_decide(f->config, "hypervisor", "xen");
	assert_int_equal(settle(f), 0);
	xn_config_decide(f->config, "xenstore", "auto");
	assert_int_equal(settle(f), 0);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(flags_set_configuration),
		TEST(each_command_is_a_flag_and_takes_its_argument),
		TEST(two_commands_are_refused),
		TEST(wrong_command_lines_are_refused_in_words),
		TEST(xen_needs_a_build_with_libxl),
		TEST(xen_needs_a_control_domain),
		TEST(auto_becomes_xen_on_a_control_domain),
		TEST(a_control_domain_is_known_without_xenfs),
		TEST(auto_without_libxl_is_the_simulator_and_says_so),
		TEST(auto_becomes_the_simulator_with_a_note),
		TEST(a_named_listener_is_the_only_one),
		TEST(only_root_has_default_listeners),
		TEST(each_hypervisor_has_its_own_xenstore),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
