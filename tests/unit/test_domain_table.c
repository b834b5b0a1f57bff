/* The cached list of domains: what calls told since a reading was asked for stays. */
#include "modules/domain/libxl/domain_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define UUID_A "11111111-1111-1111-1111-111111111111"
#define UUID_B "22222222-2222-2222-2222-222222222222"

static int set_up(void **state)
{
	*state = calloc(1, sizeof(struct xn_domain_table));
	return 0;
}

static int tear_down(void **state)
{
	xn_domain_table_clear(*state);
	free(*state);
	return 0;
}

static struct xn_value *domain(int domid, const char *uuid, bool dying)
{
	struct xn_value *map = xn_map_new();

	xn_map_put(&map, "domid", xn_int(domid));
	xn_map_put_string(&map, "uuid", uuid);
	xn_map_put_string(&map, "type", "pv");
	xn_map_put(&map, "dying", xn_bool(dying));
	xn_map_put(&map, "memory_bytes", xn_int(1 << 20));
	return map;
}

/* Takes the domains; up to two, NULL: none. */
static bool read_at(struct xn_domain_table *table, uint64_t stamp, struct xn_value *first,
		    struct xn_value *second)
{
	struct xn_value *list = xn_set_new();
	bool stale;

	if (first)
		xn_set_append(&list, first);
	if (second)
		xn_set_append(&list, second);
	stale = xn_domain_table_read(table, stamp, list);
	xn_value_unref(list);
	return stale;
}

static bool read_now(struct xn_domain_table *table, struct xn_value *first, struct xn_value *second)
{
	return read_at(table, xn_domain_table_ask(table), first, second);
}

static size_t count(struct xn_domain_table *table)
{
	size_t n;

	(void)xn_domain_table_list(table, &n);
	return n;
}

static void put(struct xn_domain_table *table, uint32_t domid, const char *uuid)
{
	struct xn_domain_info info = {.domid = domid, .paused = true};

	snprintf(info.uuid, sizeof(info.uuid), "%s", uuid);
	xn_domain_table_put(table, &info);
}

static void a_reading_replaces_the_one_before(void **state)
{
	struct xn_domain_table *table = *state;

	assert_false(read_now(table, domain(1, UUID_A, false), domain(2, UUID_B, false)));
	assert_int_equal(count(table), 2);
	assert_int_equal(xn_domain_table_find(table, UUID_B)->domid, 2);
	assert_int_equal(xn_domain_table_get(table, 1)->memory_bytes, 1 << 20);
	assert_false(read_now(table, domain(2, UUID_B, false), NULL));
	assert_null(xn_domain_table_find(table, UUID_A));
	assert_null(xn_domain_table_get(table, 1));
	assert_int_equal(count(table), 1);
}

static void of_two_with_one_uuid_the_newer_that_lives_is_found(void **state)
{
	struct xn_domain_table *table = *state;

	read_now(table, domain(7, UUID_A, false), NULL);
	read_now(table, domain(7, UUID_A, false), domain(3, UUID_A, false)); /* numbers wrap */
	assert_int_equal(xn_domain_table_find(table, UUID_A)->domid, 3);
	read_now(table, domain(7, UUID_A, false), domain(3, UUID_A, true));
	assert_int_equal(xn_domain_table_find(table, UUID_A)->domid, 7);
	assert_int_equal(count(table), 2);
}

static void one_that_dies_is_listed_but_not_found(void **state)
{
	struct xn_domain_table *table = *state;

	read_now(table, domain(7, UUID_A, true), NULL);
	assert_null(xn_domain_table_find(table, UUID_A));
	assert_true(xn_domain_table_get(table, 7)->dying);
	assert_int_equal(count(table), 1);
}

static void a_number_that_went_to_another_domain_is_that_ones(void **state)
{
	struct xn_domain_table *table = *state;

	read_now(table, domain(7, UUID_A, false), NULL);
	read_now(table, domain(7, UUID_B, false), NULL);
	assert_null(xn_domain_table_find(table, UUID_A));
	assert_int_equal(xn_domain_table_find(table, UUID_B)->domid, 7);
}

static void what_a_call_made_survives_an_older_reading(void **state)
{
	struct xn_domain_table *table = *state;
	uint64_t stamp = xn_domain_table_ask(table);

	put(table, 5, UUID_A);
	assert_true(read_at(table, stamp, NULL, NULL)); /* it must be read again */
	assert_int_equal(xn_domain_table_find(table, UUID_A)->domid, 5);
	assert_false(read_now(table, NULL, NULL));
	assert_null(xn_domain_table_find(table, UUID_A));
}

static void what_a_call_destroyed_does_not_come_back_with_an_older_reading(void **state)
{
	struct xn_domain_table *table = *state;
	uint64_t stamp;

	read_now(table, domain(5, UUID_A, false), NULL);
	stamp = xn_domain_table_ask(table);
	xn_domain_table_remove(table, 5);
	assert_null(xn_domain_table_find(table, UUID_A));
	assert_true(read_at(table, stamp, domain(5, UUID_A, false), NULL));
	assert_null(xn_domain_table_find(table, UUID_A));
	assert_null(xn_domain_table_get(table, 5));
	assert_int_equal(count(table), 0);
	assert_false(read_now(table, domain(5, UUID_A, true), NULL)); /* there, dying */
	assert_int_equal(count(table), 1);
}

static void what_a_call_changed_is_not_undone_by_an_older_reading(void **state)
{
	struct xn_domain_table *table = *state;
	uint64_t stamp;

	read_now(table, domain(5, UUID_A, false), NULL);
	stamp = xn_domain_table_ask(table);
	put(table, 5, UUID_A); /* paused */
	assert_true(read_at(table, stamp, domain(5, UUID_A, false), domain(6, UUID_B, false)));
	assert_true(xn_domain_table_find(table, UUID_A)->paused);
	assert_non_null(xn_domain_table_find(table, UUID_B)); /* the rest of it counts */
	assert_false(read_now(table, domain(5, UUID_A, false), NULL));
	assert_false(xn_domain_table_find(table, UUID_A)->paused);
}

static void nonsense_in_a_reading_is_left_out(void **state)
{
	struct xn_domain_table *table = *state;
	struct xn_value *odd = xn_map_new();

	xn_map_put_string(&odd, "domid", "five");
	xn_map_put(&odd, "uuid", xn_int(7));
	read_now(table, odd, domain(0, UUID_A, false));
	read_now(table, xn_string("no map"), domain(3, "short", false));
	assert_int_equal(count(table), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(a_reading_replaces_the_one_before),
		TEST(of_two_with_one_uuid_the_newer_that_lives_is_found),
		TEST(one_that_dies_is_listed_but_not_found),
		TEST(a_number_that_went_to_another_domain_is_that_ones),
		TEST(what_a_call_made_survives_an_older_reading),
		TEST(what_a_call_destroyed_does_not_come_back_with_an_older_reading),
		TEST(what_a_call_changed_is_not_undone_by_an_older_reading),
		TEST(nonsense_in_a_reading_is_left_out),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
