/* Objects of one size in blocks: distinct, zeroed, and blocks given back when a crowd has left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/slab.h"

enum { N = 5000, SIZE = 200 };

static void fill(struct xn_slab *slab, unsigned char **objects)
{
	for (int i = 0; i < N; i++) {
		objects[i] = xn_slab_alloc(slab);
		for (int at = 0; at < SIZE; at++)
			assert_int_equal(objects[i][at], 0);
		memset(objects[i], i % 255 + 1, SIZE);
	}
}

static void objects_are_zeroed_and_apart(void **state)
{
	static unsigned char *objects[N];
	struct xn_slab slab;

	xn_slab_init(&slab, SIZE);
	for (int round = 0; round < 3; round++) {
		fill(&slab, objects);
		for (int i = 0; i < N; i++) {
			assert_int_equal(objects[i][0], i % 255 + 1);
			assert_int_equal(objects[i][SIZE - 1], i % 255 + 1);
			assert_int_equal((uintptr_t)objects[i] % 16, 0);
		}
		for (int i = 0; i < N; i++)
			xn_slab_free(&slab, objects[(i * 7919) % N]);
	}
	xn_slab_clear(&slab);
}

static void blocks_go_when_their_objects_have_gone(void **state)
{
	static unsigned char *objects[N];
	struct xn_slab slab;
	size_t most;

	xn_slab_init(&slab, SIZE);
	fill(&slab, objects);
	most = slab.n_blocks;
	for (int i = 0; i < N; i++)
		if (i != 2500)
			xn_slab_free(&slab, objects[i]);
	assert_true(slab.n_blocks <= 2);
	assert_true(most == 0 || most > 10); /* none under a sanitizer */
	assert_int_equal(objects[2500][0], 2500 % 255 + 1);
	xn_slab_free(&slab, objects[2500]);
	xn_slab_free(&slab, NULL);
	xn_slab_clear(&slab);
	assert_int_equal(slab.n_blocks, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_are_zeroed_and_apart),
		cmocka_unit_test(blocks_go_when_their_objects_have_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
