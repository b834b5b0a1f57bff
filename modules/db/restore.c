/*
 * A database made from a backup. The file is proven whole first; then the database is made in a
 * folder beside, opened as a daemon would, proven again, and takes its place in one step.
 *
 * Sessions are left out: who logged out since the backup must not be logged in again. Generations go
 * on far beyond, so that every token of the original's later life is answered EVENTS_LOST. History
 * begins with what was restored.
 */
#include "modules/db/backup.h"

#include "core/state_dir.h"
#include "modules/db/checkpoint.h"
#include "modules/db/db_internal.h"
#include "modules/db/format.h"
#include "modules/db/history/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCRATCH "restoring" /* in the state folder */
enum {
	FOLD_BYTES = 4 << 20,
	BEGIN = 8, /* a journal from 0 would tell all since the database was made */
};

struct restore {
	const char *path, *dir;
	const struct xn_config *config;
	int file, dir_fd, lock; /* the backup; the state folder */
	struct xn_backup_head head;
	struct xn_checkpoint *cp;
	struct xn_fold *fold;
	size_t folded; /* bytes in .fold */
	char **why;
};

static int fail(struct restore *r, int rc, const char *doing)
{
	if (!*r->why)
		*r->why = xn_asprintf("%s in %s: %s", doing, r->dir, strerror(-rc));
	return -1;
}

/* ---- the file ---- */

static void note_head(void *arg, const struct xn_backup_head *head)
{
	((struct restore *)arg)->head = *head;
}

static int read_file(struct restore *r, const struct xn_backup_reader *reader)
{
	char *what XN_CLEANUP(xn_free_p) = NULL;

	if (lseek(r->file, 0, SEEK_SET) < 0 || xn_backup_read(r->file, reader, r, &what) < 0) {
		if (!*r->why)
			*r->why = xn_asprintf("%s is not restored: %s", r->path,
					      what ? what : strerror(errno));
		return -1;
	}
	return 0;
}

static int prove_file(struct restore *r)
{
	static const struct xn_backup_reader reader = {.head = note_head};

	r->file = open(r->path, O_RDONLY | O_CLOEXEC);
	if (r->file < 0) {
		*r->why = xn_asprintf("%s: %s", r->path, strerror(errno));
		return -1;
	}
	return read_file(r, &reader);
}

/* ---- the folder ---- */

static int hold_folder(struct restore *r, bool over)
{
	char *db XN_CLEANUP(xn_free_p) = xn_asprintf("%s/db", r->dir);

	if (!over && access(db, F_OK) == 0) {
		*r->why = xn_asprintf("%s holds a database already: name another folder, or say "
				      "--restore-over",
				      r->dir);
		return -1;
	}
	r->lock = xn_state_dir_hold(r->dir, r->head.hypervisor, r->why);
	if (r->lock < 0)
		return -1;
	r->dir_fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return r->dir_fd < 0 ? fail(r, -errno, "opening the folder") : 0;
}

static void remove_folder(struct restore *r, const char *name)
{
	char *path XN_CLEANUP(xn_free_p) = xn_asprintf("%s/%s", r->dir, name);

	xn_remove_folder(path);
}

static int make_scratch(struct restore *r, int *db_fd)
{
	remove_folder(r, SCRATCH);
	if (mkdirat(r->dir_fd, SCRATCH, 0700) < 0 || mkdirat(r->dir_fd, SCRATCH "/db", 0700) < 0)
		return fail(r, -errno, "making a scratch folder");
	*db_fd = openat(r->dir_fd, SCRATCH "/db", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *db_fd < 0 ? fail(r, -errno, "making a scratch folder") : 0;
}

/* ---- its content ---- */

static int put_entry(void *arg, unsigned space, const void *key, size_t key_len, const void *value,
		     size_t len)
{
	struct xn_kv *kv = xn_checkpoint_kv(((struct restore *)arg)->cp);

	return kv->put(kv, (enum xn_space)space, key, key_len, value, len);
}

static int finish_fold(struct restore *r)
{
	int rc = r->fold ? xn_fold_finish(r->fold) : 0;

	xn_fold_free(r->fold);
	r->fold = NULL;
	r->folded = 0;
	return rc;
}

static int put_transaction(void *arg, const void *bytes, size_t len)
{
	struct restore *r = arg;
	int rc;

	if (!r->fold)
		r->fold = xn_fold_new(xn_checkpoint_kv(r->cp), NULL);
	rc = xn_fold_transaction(r->fold, bytes, len);
	r->folded += len;
	return rc == 0 && r->folded > FOLD_BYTES ? finish_fold(r) : rc;
}

static int fill(struct restore *r, int db_fd, const char *db_dir)
{
	static const struct xn_backup_reader reader = {.entry = put_entry,
						       .transaction = put_transaction};
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	int rc;

	if (xn_format_write(db_fd, db_dir, (int)r->head.format, &err) < 0) {
		*r->why = xn_strdup(err.params[0]);
		return -1;
	}
	rc = xn_checkpoint_begin(db_fd, db_dir, true, &r->cp);
	if (rc < 0)
		return fail(r, rc, "making the checkpoint");
	rc = read_file(r, &reader);
	if (rc == 0)
		rc = finish_fold(r);
	if (rc == 0)
		rc = xn_checkpoint_commit(r->cp, BEGIN);
	xn_checkpoint_end(r->cp);
	xn_fold_free(r->fold);
	return rc < 0 ? fail(r, rc, "making the checkpoint") : 0;
}

/* ---- a life of its own ---- */

static void drop_sessions(struct xn_db *db)
{
	struct xn_row *row;

	while ((row = xn_db_first(db, XN_CLASS_session)))
		xn_db_delete(db, row);
}

static int settle(struct restore *r, struct xn_db *db, struct xn_buf *said)
{
	struct xn_buf report XN_CLEANUP(xn_buf_clear_p) = {0};
	size_t rows = 0;

	xn_generation_skip_far(db);
	xn_turn_put_skipped(db);
	drop_sessions(db);
	xn_commit_turn(db);
	if (db->error)
		return fail(r, db->error, "writing the database");
	if (xn_db_check(db, &report)) {
		*r->why = xn_asprintf("%s is not restored: what it holds is not whole: %s", r->path,
				      xn_buf_cstr(&report));
		return -1;
	}
	for (int c = 0; c < XN_CLASS_COUNT; c++)
		rows += xn_db_count(db, c);
	xn_buf_printf(said,
		      "restored %zu rows as of generation %" PRIu64 "; next generation %" PRIu64
		      "; logins were not kept\n",
		      rows, r->head.generation, xn_db_generation(db));
	return 0;
}

static int record(struct restore *r, struct xn_recorder *recorder, const char *db_dir,
		  int64_t now_us)
{
	struct xn_checkpoint_walk *walk;
	uint64_t position;
	int rc = xn_checkpoint_walk_begin(db_dir, &walk, &position);

	xn_checkpoint_walk_end(walk);
	if (rc == 0)
		rc = xn_recorder_begin(recorder, db_dir, position, position, now_us);
	return rc < 0 ? fail(r, rc, "beginning the history") : 0;
}

/* With what the checkpoint holds now, so that no answer has to wait for the next one. */
static int begin_history(struct restore *r, const char *scratch, int64_t now_us)
{
	char *db_dir XN_CLEANUP(xn_free_p) = xn_asprintf("%s/db", scratch);
	struct xn_history_options options;
	struct xn_recorder *recorder;
	int rc;

	if (!xn_config_int(r->config, "history-size"))
		return 0;
	if (xn_history_options_read(&options, r->config, r->why) < 0)
		return -1;
	recorder = xn_recorder_new(scratch, &options);
	rc = record(r, recorder, db_dir, now_us);
	xn_recorder_free(recorder);
	return rc;
}

/* Opened as a daemon opens it, which also brings an older format up to date. */
static int open_and_settle(struct restore *r, const char *scratch, struct xn_buf *said)
{
	static const struct xn_module *const modules[] = {&xn_db_module, NULL};
	struct xn_log *log = xn_log_new(XN_LOG_ERROR, false, STDERR_FILENO);
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_config *config = xn_config_new();
	struct xn_loop *loop = xn_loop_new();
	struct xn_core core;
	int rc = -1;

	xn_config_decide(config, "state-dir", scratch);
	xn_config_decide(config, "history-size", "0"); /* it begins with what this leaves */
	xn_core_init(&core, loop, log, config);
	if (xn_modules_start(&core, modules, &err)) {
		rc = settle(r, xn_db_of(&core), said);
		xn_modules_stop(core.modules);
		if (rc == 0)
			rc = begin_history(r, scratch, xn_wall_us(loop));
	} else if (err.n_params) {
		*r->why = xn_asprintf("%s is not restored: %s", r->path, err.params[0]);
	}
	xn_core_clear(&core);
	xn_loop_free(loop);
	xn_config_free(config);
	xn_log_free(log);
	return rc;
}

/* ---- in its place ---- */

/* Under another name, when it is there. */
static int put_aside(struct restore *r, const char *name, const char *aside)
{
	if (faccessat(r->dir_fd, name, F_OK, 0) < 0)
		return 0;
	remove_folder(r, aside);
	return renameat(r->dir_fd, name, r->dir_fd, aside) < 0 ? -errno : 0;
}

static int take_place(struct restore *r)
{
	bool had_one = faccessat(r->dir_fd, "db", F_OK, 0) == 0;
	int rc = put_aside(r, "history", "history.replaced"); /* of another database from now on */

	if (rc < 0)
		return fail(r, rc, "keeping the old history");
	if (had_one)
		rc = renameat2(r->dir_fd, SCRATCH "/db", r->dir_fd, "db", RENAME_EXCHANGE);
	else
		rc = renameat(r->dir_fd, SCRATCH "/db", r->dir_fd, "db");
	if (rc < 0 || fsync(r->dir_fd) < 0)
		return fail(r, -errno, "putting the database in its place");
	rc = put_aside(r, SCRATCH "/db", "db.replaced");
	if (rc < 0)
		return fail(r, rc, "keeping the old database");
	/* Last: beside the old database it would tell of that. */
	rc = put_aside(r, SCRATCH "/history", "history");
	if (rc < 0)
		return fail(r, rc, "putting the history in its place");
	remove_folder(r, SCRATCH);
	return fsync(r->dir_fd) < 0 ? fail(r, -errno, "putting the database in its place") : 0;
}

static int make(struct restore *r, struct xn_buf *said)
{
	char *scratch XN_CLEANUP(xn_free_p) = xn_asprintf("%s/" SCRATCH, r->dir);
	char *db_dir XN_CLEANUP(xn_free_p) = xn_asprintf("%s/db", scratch);
	int db_fd, rc;

	if (make_scratch(r, &db_fd) < 0)
		return -1;
	rc = fill(r, db_fd, db_dir);
	close(db_fd);
	if (rc == 0)
		rc = open_and_settle(r, scratch, said);
	if (rc == 0)
		rc = take_place(r);
	else
		remove_folder(r, SCRATCH);
	return rc;
}

int xn_backup_restore(const char *path, const struct xn_config *config, bool over,
		      struct xn_buf *said, char **why)
{
	struct restore r = {.path = path,
			    .dir = xn_config_string(config, "state-dir"),
			    .config = config,
			    .file = -1,
			    .dir_fd = -1,
			    .lock = -1,
			    .why = why};
	int rc;

	*why = NULL;
	umask(0077);
	rc = prove_file(&r);
	if (rc == 0)
		rc = hold_folder(&r, over);
	if (rc == 0)
		rc = make(&r, said);
	if (r.file >= 0)
		close(r.file);
	if (r.dir_fd >= 0)
		close(r.dir_fd);
	if (r.lock >= 0)
		close(r.lock);
	return rc;
}
