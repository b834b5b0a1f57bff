/* The daemon's own list of modules: it can be put in order, described and taken down again. */
#include "modules/modules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture {
	struct xn_core core;
	struct xn_config *config;
	struct xn_modules *modules;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct xn_error err = {0};

	f->config = xn_config_new();
	xn_core_init(&f->core, xn_loop_new_virtual(1), NULL, f->config);
	f->modules = xn_modules_init(&f->core, xn_module_list, &err);
	if (!f->modules)
		fail_msg("%s: %s", err.code, err.n_params ? err.params[0] : "");
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct xn_loop *loop = f->core.loop;

	xn_modules_stop(f->modules);
	xn_core_clear(&f->core);
	xn_loop_free(loop);
	xn_config_free(f->config);
	free(f);
	return 0;
}

static void the_list_is_sorted_but_for_rpc_at_its_end(void **state)
{
	for (int i = 0; xn_module_list[i + 1]; i++) {
		const char *name = xn_module_list[i]->name, *next = xn_module_list[i + 1]->name;

		assert_true(strcmp(name, next) < 0 || strcmp(next, "rpc") == 0);
	}
}

static void every_event_has_a_publisher_and_a_reader(void **state)
{
	struct fixture *f = *state;
	struct xn_buf why = {0};

	xn_bus_declare_publisher(f->core.bus, XN_EVENT_daemon_ready, "main");
	xn_bus_declare_publisher(f->core.bus, XN_EVENT_reload_asked, "main");
	if (xn_bus_check(f->core.bus, &why) < 0)
		fail_msg("%s", xn_buf_cstr(&why));
	xn_buf_clear(&why);
}

static void what_a_module_answers_is_found_with_its_state(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; xn_module_list[i]; i++) {
		const struct xn_method_impl *impl = xn_module_list[i]->methods;

		for (; impl && impl->name; impl++) {
			const struct xn_method *method = xn_method_find(impl->name);
			const struct xn_method_impl *found;
			void *owner = NULL;

			assert_non_null(method);
			found = xn_methods_find(f->core.methods, method, &owner);
			assert_non_null(found);
			assert_ptr_equal(found->run, impl->run);
			assert_ptr_equal(owner,
					 xn_module_state(&f->core, xn_module_list[i]->name));
		}
	}
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(the_list_is_sorted_but_for_rpc_at_its_end),
		TEST(every_event_has_a_publisher_and_a_reader),
		TEST(what_a_module_answers_is_found_with_its_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
