/*
 * The journal of the xenstore on files in memory: what had been written when the daemon died, at any
 * byte and at any call, is what a start finds.
 */
#include "tests/unit/cmocka_all.h"

#include "modules/xenstore/journal/journal.h"
#include "modules/xenstore/journal/slice.h"
#include "modules/xenstore/store/store.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

enum { SMALL_SEGMENT = 16384 };

struct fixture {
	struct xn_core core;
	struct xn_xs_media *media;
	struct xn_xs_store *store;
	struct xn_xs_journal *journal;
	struct xn_xs_conn *conn;
	struct xn_xs_journal_options options;
	uint64_t random;
	/* Dying at a call of the media. */
	unsigned calls, die_at;
	jmp_buf death;
};

/* ---- lives of a daemon ---- */

static void wake(void *arg)
{
}

static void begin_core(struct fixture *f)
{
	f->core = (struct xn_core){0};
	f->core.loop = xn_loop_new_virtual(1);
	f->core.workers = xn_pool_new(f->core.loop, "test", 1);
}

static int open_journal(struct fixture *f, struct xn_error *err)
{
	f->store = xn_xs_store_new(wake, NULL);
	f->options.folder = "memory";
	f->options.media = xn_xs_media_ref(f->media);
	f->journal = xn_xs_journal_open(&f->core, f->store, &f->options, err);
	if (!f->journal)
		return -1;
	f->conn = xn_xs_conn_new(xn_xs_domain_find(f->store, 0));
	return 0;
}

static void live(struct fixture *f)
{
	struct xn_error err = {0};

	begin_core(f);
	if (open_journal(f, &err) < 0)
		fail_msg("%s", err.n_params ? err.params[0] : err.code);
}

static void stop(struct fixture *f)
{
	xn_xs_conn_free(f->conn);
	f->conn = NULL;
	xn_pool_stop(f->core.workers);
	xn_xs_journal_close(f->journal);
	f->journal = NULL;
	while (xn_xs_store_deliver(f->store, 1000))
		;
	xn_xs_store_free(f->store);
	xn_pool_free(f->core.workers);
	xn_loop_free(f->core.loop);
}

/* SIGKILL: nothing is closed. What the dead one had in memory is only left alone, which a sanitizer
 * would call a leak. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

static void die_and_live(struct fixture *f)
{
	live(f);
}

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	f->media = xn_xs_media_memory_new();
	f->options.segment_bytes = SMALL_SEGMENT;
	f->options.image_after = 8 * SMALL_SEGMENT;
	f->options.history_bytes = 1 << 20;
	f->random = 42;
	live(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_xs_media_memory_watch(f->media, NULL, NULL);
	stop(f);
	xn_xs_media_memory_destroy(f->media);
	free(f);
	return 0;
}

static void turn(struct fixture *f)
{
	while (xn_loop_turn(f->core.loop, 10000))
		;
}

/* ---- changes, and what the store is ---- */

static unsigned pick(struct fixture *f, unsigned n)
{
	f->random = f->random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(f->random >> 33) % n;
}

static void write_node(struct fixture *f, const char *path, const char *value)
{
	assert_int_equal(xn_xs_conn_write_string(f->conn, 0, path, value), 0);
}

static void assert_node(struct fixture *f, const char *path, const char *value)
{
	const char *got;
	size_t len;

	assert_int_equal(xn_xs_conn_read(f->conn, 0, path, &got, &len), 0);
	assert_int_equal(len, strlen(value));
	assert_memory_equal(got, value, len);
}

static int read_node(struct fixture *f, const char *path)
{
	const char *got;
	size_t len;

	return xn_xs_conn_read(f->conn, 0, path, &got, &len);
}

static void print_nodes(struct xn_xs_store *store, struct xn_buf *out)
{
	char cursor[XN_XS_PATH_MAX + 1] = "";
	struct xn_xs_slice_node node;
	struct xn_xs_slice slice;
	struct xn_buf bytes = {0};
	uint64_t n = 0;

	(void)xn_xs_slice_put(store, cursor, UINT32_MAX, SIZE_MAX / 2, &bytes, &n);
	assert_int_equal(xn_xs_slice_open(&slice, (struct xn_xs_text){bytes.data, bytes.len}), 0);
	while (xn_xs_slice_next(&slice, &node) > 0)
		xn_buf_printf(out, "%.*s=%.*s (%.*s) %llu\n", (int)node.path.len, node.path.bytes,
			      (int)node.value.len, node.value.bytes, (int)node.perms.len,
			      node.perms.bytes, (unsigned long long)node.generation);
	xn_buf_clear(&bytes);
}

/* All of it: nodes with permissions, births and generations; domains; accounts. */
static void picture(struct xn_xs_store *store, struct xn_buf *out)
{
	struct xn_xs_account sum;

	out->len = 0;
	print_nodes(store, out);
	for (uint32_t domid = 0; domid < 40; domid++) {
		const struct xn_xs_domain *domain = xn_xs_domain_find(store, domid);

		if (domain)
			xn_buf_printf(out, "%u.%llu%s%s%s %llu/%llu ", domid,
				      (unsigned long long)domain->birth,
				      domain->introduced ? "i" : "", domain->stopped ? "s" : "",
				      domain->target && domain->target->alive ? "t" : "",
				      (unsigned long long)domain->account.nodes,
				      (unsigned long long)domain->account.node_bytes);
	}
	(void)xn_xs_store_account(store, &sum);
	xn_buf_printf(out, "%llu nodes, %llu bytes, birth %llu", (unsigned long long)sum.nodes,
		      (unsigned long long)sum.node_bytes,
		      (unsigned long long)xn_xs_store_highest_birth(store));
}

static void assert_same(const struct xn_buf *a, const struct xn_buf *b, const char *when,
			unsigned n)
{
	size_t at = 0;

	while (at < a->len && at < b->len && a->data[at] == b->data[at])
		at++;
	if (at == a->len && at == b->len)
		return;
	for (int side = 0; side < 2; side++) {
		const struct xn_buf *buf = side ? b : a;

		for (size_t i = at > 100 ? at - 100 : 0; i < buf->len && i < at + 300; i++)
			putchar(buf->data[i] >= ' ' && buf->data[i] < 127 ? buf->data[i] : '.');
		printf("\n");
	}
	fail_msg("%s %u: differs at byte %zu (%02x %02x), %zu and %zu", when, n, at, a->data[at] & 255, b->data[at] & 255, a->len, b->len);
}

static bool is_same(const struct xn_buf *a, const struct xn_buf *b)
{
	return a->len == b->len && !memcmp(a->data, b->data, a->len);
}

static void change_domains(struct fixture *f)
{
	uint32_t domid = 1 + pick(f, 6);
	struct xn_xs_domain *domain = xn_xs_domain_find(f->store, domid);
	struct xn_xs_domain *other = xn_xs_domain_find(f->store, 1 + pick(f, 6));

	if (!domain)
		(void)xn_xs_domain_add(f->store, domid);
	else if (!domain->introduced)
		xn_xs_domain_introduce(domain);
	else if (pick(f, 4) == 0)
		xn_xs_domain_release(domain);
	else if (pick(f, 2))
		xn_xs_domain_stopped(domain);
	else
		xn_xs_domain_set_target(domain, other == domain ? NULL : other);
}

static void random_change(struct fixture *f)
{
	char path[64], perms[32];
	uint32_t tx = 0;
	bool has_tx = pick(f, 4) == 0;

	if (pick(f, 12) == 0) {
		change_domains(f);
		return;
	}
	if (has_tx)
		assert_int_equal(xn_xs_conn_begin(f->conn, &tx), 0);
	for (unsigned n = has_tx ? 1 + pick(f, 5) : 1; n; n--) {
		snprintf(path, sizeof(path), "/%c/%c/%c", 'a' + pick(f, 4), 'a' + pick(f, 5),
			 'a' + pick(f, 6));
		path[2 + 2 * pick(f, 3)] = '\0';
		switch (pick(f, 6)) {
		case 0:
			(void)xn_xs_conn_rm(f->conn, tx, path);
			break;
		case 1:
			snprintf(perms, sizeof(perms), "n%u r%u", pick(f, 7), pick(f, 7));
			(void)xn_xs_conn_set_perms(f->conn, tx, path, perms, strlen(perms));
			break;
		case 2:
			(void)xn_xs_conn_mkdir(f->conn, tx, path);
			break;
		default:
			(void)xn_xs_conn_writef(f->conn, tx, path, "%0*u", (int)pick(f, 100),
						pick(f, 1000));
			break;
		}
	}
	if (has_tx)
		(void)xn_xs_conn_end(f->conn, tx, true);
}

/* ---- tests ---- */

static void what_was_written_is_there_after_a_kill(void **state)
{
	struct fixture *f = *state;
	struct xn_buf before = {0}, after = {0};

	write_node(f, "/a/b", "1");
	write_node(f, "/a/c", "");
	assert_int_equal(xn_xs_conn_set_perms(f->conn, 0, "/a/c", "n3 b4", 5), 0);
	assert_int_equal(xn_xs_conn_set_perms(f->conn, 0, "@releaseDomain", "n0 r2", 5), 0);
	write_node(f, "/gone/x", "2");
	assert_int_equal(xn_xs_conn_rm(f->conn, 0, "/gone"), 0);
	write_node(f, "/", "root");
	picture(f->store, &before);
	die_and_live(f);
	picture(f->store, &after);
	assert_true(is_same(&before, &after));
	after.len = 0;
	assert_int_equal(xn_xs_conn_get_perms(f->conn, 0, "@releaseDomain", &after), 0);
	assert_string_equal(after.data, "n0");
	assert_string_equal(after.data + 3, "r2");
	xn_buf_clear(&before);
	xn_buf_clear(&after);
}

static void random_histories_survive_kills_segments_and_images(void **state)
{
	struct fixture *f = *state;
	struct xn_buf before = {0}, after = {0};

	for (int life = 0; life < 60; life++) {
		for (unsigned n = pick(f, 800); n; n--) {
			random_change(f);
			if (pick(f, 30) == 0)
				(void)xn_loop_turn(f->core.loop, 1000);
		}
		picture(f->store, &before);
		if (pick(f, 3))
			die_and_live(f);
		else {
			stop(f);
			live(f);
		}
		picture(f->store, &after);
		assert_same(&before, &after, "life", (unsigned)life);
	}
	xn_buf_clear(&before);
	xn_buf_clear(&after);
}

static void what_was_set_of_quotas_and_features_is_kept(void **state)
{
	const struct xn_xs_limit limit = {.soft = 3, .hard = 7}, configured = {.hard = 1000};
	struct fixture *f = *state;

	xn_xs_domain_hide_features(xn_xs_domain_add(f->store, 4), 2);
	xn_xs_domain_set_limit(xn_xs_domain_find(f->store, 4), XN_XS_QUOTA_WATCHES, limit);
	xn_xs_store_keep_limit(f->store, XN_XS_QUOTA_NODES, limit);
	for (int life = 0; life < 3; life++) {
		die_and_live(f);
		assert_int_equal(xn_xs_domain_find(f->store, 4)->hidden_features, 2);
		assert_int_equal(xn_xs_domain_limit(xn_xs_domain_find(f->store, 4),
						    XN_XS_QUOTA_WATCHES)
					 .hard,
				 7);
		xn_xs_store_set_limit(f->store, XN_XS_QUOTA_NODES, configured);
		assert_int_equal(xn_xs_store_limit(f->store, XN_XS_QUOTA_NODES).hard, 7);
		for (int i = 0; i < 3000; i++) { /* an image, too */
			write_node(f, "/busy", "01234567890123456789012345678901234567890123456789");
			if (i % 50 == 0)
				turn(f);
		}
		turn(f);
	}
}

/* ---- files cut short ---- */

struct copy {
	char *names[64];
	struct xn_buf bytes[64];
	unsigned n;
};

static void copy_name(const char *name, uint64_t size, void *arg)
{
	struct copy *copy = arg;

	copy->names[copy->n++] = xn_strdup(name);
}

static void take_copy(struct fixture *f, struct copy *copy)
{
	const struct xn_xs_media_ops *ops = f->media->ops;

	copy->n = 0;
	assert_int_equal(ops->list(f->media, copy_name, copy), 0);
	for (unsigned i = 0; i < copy->n; i++) {
		struct xn_xs_map map;

		assert_int_equal(ops->map(f->media, copy->names[i], &map), 0);
		copy->bytes[i] = (struct xn_buf){0};
		xn_buf_add(&copy->bytes[i], map.bytes, map.len);
		ops->unmap(f->media, &map);
	}
}

/* The same files on another disk, the one file only up to @len bytes, zeros behind. */
static struct xn_xs_media *disk_of(const struct copy *copy, const char *cut, size_t len)
{
	struct xn_xs_media *media = xn_xs_media_memory_new();

	for (unsigned i = 0; i < copy->n; i++) {
		struct xn_buf bytes = {0};

		xn_buf_add(&bytes, copy->bytes[i].data, copy->bytes[i].len);
		if (!strcmp(copy->names[i], cut) && len < bytes.len)
			memset(bytes.data + len, 0, bytes.len - len);
		assert_int_equal(media->ops->append(media, copy->names[i], bytes.data, bytes.len),
				 0);
		xn_buf_clear(&bytes);
	}
	return media;
}

static void a_segment_cut_at_any_byte_gives_a_state_that_was(void **state)
{
	struct fixture *f = *state;
	struct xn_buf states[62] = {0}, now = {0};
	struct xn_xs_media *disk = f->media;
	struct copy copy;
	unsigned n = 0, at = 0;

	picture(f->store, &states[n++]);
	for (int i = 0; i < 60; i++) {
		random_change(f);
		picture(f->store, &states[n++]);
	}
	take_copy(f, &copy);
	stop(f);
	for (size_t len = XN_XS_FILE_HEAD; len < 12000; len += len % 7 + 1) {
		f->media = disk_of(&copy, "segment-00000001", len);
		live(f);
		picture(f->store, &now);
		while (at < n && !is_same(&states[at], &now))
			at++; /* more bytes, never less of a history */
		if (at == n)
			fail_msg("cut at %zu: no state that ever was", len);
		stop(f);
		xn_xs_media_memory_destroy(f->media);
	}
	assert_int_equal(at, n - 1);
	f->media = disk;
	live(f);
	for (unsigned i = 0; i < copy.n; i++) {
		free(copy.names[i]);
		xn_buf_clear(&copy.bytes[i]);
	}
	for (unsigned i = 0; i < n; i++)
		xn_buf_clear(&states[i]);
	xn_buf_clear(&now);
}

/* ---- death at a call ---- */

static int at_call(const char *call, void *arg)
{
	struct fixture *f = arg;

	if (++f->calls == f->die_at)
		longjmp(f->death, 1);
	return 0;
}

/* One life with many segments and an image or two, until it dies at its @n-th call. @before, @after:
 * the store without and with the change under way. Whether it died. */
static bool live_until(struct fixture *f, unsigned n, struct xn_buf *before, struct xn_buf *after)
{
	volatile bool died = true;

	f->calls = 0;
	f->die_at = n;
	f->random = 7;
	picture(f->store, before);
	xn_xs_media_memory_watch(f->media, at_call, f);
	if (!setjmp(f->death)) {
		for (int i = 0; i < 1500; i++) {
			random_change(f);
			picture(f->store, before);
			(void)xn_loop_turn(f->core.loop, 500);
		}
		turn(f);
		died = false;
	}
	xn_xs_media_memory_watch(f->media, NULL, NULL);
	picture(f->store, after);
	return died;
}

static void death_at_any_call_of_the_disk_loses_nothing(void **state)
{
	struct fixture *f = *state;
	struct xn_buf before = {0}, after = {0}, now = {0};
	unsigned n = 1;

	for (;; n++) {
		bool died = live_until(f, n, &before, &after);

		die_and_live(f);
		picture(f->store, &now);
		if (!is_same(&now, &before) && !is_same(&now, &after))
			fail_msg("call %u", n);
		stop(f);
		xn_xs_media_memory_destroy(f->media);
		f->media = xn_xs_media_memory_new();
		live(f);
		if (!died)
			break;
	}
	assert_true(n > 12);
	xn_buf_clear(&before);
	xn_buf_clear(&after);
	xn_buf_clear(&now);
}

/* ---- a full disk ---- */

static void a_full_disk_refuses_changes_and_nothing_else(void **state)
{
	struct fixture *f = *state;
	struct xn_buf before = {0}, after = {0};
	char value[1001];
	int rc = 0;

	memset(value, 'x', 1000);
	value[1000] = '\0';
	write_node(f, "/first", "1");
	xn_xs_media_memory_limit(f->media, 5 * SMALL_SEGMENT);
	for (int i = 0; i < 1000 && !rc; i++) {
		picture(f->store, &before);
		rc = xn_xs_conn_write_string(f->conn, 0, "/fill", value);
		turn(f);
	}
	assert_int_equal(rc, -ENOSPC);
	picture(f->store, &after);
	assert_true(is_same(&before, &after));
	assert_false(xn_xs_journal_has_room(f->journal));
	assert_node(f, "/first", "1");
	die_and_live(f);
	assert_node(f, "/first", "1");
	for (rc = 0; !rc;) /* what a start puts in order leaves a little room */
		rc = xn_xs_conn_write_string(f->conn, 0, "/fill", value);
	assert_int_equal(rc, -ENOSPC);
	xn_xs_media_memory_limit(f->media, 0);
	(void)xn_loop_turn(f->core.loop, 0);
	for (int i = 0; i < 100 && xn_xs_conn_write_string(f->conn, 0, "/again", "1"); i++)
		(void)xn_loop_turn(f->core.loop, 10000);
	assert_node(f, "/again", "1");
	die_and_live(f);
	assert_node(f, "/again", "1");
	xn_buf_clear(&before);
	xn_buf_clear(&after);
}

/* ---- rings ---- */

static unsigned n_rings;

static void not_now(void *arg)
{
}

static void look_at_ring(const struct xn_xs_kept_ring *ring, void *arg)
{
	struct xn_xs_event event;

	n_rings++;
	assert_int_equal(ring->domid, 5);
	assert_int_equal(ring->gfn, 77);
	assert_int_equal(ring->port, 8);
	assert_int_equal(ring->in_at, 120);
	assert_int_equal(ring->partial_len, 3);
	assert_memory_equal(ring->partial, "abc", 3);
	assert_int_equal(ring->out_at, 64);
	assert_int_equal(ring->unsent_len, 5);
	assert_memory_equal(ring->unsent, "reply", 5);
	assert_int_equal(ring->highest_transaction, 9);
	assert_int_equal(xn_xs_conn_n_events(ring->conn), 1);
	assert_true(xn_xs_conn_first_event(ring->conn, &event));
	assert_string_equal(event.path, "/w/y");
	assert_string_equal(event.token, "tok");
	assert_non_null(xn_xs_conn_find_watch(ring->conn, "/w", "tok"));
	xn_xs_conn_free(ring->conn);
}

/* What cannot be refused finds no room either: it is told again when there is some. */
static void what_found_no_room_is_made_good(void **state)
{
	struct fixture *f = *state;
	struct xn_buf before = {0}, after = {0};
	struct xn_xs_domain *domain = xn_xs_domain_add(f->store, 3);
	struct xn_xs_conn *guest = xn_xs_conn_new(domain);

	write_node(f, "/home", "");
	assert_int_equal(xn_xs_conn_set_perms(f->conn, 0, "/home", "n3", 2), 0);
	assert_int_equal(xn_xs_conn_write_string(guest, 0, "/home/x", "1"), 0);
	xn_xs_conn_free(guest);
	xn_xs_journal_ring_open(f->journal, domain->birth, 3, 1, 1);
	xn_xs_media_memory_limit(f->media, 1);
	for (int i = 0; i < 5000; i++) { /* the reserve, too */
		xn_xs_journal_ring_input(f->journal, domain->birth, (uint32_t)i, "partial", 7);
		turn(f);
	}
	xn_xs_domain_release(domain);
	xn_xs_domain_introduce(xn_xs_domain_add(f->store, 4));
	xn_xs_media_memory_limit(f->media, 0);
	for (int i = 0; i < 100 && xn_xs_conn_write_string(f->conn, 0, "/again", "1"); i++)
		(void)xn_loop_turn(f->core.loop, 10000);
	picture(f->store, &before);
	die_and_live(f);
	picture(f->store, &after);
	assert_same(&before, &after, "life", 1);
	n_rings = 0;
	xn_xs_journal_each_ring(f->journal, look_at_ring, NULL);
	assert_int_equal(n_rings, 0);
	xn_buf_clear(&before);
	xn_buf_clear(&after);
}

static void a_ring_goes_on_with_all_that_was_on_its_way(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_domain *domain = xn_xs_domain_add(f->store, 5);
	struct xn_xs_conn *conn = xn_xs_conn_new(domain);
	uint64_t birth = domain->birth;
	unsigned n = 0;

	n_rings = 0;
	xn_xs_conn_take_events(conn, not_now, NULL);
	xn_xs_conn_keep(conn);
	xn_xs_journal_ring_open(f->journal, birth, 5, 77, 8);
	assert_int_equal(xn_xs_conn_watch(conn, "/w", "tok", XN_XS_NO_DEPTH, NULL, NULL, NULL), 0);
	xn_xs_journal_ring_watch(f->journal, birth, "/w", "tok", XN_XS_NO_DEPTH);
	write_node(f, "/w/x", "1");
	assert_int_equal(xn_xs_conn_set_perms(f->conn, 0, "/w", "b0", 2), 0);
	write_node(f, "/w/y", "1");
	assert_int_equal(xn_xs_conn_set_perms(f->conn, 0, "/w/y", "b0", 2), 0);
	for (; xn_xs_conn_n_events(conn) > 1; n++)
		xn_xs_conn_pop_event(conn);
	assert_int_equal(n, 1);
	xn_xs_journal_ring_output(f->journal, birth, 0, "0123456789", 10, n);
	xn_xs_journal_ring_sent(f->journal, birth, 10);
	xn_xs_journal_ring_output(f->journal, birth, 10,
				  "012345678901234567890123456789012345678901234567890123", 54, 0);
	xn_xs_journal_ring_sent(f->journal, birth, 64);
	xn_xs_journal_ring_output(f->journal, birth, 64, "reply", 5, 0);
	xn_xs_journal_ring_input(f->journal, birth, 120, "abc", 3);
	xn_xs_journal_ring_transaction(f->journal, birth, 9);
	die_and_live(f);
	xn_xs_journal_each_ring(f->journal, look_at_ring, NULL);
	assert_int_equal(n_rings, 1);
	xn_xs_domain_release(xn_xs_domain_find(f->store, 5));
	die_and_live(f);
	xn_xs_journal_each_ring(f->journal, look_at_ring, NULL);
	assert_int_equal(n_rings, 1);
}

/* ---- what is older, newer, elsewhere ---- */

static void a_file_of_a_newer_version_refuses_the_start(void **state)
{
	struct fixture *f = *state;
	struct xn_error err = {0};
	struct xn_buf bytes = {0};
	struct xn_xs_file_head head = {.kind = XN_XS_SEGMENT, .number = 9};
	size_t start;

	xn_xs_file_head_put(&head, &bytes);
	start = xn_xs_record_begin(&bytes, 1);
	xn_buf_add(&bytes, "\xee\0\0\0\0", 5); /* a kind of part that nobody knows */
	xn_xs_record_end(&bytes, start);
	stop(f);
	assert_int_equal(f->media->ops->append(f->media, "segment-00000009", bytes.data, bytes.len),
			 0);
	begin_core(f);
	f->options.outlives_boots = true;
	assert_int_equal(open_journal(f, &err), -1);
	assert_non_null(strstr(err.params[0], "newer version"));
	xn_error_clear(&err);
	xn_xs_store_free(f->store);
	assert_int_equal(f->media->ops->remove(f->media, "segment-00000009"), 0);
	assert_int_equal(open_journal(f, &err), 0);
	xn_buf_clear(&bytes);
}

static void what_another_boot_left_is_history_only(void **state)
{
	struct fixture *f = *state;
	struct xn_buf bytes = {0};
	struct xn_xs_file_head head = {.kind = XN_XS_SEGMENT, .number = 9, .boot_id = {1, 2, 3}};

	write_node(f, "/old", "1");
	xn_xs_file_head_put(&head, &bytes);
	stop(f);
	assert_int_equal(f->media->ops->append(f->media, "segment-00000009", bytes.data, bytes.len),
			 0);
	live(f);
	assert_int_equal(read_node(f, "/old"), -ENOENT);
	write_node(f, "/new", "1");
	die_and_live(f);
	assert_node(f, "/new", "1");
	xn_buf_clear(&bytes);
}

static uint64_t total;

static void add_size(const char *name, uint64_t size, void *arg)
{
	total += size;
}

static void history_takes_no_more_than_its_room(void **state)
{
	struct fixture *f = *state;
	char value[501];

	memset(value, 'y', 500);
	value[500] = '\0';
	for (int i = 0; i < 20000; i++) {
		write_node(f, "/busy", value);
		if (i % 20 == 0)
			turn(f);
	}
	turn(f);
	total = 0;
	assert_int_equal(f->media->ops->list(f->media, add_size, NULL), 0);
	/* What a start reads, and the history beside it. */
	assert_true(total < (1 << 20) + 16 * SMALL_SEGMENT);
	assert_true(total > 1 << 19);
	die_and_live(f);
	assert_node(f, "/busy", value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		T(what_was_written_is_there_after_a_kill),
		T(random_histories_survive_kills_segments_and_images),
		T(what_was_set_of_quotas_and_features_is_kept),
		T(a_segment_cut_at_any_byte_gives_a_state_that_was),
		T(death_at_any_call_of_the_disk_loses_nothing),
		T(a_full_disk_refuses_changes_and_nothing_else),
		T(what_found_no_room_is_made_good),
		T(a_ring_goes_on_with_all_that_was_on_its_way),
		T(a_file_of_a_newer_version_refuses_the_start),
		T(what_another_boot_left_is_history_only),
		T(history_takes_no_more_than_its_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
