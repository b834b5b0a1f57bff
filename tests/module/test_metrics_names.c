/* What all modules of the daemon write into the page of metrics keeps to the rules of core/metrics.h. */
#include "tests/unit/api_fixture.h"
#include "tests/unit/cmocka_all.h"

#include "modules/modules.h"

static int set_up(void **state)
{
	return api_setup_with(state, xn_module_list);
}

static void families_of_all_modules_are_named_by_the_rules(void **state)
{
	struct api *api = *state;
	struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};

	if (xn_metrics_check(api->core.metrics, &why) < 0)
		fail_msg("%s", xn_buf_cstr(&why));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(families_of_all_modules_are_named_by_the_rules,
						set_up, api_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
