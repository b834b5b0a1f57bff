/*
 * The daemon ends when memory is gone. So a program of changes ends at its first allocation, at its
 * second and so on; each time a start finds the store before or after the change that was under way,
 * whole, with accounts that fit.
 */
#include "tests/unit/cmocka_all.h"

#include "core/state_dir.h"
#include "modules/xenstore/journal/journal.h"
#include "modules/xenstore/journal/slice.h"
#include "modules/xenstore/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the allocator ---- */

static struct {
	long left; /* allocations until the end; 0: never */
} fate;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);

static void count(void)
{
	if (fate.left && !--fate.left)
		_exit(1);
}

void *__wrap_malloc(size_t size)
{
	count();
	return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	count();
	return __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	count();
	return __real_realloc(old, size);
}

/* ---- a life ---- */

struct life {
	struct xn_core core;
	struct xn_xs_store *store;
	struct xn_xs_journal *journal;
	struct xn_xs_conn *conn, *guest;
	uint32_t tx;
};

static void wake(void *arg)
{
}

static void begin(struct life *life, const char *folder)
{
	struct xn_xs_journal_options options = {.folder = folder, .segment_bytes = 4096};
	struct xn_error err = {0};

	*life = (struct life){0};
	life->core.loop = xn_loop_new_virtual(1);
	life->core.workers = xn_pool_new(life->core.loop, "test", 1);
	life->store = xn_xs_store_new(wake, NULL);
	options.image_after = 1500;
	life->journal = xn_xs_journal_open(&life->core, life->store, &options, &err);
	if (!life->journal)
		fail_msg("%s", err.n_params ? err.params[0] : "");
	life->conn = xn_xs_conn_new(xn_xs_domain_find(life->store, 0));
}

static void end(struct life *life)
{
	xn_xs_conn_free(life->conn);
	xn_xs_conn_free(life->guest);
	xn_pool_stop(life->core.workers);
	xn_xs_journal_close(life->journal);
	while (xn_xs_store_deliver(life->store, 100))
		;
	xn_xs_store_free(life->store);
	xn_pool_free(life->core.workers);
	xn_loop_free(life->core.loop);
}

/* ---- the program: one change a step ---- */

static void not_now(void *arg)
{
}

static void add_guest(struct life *life)
{
	struct xn_xs_domain *domain = xn_xs_domain_add(life->store, 5);

	life->guest = xn_xs_conn_new(domain);
	xn_xs_conn_take_events(life->guest, not_now, NULL);
	xn_xs_conn_keep(life->guest);
}

static void introduce(struct life *life)
{
	xn_xs_domain_introduce(xn_xs_domain_find(life->store, 5));
}

static void open_ring(struct life *life)
{
	xn_xs_journal_ring_open(life->journal, xn_xs_domain_find(life->store, 5)->birth, 5, 1, 2);
}

static void write_home(struct life *life)
{
	(void)xn_xs_conn_write_string(life->conn, 0, "/local/domain/5/name", "guest");
}

static void own_home(struct life *life)
{
	(void)xn_xs_conn_set_perms(life->conn, 0, "/local/domain/5", "n5 r0", 5);
}

static void watch(struct life *life)
{
	(void)xn_xs_conn_watch(life->guest, "data", "token", XN_XS_NO_DEPTH, NULL, NULL, NULL);
}

static void write_data(struct life *life)
{
	(void)xn_xs_conn_write_string(life->guest, 0, "data/a/b/c", "long enough to be outside of "
								    "the node, which has little");
}

static void begin_tx(struct life *life)
{
	(void)xn_xs_conn_begin(life->guest, &life->tx);
}

static void write_in_tx(struct life *life)
{
	(void)xn_xs_conn_write_string(life->guest, life->tx, "data/x", "1");
	(void)xn_xs_conn_write_string(life->guest, life->tx, "data/y/z", "2");
	(void)xn_xs_conn_rm(life->guest, life->tx, "data/a");
	(void)xn_xs_conn_set_perms(life->guest, life->tx, "data/x", "n5 r0 w7", 8);
}

static void end_tx(struct life *life)
{
	(void)xn_xs_conn_end(life->guest, life->tx, true);
}

static void special(struct life *life)
{
	(void)xn_xs_conn_set_perms(life->conn, 0, "@releaseDomain", "n0 r5", 5);
}

static void remove_tree(struct life *life)
{
	(void)xn_xs_conn_rm(life->conn, 0, "/local/domain/5/data/y");
}

static void let_an_image_be_made(struct life *life)
{
	while (xn_loop_turn(life->core.loop, 10000))
		;
}

static void release(struct life *life)
{
	xn_xs_conn_free(life->guest);
	life->guest = NULL;
	xn_xs_domain_release(xn_xs_domain_find(life->store, 5));
}

static void (*const steps[])(struct life *life) = {
	add_guest,   introduce,	 open_ring,   write_home, own_home, watch,	write_data,
	begin_tx,    write_in_tx, end_tx,     special,	  write_home, let_an_image_be_made,
	remove_tree, write_data, write_home,  let_an_image_be_made, release, write_home,
	let_an_image_be_made,
};
enum { STEPS = XN_ARRAY_SIZE(steps) };

/* ---- what the store is ---- */

struct counted {
	uint64_t birth, nodes;
};

static void count_owner(struct counted *owners, uint64_t birth)
{
	while (owners->nodes && owners->birth != birth)
		owners++;
	owners->birth = birth;
	owners->nodes++;
}

static void picture(struct xn_xs_store *store, struct xn_buf *out)
{
	char cursor[XN_XS_PATH_MAX + 1] = "";
	struct counted owners[8] = {0};
	struct xn_xs_slice_node node;
	struct xn_xs_slice slice;
	struct xn_buf bytes = {0};
	struct xn_xs_perm owner;
	uint64_t n = 0;

	(void)xn_xs_slice_put(store, cursor, UINT32_MAX, SIZE_MAX / 2, &bytes, &n);
	assert_int_equal(xn_xs_slice_open(&slice, (struct xn_xs_text){bytes.data, bytes.len}), 0);
	while (xn_xs_slice_next(&slice, &node) > 0) {
		struct xn_xs_text perms = node.perms;

		xn_buf_printf(out, "%.*s=%.*s (%.*s)\n", (int)node.path.len, node.path.bytes,
			      (int)node.value.len, node.value.bytes, (int)node.perms.len,
			      node.perms.bytes);
		assert_int_equal(xn_xs_perm_next(&perms, &owner), 1);
		count_owner(owners, owner.who.birth);
	}
	for (uint32_t domid = 0; domid < 10; domid++) {
		const struct xn_xs_domain *domain = xn_xs_domain_find(store, domid);
		struct counted *at = owners;

		if (!domain)
			continue;
		while (at->nodes && at->birth != domain->birth)
			at++;
		assert_int_equal(domain->account.nodes, at->nodes);
		xn_buf_printf(out, "%u.%llu %d %llu bytes\n", domid,
			      (unsigned long long)domain->birth, domain->introduced,
			      (unsigned long long)domain->account.node_bytes);
	}
	xn_buf_clear(&bytes);
}

/* ---- tests ---- */

/* Runs the program until its @nth allocation. *step_out: the one under way. */
static bool run_until(const char *folder, long nth, int *step)
{
	pid_t child = fork();
	int status;

	if (!child) {
		struct life life;

		begin(&life, folder);
		fate.left = nth;
		for (*step = 0; *step < STEPS; ++*step)
			steps[*step](&life);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status) == 0;
}

static void an_end_at_any_allocation_leaves_no_half_change(void **state)
{
	char folder[] = "/dev/shm/xn-alloc-XXXXXX";
	int *step = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct xn_buf states[STEPS + 1] = {0}, now = {0};
	struct life life;
	bool is_over = false;
	long nth;

	assert_non_null(mkdtemp(folder));
	begin(&life, folder);
	picture(life.store, &states[0]);
	for (int i = 0; i < STEPS; i++) {
		steps[i](&life);
		picture(life.store, &states[i + 1]);
	}
	end(&life);
	assert_int_equal(xn_remove_folder(folder), 0);
	for (nth = 1; !is_over; nth++) {
		is_over = run_until(folder, nth, step);
		begin(&life, folder);
		now.len = 0;
		picture(life.store, &now);
		if (strcmp(xn_buf_cstr(&now), xn_buf_cstr(&states[*step])) &&
		    (*step == STEPS ||
		     strcmp(xn_buf_cstr(&now), xn_buf_cstr(&states[*step + 1]))))
			fail_msg("allocation %ld, in step %d:\n%s", nth, *step, now.data);
		end(&life);
		assert_int_equal(xn_remove_folder(folder), 0);
	}
	assert_true(nth > 60);
	for (int i = 0; i <= STEPS; i++)
		xn_buf_clear(&states[i]);
	xn_buf_clear(&now);
	munmap(step, sizeof(int));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_end_at_any_allocation_leaves_no_half_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
