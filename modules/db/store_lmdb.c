/*
 * The real store: journal files and an LMDB checkpoint in DIR/db, all disk work after the start on
 * one worker thread, which is LMDB's only writer.
 *
 *   format           "xenolith database 1": whoever finds a higher number refuses
 *   lock             held while open
 *   journal-NNNNNNNN journal.h
 *   checkpoint.mdb   one LMDB database a space; keys as in store.h; before each value its CRC-32C.
 *                    Space "store" holds "position": journal records before it are in here.
 *
 * LMDB is open only while it is read at the start and while a checkpoint is written, so that its map
 * is not part of the daemon's memory. A checkpoint takes only what is durable in the journal, a slice
 * at a time, each slice one LMDB transaction; syncs get their turn between slices.
 */
#include "core/crc32c.h"
#include "modules/db/fold.h"
#include "modules/db/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT_LINE "xenolith database "
enum {
	FORMAT = 1,
	SLICE_BYTES = 512 << 10,
	KEEP_BYTES = 64 << 20, /* of journal that is history */
};
static const size_t map_size = sizeof(size_t) > 4 ? (size_t)16 << 30 : (size_t)512 << 20;
static const char checkpoint_file[] = "checkpoint.mdb";
static const char position_key[] = "position";
static const char *const space_names[XN_SPACE_COUNT] = {
	[XN_SPACE_META] = "meta",   [XN_SPACE_ROWS] = "rows",	[XN_SPACE_TOMBS] = "tombstones",
	[XN_SPACE_LATER] = "later", [XN_SPACE_STORE] = "store",
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
	struct xn_pool *pool;
	struct xn_journal *journal;
	int error; /* refuses until reopened */
	bool closing; /* results of work come too late to matter */

	struct xn_work sync_work;
	struct xn_journal_sync sync;
	bool syncing;
	struct xn_list syncing_waiters, next_waiters;

	struct xn_work fold_work;
	bool folding;
	uint64_t folded;	   /* the checkpoint's position */
	uint64_t fold_from, fold_to; /* of the running slice; to: may end before */

	struct xn_work replace_work;
	struct xn_journal_replace replace;
	struct waiter replace_waiter;
};

static struct lmdb_store *from_store(const struct xn_store *store)
{
	return (struct lmdb_store *)xn_container_of(store, struct lmdb_store, store);
}

/* ---- LMDB as a checkpoint ---- */

struct checkpoint {
	struct xn_kv kv;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi spaces[XN_SPACE_COUNT];
	struct xn_buf scratch;
};

static int from_mdb(int rc)
{
	if (rc <= 0)
		return rc == MDB_SUCCESS  ? 0 :
		       rc == MDB_NOTFOUND ? -ENOENT :
		       rc == MDB_MAP_FULL ? -ENOSPC :
					    -EBADMSG;
	return -rc;
}

static struct checkpoint *from_kv(struct xn_kv *kv)
{
	return xn_container_of(kv, struct checkpoint, kv);
}

/* Values carry a checksum: LMDB itself has none. */
static int unwrap(const MDB_val *v, struct xn_slice *out)
{
	const unsigned char *p = v->mv_data;
	uint32_t crc;

	if (v->mv_size < 4)
		return -EBADMSG;
	crc = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
	*out = (struct xn_slice){p + 4, v->mv_size - 4};
	return crc == xn_crc32c(0, out->data, out->len) ? 0 : -EBADMSG;
}

static int checkpoint_get(struct xn_kv *kv, enum xn_space space, const void *key, size_t key_len,
			  struct xn_slice *value)
{
	struct checkpoint *cp = from_kv(kv);
	MDB_val k = {key_len, (void *)key}, v;
	int rc = from_mdb(mdb_get(cp->txn, cp->spaces[space], &k, &v));

	return rc < 0 ? rc : unwrap(&v, value);
}

static int checkpoint_put(struct xn_kv *kv, enum xn_space space, const void *key, size_t key_len,
			  const void *value, size_t len)
{
	struct checkpoint *cp = from_kv(kv);
	uint32_t crc = xn_crc32c(0, value, len);
	MDB_val k = {key_len, (void *)key}, v = {len + 4, NULL};
	unsigned char *p;
	int rc = from_mdb(mdb_put(cp->txn, cp->spaces[space], &k, &v, MDB_RESERVE));

	if (rc < 0)
		return rc;
	p = v.mv_data;
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(crc >> (8 * i));
	if (len)
		memcpy(p + 4, value, len);
	return 0;
}

static int checkpoint_del(struct xn_kv *kv, enum xn_space space, const void *key, size_t key_len)
{
	struct checkpoint *cp = from_kv(kv);
	MDB_val k = {key_len, (void *)key};
	int rc = from_mdb(mdb_del(cp->txn, cp->spaces[space], &k, NULL));

	return rc == -ENOENT ? 0 : rc;
}

static int checkpoint_count(struct xn_kv *kv, enum xn_space space, size_t *n_out)
{
	struct checkpoint *cp = from_kv(kv);
	MDB_stat stat;
	int rc = from_mdb(mdb_stat(cp->txn, cp->spaces[space], &stat));

	if (rc == 0)
		*n_out = stat.ms_entries;
	return rc;
}

static int checkpoint_first(struct xn_kv *kv, enum xn_space space, struct xn_slice *key,
			    struct xn_slice *value)
{
	struct checkpoint *cp = from_kv(kv);
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc = from_mdb(mdb_cursor_open(cp->txn, cp->spaces[space], &cursor));

	if (rc < 0)
		return rc;
	rc = from_mdb(mdb_cursor_get(cursor, &k, &v, MDB_FIRST));
	mdb_cursor_close(cursor);
	if (rc < 0)
		return rc;
	*key = (struct xn_slice){k.mv_data, k.mv_size};
	return unwrap(&v, value);
}

static void checkpoint_end(struct checkpoint *cp)
{
	if (cp->txn)
		mdb_txn_abort(cp->txn);
	if (cp->env)
		mdb_env_close(cp->env);
	cp->txn = NULL;
	cp->env = NULL;
}

static int open_spaces(struct checkpoint *cp, bool write)
{
	int rc = 0;

	for (int s = 0; rc == 0 && s < XN_SPACE_COUNT; s++)
		rc = mdb_dbi_open(cp->txn, space_names[s], write ? MDB_CREATE : 0, &cp->spaces[s]);
	return rc;
}

static int checkpoint_begin(struct checkpoint *cp, const char *path, bool write)
{
	unsigned flags = MDB_NOSUBDIR | MDB_NOLOCK | MDB_NORDAHEAD;
	int rc;

	*cp = (struct checkpoint){.kv = {checkpoint_get, checkpoint_put, checkpoint_del,
					 checkpoint_count, checkpoint_first}};
	rc = mdb_env_create(&cp->env);
	if (rc == 0)
		rc = mdb_env_set_mapsize(cp->env, map_size);
	if (rc == 0)
		rc = mdb_env_set_maxdbs(cp->env, XN_SPACE_COUNT);
	if (rc == 0)
		rc = mdb_env_open(cp->env, path, flags | (write ? 0 : MDB_RDONLY), 0600);
	if (rc == 0)
		rc = mdb_txn_begin(cp->env, NULL, write ? 0 : MDB_RDONLY, &cp->txn);
	if (rc == 0)
		rc = open_spaces(cp, write);
	if (rc != 0)
		checkpoint_end(cp);
	return from_mdb(rc);
}

static int checkpoint_commit(struct checkpoint *cp)
{
	int rc = mdb_txn_commit(cp->txn);

	cp->txn = NULL;
	return from_mdb(rc);
}

/* ---- opening ---- */

static int refuse(struct lmdb_store *s, struct xn_error *err, int rc, const char *doing)
{
	return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "%s in %s: %s", doing, s->dir,
			     strerror(-rc));
}

static int hold(struct lmdb_store *s, struct xn_error *err)
{
	char *state_dir = xn_strndup(s->dir, strlen(s->dir) - strlen("/db"));
	bool made = mkdir(state_dir, 0700) == 0 || errno == EEXIST;

	free(state_dir);
	if (!made || (mkdir(s->dir, 0700) < 0 && errno != EEXIST))
		return refuse(s, err, -errno, "making the database's folder");
	s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd >= 0)
		s->lock_fd = openat(s->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0)
		return refuse(s, err, -errno, "opening the database's folder");
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR,
				     "the database in %s is in use by another process", s->dir);
	return 0;
}

static int write_format(struct lmdb_store *s)
{
	int fd = openat(s->dir_fd, "format.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char line[64];
	int rc = -1, len = snprintf(line, sizeof(line), FORMAT_LINE "%d\n", FORMAT);

	if (fd < 0)
		return -errno;
	if (write(fd, line, (size_t)len) == len && fsync(fd) == 0 &&
	    renameat(s->dir_fd, "format.new", s->dir_fd, "format") == 0)
		rc = fsync(s->dir_fd);
	if (rc < 0)
		rc = -errno;
	close(fd);
	return rc;
}

static int check_format(struct lmdb_store *s, struct xn_error *err)
{
	int fd = openat(s->dir_fd, "format", O_RDONLY | O_CLOEXEC), format = 0, rc = 0;
	char line[64] = "";

	if (fd < 0) {
		if (errno == ENOENT)
			rc = write_format(s);
		else
			rc = -errno;
		return rc < 0 ? refuse(s, err, rc, "writing the format mark") : 0;
	}
	if (read(fd, line, sizeof(line) - 1) < 0)
		rc = -errno;
	close(fd);
	if (rc < 0)
		return refuse(s, err, rc, "reading the format mark");
	if (sscanf(line, FORMAT_LINE "%d", &format) != 1 || format < 1)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR,
				     "%s/format does not say what this database is", s->dir);
	if (format > FORMAT)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR,
				     "the database in %s has format %d, written by a newer version; "
				     "this one knows up to %d",
				     s->dir, format, FORMAT);
	return 0;
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

static int read_space(struct checkpoint *cp, enum xn_space space,
		      const struct xn_store_reader *reader, void *arg)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc = from_mdb(mdb_cursor_open(cp->txn, cp->spaces[space], &cursor));

	if (rc < 0)
		return rc;
	while ((rc = from_mdb(mdb_cursor_get(cursor, &k, &v, MDB_NEXT))) == 0) {
		struct xn_slice value;

		rc = unwrap(&v, &value);
		if (rc == 0)
			rc = reader->entry(arg, space, k.mv_data, k.mv_size, value.data, value.len);
		if (rc < 0)
			break;
	}
	mdb_cursor_close(cursor);
	return rc == -ENOENT ? 0 : rc;
}

static int read_position(struct checkpoint *cp, uint64_t *position)
{
	struct xn_slice value;
	struct xn_cursor in;
	int rc = checkpoint_get(&cp->kv, XN_SPACE_STORE, position_key, strlen(position_key), &value);

	if (rc < 0)
		return rc;
	in = xn_cursor(value.data, value.len);
	return xn_take_fixed(&in, position);
}

static char *checkpoint_path(const struct lmdb_store *s)
{
	return xn_asprintf("%s/%s", s->dir, checkpoint_file);
}

static int read_checkpoint(struct lmdb_store *s, const struct xn_store_reader *reader, void *arg)
{
	char *path = checkpoint_path(s);
	struct checkpoint cp;
	struct stat st;
	int rc;

	/* An LMDB file is made with its first transaction: without that it holds nothing. */
	if (stat(path, &st) < 0 || st.st_size == 0) {
		free(path);
		return 0;
	}
	rc = checkpoint_begin(&cp, path, false);
	free(path);
	if (rc == -ENOENT)
		return 0;
	for (int space = 0; rc == 0 && space < XN_SPACE_STORE; space++)
		rc = read_space(&cp, (enum xn_space)space, reader, arg);
	if (rc == 0)
		rc = read_position(&cp, &s->folded);
	checkpoint_end(&cp);
	return rc;
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

static int lmdb_open(struct xn_store *store, const struct xn_store_reader *reader, void *arg,
		     struct xn_error *err)
{
	struct lmdb_store *s = from_store(store);
	int rc;

	if (hold(s, err) < 0 || check_format(s, err) < 0)
		return -1;
	read_boot_id(s);
	rc = read_checkpoint(s, reader, arg);
	if (rc < 0)
		return refuse(s, err, rc, "reading the checkpoint");
	return open_journal(s, reader, arg, err);
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
	return xn_journal_sync_run(&xn_container_of(work, struct lmdb_store, sync_work)->sync);
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
	xn_pool_submit(s->pool, &s->sync_work);
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
	if (rc < 0)
		s->error = rc;
	return rc;
}

/* ---- checkpoints ---- */

static int fold_records(struct lmdb_store *s, struct checkpoint *cp)
{
	struct xn_fold *fold = xn_fold_new(&cp->kv);
	struct xn_journal_reader reader;
	struct xn_slice bytes;
	int rc = xn_journal_reader_open(&reader, s->dir_fd, s->fold_from);

	while (rc == 0 && reader.position < s->fold_to &&
	       reader.position - s->fold_from < SLICE_BYTES) {
		rc = xn_journal_next(&reader, &bytes);
		/* It is durable, so it must be there. */
		if (rc == 0)
			rc = -EBADMSG;
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

static int put_position(struct checkpoint *cp, uint64_t position)
{
	struct xn_buf value = {0};
	int rc;

	xn_put_fixed(&value, position);
	rc = checkpoint_put(&cp->kv, XN_SPACE_STORE, position_key, strlen(position_key), value.data,
			    value.len);
	xn_buf_clear(&value);
	return rc;
}

/* One slice, on the worker. */
static int run_fold(struct xn_work *work)
{
	struct lmdb_store *s = xn_container_of(work, struct lmdb_store, fold_work);
	char *path = checkpoint_path(s);
	struct checkpoint cp;
	int rc = checkpoint_begin(&cp, path, true);

	free(path);
	if (rc < 0)
		return rc;
	rc = fold_records(s, &cp);
	if (rc == 0)
		rc = put_position(&cp, s->fold_to);
	if (rc == 0)
		rc = checkpoint_commit(&cp);
	checkpoint_end(&cp);
	if (rc == 0)
		rc = xn_journal_trim(s->dir_fd, s->fold_to, KEEP_BYTES);
	return rc;
}

static void on_folded(struct xn_work *work, int rc);

static void fold_slice(struct lmdb_store *s)
{
	s->fold_from = s->folded;
	s->fold_to = xn_journal_synced(s->journal);
	s->folding = s->fold_from < s->fold_to;
	if (!s->folding)
		return;
	s->fold_work = (struct xn_work){.run = run_fold, .done = on_folded};
	xn_pool_submit(s->pool, &s->fold_work);
}

static void on_folded(struct xn_work *work, int rc)
{
	struct lmdb_store *s = xn_container_of(work, struct lmdb_store, fold_work);

	if (s->closing)
		return;
	s->folding = false;
	if (rc < 0) {
		/* Nothing is lost: the journal keeps what is not folded. */
		xn_log_error(s->store.core->log, "db", "writing a checkpoint failed: %s",
			     strerror(-rc));
		return;
	}
	s->folded = s->fold_to;
	fold_slice(s);
}

static void lmdb_checkpoint(struct xn_store *store)
{
	struct lmdb_store *s = from_store(store);

	if (!s->folding && !s->error)
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
	if (rc == 0)
		s->error = 0;
	s->replace_waiter.done(rc, s->replace_waiter.arg);
}

static void lmdb_reopen(struct xn_store *store, void (*done)(int rc, void *arg), void *arg)
{
	struct lmdb_store *s = from_store(store);

	s->replace_waiter = (struct waiter){.done = done, .arg = arg};
	xn_journal_replace_begin(s->journal, xn_random_u64(store->core->loop), &s->replace);
	s->replace_work = (struct xn_work){.run = run_replace, .done = on_replaced};
	xn_pool_submit(s->pool, &s->replace_work);
}

/* ---- closing ---- */

static void forget_waiters(struct xn_list *list)
{
	struct xn_list *link;

	while ((link = xn_list_pop(list)))
		free(xn_list_entry(link, struct waiter, link));
}

static void fold_rest(struct lmdb_store *s)
{
	do {
		s->fold_from = s->folded;
		s->fold_to = xn_journal_synced(s->journal);
		if (s->fold_from >= s->fold_to || run_fold(&s->fold_work) < 0)
			return;
		s->folded = s->fold_to;
	} while (true);
}

static void lmdb_close(struct xn_store *store, bool clean)
{
	struct lmdb_store *s = from_store(store);

	s->closing = true;
	xn_pool_free(s->pool); /* waits for what runs */
	s->syncing = false;
	if (clean && s->journal && lmdb_flush(store) == 0)
		fold_rest(s);
	forget_waiters(&s->syncing_waiters);
	forget_waiters(&s->next_waiters);
	xn_journal_close(s->journal);
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
		.append = lmdb_append,
		.sync = lmdb_sync,
		.flush = lmdb_flush,
		.reopen = lmdb_reopen,
		.checkpoint = lmdb_checkpoint,
		.backlog = lmdb_backlog,
		.close = lmdb_close,
	};
	struct lmdb_store *s = xn_calloc(1, sizeof(*s));

	s->store.ops = &ops;
	s->store.core = core;
	s->dir = xn_asprintf("%s/db", dir);
	s->dir_fd = s->lock_fd = -1;
	xn_list_init(&s->syncing_waiters);
	xn_list_init(&s->next_waiters);
	s->pool = xn_pool_new(core->loop, "db", 1);
	return &s->store;
}
