/* Modules: their order, what a failure leaves behind, what they register. */
#include "core/module.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture {
	struct xn_core core;
	struct xn_error err;
};

static struct xn_buf trace; /* modules have no argument of a test's own */

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	xn_core_init(&f->core, xn_loop_new_virtual(1), NULL, NULL);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	struct xn_loop *loop = f->core.loop;

	xn_core_clear(&f->core);
	xn_loop_free(loop);
	xn_error_clear(&f->err);
	xn_buf_clear(&trace);
	free(f);
	return 0;
}

static int refuse(struct xn_error *err, const char *what)
{
	return xn_error_set(err, XN_ERR_INTERNAL_ERROR, what);
}

#define MODULE_FUNCTIONS(name)                                                                 \
	static int name##_init(struct xn_core *core, void **state_out, struct xn_error *err)   \
	{                                                                                      \
		xn_buf_add_string(&trace, "init-" #name " ");                                  \
		*state_out = (void *)#name;                                                    \
		return 0;                                                                      \
	}                                                                                      \
	static int name##_start(void *state, struct xn_error *err)                             \
	{                                                                                      \
		assert_string_equal(state, #name);                                             \
		xn_buf_add_string(&trace, "start-" #name " ");                                 \
		return 0;                                                                      \
	}                                                                                      \
	static void name##_stop(void *state)                                                   \
	{                                                                                      \
		assert_string_equal(state, #name);                                             \
		xn_buf_add_string(&trace, "stop-" #name " ");                                  \
	}
MODULE_FUNCTIONS(db)
MODULE_FUNCTIONS(auth)
MODULE_FUNCTIONS(rpc)

static const char *const auth_needs[] = {"db", NULL}, *const rpc_needs[] = {"auth", "db", NULL},
		  *const db_needs_rpc[] = {"rpc", NULL}, *const needs_nobody[] = {"nobody", NULL};

static const struct xn_module db = {"db", NULL, NULL, NULL, db_init, db_start, db_stop};
static const struct xn_module auth = {
	"auth", auth_needs, NULL, NULL, auth_init, auth_start, auth_stop,
};
static const struct xn_module rpc = {"rpc", rpc_needs, NULL, NULL, rpc_init, rpc_start, rpc_stop};

static int failing_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	return refuse(err, "no init");
}

static int failing_start(void *state, struct xn_error *err)
{
	return refuse(err, "no start");
}

static void assert_trace(const char *expected)
{
	assert_string_equal(xn_buf_cstr(&trace), expected);
}

static void modules_start_in_the_order_of_their_needs_and_stop_backwards(void **state)
{
	struct fixture *f = *state;
	const struct xn_module *const list[] = {&rpc, &auth, &db, NULL};
	struct xn_modules *modules = xn_modules_start(&f->core, list, &f->err);

	assert_non_null(modules);
	assert_trace("init-db init-auth init-rpc start-db start-auth start-rpc ");
	assert_string_equal(xn_module_state(&f->core, "auth"), "auth");
	trace.len = 0;
	xn_modules_stop(modules);
	assert_trace("stop-rpc stop-auth stop-db ");
	assert_null(f->core.modules);
}

static void a_failed_start_stops_all_that_were_initialised(void **state)
{
	struct fixture *f = *state;
	const struct xn_module bad = {"auth", auth_needs, NULL, NULL,
				      auth_init, failing_start, auth_stop};
	const struct xn_module *const list[] = {&db, &bad, &rpc, NULL};

	assert_null(xn_modules_start(&f->core, list, &f->err));
	assert_string_equal(f->err.params[0], "no start");
	assert_trace("init-db init-auth init-rpc start-db stop-rpc stop-auth stop-db ");
}

static void a_failed_init_stops_those_before_and_not_itself(void **state)
{
	struct fixture *f = *state;
	const struct xn_module bad = {"auth", auth_needs, NULL, NULL,
				      failing_init, auth_start, auth_stop};
	const struct xn_module *const list[] = {&db, &bad, &rpc, NULL};

	assert_null(xn_modules_start(&f->core, list, &f->err));
	assert_string_equal(f->err.params[0], "no init");
	assert_trace("init-db stop-db ");
}

static void a_cycle_or_a_missing_or_doubled_module_is_refused(void **state)
{
	struct fixture *f = *state;
	const struct xn_module round = {"db", db_needs_rpc, NULL, NULL, db_init, db_start, db_stop};
	const struct xn_module alone = {"x", needs_nobody, NULL, NULL, db_init, db_start, db_stop};
	const struct xn_module *const cycle[] = {&round, &auth, &rpc, NULL};
	const struct xn_module *const missing[] = {&alone, NULL};
	const struct xn_module *const doubled[] = {&db, &db, NULL};

	assert_null(xn_modules_start(&f->core, cycle, &f->err));
	assert_string_equal(f->err.params[0], "module db needs itself through others");
	assert_null(xn_modules_start(&f->core, missing, &f->err));
	assert_string_equal(f->err.params[0], "module x needs nobody, which is not there");
	assert_null(xn_modules_start(&f->core, doubled, &f->err));
	assert_string_equal(f->err.params[0], "two modules are named db");
	assert_trace("");
}

static void answer_nothing(struct xn_call *call)
{
}

static void methods_and_publishers_are_registered_with_the_state(void **state)
{
	static const struct xn_method_impl methods[] = {{"VM.start", answer_nothing}, {NULL}};
	static const enum xn_event_id publishes[] = {XN_EVENT_db_committed, XN_EVENT_COUNT};
	struct fixture *f = *state;
	const struct xn_module full = {"db", NULL, publishes, methods, db_init, db_start, db_stop};
	const struct xn_module *const list[] = {&full, NULL};
	struct xn_modules *modules = xn_modules_init(&f->core, list, &f->err);
	const struct xn_method_impl *impl;
	struct xn_buf graph = {0};
	void *owner = NULL;

	assert_non_null(modules);
	assert_trace("init-db ");
	impl = xn_methods_find(f->core.methods, xn_method_find("VM.start"), &owner);
	assert_ptr_equal(impl->run, answer_nothing);
	assert_string_equal(owner, "db");
	xn_bus_print_graph(f->core.bus, &graph);
	assert_non_null(strstr(xn_buf_cstr(&graph), "\"db\" -> \"db_committed\""));
	xn_buf_clear(&graph);
	xn_modules_stop(modules);
}

static void an_unknown_method_stops_the_start(void **state)
{
	static const struct xn_method_impl methods[] = {{"VM.fly", answer_nothing}, {NULL}};
	struct fixture *f = *state;
	const struct xn_module full = {"db", NULL, NULL, methods, db_init, db_start, db_stop};
	const struct xn_module *const list[] = {&full, NULL};

	assert_null(xn_modules_init(&f->core, list, &f->err));
	assert_non_null(strstr(f->err.params[0], "VM.fly"));
	assert_trace("init-db stop-db ");
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(modules_start_in_the_order_of_their_needs_and_stop_backwards),
		TEST(a_failed_start_stops_all_that_were_initialised),
		TEST(a_failed_init_stops_those_before_and_not_itself),
		TEST(a_cycle_or_a_missing_or_doubled_module_is_refused),
		TEST(methods_and_publishers_are_registered_with_the_state),
		TEST(an_unknown_method_stops_the_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
