/*
 * History against a model: random turns, checkpoints and restarts in between; what history tells of
 * any generation must be what the rows were then, and each change must name what it replaced.
 * Crashes in the recorder's writes and damage of its files.
 */
#include "tests/unit/db_workload.h"

#include "core/crc32c.h"
#include "core/past.h"
#include "modules/db/history/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { TURNS = 400 };

struct moment { /* what the database was after a turn */
	uint64_t generation;
	int64_t wall_us;
	uint64_t hash, n_rows;
};

struct book {
	struct fixture *f;
	struct xn_history_options options;
	struct moment moments[TURNS + 1];
	unsigned n;
};

/* Syncs of changes files: this program stands in front of libc. */
static struct {
	unsigned n;
	bool fail;
	pthread_mutex_t gate; /* held: they wait */
	atomic_bool at_gate;
} syncs = {.gate = PTHREAD_MUTEX_INITIALIZER};

static void pass_gate(void)
{
	syncs.at_gate = true;
	pthread_mutex_lock(&syncs.gate);
	pthread_mutex_unlock(&syncs.gate);
	syncs.at_gate = false;
}

static bool is_changes_file(int fd)
{
	char link[40], path[200];
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	path[len < 0 ? 0 : len] = '\0';
	return strstr(path, "/history/changes-") != NULL;
}

int fdatasync(int fd)
{
	if (is_changes_file(fd)) {
		pass_gate();
		syncs.n++;
		if (syncs.fail) {
			errno = EIO;
			return -1;
		}
	}
	return (int)syscall(SYS_fdatasync, fd);
}

/* ---- the model: rows as they are ---- */

static uint64_t hash_bytes(const struct xn_buf *bytes)
{
	uint64_t crc = xn_crc32c(0, bytes->data, bytes->len);

	return (crc << 32 | xn_crc32c((uint32_t)crc, bytes->data, bytes->len)) *
	       UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t hash_row(struct book *b, const struct xn_row *row)
{
	const struct xn_class *cls = &xn_classes[xn_row_class(row)];
	struct xn_buf bytes = {0};
	uint64_t hash;

	xn_put_string(&bytes, xn_row_ref(row));
	for (unsigned f = 0; f < cls->n_fields; f++)
		if (xn_history_keeps_field(&b->options.skip, cls->id, (int)f))
			xn_put_value(&bytes, xn_row_get(row, (int)f));
	hash = hash_bytes(&bytes);
	xn_buf_clear(&bytes);
	return hash;
}

static struct moment now(struct book *b)
{
	struct xn_db *db = b->f->db;
	struct moment m = {.generation = xn_db_generation(db) - 1,
			   .wall_us = xn_wall_us(b->f->core.loop)};

	for (int c = 0; c < XN_CLASS_COUNT; c++)
		for (struct xn_row *row = xn_db_first(db, c); row; row = xn_db_next(db, row)) {
			if (!xn_history_keeps_class(&b->options.skip, c))
				continue;
			m.hash += hash_row(b, row);
			m.n_rows++;
		}
	return m;
}

/* ---- history ---- */

static struct xn_history *open_history(struct book *b)
{
	struct xn_history *h = NULL;
	char *why = NULL;

	if (xn_history_open(b->f->dir, &b->options, &h, &why) < 0)
		fail_msg("%s", why);
	return h;
}

static uint64_t hash_known_row(struct book *b, const struct xn_history *h,
			       const struct xn_history_row *row)
{
	const struct xn_class *cls = &xn_classes[row->class_id];
	struct xn_slice *values = xn_calloc(cls->n_fields, sizeof(*values));
	struct xn_cursor in = xn_cursor(row->pairs.data, row->pairs.len);
	struct xn_buf bytes = {0};
	struct xn_slice value;
	uint64_t hash;
	uint32_t no;

	while (xn_take_pair(&in, &no, &value) == 1)
		values[xn_names_field(xn_history_names(h), cls->id, no)] = value;
	xn_buf_add(&bytes, row->ref.data, row->ref.len);
	for (unsigned f = 0; f < cls->n_fields; f++) {
		struct xn_value *otherwise;

		if (!xn_history_keeps_field(&b->options.skip, cls->id, (int)f)) {
			assert_null(values[f].data);
			continue;
		}
		otherwise = xn_field_default(cls, f);
		if (values[f].data)
			xn_buf_add(&bytes, values[f].data, values[f].len);
		else
			xn_put_value(&bytes, otherwise);
		xn_value_unref(otherwise);
	}
	hash = hash_bytes(&bytes);
	xn_buf_clear(&bytes);
	free(values);
	return hash;
}

/* 0, or -ENODATA. */
static int known(struct book *b, struct xn_history *h, uint64_t generation, struct moment *m)
{
	struct xn_history_rows *rows;
	int rc = xn_history_rows_at(h, generation, NULL, NULL, &rows);

	*m = (struct moment){.generation = generation};
	if (rc < 0)
		return rc;
	m->n_rows = xn_history_rows_count(rows);
	for (size_t i = 0; i < m->n_rows; i++)
		m->hash += hash_known_row(b, h, xn_history_row(rows, i));
	xn_history_rows_free(rows);
	return 0;
}

static void assert_known(struct book *b, struct xn_history *h, const struct moment *wanted)
{
	struct moment m;

	assert_int_equal(known(b, h, wanted->generation, &m), 0);
	assert_int_equal(m.n_rows, wanted->n_rows);
	assert_true(m.hash == wanted->hash);
}

static int dump_tx(void *arg, const struct xn_tx_head *head, struct xn_cursor in)
{
	struct xn_buf *out = arg;

	xn_put_tx_head(out, head);
	xn_buf_add(out, in.at, (size_t)(in.end - in.at));
	return 0;
}

static void dump(struct xn_history *h, struct xn_buf *out)
{
	out->len = 0;
	assert_int_equal(xn_history_walk(h, 0, UINT64_MAX, INT64_MIN, INT64_MAX, dump_tx, out), 0);
}

/* Each change names what the rows before it were. */
struct replay {
	struct xn_history *h;
	struct xn_history_rows *rows;
	unsigned changes;
};

static void assert_was(const struct replay *r, const struct xn_tx_entry *was,
		       const struct xn_tx_entry *entry)
{
	const struct xn_item *item = xn_history_rows_get(r->rows, &was->ref);
	struct xn_cursor in = xn_cursor(was->pairs.data, was->pairs.len);
	struct xn_slice row, old, value;
	struct xn_row_head head;
	uint32_t no, row_no;

	assert_non_null(item);
	assert_true(item->present);
	row = xn_item_value(item);
	assert_int_equal(was->ref.len, entry->ref.len);
	assert_memory_equal(was->ref.data, entry->ref.data, was->ref.len);
	while (xn_take_pair(&in, &no, &old) == 1) {
		struct xn_cursor row_in = xn_cursor(row.data, row.len);
		bool found = false;

		assert_int_equal(xn_take_row_head(&row_in, &head), 0);
		while (!found && xn_take_pair(&row_in, &row_no, &value) == 1)
			found = row_no == no;
		assert_true(found);
		assert_int_equal(value.len, old.len);
		assert_memory_equal(value.data, old.data, old.len);
	}
}

static int replay_tx(void *arg, const struct xn_tx_head *head, struct xn_cursor in)
{
	struct replay *r = arg;
	struct xn_tx_entry entry, was = {0};
	struct xn_cursor entries = in;
	struct xn_buf whole = {0};

	while (xn_take_tx_entry(&entries, head, &entry) == 1) {
		if (entry.op == XN_TX_SET || entry.op == XN_TX_DELETE) {
			assert_int_equal(was.op, XN_TX_WAS);
			assert_was(r, &was, &entry);
			r->changes++;
		}
		was = entry;
		if (entry.op == XN_TX_ORIGIN || entry.op == XN_TX_WAS)
			continue;
		/* One at a time, so that the next one's past is right. */
		whole.len = 0;
		xn_put_tx_head(&whole, head);
		xn_buf_add(&whole, in.at, (size_t)(entries.at - in.at));
		in.at = entries.at;
		assert_int_equal(xn_history_rows_apply(r->rows, r->h,
						       xn_cursor(whole.data, whole.len), UINT64_MAX,
						       NULL, NULL),
				 0);
	}
	xn_buf_clear(&whole);
	return 0;
}

static void assert_changes_join(struct xn_history *h)
{
	struct replay r = {.h = h, .rows = xn_history_rows_new()};

	assert_int_equal(xn_history_walk(h, 0, UINT64_MAX, INT64_MIN, INT64_MAX, replay_tx, &r),
			 0);
	assert_true(r.changes > 100);
	xn_history_rows_free(r.rows);
}

/* ---- setting ---- */

static void set_options(struct book *b, uint64_t size)
{
	char *why = NULL;

	xn_history_options_clear(&b->options);
	b->options = (struct xn_history_options){.size = size,
						 .age_us = INT64_C(86400000000) * 90};
	assert_int_equal(
		xn_history_skip_parse(&b->options.skip, "task.progress, VIF.MTU,VDI.*", &why), 0);
}

/* The same for the store. */
static void start_with(struct fixture *f, const char *size)
{
	static const struct xn_module *const modules[] = {&xn_db_module, NULL};
	struct xn_config *config = xn_config_new();
	struct xn_error err = {0};

	xn_config_decide(config, "state-dir", f->dir);
	xn_config_decide(config, "history-size", size);
	xn_config_decide(config, "history-skip", "task.progress, VIF.MTU,VDI.*");
	xn_core_init(&f->core, f->in_virtual_time ? xn_loop_new_virtual(1) : xn_loop_new(),
		     xn_log_new(XN_LOG_ERROR, false, -1), config);
	f->db = NULL;
	if (!xn_modules_start(&f->core, modules, &err))
		fail_msg("%s", err.params[0]);
	f->db = xn_db_of(&f->core);
}

/* It is asked for again and again: one that runs ends before what came since. */
static bool is_all_folded(struct fixture *f)
{
	f->db->store->ops->checkpoint(f->db->store);
	return xn_db_backlog(f->db) == 0;
}

static void checkpoint(struct fixture *f)
{
	assert_int_equal(sync_all(f), 0);
	TURN_UNTIL(f->core.loop, is_all_folded(f));
}

static void let_pass(struct fixture *f, int64_t us)
{
	int64_t until = xn_now_us(f->core.loop) + us;

	while (xn_now_us(f->core.loop) < until)
		xn_loop_turn(f->core.loop, until - xn_now_us(f->core.loop));
}

static int tidy_at(struct book *b, int64_t now_us)
{
	struct xn_history_tidied tidied;
	int rc = xn_history_tidy(b->f->dir, &b->options, now_us, &tidied);

	assert_true(rc < 0 || tidied.bytes <= tidied.limit);
	return rc;
}

static void tidy(struct book *b)
{
	assert_int_equal(tidy_at(b, xn_wall_us(b->f->core.loop)), 0);
}

static void run_turns(struct book *b, unsigned n, uint64_t seed, const char *size)
{
	struct dice dice = {seed ^ 77};

	for (unsigned i = 0; i < n; i++) {
		workload_turn(b->f->db, seed, b->n);
		commit(b->f);
		b->moments[b->n++] = now(b);
		if (roll(&dice, 20) == 0)
			checkpoint(b->f);
		if (roll(&dice, 60) == 0) {
			stop(b->f);
			start_with(b->f, size);
		}
		if (roll(&dice, 80) == 0)
			tidy(b);
	}
}

static int setup_with(void **state, bool in_virtual_time)
{
	struct book *b = calloc(1, sizeof(*b));

	b->f = calloc(1, sizeof(*b->f));
	b->f->in_virtual_time = in_virtual_time;
	strcpy(b->f->dir, "/tmp/xn-test-hist-XXXXXX");
	if (!mkdtemp(b->f->dir))
		return -1;
	set_options(b, 64 << 20);
	start_with(b->f, "64M");
	*state = b;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, false);
}

static int setup_in_virtual_time(void **state)
{
	return setup_with(state, true);
}

static int clear(void **state)
{
	struct book *b = *state;
	void *fixture = b->f;

	xn_history_options_clear(&b->options);
	free(b);
	return teardown(&fixture);
}

/* ---- tests ---- */

static void every_generation_is_what_it_was(void **state)
{
	struct book *b = *state;
	struct xn_history *h;

	run_turns(b, TURNS, 1, "64M");
	h = open_history(b);
	assert_int_equal(xn_history_bounds(h)->n_gaps, 0);
	assert_true(xn_history_bounds(h)->is_whole);
	for (unsigned i = 0; i < b->n; i++)
		assert_known(b, h, &b->moments[i]);
	assert_changes_join(h);
	xn_history_close(h);
}

static void a_time_is_the_generation_it_had(void **state)
{
	struct book *b = *state;
	struct xn_history *h;
	uint64_t early;

	run_turns(b, 100, 5, "64M");
	h = open_history(b);
	for (unsigned i = 0; i < b->n; i++) {
		struct moment m;
		uint64_t g;

		assert_int_equal(xn_history_generation_at(h, b->moments[i].wall_us, &g), 0);
		assert_int_equal(known(b, h, g, &m), 0);
		assert_true(m.hash == b->moments[i].hash);
	}
	assert_int_equal(xn_history_generation_at(h, b->moments[0].wall_us - 60000000, &early),
			 -ENODATA);
	xn_history_close(h);
}

static void the_answer_is_the_same_before_and_after_the_checkpoint(void **state)
{
	struct book *b = *state;
	struct xn_buf before = {0}, after = {0};
	struct xn_history *h;

	run_turns(b, 30, 2, "64M");
	checkpoint(b->f);
	for (unsigned i = 0; i < 60; i++) {
		workload_turn(b->f->db, 2, b->n);
		commit(b->f);
		b->moments[b->n++] = now(b);
	}
	h = open_history(b);
	assert_true(h->tail.len > 0);
	dump(h, &before);
	xn_history_close(h);
	checkpoint(b->f);
	tidy(b);
	h = open_history(b);
	assert_int_equal(h->tail.len, 0);
	dump(h, &after);
	xn_history_close(h);
	assert_int_equal(before.len, after.len);
	assert_memory_equal(before.data, after.data, before.len);
	xn_buf_clear(&before);
	xn_buf_clear(&after);
}

static void small_history_keeps_to_its_size_and_tells_no_lie(void **state)
{
	struct book *b = *state;
	struct xn_history *h;
	unsigned found = 0;

	stop(b->f);
	start_with(b->f, "1M");
	set_options(b, 1 << 20);
	run_turns(b, TURNS, 3, "1M");
	for (unsigned i = 0; i < 300; i++) { /* much of nothing */
		for (unsigned k = 0; k < 40; k++)
			xn_db_set_string(b->f->db, xn_db_get(b->f->db, XN_CLASS_pool, WORKLOAD_POOL),
					 XN_pool_name_label, k & 1 ? "one of two" : "the other one");
		commit(b->f);
		if (i % 25 == 24) {
			checkpoint(b->f);
			tidy(b);
		}
	}
	h = open_history(b);
	assert_true(xn_history_bounds(h)->bytes <= 1 << 20);
	assert_false(xn_history_bounds(h)->is_whole);
	assert_int_equal(xn_history_bounds(h)->n_gaps, 0);
	for (unsigned i = 0; i < b->n; i++) {
		struct moment m;
		int rc = known(b, h, b->moments[i].generation, &m);

		if (b->moments[i].generation + 1 < xn_history_bounds(h)->first)
			assert_int_equal(rc, -ENODATA);
		else
			assert_true(rc == 0 && m.hash == b->moments[i].hash);
		found += rc == 0;
	}
	(void)found;
	assert_known(b, h, &(struct moment){now(b).generation, 0, now(b).hash, now(b).n_rows});
	xn_history_close(h);
}

static void bounds_hold_under_200000_changes(void **state)
{
	struct book *b = *state;
	uint64_t most = 0;
	struct xn_history *h;

	stop(b->f);
	start_with(b->f, "4M");
	set_options(b, 4 << 20);
	workload_turn(b->f->db, 9, 0);
	commit(b->f);
	for (unsigned i = 0; i < 200000; i++) {
		char text[32];

		snprintf(text, sizeof(text), "change %u", i);
		xn_db_set_string(b->f->db, xn_db_get(b->f->db, XN_CLASS_pool, WORKLOAD_POOL),
				 XN_pool_name_label, text);
		if (i % 20 == 19)
			commit(b->f);
		if (i % 10000 != 9999)
			continue;
		checkpoint(b->f);
		tidy(b);
		h = open_history(b);
		if (xn_history_bounds(h)->bytes > most)
			most = xn_history_bounds(h)->bytes;
		assert_int_equal(xn_history_bounds(h)->n_gaps, 0);
		assert_known(b, h,
			     &(struct moment){now(b).generation, 0, now(b).hash, now(b).n_rows});
		xn_history_close(h);
	}
	assert_true(most <= 4 << 20);
	assert_true(most > 2 << 20);
}

/* Writes until so much waits, or less than before, as it was folded; what waited at most. */
static uint64_t write_backlog(struct fixture *f, uint64_t enough)
{
	uint64_t most = 0;
	char text[4096];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int i = 0; most < enough && xn_db_backlog(f->db) >= most; i++) {
		most = xn_db_backlog(f->db);
		text[0] = (char)('a' + i % 2);
		xn_db_set_string(f->db, xn_db_first(f->db, XN_CLASS_VM), XN_VM_name_description,
				 text);
		commit(f);
	}
	return most;
}

/* Files come no faster than they can be brought within bounds. Folding may well be over before
 * anybody looks. */
static void nothing_is_folded_while_history_is_held_but_of_a_long_journal(void **state)
{
	struct fixture *f = ((struct book *)*state)->f;
	struct xn_db *db = f->db;
	uint64_t backlog;

	checkpoint(f); /* none is under way */
	xn_db_hold_history(db, true);
	a_vm(f, "waits");
	backlog = write_backlog(f, 7 << 20);
	assert_true(backlog >= 7 << 20);
	assert_int_equal(sync_all(f), 0);
	db->store->ops->checkpoint(db->store);
	for (int i = 0; i < 50; i++)
		xn_loop_turn(f->core.loop, 10000);
	assert_true(xn_db_backlog(db) >= backlog);
	backlog = write_backlog(f, 10 << 20);
	assert_true(backlog >= 8 << 20);
	assert_int_equal(sync_all(f), 0);
	db->store->ops->checkpoint(db->store);
	TURN_UNTIL(f->core.loop, xn_db_backlog(db) < backlog);
	xn_db_hold_history(db, false);
	checkpoint(f);
}

static void changes_are_durable_while_a_checkpoint_waits_for_the_disk(void **state)
{
	struct book *b = *state;

	checkpoint(b->f);
	a_vm(b->f, "for the checkpoint");
	assert_int_equal(sync_all(b->f), 0);
	pthread_mutex_lock(&syncs.gate);
	b->f->db->store->ops->checkpoint(b->f->db->store);
	TURN_UNTIL(b->f->core.loop, syncs.at_gate);
	a_vm(b->f, "meanwhile");
	assert_int_equal(sync_all(b->f), 0);
	assert_true(syncs.at_gate);
	pthread_mutex_unlock(&syncs.gate);
	checkpoint(b->f);
}

static void old_history_goes(void **state)
{
	struct book *b = *state;
	struct xn_history *h;

	stop(b->f);
	start_with(b->f, "1M");
	set_options(b, 1 << 20);
	run_turns(b, 200, 4, "1M");
	checkpoint(b->f);
	for (unsigned i = 0; i < 60; i++) {
		for (unsigned k = 0; k < 40; k++)
			xn_db_set_string(b->f->db, xn_db_get(b->f->db, XN_CLASS_pool, WORKLOAD_POOL),
					 XN_pool_name_label, k & 1 ? "one of two" : "the other one");
		commit(b->f);
	}
	checkpoint(b->f);
	tidy(b);
	/* A hundred days later. */
	assert_int_equal(tidy_at(b, xn_wall_us(b->f->core.loop) + INT64_C(86400000000) * 100), 0);
	h = open_history(b);
	assert_int_equal(xn_history_bounds(h)->files, 1);
	assert_known(b, h, &(struct moment){now(b).generation, 0, now(b).hash, now(b).n_rows});
	xn_history_close(h);
}

#define DAY_US INT64_C(86400000000)

static void start_sized_on(struct book *b, int64_t day, const char *size)
{
	stop(b->f);
	start_with(b->f, size);
	xn_loop_virtual_set_wall(b->f->core.loop, (20000 + day) * DAY_US);
}

static void start_on(struct book *b, int64_t day)
{
	start_sized_on(b, day, "64M");
}

static void change_label(struct book *b, const char *label)
{
	struct xn_db *db = b->f->db;

	xn_db_set_string(db, xn_db_get(db, XN_CLASS_pool, WORKLOAD_POOL), XN_pool_name_label, label);
	commit(b->f);
	b->moments[b->n++] = now(b);
}

/* Its first file, and one that nothing was added to for long, end as any other. */
static void history_keeps_to_its_age(void **state)
{
	struct book *b = *state;
	struct xn_history *h;
	char label[20];

	xn_loop_virtual_set_wall(b->f->core.loop, 20000 * DAY_US);
	workload_turn(b->f->db, 9, 0);
	for (int day = 0; day <= 400; day += day < 200 ? 5 : 40) {
		if (day % 3 == 0)
			start_on(b, day);
		xn_loop_virtual_set_wall(b->f->core.loop, (20000 + day) * DAY_US);
		snprintf(label, sizeof(label), "day %d", day);
		change_label(b, label);
		checkpoint(b->f);
		tidy(b);
		h = open_history(b);
		if (day >= 120) /* a file holds an eighth; nothing was written for so long */
			assert_true(xn_history_bounds(h)->from_us >=
				    (20000 + day - 90 - 12 - 40) * DAY_US);
		assert_int_equal(xn_history_bounds(h)->n_gaps, 0);
		assert_in_range(xn_history_bounds(h)->files, 1, 11);
		for (unsigned i = 0; i < b->n; i++)
			if (b->moments[i].wall_us >= (20000 + day - 90) * DAY_US)
				assert_known(b, h, &b->moments[i]);
		xn_history_close(h);
	}
}

#define MINUTE_US INT64_C(60000000)

/* The change that was the last one at @us beyond doubt: none before it claims to be younger, all
 * behind it are. -1: none is. */
static int last_at(const struct book *b, int64_t us)
{
	for (unsigned i = 0; i < b->n; i++) {
		bool is_it = b->moments[i].wall_us <= us;

		for (unsigned k = 0; is_it && k < b->n; k++)
			is_it = k <= i ? b->moments[k].wall_us <= b->moments[i].wall_us
				       : b->moments[k].wall_us > us;
		if (is_it)
			return (int)i;
	}
	return -1;
}

static void assert_times(struct book *b, unsigned *doubtful)
{
	struct xn_history *h = open_history(b);

	for (int minute = -5; minute < 300; minute++) {
		int64_t us = 20000 * DAY_US + minute * MINUTE_US;
		int i = last_at(b, us);
		uint64_t g;

		assert_int_equal(xn_history_generation_at(h, us, &g), i < 0 ? -ENOTUNIQ : 0);
		if (i >= 0)
			assert_true(g == b->moments[i].generation);
		*doubtful += i < 0;
	}
	xn_history_close(h);
}

/* The clock runs, and is set back by a little, by much, and forth again. */
static void times_that_the_clock_may_have_shown_twice_are_refused(void **state)
{
	struct book *b = *state;
	struct dice dice = {12};
	unsigned doubtful = 0;

	xn_loop_virtual_set_wall(b->f->core.loop, 19000 * DAY_US);
	workload_turn(b->f->db, 9, 0);
	change_label(b, "before");
	for (int i = 0, minute = 0; i < 120; i++) {
		int back = roll(&dice, 12) ? 0 : roll(&dice, 3) ? 4 : 150;

		minute += (int)roll(&dice, 4);
		xn_loop_virtual_set_wall(b->f->core.loop,
					 20000 * DAY_US + (minute - back) * MINUTE_US);
		change_label(b, i & 1 ? "one" : "other");
		if (roll(&dice, 3) == 0)
			checkpoint(b->f);
		if (roll(&dice, 9) == 0)
			start_on(b, 0);
		if (i % 10 == 9)
			assert_times(b, &doubtful);
	}
	assert_in_range(doubtful, 1, 305 * 12 - 1);
}

/* Day by day: a letter a change that was the last one then, '?' where it is not known. */
static void assert_told(struct book *b, const char *wanted)
{
	struct xn_history *h = open_history(b);

	for (int day = 0; wanted[day]; day++) {
		int64_t us = (20000 + day) * DAY_US;
		uint64_t g;
		int rc = xn_history_generation_at(h, us, &g);

		assert_int_equal(rc, wanted[day] == '?' ? -ENODATA : 0);
		if (rc == 0)
			assert_true(g == b->moments[wanted[day] - 'A'].generation);
	}
	xn_history_close(h);
}

static void a_time_in_a_gap_is_not_the_state_before_it(void **state)
{
	struct book *b = *state;

	xn_loop_virtual_set_wall(b->f->core.loop, 20000 * DAY_US);
	workload_turn(b->f->db, 9, 0);
	change_label(b, "A");
	checkpoint(b->f);
	start_sized_on(b, 3, "0");
	change_label(b, "B, of which nothing is kept");
	checkpoint(b->f);
	start_on(b, 6);
	change_label(b, "C");
	checkpoint(b->f);
	assert_told(b, "A??????C"); /* day 6: it begins again at the checkpoint */
}

static void copy_folder(const char *from, const char *to)
{
	char *command = xn_asprintf("rm -rf %s && cp -a %s %s", to, from, to);

	assert_int_equal(system(command), 0);
	free(command);
}

static void newest_file(const char *dir, char out[100])
{
	char *folder = xn_asprintf("%s/history", dir);
	int fd = open(folder, O_RDONLY | O_DIRECTORY);
	uint32_t *numbers;
	size_t n;

	assert_int_equal(xn_history_list(fd, XN_HISTORY_CHANGES, &numbers, &n), 0);
	assert_true(n > 0);
	snprintf(out, 100, "%s/changes-%08u", folder, numbers[n - 1]);
	free(numbers);
	free(folder);
	close(fd);
}

/* The checkpoint has not moved, of the recorder's writes some part arrived. */
static void a_crash_anywhere_in_recording_loses_and_doubles_nothing(void **state)
{
	struct book *b = *state;
	struct xn_buf wanted = {0}, found = {0};
	char before[64], after[64], path[100];
	struct dice dice = {99};
	struct stat whole, old;
	struct xn_history *h;

	snprintf(before, sizeof(before), "%s.before", b->f->dir);
	snprintf(after, sizeof(after), "%s.after", b->f->dir);
	run_turns(b, 40, 6, "64M");
	checkpoint(b->f);
	for (unsigned i = 0; i < 40; i++) {
		workload_turn(b->f->db, 6, b->n);
		commit(b->f);
		b->moments[b->n++] = now(b);
	}
	assert_int_equal(sync_all(b->f), 0);
	copy_folder(b->f->dir, before);
	h = open_history(b);
	dump(h, &wanted);
	xn_history_close(h);
	newest_file(before, path);
	assert_int_equal(stat(path, &old), 0);
	stop(b->f);
	copy_folder(b->f->dir, after);
	newest_file(after, path);
	assert_int_equal(stat(path, &whole), 0);
	assert_true(whole.st_size > old.st_size);
	for (unsigned i = 0; i < 24; i++) {
		off_t cut = old.st_size +
			    (off_t)roll(&dice, (uint64_t)(whole.st_size - old.st_size) + 1);
		char *command = xn_asprintf("rm -rf %s && cp -a %s %s && rm -rf %s/history && "
					    "cp -a %s/history %s/history",
					    b->f->dir, before, b->f->dir, b->f->dir, after,
					    b->f->dir);

		assert_int_equal(system(command), 0);
		free(command);
		newest_file(b->f->dir, path);
		assert_int_equal(truncate(path, cut), 0);
		if (i & 1) { /* and the rest of the sector is something else */
			int fd = open(path, O_WRONLY | O_APPEND);

			assert_int_equal(write(fd, wanted.data, 100), 100);
			close(fd);
		}
		h = open_history(b);
		dump(h, &found);
		xn_history_close(h);
		assert_int_equal(found.len, wanted.len);
		assert_memory_equal(found.data, wanted.data, wanted.len);
		start_with(b->f, "64M");
		checkpoint(b->f);
		h = open_history(b);
		dump(h, &found);
		assert_int_equal(xn_history_bounds(h)->n_gaps, 0);
		assert_known(b, h, &b->moments[b->n - 1]);
		xn_history_close(h);
		assert_true(found.len >= wanted.len);
		assert_memory_equal(found.data, wanted.data, wanted.len);
		stop(b->f);
	}
	copy_folder("/dev/null", before);
	unlink(before);
	copy_folder("/dev/null", after);
	unlink(after);
	xn_buf_clear(&wanted);
	xn_buf_clear(&found);
	start_with(b->f, "64M");
}

static void flip(const char *dir, struct dice *dice, const char *suffix)
{
	char *command = xn_asprintf("ls %s/history/%s-* | sort -R --random-source=<(yes %llu) | "
				    "head -1 > %s/which",
				    dir, suffix, (unsigned long long)roll(dice, 1000), dir);
	char *bash = xn_asprintf("bash -c '%s'", command), *list = xn_asprintf("%s/which", dir);
	char path[100] = "", byte;
	struct stat st;
	FILE *f;
	off_t at;
	int fd;

	assert_int_equal(system(bash), 0);
	f = fopen(list, "r");
	assert_non_null(fgets(path, sizeof(path), f));
	fclose(f);
	path[strcspn(path, "\n")] = '\0';
	fd = open(path, O_RDWR);
	assert_int_equal(fstat(fd, &st), 0);
	at = (off_t)roll(dice, (uint64_t)st.st_size);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= (char)(1 << roll(dice, 8));
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
	free(command);
	free(bash);
	free(list);
}

/* Every transaction of @part is in @whole, in order. */
static bool is_part(const struct xn_buf *part, const struct xn_buf *whole)
{
	size_t at = 0;

	for (size_t i = 0; i < part->len; i++, at++)
		while (at < whole->len && part->data[i] != whole->data[at])
			at++;
	return at <= whole->len;
}

static void damage_is_told_and_never_believed(void **state)
{
	struct book *b = *state;
	struct xn_buf wanted = {0}, found = {0};
	struct dice dice = {4};
	unsigned told = 0, lost = 0;
	char kept[64];
	struct xn_history *h;

	stop(b->f);
	start_with(b->f, "1M");
	set_options(b, 1 << 20);
	run_turns(b, TURNS, 7, "1M");
	stop(b->f);
	h = open_history(b);
	dump(h, &wanted);
	xn_history_close(h);
	snprintf(kept, sizeof(kept), "%s.kept", b->f->dir);
	copy_folder(b->f->dir, kept);
	for (unsigned round = 0; round < 40; round++) {
		copy_folder(kept, b->f->dir);
		flip(b->f->dir, &dice, round % 4 ? "changes" : "image");
		h = open_history(b);
		dump(h, &found);
		assert_true(is_part(&found, &wanted));
		for (unsigned i = 0; i < b->n; i += 13) {
			struct moment m;
			int rc = known(b, h, b->moments[i].generation, &m);

			if (rc == 0)
				assert_true(m.hash == b->moments[i].hash);
			else
				lost++;
		}
		if (found.len < wanted.len) {
			/* Cut at the front, it begins later; elsewhere it is a gap. */
			assert_true(xn_history_bounds(h)->n_gaps > 0 ||
				    !xn_history_bounds(h)->is_whole);
			told++;
		}
		xn_history_close(h);
	}
	assert_true(told > 5);
	assert_true(lost > 0);
	/* A daemon goes on after it. */
	start_with(b->f, "1M");
	workload_turn(b->f->db, 7, b->n);
	commit(b->f);
	checkpoint(b->f);
	if (tidy_at(b, xn_wall_us(b->f->core.loop)) == -EBADMSG) {
		xn_db_begin_history_anew(b->f->db);
		workload_turn(b->f->db, 7, b->n + 1);
		commit(b->f);
		checkpoint(b->f);
	}
	h = open_history(b);
	assert_known(b, h, &(struct moment){now(b).generation, 0, now(b).hash, now(b).n_rows});
	xn_history_close(h);
	copy_folder("/dev/null", kept);
	unlink(kept);
	xn_buf_clear(&wanted);
	xn_buf_clear(&found);
}

/* Of which the recorder has not all; a start refuses it, and history must not end there as if
 * nothing had followed. */
static void a_damaged_journal_is_a_gap_up_to_now(void **state)
{
	static const char *const names[] = {"first", "damaged here", "behind it"};
	struct book *b = *state;
	const struct xn_history_bounds *bounds;
	struct moment before, m;
	struct xn_history *h;
	uint64_t late;

	run_turns(b, 30, 9, "64M");
	checkpoint(b->f);
	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++) {
		if (i == 1)
			before = now(b);
		a_vm(b->f, names[i]);
		assert_int_equal(sync_all(b->f), 0);
	}
	damage(b->f, "journal-00000001", "damaged here");
	h = open_history(b);
	bounds = xn_history_bounds(h);
	assert_int_equal(bounds->n_gaps, 1);
	assert_string_equal(bounds->gaps[0].why, "the journal is damaged");
	assert_int_equal(bounds->gaps[0].first, before.generation + 1);
	assert_int_equal(bounds->gaps[0].next, 0);
	assert_true(bounds->ends_in_gap);
	assert_int_equal(bounds->next, before.generation + 1);
	assert_known(b, h, &before);
	assert_known(b, h, &b->moments[20]);
	assert_int_equal(xn_history_generation_at(h, xn_wall_us(b->f->core.loop) + 1, &late),
			 -ENODATA);
	assert_int_equal(known(b, h, before.generation + 1, &m), -ENODATA);
	xn_history_close(h);
}

/* The last record may be what a crash left: nothing proves that it was durable. */
static void a_journal_that_was_cut_is_no_gap(void **state)
{
	struct book *b = *state;
	struct moment before;
	struct xn_history *h;

	run_turns(b, 30, 9, "64M");
	before = now(b);
	a_vm(b->f, "damaged here");
	assert_int_equal(sync_all(b->f), 0);
	damage(b->f, "journal-00000001", "damaged here");
	h = open_history(b);
	assert_int_equal(xn_history_bounds(h)->n_gaps, 0);
	assert_int_equal(xn_history_bounds(h)->next, before.generation + 1);
	assert_known(b, h, &before);
	xn_history_close(h);
}

static void lost_files_are_begun_anew_with_an_image(void **state)
{
	struct book *b = *state;
	char *command = xn_asprintf("rm -rf %s/history", b->f->dir);
	struct xn_history *h;

	run_turns(b, 50, 8, "64M");
	stop(b->f);
	assert_int_equal(system(command), 0);
	start_with(b->f, "64M");
	b->moments[b->n++] = now(b);
	run_turns(b, 50, 8, "64M");
	checkpoint(b->f);
	h = open_history(b);
	assert_false(xn_history_bounds(h)->is_whole);
	for (unsigned i = 60; i < b->n; i++)
		assert_known(b, h, &b->moments[i]);
	assert_int_not_equal(known(b, h, b->moments[3].generation, &(struct moment){0}), 0);
	xn_history_close(h);
	free(command);
}

static void what_a_killed_recorder_left_is_synced_before_it_is_relied_on(void **state)
{
	struct book *b = *state;
	struct xn_history_options options = {.size = 64 << 20, .age_us = b->options.age_us};
	char *db_dir = xn_asprintf("%s/db", b->f->dir);
	struct xn_recorder *r;

	run_turns(b, 20, 8, "64M");
	stop(b->f);
	r = xn_recorder_new(b->f->dir, &options);
	syncs.n = 0;
	assert_int_equal(xn_recorder_begin(r, db_dir, 0, UINT64_MAX, 1), 0);
	assert_int_equal(xn_recorder_files(r), 0); /* it goes on in the one that is there */
	assert_int_equal(syncs.n, 1);
	xn_recorder_free(r);
	free(db_dir);
	start_with(b->f, "64M");
}

/* That the next sync of it succeeds says nothing of what the failed one has lost. */
static void after_a_failed_sync_of_a_file_another_is_begun(void **state)
{
	struct book *b = *state;
	struct xn_store *store = b->f->db->store;
	struct xn_history *h;

	workload_turn(b->f->db, 9, 0);
	change_label(b, "synced");
	checkpoint(b->f);
	change_label(b, "not synced");
	assert_int_equal(sync_all(b->f), 0);
	syncs.fail = true;
	store->ops->checkpoint(store);
	TURN_UNTIL(b->f->core.loop, store->checkpoint_failures);
	syncs.fail = false;
	assert_int_equal(store->checkpoint_failures, 1);
	let_pass(b->f, 10000000);
	checkpoint(b->f);
	h = open_history(b);
	assert_int_equal(xn_history_bounds(h)->files, 2);
	assert_int_equal(xn_history_bounds(h)->n_gaps, 0);
	for (unsigned i = 0; i < b->n; i++)
		assert_known(b, h, &b->moments[i]);
	xn_history_close(h);
}

static void secrets_are_not_written(void **state)
{
	static const char *const keys[] = {"pass",	"admin_pass",  "Pass-1",	  "pwd",
					   "userPwd",	"private-key", "privateKey",	  "api_key",
					   "X-Api-Key", "passphrase",  "auth.token", "secret2",
					   "chap",	"passcode"};
	static const char *const plain[] = {"passthrough", "bypass", "compass", "key", "api",
					    "private", "chapter", ""};
	struct book *b = *state;
	struct xn_row *row = a_row(b->f, XN_CLASS_secret, "value", "opensesame-one");
	char *command;

	commit(b->f);
	xn_db_set_string(b->f->db, row, XN_secret_value, "opensesame-two");
	row = a_row(b->f, XN_CLASS_PBD, "uuid", "c97c0d0e-1111-4000-8000-00000000fffe");
	xn_db_map_put(b->f->db, row, XN_PBD_device_config, "cifspassword", "opensesame-three");
	xn_db_map_put(b->f->db, row, XN_PBD_device_config, "location", "/visible");
	for (size_t i = 0; i < XN_ARRAY_SIZE(keys); i++)
		xn_db_map_put(b->f->db, row, XN_PBD_other_config, keys[i], "opensesame-four");
	for (size_t i = 0; i < XN_ARRAY_SIZE(plain); i++)
		assert_false(xn_past_hides(plain[i], strlen(plain[i])));
	checkpoint(b->f);
	command = xn_asprintf("grep -q visible %s/history/changes-* && "
			      "! grep -q opensesame %s/history/*",
			      b->f->dir, b->f->dir);
	assert_int_equal(system(command), 0);
	free(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_generation_is_what_it_was, setup, clear),
		cmocka_unit_test_setup_teardown(a_time_is_the_generation_it_had, setup, clear),
		cmocka_unit_test_setup_teardown(
			the_answer_is_the_same_before_and_after_the_checkpoint, setup, clear),
		cmocka_unit_test_setup_teardown(small_history_keeps_to_its_size_and_tells_no_lie,
						setup, clear),
		cmocka_unit_test_setup_teardown(bounds_hold_under_200000_changes, setup, clear),
		cmocka_unit_test_setup_teardown(
			nothing_is_folded_while_history_is_held_but_of_a_long_journal, setup, clear),
		cmocka_unit_test_setup_teardown(
			changes_are_durable_while_a_checkpoint_waits_for_the_disk, setup, clear),
		cmocka_unit_test_setup_teardown(old_history_goes, setup, clear),
		cmocka_unit_test_setup_teardown(times_that_the_clock_may_have_shown_twice_are_refused,
						setup_in_virtual_time, clear),
		cmocka_unit_test_setup_teardown(a_time_in_a_gap_is_not_the_state_before_it,
						setup_in_virtual_time, clear),
		cmocka_unit_test_setup_teardown(history_keeps_to_its_age, setup_in_virtual_time,
						clear),
		cmocka_unit_test_setup_teardown(
			a_crash_anywhere_in_recording_loses_and_doubles_nothing, setup, clear),
		cmocka_unit_test_setup_teardown(damage_is_told_and_never_believed, setup, clear),
		cmocka_unit_test_setup_teardown(a_damaged_journal_is_a_gap_up_to_now, setup, clear),
		cmocka_unit_test_setup_teardown(a_journal_that_was_cut_is_no_gap, setup, clear),
		cmocka_unit_test_setup_teardown(lost_files_are_begun_anew_with_an_image, setup,
						clear),
		cmocka_unit_test_setup_teardown(
			what_a_killed_recorder_left_is_synced_before_it_is_relied_on, setup, clear),
		cmocka_unit_test_setup_teardown(after_a_failed_sync_of_a_file_another_is_begun,
						setup_in_virtual_time, clear),
		cmocka_unit_test_setup_teardown(secrets_are_not_written, setup, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
