/*
 * Reading history: the files and, behind them, the journal; see history.h. A daemon may write on
 * meanwhile: files that are listed are opened at once and stay readable, and when the journal was
 * trimmed between the files and it, all of it is opened again.
 */
#include "modules/db/history/internal.h"

#include "core/moment.h"
#include "modules/db/fold.h"
#include "modules/db/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ATTEMPTS = 5, TAIL_MAX = 256 << 20 };

void xn_history_add_gap(struct xn_history *h, const struct xn_history_gap *gap)
{
	for (size_t i = 0; i < h->n_gaps; i++)
		if (h->gaps[i].first == gap->first && h->gaps[i].next == gap->next)
			return;
	h->gaps = xn_realloc(h->gaps, (h->n_gaps + 1) * sizeof(*h->gaps));
	h->gaps[h->n_gaps++] = *gap;
	h->bounds.gaps = h->gaps;
	h->bounds.n_gaps = h->n_gaps;
}

static int64_t end_time(const struct xn_history_source *s)
{
	return s->changes.n_blocks ? s->changes.blocks[s->changes.n_blocks - 1].max_us
				   : s->changes.head.wall_us;
}

/* ---- files ---- */

static bool image_is_whole(const struct xn_history_file *image,
			   const struct xn_history_head *changes)
{
	return image->fd >= 0 && image->n_blocks && !image->is_cut &&
	       image->blocks[image->n_blocks - 1].kind == XN_HISTORY_END &&
	       image->head.position == changes->position;
}

static int add_source(struct xn_history *h, uint32_t number)
{
	struct xn_history_source s = {.image = {.fd = -1}};
	int rc = xn_history_file_open(h->dir_fd, XN_HISTORY_CHANGES, number, &s.changes);

	if (rc == -EBADMSG) /* told as a gap where it leaves one */
		return 0;
	if (rc < 0)
		return rc;
	rc = xn_history_file_open(h->dir_fd, XN_HISTORY_IMAGE, number, &s.image);
	h->bounds.bytes += s.changes.size + s.image.size;
	s.starts_whole = rc == 0 && image_is_whole(&s.image, &s.changes.head);
	if (!s.starts_whole)
		xn_history_file_close(&s.image);
	s.starts_whole |= s.changes.head.position == 0;
	h->sources = xn_realloc(h->sources, (h->n_sources + 1) * sizeof(s));
	h->sources[h->n_sources++] = s;
	return rc == -ENOENT || rc == -EBADMSG ? 0 : rc;
}

static int open_files(struct xn_history *h)
{
	uint32_t *numbers = NULL;
	size_t n = 0;
	int rc = 0;

	if (h->dir_fd >= 0)
		rc = xn_history_list(h->dir_fd, XN_HISTORY_CHANGES, &numbers, &n);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = add_source(h, numbers[i]);
	free(numbers);
	if (rc == 0 && h->n_sources)
		rc = xn_history_file_settle(&h->sources[h->n_sources - 1].changes);
	h->bounds.files = (unsigned)h->n_sources;
	return rc;
}

static void close_files(struct xn_history *h)
{
	for (size_t i = 0; i < h->n_sources; i++) {
		xn_history_file_close(&h->sources[i].changes);
		xn_history_file_close(&h->sources[i].image);
	}
	free(h->sources);
	h->sources = NULL;
	h->n_sources = 0;
	h->n_gaps = 0;
	h->tail.len = 0;
	h->tail_is_blind = false;
	h->tail_block = (struct xn_history_block){0};
	h->bounds = (struct xn_history_bounds){.gaps = h->gaps};
	xn_names_clear(&h->names);
	xn_names_init(&h->names);
}

static void gap_between(struct xn_history *h, const struct xn_history_source *s,
			const struct xn_history_source *next)
{
	struct xn_history_gap gap = {
		.first = xn_history_file_generation(&s->changes),
		.next = next->changes.head.generation,
		.from_us = end_time(s),
		.to_us = next->changes.head.wall_us,
	};

	snprintf(gap.why, sizeof(gap.why), "%s",
		 s->changes.is_cut ? "a file is damaged" : "it was not written");
	xn_history_add_gap(h, &gap);
}

static void join_files(struct xn_history *h)
{
	for (size_t i = 0; i + 1 < h->n_sources; i++) {
		struct xn_history_source *s = &h->sources[i];

		s->joins_next = xn_history_file_position(&s->changes) == s[1].changes.head.position;
		if (!s->joins_next)
			gap_between(h, s, s + 1);
	}
}

static void damaged_block(struct xn_history *h, const struct xn_history_block *block)
{
	struct xn_history_gap gap = {.first = block->first,
				     .next = block->next,
				     .from_us = block->min_us,
				     .to_us = block->max_us,
				     .why = "a file is damaged"};

	xn_history_add_gap(h, &gap);
}

/* The newest one in the file. 1, 0: none that can be read, -errno. */
static int load_names_of(struct xn_history *h, const struct xn_history_file *file)
{
	for (size_t k = file->n_blocks; k > 0; k--) {
		const struct xn_history_block *block = &file->blocks[k - 1];
		int rc;

		if (block->kind != XN_HISTORY_NAMES)
			continue;
		if (xn_history_block_read(file, block, &h->scratch) < 0) {
			damaged_block(h, block);
			continue;
		}
		rc = xn_names_load(&h->names, h->scratch.data, h->scratch.len);
		return rc < 0 ? rc : 1;
	}
	return 0;
}

/* The newest dictionary: one only grows. */
static int load_names(struct xn_history *h)
{
	int rc = 0;

	for (size_t i = h->n_sources; rc == 0 && i > 0; i--) {
		rc = load_names_of(h, &h->sources[i - 1].changes);
		if (rc == 0 && h->sources[i - 1].image.fd >= 0)
			rc = load_names_of(h, &h->sources[i - 1].image);
	}
	return rc < 0 ? rc : 0;
}

/* ---- the journal behind them ---- */

struct tail {
	struct xn_history *h;
	struct xn_buf records; /* texts */
	struct xn_history_rows *touched; /* references, as rows without bytes */
	struct xn_history_rows *rows;
	struct xn_kv kv;
	struct xn_recording recording;
	const char *ends_by; /* why it ends before the journal does; NULL: it does not */
};

static int note_touched(struct tail *t, struct xn_cursor in)
{
	static const struct xn_slice none = {(const unsigned char *)"", 0};
	struct xn_tx_entry entry;
	struct xn_tx_head head;
	int rc;

	if (xn_take_tx_head(&in, &head) < 0)
		return -EBADMSG;
	while ((rc = xn_take_tx_entry(&in, &head, &entry)) == 1)
		if (entry.op == XN_TX_SET || entry.op == XN_TX_DELETE)
			xn_history_rows_put(t->touched, &entry.ref, &none);
	return rc;
}

static const char damaged_journal[] = "the journal is damaged";

/* 1; 0: no more; -EBADMSG: what was there is damaged; -errno. */
static int next_record(struct xn_journal_reader *reader, struct xn_slice *bytes)
{
	int rc = xn_journal_next(reader, bytes), damaged;

	if (rc != 0)
		return rc;
	damaged = xn_journal_is_damaged(reader);
	if (damaged <= 0)
		return damaged;
	rc = xn_journal_next(reader, bytes); /* or it was written meanwhile */
	return rc == 0 ? -EBADMSG : rc;
}

static bool take_record(struct tail *t, const struct xn_slice *bytes)
{
	if (t->records.len >= TAIL_MAX)
		t->ends_by = "the journal holds more than can be read at once";
	else if (note_touched(t, xn_cursor(bytes->data, bytes->len)) < 0)
		t->ends_by = damaged_journal;
	else
		xn_put_text(&t->records, (const char *)bytes->data, bytes->len);
	return !t->ends_by;
}

/* All records from the files' end on. 1: there is no gap before them; 0; -errno. */
static int read_records(struct tail *t, uint64_t position)
{
	struct xn_journal_reader reader;
	struct xn_slice bytes;
	int rc = xn_journal_reader_open(&reader, t->h->db_fd, position), joins;

	if (rc < 0)
		return rc;
	joins = reader.n_segments ? reader.segments[0].start <= position : position == 0;
	while (joins && (rc = next_record(&reader, &bytes)) == 1 && take_record(t, &bytes)) {
	}
	if (rc == -EBADMSG) {
		t->ends_by = damaged_journal;
		rc = 0;
	}
	xn_journal_reader_close(&reader);
	return rc < 0 ? rc : joins;
}

static bool is_touched(void *arg, const struct xn_slice *ref, int class_id)
{
	return xn_history_rows_get(arg, ref) != NULL;
}

static int get_row(struct xn_kv *kv, enum xn_space space, const void *key, size_t key_len,
		   struct xn_slice *value)
{
	struct tail *t = xn_container_of(kv, struct tail, kv);
	const struct xn_slice ref = {key, key_len};
	const struct xn_item *item = NULL;

	if (space == XN_SPACE_ROWS && t->rows)
		item = xn_history_rows_get(t->rows, &ref);
	if (!item || !item->present)
		return -ENOENT;
	*value = xn_item_value(item);
	return 0;
}

static int keep_tx(struct xn_recording *recording, const void *bytes, size_t len)
{
	struct xn_history *h = xn_container_of(recording, struct tail, recording)->h;
	struct xn_history_block *block = &h->tail_block;
	int64_t us = recording->head.wall_us;

	if (!h->tail.len || us < block->min_us)
		block->min_us = us;
	if (!h->tail.len || us > block->max_us)
		block->max_us = us;
	xn_put_text(&h->tail, bytes, len);
	return 0;
}

/* What the recorder will make of them. */
static int record_tail(struct tail *t)
{
	struct xn_history *h = t->h;
	struct xn_cursor in = xn_cursor(t->records.data, t->records.len);
	struct xn_fold *fold;
	struct xn_slice tx;
	int rc = 0;

	xn_recording_init(&t->recording, &h->options->skip, &h->names, keep_tx);
	t->recording.is_blind = h->tail_is_blind;
	t->kv.get = get_row;
	fold = xn_fold_new(&t->kv, &t->recording.watch);
	while (rc == 0 && xn_take_text(&in, &tx) == 0)
		rc = xn_fold_transaction(fold, tx.data, tx.len);
	if (t->recording.head.next)
		h->tail_block.next = t->recording.head.next;
	xn_fold_free(fold);
	xn_recording_clear(&t->recording);
	return rc;
}

/* As they are where the files end. */
static int rows_before_tail(struct tail *t)
{
	struct xn_history *h = t->h;
	int rc = 0;

	if (h->n_sources)
		rc = xn_history_rows_at(h, h->tail_block.first - 1, is_touched, t->touched,
					&t->rows);
	h->tail_is_blind = rc == -ENODATA || rc == -EBADMSG;
	return h->tail_is_blind ? 0 : rc;
}

/* From what was read up to now. */
static void tail_gap(struct xn_history *h, const struct xn_history_source *last, const char *why)
{
	struct xn_history_gap gap = {.first = h->tail_block.next};

	gap.from_us = h->tail.len ? h->tail_block.max_us : last ? end_time(last) : 0;
	snprintf(gap.why, sizeof(gap.why), "%s", why);
	xn_history_add_gap(h, &gap);
}

/* 0; -EAGAIN: the journal was trimmed meanwhile; -errno. */
static int read_tail(struct xn_history *h, bool is_last_attempt)
{
	struct xn_history_source *last = h->n_sources ? &h->sources[h->n_sources - 1] : NULL;
	struct tail t = {.h = h, .touched = xn_history_rows_new()};
	int rc;

	h->tail_block.first = last ? xn_history_file_generation(&last->changes) : 1;
	h->tail_block.next = h->tail_block.first;
	rc = read_records(&t, last ? xn_history_file_position(&last->changes) : 0);
	if (rc == 0 && !is_last_attempt)
		rc = -EAGAIN;
	if (rc == 0)
		t.ends_by = "the journal no longer has it";
	if (rc == 1) {
		if (last)
			last->joins_next = true;
		rc = rows_before_tail(&t);
		if (rc == 0)
			rc = record_tail(&t);
	}
	if (rc == 0 && t.ends_by)
		tail_gap(h, last, t.ends_by);
	xn_buf_clear(&t.records);
	xn_history_rows_free(t.touched);
	xn_history_rows_free(t.rows);
	return rc;
}

/* ---- opening ---- */

uint64_t xn_history_image_bytes(const struct xn_history *h)
{
	for (size_t i = h->n_sources; i > 0; i--)
		if (h->sources[i - 1].image.size)
			return h->sources[i - 1].image.size;
	return 0;
}

uint64_t xn_history_limit(const struct xn_history *h)
{
	uint64_t size = h->options->size;
	uint64_t least = size ? 2 * xn_history_room(size, xn_history_image_bytes(h)) : 0;

	return least > size ? least : size;
}

static void set_bounds(struct xn_history *h)
{
	struct xn_history_bounds *b = &h->bounds;
	const struct xn_history_source *first = h->n_sources ? h->sources : NULL;

	b->is_whole = first ? first->changes.head.position == 0
			    : !h->n_gaps || h->gaps[0].first > 1;
	b->first = first ? first->changes.head.generation : 1;
	b->limit = xn_history_limit(h);
	b->next = h->tail_block.next;
	for (size_t i = 0; i < h->n_gaps; i++)
		b->ends_in_gap |= !h->gaps[i].next;
	b->from_us = first ? first->changes.head.wall_us : 0;
	for (size_t i = 0; b->from_us == 0 && first && i < first->changes.n_blocks; i++)
		if (first->changes.blocks[i].len && first->changes.blocks[i].kind == XN_HISTORY_TXS)
			b->from_us = first->changes.blocks[i].min_us;
	if (b->from_us == 0 && h->tail.len)
		b->from_us = h->tail_block.min_us;
	b->to_us = h->tail.len	  ? h->tail_block.max_us
		   : h->n_sources ? end_time(&h->sources[h->n_sources - 1])
				  : 0;
}

static int try_open(struct xn_history *h, bool is_last_attempt)
{
	int rc = open_files(h);

	if (rc == 0)
		rc = load_names(h);
	if (rc == 0)
		join_files(h);
	if (rc == 0 && !(h->files_only && h->n_sources))
		rc = read_tail(h, is_last_attempt);
	if (rc == 0)
		set_bounds(h);
	return rc == -ENOENT ? -EAGAIN : rc; /* a file was removed meanwhile */
}

static int open_folders(struct xn_history *h, const char *dir)
{
	char *path = xn_asprintf("%s/history", dir);
	int rc = 0;

	h->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(path);
	if (h->dir_fd < 0 && errno != ENOENT)
		return -errno;
	path = xn_asprintf("%s/db", dir);
	h->db_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (h->db_fd < 0)
		rc = -errno;
	free(path);
	return rc;
}

static int open_history(const char *dir, const struct xn_history_options *options, bool files_only,
			struct xn_history **out, char **why)
{
	struct xn_history *h = xn_calloc(1, sizeof(*h));
	int rc;

	h->files_only = files_only;
	h->dir_fd = h->db_fd = -1;
	h->options = options;
	xn_names_init(&h->names);
	rc = open_folders(h, dir);
	for (unsigned i = 1; rc == 0; i++) {
		rc = try_open(h, i >= ATTEMPTS);
		if (rc == 0) {
			*out = h;
			return 0;
		}
		close_files(h);
		if (rc == -EAGAIN && i < ATTEMPTS)
			rc = 0;
	}
	*why = xn_asprintf("the history in %s cannot be read: %s", dir,
			   rc == -EBADMSG ? "it is damaged" : strerror(-rc));
	xn_history_close(h);
	return rc;
}

int xn_history_open(const char *dir, const struct xn_history_options *options,
		    struct xn_history **out, char **why)
{
	return open_history(dir, options, false, out, why);
}

int xn_history_open_files(const char *dir, const struct xn_history_options *options,
			  struct xn_history **out, char **why)
{
	return open_history(dir, options, true, out, why);
}

void xn_history_close(struct xn_history *h)
{
	if (!h)
		return;
	close_files(h);
	xn_names_clear(&h->names);
	free(h->gaps);
	xn_buf_clear(&h->tail);
	xn_buf_clear(&h->scratch);
	if (h->dir_fd >= 0)
		close(h->dir_fd);
	if (h->db_fd >= 0)
		close(h->db_fd);
	free(h);
}

const struct xn_history_bounds *xn_history_bounds(const struct xn_history *h)
{
	return &h->bounds;
}

const struct xn_names *xn_history_names(const struct xn_history *h)
{
	return &h->names;
}

/* ---- walking ---- */

struct walk {
	uint64_t after, until;
	int64_t from_us, to_us;
	int (*visit)(void *arg, const struct xn_tx_head *head, struct xn_cursor in);
	void *arg;
};

static bool is_in(const struct walk *w, const struct xn_history_block *block)
{
	return block->kind == XN_HISTORY_TXS && block->len && block->next > w->after &&
	       block->first <= w->until && block->max_us >= w->from_us &&
	       block->min_us <= w->to_us;
}

/* -EBADMSG: not what was written. */
static int walk_texts(const struct walk *w, struct xn_cursor in)
{
	while (in.at != in.end) {
		struct xn_tx_head head;
		struct xn_cursor tx;
		struct xn_slice text;
		int rc;

		if (xn_take_text(&in, &text) < 0)
			return -EBADMSG;
		tx = xn_cursor(text.data, text.len);
		if (xn_take_tx_head(&tx, &head) < 0)
			return -EBADMSG;
		if (head.next <= w->after || head.first > w->until || head.wall_us < w->from_us ||
		    head.wall_us > w->to_us)
			continue;
		rc = w->visit(w->arg, &head, tx);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int walk_file(struct xn_history *h, const struct walk *w,
		     const struct xn_history_file *file)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < file->n_blocks; i++) {
		const struct xn_history_block *block = &file->blocks[i];

		if (!is_in(w, block))
			continue;
		rc = xn_history_block_read(file, block, &h->scratch);
		if (rc == 0)
			rc = walk_texts(w, xn_cursor(h->scratch.data, h->scratch.len));
		if (rc == -EBADMSG) {
			damaged_block(h, block);
			rc = 0;
		}
	}
	return rc;
}

int xn_history_walk(struct xn_history *h, uint64_t after, uint64_t until, int64_t from_us,
		    int64_t to_us,
		    int (*visit)(void *arg, const struct xn_tx_head *head, struct xn_cursor in),
		    void *arg)
{
	const struct walk w = {after, until, from_us, to_us, visit, arg};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < h->n_sources; i++)
		rc = walk_file(h, &w, &h->sources[i].changes);
	if (rc == 0)
		rc = walk_texts(&w, xn_cursor(h->tail.data, h->tail.len));
	return rc;
}

/* ---- a time's generation ---- */

static int note_tx(void *arg, const struct xn_tx_head *head, struct xn_cursor in)
{
	xn_time_search_note(arg, head->wall_us, head->next - 1);
	return 0;
}

static int note_texts(struct xn_time_search *at, const void *bytes, size_t len)
{
	const struct walk w = {0, UINT64_MAX, INT64_MIN, INT64_MAX, note_tx, at};

	return walk_texts(&w, xn_cursor(bytes, len));
}

static int note_block(struct xn_history *h, const struct xn_history_file *file,
		      const struct xn_history_block *block, struct xn_time_search *at)
{
	int rc = xn_history_block_read(file, block, &h->scratch);

	if (rc == 0)
		rc = note_texts(at, h->scratch.data, h->scratch.len);
	if (rc == -EBADMSG)
		damaged_block(h, block);
	return rc;
}

static bool has_changes(const struct xn_history_block *block)
{
	return block->kind == XN_HISTORY_TXS && block->len;
}

/* Of blocks that are wholly before the time, the last one is read: how it ends is in no head. */
static int note_file(struct xn_history *h, const struct xn_history_file *file, struct xn_time_search *at)
{
	const struct xn_history_block *before = NULL, *end = file->blocks + file->n_blocks;
	int rc = 0;

	for (const struct xn_history_block *block = file->blocks; rc == 0 && block < end; block++) {
		if (!has_changes(block))
			continue;
		if (before && block->max_us <= at->us)
			xn_time_search_note(at, before->max_us, before->next - 1);
		else if (before)
			rc = note_block(h, file, before, at);
		before = block->max_us <= at->us ? block : NULL;
		if (rc == 0 && block->min_us > at->us)
			xn_time_search_note(at, block->min_us, block->next - 1);
		else if (rc == 0 && !before)
			rc = note_block(h, file, block, at);
	}
	return rc == 0 && before ? note_block(h, file, before, at) : rc;
}

/* Of the gap that the time lies in; 0: it lies in none. */
static uint64_t gap_at(const struct xn_history *h, int64_t us)
{
	for (size_t i = 0; i < h->n_gaps; i++)
		if (us > h->gaps[i].from_us && us < h->gaps[i].to_us)
			return h->gaps[i].first;
	return 0;
}

int xn_history_generation_at(struct xn_history *h, int64_t us, uint64_t *out)
{
	struct xn_time_search at = {.us = us, .latest_us = INT64_MIN};
	int rc = 0;

	*out = gap_at(h, us);
	if (*out)
		return -ENODATA;
	if (us < h->bounds.from_us || (h->bounds.ends_in_gap && us > h->bounds.to_us))
		return -ENODATA;
	for (size_t i = 0; rc == 0 && i < h->n_sources; i++) {
		const struct xn_history_file *file = &h->sources[i].changes;

		/* An image's time is when it was made, which may be after changes behind it. */
		if (file->head.wall_us && file->head.wall_us <= us && !at.is_beyond &&
		    (!i || !h->sources[i - 1].joins_next))
			at.last = file->head.generation - 1;
		rc = note_file(h, file, &at);
	}
	if (rc == 0)
		rc = note_texts(&at, h->tail.data, h->tail.len);
	if (rc < 0)
		return rc == -EBADMSG ? -ENODATA : rc;
	*out = at.last;
	if (at.is_again)
		return -ENOTUNIQ;
	return at.last ? 0 : -ENODATA;
}

/* ---- rows at a time ---- */

struct filling {
	struct xn_history *h;
	struct xn_history_rows *rows;
	uint64_t until;
	bool (*wants)(void *arg, const struct xn_slice *ref, int class_id);
	void *arg;
};

static int fill_block(struct filling *f, struct xn_cursor in, uint64_t *n)
{
	while (in.at != in.end) {
		struct xn_slice ref, row;
		struct xn_row_head head;
		struct xn_cursor row_in;
		int class_id;

		if (xn_take_text(&in, &ref) < 0 || xn_take_text(&in, &row) < 0)
			return -EBADMSG;
		row_in = xn_cursor(row.data, row.len);
		if (xn_take_row_head(&row_in, &head) < 0)
			return -EBADMSG;
		if (head.class_no >= f->h->names.n)
			return -EBADMSG;
		++*n;
		class_id = xn_names_class(&f->h->names, head.class_no);
		if (class_id >= 0 && (!f->wants || f->wants(f->arg, &ref, class_id)))
			xn_history_rows_put(f->rows, &ref, &row);
	}
	return 0;
}

static int fill_from_image(struct filling *f, const struct xn_history_file *image)
{
	uint64_t n = 0;
	int rc = 0;

	if (image->fd < 0)
		return 0; /* nothing was before the first change */
	for (size_t i = 0; rc == 0 && i < image->n_blocks; i++) {
		if (image->blocks[i].kind != XN_HISTORY_ROWS)
			continue;
		rc = xn_history_block_read(image, &image->blocks[i], &f->h->scratch);
		if (rc == 0)
			rc = fill_block(f, xn_cursor(f->h->scratch.data, f->h->scratch.len), &n);
	}
	if (rc == 0 && n != image->blocks[image->n_blocks - 1].first)
		rc = -EBADMSG;
	return rc;
}

static int apply_texts(struct filling *f, struct xn_cursor in)
{
	struct xn_slice text;
	int rc = 0;

	while (rc == 0 && in.at != in.end) {
		if (xn_take_text(&in, &text) < 0)
			return -EBADMSG;
		rc = xn_history_rows_apply(f->rows, f->h, xn_cursor(text.data, text.len), f->until,
					   f->wants, f->arg);
	}
	return rc;
}

static int apply_file(struct filling *f, const struct xn_history_file *file)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < file->n_blocks; i++) {
		const struct xn_history_block *block = &file->blocks[i];

		if (block->kind != XN_HISTORY_TXS || !block->len)
			continue;
		if (block->first > f->until)
			break;
		rc = xn_history_block_read(file, block, &f->h->scratch);
		if (rc == 0)
			rc = apply_texts(f, xn_cursor(f->h->scratch.data, f->h->scratch.len));
		if (rc == -EBADMSG)
			damaged_block(f->h, block);
	}
	return rc;
}

/* From the image of one source through what follows. -ENODATA: a part is missing. */
static int fill_from(struct filling *f, size_t source)
{
	struct xn_history *h = f->h;
	int rc = fill_from_image(f, &h->sources[source].image);

	for (size_t i = source; rc == 0 && i < h->n_sources; i++) {
		const struct xn_history_source *s = &h->sources[i];

		rc = apply_file(f, &s->changes);
		if (xn_history_file_generation(&s->changes) > f->until)
			return rc;
		if (rc == 0 && !s->joins_next)
			return f->until + 1 == xn_history_file_generation(&s->changes) ? 0
										       : -ENODATA;
	}
	return rc;
}

static int fill(struct filling *f)
{
	struct xn_history *h = f->h;
	size_t i = h->n_sources;
	int rc = 0;

	if (h->bounds.ends_in_gap && f->until >= h->bounds.next)
		return -ENODATA;
	while (i > 0 && (!h->sources[i - 1].starts_whole ||
			 h->sources[i - 1].changes.head.generation > f->until + 1))
		i--;
	if (h->n_sources) {
		if (!i)
			return -ENODATA;
		rc = fill_from(f, i - 1);
	}
	if (rc == 0 && h->tail_block.first <= f->until)
		rc = apply_texts(f, xn_cursor(h->tail.data, h->tail.len));
	return rc;
}

int xn_history_rows_at(struct xn_history *h, uint64_t generation,
		       bool (*wants)(void *arg, const struct xn_slice *ref, int class_id), void *arg,
		       struct xn_history_rows **out)
{
	struct filling f = {h, xn_history_rows_new(), generation, wants, arg};
	int rc = fill(&f);

	if (rc == 0)
		rc = xn_history_rows_sort(f.rows, &h->names);
	if (rc == 0)
		*out = f.rows;
	else
		xn_history_rows_free(f.rows);
	return rc == -EBADMSG ? -ENODATA : rc;
}
