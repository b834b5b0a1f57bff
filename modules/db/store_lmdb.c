/*
 * The real store: journal files and an LMDB checkpoint in DIR/db, all disk work after the start on
 * two worker threads: one syncs the journal and replaces what failed, the other is LMDB's only
 * writer, and no sync waits for it.
 *
 *   format           format.h
 *   lock             held while open; its one byte says "S" from a failed sync until what it left
 *                    unsure is durable: a start that finds it gives out no stamp of then again, for
 *                    the kernel may have dropped what clients were shown
 *   journal-NNNNNNNN journal.h
 *   checkpoint.mdb   checkpoint.h
 *
 * A checkpoint takes only what is durable in the journal, a slice at a time, each slice one LMDB
 * transaction. It touches nothing of the journal that a sync or a replacement does: it reads below
 * what was durable when it was asked for, and removes segments that end before.
 */
#include "modules/db/checkpoint.h"
#include "modules/db/fold.h"
#include "modules/db/format.h"
#include "modules/db/history/file.h"
#include "modules/db/history/record.h"
#include "modules/db/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	SLICE_BYTES = 128 << 10,
	KEEP_BYTES = 8 << 20, /* of journal behind the checkpoint, for readers under way */
	UNRECORDED_MAX = 32 << 20, /* history that cannot be written holds up so much journal */
	UNTIDIED_MAX = 8 << 20,	   /* history that is tidied, likewise */
	FOLD_RETRY_US = 5000000,
};

struct waiter {
	struct xn_list link;
	void (*done)(int rc, void *arg);
	void *arg;
};

struct lmdb_store {
	struct xn_store store;
	char *dir; /* DIR/db */
	int dir_fd, lock_fd;
	struct xn_pool *sync_pool, *fold_pool;
	struct xn_journal *journal;
	int error; /* refuses until reopened */
	bool closing; /* results of work come too late to matter */
	bool is_unsure; /* as the lock file says */

	struct xn_work sync_work;
	struct xn_journal_sync sync;
	bool syncing;
	struct xn_list syncing_waiters, next_waiters;

	struct xn_work fold_work;
	bool folding;
	uint64_t folded;	   /* the checkpoint's position */
	uint64_t fold_goal;	   /* what was durable when the checkpoint was asked for */
	uint64_t fold_from, fold_to; /* of the running slice; to: may end before */
	uint64_t slice_bytes;
	int64_t fold_again_us; /* after a failure */
	unsigned copies;       /* being read: nothing is folded meanwhile */
	bool is_suspect;       /* the last one failed */
	struct xn_recorder *recorder; /* of history; NULL: none is kept */
	int recorder_rc; /* why the last slice is not in it */
	uint64_t history_size;
	unsigned n_history; /* its files, when somebody was last told of them */
	uint64_t fold_synced;
	int64_t fold_time_us, fold_began_us;

	struct xn_work replace_work;
	struct xn_journal_replace replace;
	struct waiter replace_waiter;
};

static struct lmdb_store *from_store(const struct xn_store *store)
{
	return (struct lmdb_store *)xn_container_of(store, struct lmdb_store, store);
}

/* ---- opening ---- */

static int hold(struct lmdb_store *s, struct xn_error *err)
{
	char *state_dir = xn_strndup(s->dir, strlen(s->dir) - strlen("/db"));
	bool made = mkdir(state_dir, 0700) == 0 || errno == EEXIST;

	free(state_dir);
	if (!made || (mkdir(s->dir, 0700) < 0 && errno != EEXIST))
		return xn_folder_refuse(s->dir, err, -errno, "making the database's folder");
	s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd >= 0)
		s->lock_fd = openat(s->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0)
		return xn_folder_refuse(s->dir, err, -errno, "opening the database's folder");
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR,
				     "the database in %s is in use by another process", s->dir);
	return 0;
}

/* In place, in a block that the file has: also on a full disk. Not while a sync runs, but by it. */
static void mark_unsure(struct lmdb_store *s, bool unsure)
{
	if (s->is_unsure == unsure)
		return;
	s->is_unsure = unsure;
	(void)!pwrite(s->lock_fd, unsure ? "S" : "-", 1, 0); /* nothing else could be done */
}

static void read_mark(struct lmdb_store *s)
{
	char mark = 0;

	s->is_unsure = pread(s->lock_fd, &mark, 1, 0) == 1 && mark == 'S';
	if (mark)
		return;
	s->is_unsure = true;
	mark_unsure(s, false); /* so that the byte is there */
}

static int lmdb_set_format(struct xn_store *store, struct xn_error *err)
{
	struct lmdb_store *s = from_store(store);

	if (xn_format_write(s->dir_fd, s->dir, XN_DB_FORMAT, err) < 0)
		return -1;
	store->format = XN_DB_FORMAT;
	return 0;
}

static int find_format(struct lmdb_store *s, struct xn_error *err)
{
	s->store.format = xn_format_read(s->dir_fd, s->dir, err);
	if (s->store.format < 0)
		return -1;
	return s->store.format ? 0 : lmdb_set_format(&s->store, err); /* a new database */
}

static void read_boot_id(struct lmdb_store *s)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, s->store.boot_id, sizeof(s->store.boot_id) - 1);

	if (fd >= 0)
		close(fd);
	s->store.boot_id[n > 0 ? strcspn(s->store.boot_id, "\n") : 0] = '\0';
	/* Without one every start may be the first after a power loss. */
	if (!*s->store.boot_id)
		xn_uuid_new(s->store.core->loop, s->store.boot_id);
}

static int open_journal(struct lmdb_store *s, const struct xn_store_reader *reader, void *arg,
			struct xn_error *err)
{
	char *why = NULL;

	s->journal = xn_journal_open(s->dir_fd, s->folded, xn_random_u64(s->store.core->loop),
				     reader->transaction, arg, &why);
	if (s->journal)
		return 0;
	xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "%s: %s", s->dir, why ? why : "no journal");
	free(why);
	return -1;
}

static int make_recorder(struct lmdb_store *s, struct xn_error *err)
{
	struct xn_config *config = s->store.core->config;
	struct xn_history_options options;
	char *why XN_CLEANUP(xn_free_p) = NULL;
	char *state_dir XN_CLEANUP(xn_free_p) = xn_strndup(s->dir, strlen(s->dir) - strlen("/db"));

	if (!xn_config_int(config, "history-size"))
		return 0;
	if (xn_history_options_read(&options, config, &why) < 0)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "history-skip: %s", why);
	/* So that what one slice brings fits into the room that is left for it. */
	s->history_size = options.size;
	if (xn_history_share(options.size) / 4 < s->slice_bytes)
		s->slice_bytes = xn_history_share(options.size) / 4;
	s->recorder = xn_recorder_new(state_dir, &options);
	return 0;
}

static int lmdb_open(struct xn_store *store, const struct xn_store_reader *reader, void *arg,
		     struct xn_error *err)
{
	struct lmdb_store *s = from_store(store);
	int rc;

	if (hold(s, err) < 0 || find_format(s, err) < 0)
		return -1;
	read_boot_id(s);
	read_mark(s);
	rc = xn_checkpoint_read(s->dir, reader, arg, &s->folded);
	if (rc < 0)
		return xn_folder_refuse(s->dir, err, rc, "reading the checkpoint");
	if (open_journal(s, reader, arg, err) < 0 || make_recorder(s, err) < 0)
		return -1;
	store->was_cut = xn_journal_was_cut(s->journal) || s->is_unsure;
	return 0;
}

/* ---- appending and syncing ---- */

static int lmdb_append(struct xn_store *store, const void *bytes, size_t len)
{
	struct lmdb_store *s = from_store(store);

	if (!s->error)
		s->error = xn_journal_append(s->journal, bytes, len);
	return s->error;
}

static int run_sync(struct xn_work *work)
{
	struct lmdb_store *s = xn_container_of(work, struct lmdb_store, sync_work);
	int rc = xn_journal_sync_run(&s->sync);

	if (rc < 0) /* at once: a kill may come before the loop hears of it */
		mark_unsure(s, true);
	return rc;
}

static void on_synced(struct xn_work *work, int rc);

static void begin_sync(struct lmdb_store *s)
{
	struct xn_list *link;

	while ((link = xn_list_pop(&s->next_waiters)))
		xn_list_push(&s->syncing_waiters, link);
	s->syncing = true;
	xn_journal_sync_begin(s->journal, &s->sync);
	s->sync_work = (struct xn_work){.run = run_sync, .done = on_synced};
	xn_pool_submit(s->sync_pool, &s->sync_work);
}

static void on_synced(struct xn_work *work, int rc)
{
	struct lmdb_store *s = xn_container_of(work, struct lmdb_store, sync_work);
	struct xn_list done, *link;

	if (s->closing)
		return;
	s->syncing = false;
	xn_journal_sync_end(s->journal, &s->sync, rc);
	if (rc < 0 && !s->error)
		s->error = rc;
	xn_list_init(&done);
	while ((link = xn_list_pop(&s->syncing_waiters)))
		xn_list_push(&done, link);
	if (!xn_list_empty(&s->next_waiters))
		begin_sync(s);
	while ((link = xn_list_pop(&done))) {
		struct waiter *waiter = xn_list_entry(link, struct waiter, link);

		waiter->done(rc, waiter->arg);
		free(waiter);
	}
}

static void lmdb_sync(struct xn_store *store, void (*done)(int rc, void *arg), void *arg)
{
	struct lmdb_store *s = from_store(store);
	struct waiter *waiter = xn_calloc(1, sizeof(*waiter));

	waiter->done = done;
	waiter->arg = arg;
	xn_list_push(&s->next_waiters, &waiter->link);
	if (!s->syncing)
		begin_sync(s);
}

static int lmdb_flush(struct xn_store *store)
{
	struct lmdb_store *s = from_store(store);
	struct xn_journal_sync sync;
	int rc;

	if (s->error)
		return s->error;
	xn_journal_sync_begin(s->journal, &sync);
	rc = xn_journal_sync_run(&sync);
	if (!s->syncing)
		xn_journal_sync_end(s->journal, &sync, rc);
	mark_unsure(s, rc < 0);
	if (rc < 0)
		s->error = rc;
	return rc;
}

/* ---- checkpoints ---- */

/* What could not be recorded waits in the journal for the next time, but not for ever. 1: records,
 * 0: goes on without, -errno. */
static int begin_recording(struct lmdb_store *s)
{
	s->recorder_rc = 0;
	if (!s->recorder)
		return 0;
	s->recorder_rc = xn_recorder_begin(s->recorder, s->dir, s->fold_from, s->fold_synced,
					   s->fold_time_us);
	if (s->recorder_rc == 0)
		return 1;
	return s->fold_synced - s->fold_from > UNRECORDED_MAX ? 0 : s->recorder_rc;
}

static int fold_records(struct lmdb_store *s, struct xn_kv *kv, bool records)
{
	struct xn_fold *fold = xn_fold_new(kv, records ? xn_recorder_watch(s->recorder) : NULL);
	struct xn_journal_reader reader;
	struct xn_slice bytes;
	int rc = xn_journal_reader_open(&reader, s->dir_fd, s->fold_from);

	while (rc == 0 && reader.position < s->fold_to &&
	       reader.position - s->fold_from < s->slice_bytes) {
		rc = xn_journal_next(&reader, &bytes);
		/* It is durable, so it must be there. */
		if (rc == 0)
			rc = -EBADMSG;
		if (rc == 1 && records && xn_recorder_reach(s->recorder, reader.position) < 0)
			rc = -EIO;
		if (rc == 1)
			rc = xn_fold_transaction(fold, bytes.data, bytes.len);
	}
	s->fold_to = reader.position;
	if (rc == 0)
		rc = xn_fold_finish(fold);
	xn_journal_reader_close(&reader);
	xn_fold_free(fold);
	return rc;
}

/* One slice, on the worker. */
static int run_fold(struct xn_work *work)
{
	struct lmdb_store *s = xn_container_of(work, struct lmdb_store, fold_work);
	int rc, records = begin_recording(s);
	struct xn_checkpoint *cp;

	if (records < 0)
		return records;
	/* After a failure nobody knows what of LMDB's file is on the disk: a new one is made. */
	rc = xn_checkpoint_begin(s->dir_fd, s->dir, s->is_suspect, &cp);
	if (rc < 0)
		return rc;
	rc = fold_records(s, xn_checkpoint_kv(cp), records);
	if (rc == 0 && records) /* before the checkpoint forgets what was replaced */
		rc = s->recorder_rc = xn_recorder_commit(s->recorder);
	if (rc == 0)
		rc = xn_checkpoint_commit(cp, s->fold_to);
	xn_checkpoint_end(cp);
	if (rc < 0 && records)
		xn_recorder_forget(s->recorder);
	if (rc == 0)
		rc = xn_journal_trim(s->dir_fd, s->fold_to, KEEP_BYTES);
	return rc;
}

static void on_folded(struct xn_work *work, int rc);

static void plan_fold(struct lmdb_store *s)
{
	s->fold_from = s->folded;
	s->fold_to = s->fold_synced = xn_journal_synced(s->journal);
	s->fold_time_us = xn_wall_us(s->store.core->loop);
	if (s->recorder && s->store.history_anew)
		xn_recorder_begin_anew(s->recorder);
	s->store.history_anew = false;
}

static void fold_slice(struct lmdb_store *s)
{
	/* What waits is folded when a turn asks again. */
	if (s->copies || s->folded >= s->fold_goal ||
	    (s->store.history_waits && s->fold_goal - s->folded < UNTIDIED_MAX))
		return;
	plan_fold(s);
	s->folding = true;
	s->fold_began_us = xn_now_us(s->store.core->loop);
	s->fold_work = (struct xn_work){.run = run_fold, .done = on_folded};
	xn_pool_submit(s->fold_pool, &s->fold_work);
}

static void on_folded(struct xn_work *work, int rc)
{
	struct lmdb_store *s = xn_container_of(work, struct lmdb_store, fold_work);

	if (s->closing)
		return;
	s->folding = false;
	s->is_suspect = rc < 0;
	xn_histogram_observe(&s->store.checkpoint_times,
			     xn_now_us(s->store.core->loop) - s->fold_began_us);
	s->store.checkpoint_failures += rc < 0;
	if (rc < 0) {
		/* Nothing is lost: the journal keeps what is not folded. */
		xn_log_error(s->store.core->log, "db", "writing a checkpoint failed: %s",
			     strerror(-rc));
		s->fold_again_us = xn_now_us(s->store.core->loop) + FOLD_RETRY_US;
		return;
	}
	s->folded = s->fold_to;
	if (s->recorder_rc < 0)
		xn_log_error(s->store.core->log, "db", "history has a gap: writing it failed: %s",
			     strerror(-s->recorder_rc));
	if (s->recorder && s->store.on_history && s->n_history != xn_recorder_files(s->recorder)) {
		s->n_history = xn_recorder_files(s->recorder);
		s->store.on_history(s->store.on_history_arg);
	}
	fold_slice(s);
}

static void lmdb_checkpoint(struct xn_store *store)
{
	struct lmdb_store *s = from_store(store);

	if (s->folding || s->error || xn_now_us(store->core->loop) < s->fold_again_us)
		return;
	/* No farther: under load there is always a little more, and each slice costs LMDB's syncs. */
	s->fold_goal = xn_journal_synced(s->journal);
	fold_slice(s);
}

static uint64_t lmdb_backlog(const struct xn_store *store)
{
	const struct lmdb_store *s = from_store(store);

	return xn_journal_end(s->journal) - s->folded;
}

/* ---- after a failure ---- */

static int run_replace(struct xn_work *work)
{
	return xn_journal_replace_run(
		&xn_container_of(work, struct lmdb_store, replace_work)->replace);
}

static void on_replaced(struct xn_work *work, int rc)
{
	struct lmdb_store *s = xn_container_of(work, struct lmdb_store, replace_work);

	xn_journal_replace_end(s->journal, &s->replace, rc);
	if (s->closing)
		return;
	if (rc == 0) {
		s->error = 0;
		mark_unsure(s, false);
	}
	s->replace_waiter.done(rc, s->replace_waiter.arg);
}

static void lmdb_reopen(struct xn_store *store, void (*done)(int rc, void *arg), void *arg)
{
	struct lmdb_store *s = from_store(store);

	s->replace_waiter = (struct waiter){.done = done, .arg = arg};
	xn_journal_replace_begin(s->journal, xn_random_u64(store->core->loop), &s->replace);
	s->replace_work = (struct xn_work){.run = run_replace, .done = on_replaced};
	xn_pool_submit(s->sync_pool, &s->replace_work);
}

/* ---- copies ---- */

struct xn_store_copy {
	struct lmdb_store *store;
	char *dir;
	int dir_fd;
	uint64_t to; /* position up to which it goes */
	bool begun;
	struct xn_checkpoint_walk *walk;
	struct xn_journal_reader reader;
};

static struct xn_store_copy *lmdb_copy_begin(struct xn_store *store)
{
	struct lmdb_store *s = from_store(store);
	struct xn_store_copy *copy = xn_calloc(1, sizeof(*copy));

	/* A slice that is being folded may end; the one after it could take the pages that are read. */
	s->copies++;
	*copy = (struct xn_store_copy){.store = s, .dir = xn_strdup(s->dir), .dir_fd = s->dir_fd};
	copy->to = xn_journal_synced(s->journal);
	return copy;
}

static int begin_copy(struct xn_store_copy *copy)
{
	uint64_t position;
	int rc = xn_checkpoint_walk_begin(copy->dir, &copy->walk, &position);

	if (rc == 0)
		rc = xn_journal_reader_open(&copy->reader, copy->dir_fd, position);
	copy->begun = rc == 0;
	return rc;
}

static int lmdb_copy_next(struct xn_store_copy *copy, struct xn_store_item *item)
{
	struct xn_slice key = {0}, value = {0};
	int rc = copy->begun ? 0 : begin_copy(copy);

	if (rc == 0)
		rc = xn_checkpoint_walk_next(copy->walk, &item->space, &key, &value);
	item->is_transaction = rc == 0;
	if (rc == 0 && copy->reader.position < copy->to) {
		rc = xn_journal_next(&copy->reader, &value);
		if (rc == 0) /* it is durable, so it must be there */
			rc = -EBADMSG;
	}
	item->key = (struct xn_store_slice){key.data, key.len};
	item->value = (struct xn_store_slice){value.data, value.len};
	return rc;
}

static void lmdb_copy_end(struct xn_store_copy *copy)
{
	struct lmdb_store *s = copy->store;

	xn_checkpoint_walk_end(copy->walk);
	if (copy->begun)
		xn_journal_reader_close(&copy->reader);
	free(copy->dir);
	free(copy);
	s->copies--; /* what waits is folded when the next turn asks */
}

/* ---- closing ---- */

static void forget_waiters(struct xn_list *list)
{
	struct xn_list *link;

	while ((link = xn_list_pop(list)))
		free(xn_list_entry(link, struct waiter, link));
}

/* It keeps to its size also where no daemon follows; what fails now is done by the next. */
static void tidy_history(struct lmdb_store *s)
{
	if (!s->recorder || s->n_history == xn_recorder_files(s->recorder))
		return;
	s->n_history = xn_recorder_files(s->recorder);
	if (xn_recorder_tidy(s->recorder, s->fold_time_us) < 0)
		xn_log_warn(s->store.core->log, "db", "history was not tidied at the stop");
}

/* All that is left in few LMDB transactions, in one without history: the stop waits for their
 * syncs. */
static void fold_rest(struct lmdb_store *s)
{
	s->slice_bytes = s->recorder ? xn_history_share(s->history_size) : UINT64_MAX;
	for (;;) {
		plan_fold(s);
		if (s->fold_from >= s->fold_to || run_fold(&s->fold_work) < 0)
			return;
		s->folded = s->fold_to;
		tidy_history(s);
	}
}

static void lmdb_close(struct xn_store *store, bool clean)
{
	struct lmdb_store *s = from_store(store);

	s->closing = true;
	xn_pool_free(s->sync_pool); /* waits for what runs */
	xn_pool_free(s->fold_pool);
	s->syncing = false;
	if (clean && s->journal && lmdb_flush(store) == 0)
		fold_rest(s);
	forget_waiters(&s->syncing_waiters);
	forget_waiters(&s->next_waiters);
	xn_journal_close(s->journal);
	xn_recorder_free(s->recorder);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	free(s->dir);
	free(s);
}

struct xn_store *xn_store_lmdb_new(struct xn_core *core, const char *dir)
{
	static const struct xn_store_ops ops = {
		.open = lmdb_open,
		.set_format = lmdb_set_format,
		.append = lmdb_append,
		.sync = lmdb_sync,
		.flush = lmdb_flush,
		.reopen = lmdb_reopen,
		.checkpoint = lmdb_checkpoint,
		.backlog = lmdb_backlog,
		.copy_begin = lmdb_copy_begin,
		.copy_next = lmdb_copy_next,
		.copy_end = lmdb_copy_end,
		.close = lmdb_close,
	};
	struct lmdb_store *s = xn_calloc(1, sizeof(*s));

	s->store.ops = &ops;
	s->store.core = core;
	s->dir = xn_asprintf("%s/db", dir);
	s->dir_fd = s->lock_fd = -1;
	xn_list_init(&s->syncing_waiters);
	xn_list_init(&s->next_waiters);
	s->slice_bytes = SLICE_BYTES;
	s->sync_pool = xn_pool_new(core->loop, "db", 1);
	s->fold_pool = xn_pool_new(core->loop, "checkpoint", 1);
	return &s->store;
}
