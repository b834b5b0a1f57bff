/* Facts about the machine: what the kernel's files are read as, and that this machine can be read.
 */
#include "tests/unit/cmocka_all.h"

#include "core/value.h"
#include "modules/host/host_facts.h"

static const char two_sockets[] =
	"processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\n"
	"model name\t: Some Processor @ 2.10GHz\nstepping\t: 7\ncpu MHz\t\t: 2100.000\n"
	"physical id\t: 0\nsiblings\t: 2\ncpu cores\t: 1\nflags\t\t: fpu vmx sse4_2\n\n"
	"processor\t: 1\nvendor_id\t: GenuineIntel\nmodel name\t: Another\ncpu MHz\t\t: 2200.500\n"
	"physical id\t: 0\nsiblings\t: 2\ncpu cores\t: 1\nflags\t\t: fpu\n\n"
	"processor\t: 2\ncpu MHz\t\t: 800.0\nphysical id\t: 1\n\n"
	"processor\t: 3\ncpu MHz\t\t: 800.0\nphysical id\t: 1\n\n";

static void processors_are_counted_and_the_first_describes_them(void **state)
{
	struct xn_host_facts f = {0};

	xn_host_facts_parse_cpuinfo(&f, two_sockets);
	assert_int_equal(f.n_cpus, 4);
	assert_int_equal(f.sockets, 2);
	assert_int_equal(f.threads_per_core, 2);
	assert_string_equal(f.vendor, "GenuineIntel");
	assert_string_equal(f.model_name, "Some Processor @ 2.10GHz");
	assert_int_equal(f.family, 6);
	assert_int_equal(f.model, 85);
	assert_string_equal(f.stepping, "7");
	assert_string_equal(f.flags, "fpu vmx sse4_2");
	assert_true(f.virtualisation);
	assert_int_equal(f.cpus[1].mhz, 2200);
	assert_int_equal(f.cpus[3].number, 3);
	xn_host_facts_clear(&f);
}

static void a_processor_without_an_identity_is_still_one(void **state)
{
	struct xn_host_facts f = {0};

	xn_host_facts_parse_cpuinfo(&f, "processor\t: 0\nBogoMIPS\t: 108.00\n"
					"Features\t: fp asimd\nCPU part\t: 0xd08\n");
	assert_int_equal(f.n_cpus, 1);
	assert_int_equal(f.sockets, 1);
	assert_int_equal(f.threads_per_core, 1);
	assert_string_equal(f.flags, "fp asimd");
	assert_false(f.virtualisation);
	xn_host_facts_clear(&f);
}

static void garbage_is_read_as_nothing(void **state)
{
	static const char *const texts[] = {"",
					    "\n\n\n",
					    "processor",
					    "model name",
					    ":::\n",
					    "flags:",
					    "model name : \xff\xfe\n"};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(texts); i++) {
		struct xn_host_facts f = {0};

		xn_host_facts_parse_cpuinfo(&f, texts[i]);
		assert_int_equal(f.n_cpus, 0);
		assert_string_equal(f.model_name, "");
		assert_non_null(f.flags);
		xn_host_facts_clear(&f);
	}
}

static void memory_is_read_in_bytes(void **state)
{
	struct xn_host_facts f = {0};

	xn_host_facts_parse_meminfo(&f, "MemTotal:       24684096 kB\nMemFree:         100 kB\n"
					"MemAvailable:   2048 kB\n");
	assert_true(f.memory_total == 24684096ull * 1024);
	assert_true(f.memory_free == 2048 * 1024);
}

static void an_old_kernel_tells_only_what_is_free(void **state)
{
	struct xn_host_facts f = {0};

	xn_host_facts_parse_meminfo(&f, "MemTotal: 1000 kB\nMemFree: 100 kB");
	assert_true(f.memory_free == 100 * 1024);
}

static void assert_is_complete(const struct xn_host_facts *f)
{
	assert_true(f->hostname[0] && f->kernel[0] && f->vendor[0] && f->model_name[0]);
	assert_true(f->n_cpus > 0 && f->sockets > 0 && f->nodes > 0 && f->threads_per_core > 0);
	assert_non_null(f->cpus);
	assert_true(f->memory_total > 0);
	assert_int_equal(strlen(f->features), 8 * 8 + 7);
	for (unsigned i = 0; i < f->n_bios; i++)
		assert_true(xn_text_is_valid(f->bios[i].value, strlen(f->bios[i].value)));
}

static void this_machine_can_be_read(void **state)
{
	struct xn_host_facts f;

	xn_host_facts_read(&f);
	assert_is_complete(&f);
	xn_host_facts_clear(&f);
}

static void the_fixed_machine_is_complete_too(void **state)
{
	struct xn_host_facts f;

	xn_host_facts_fixed(&f);
	assert_is_complete(&f);
	xn_host_facts_clear(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(processors_are_counted_and_the_first_describes_them),
		cmocka_unit_test(a_processor_without_an_identity_is_still_one),
		cmocka_unit_test(garbage_is_read_as_nothing),
		cmocka_unit_test(memory_is_read_in_bytes),
		cmocka_unit_test(an_old_kernel_tells_only_what_is_free),
		cmocka_unit_test(this_machine_can_be_read),
		cmocka_unit_test(the_fixed_machine_is_complete_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
