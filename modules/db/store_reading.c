/* The store that only reads; see store_reading.h. */
#include "modules/db/store_reading.h"

#include "modules/db/checkpoint.h"
#include "modules/db/format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

struct reading_store {
	struct xn_store store;
	char *dir; /* DIR/db */
	int dir_fd, lock_fd;
	struct xn_reading_summary summary;
};

static struct reading_store *from_store(const struct xn_store *store)
{
	return (struct reading_store *)xn_container_of(store, struct reading_store, store);
}

/* A daemon holds the lock for itself; those who only read may share it. */
static int hold(struct reading_store *s, struct xn_error *err)
{
	s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "there is no database in %s: %s",
				     s->dir, strerror(errno));
	s->lock_fd = openat(s->dir_fd, "lock", O_RDONLY | O_CLOEXEC);
	if (s->lock_fd < 0 && errno != ENOENT)
		return xn_folder_refuse(s->dir, err, -errno, "opening the lock");
	if (s->lock_fd >= 0 && flock(s->lock_fd, LOCK_SH | LOCK_NB) < 0)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR,
				     "the database in %s is in use by a daemon that runs: stop it, "
				     "or look at a copy of the folder",
				     s->dir);
	return 0;
}

static int read_format(struct reading_store *s, struct xn_error *err)
{
	s->summary.format = xn_format_read(s->dir_fd, s->dir, err);
	if (s->summary.format == 0)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "there is no database in %s",
				     s->dir);
	return s->summary.format < 0 ? -1 : 0;
}

/* @from: where the journal goes on; all of it is proven if the checkpoint does not say. */
static int read_checkpoint(struct reading_store *s, const struct xn_store_reader *reader, void *arg,
			   uint64_t *from, struct xn_error *err)
{
	int rc = xn_checkpoint_read(s->dir, reader, arg, &s->summary.position);

	*from = s->summary.position;
	if (rc >= 0)
		return 0;
	xn_folder_refuse(s->dir, err, rc, "reading the checkpoint");
	if (!reader->damaged_checkpoint)
		return -1;
	reader->damaged_checkpoint(arg, err->params[0]);
	xn_error_clear(err);
	if (!*from)
		*from = XN_JOURNAL_OLDEST;
	return 0;
}

static int reading_open(struct xn_store *store, const struct xn_store_reader *reader, void *arg,
			struct xn_error *err)
{
	struct reading_store *s = from_store(store);
	char *why XN_CLEANUP(xn_free_p) = NULL;
	uint64_t from;
	int rc;

	if (hold(s, err) < 0 || read_format(s, err) < 0 ||
	    read_checkpoint(s, reader, arg, &from, err) < 0)
		return -1;
	rc = xn_journal_check(s->dir_fd, from, reader->transaction, arg, &s->summary.journal, &why);
	if (rc < 0)
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "%s: %s", s->dir,
				     why ? why : "no journal");
	return 0;
}

const struct xn_reading_summary *xn_store_reading_summary(const struct xn_store *store)
{
	return &from_store(store)->summary;
}

static void reading_close(struct xn_store *store, bool clean)
{
	struct reading_store *s = from_store(store);

	if (s->lock_fd >= 0)
		close(s->lock_fd);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	free(s->dir);
	free(s);
}

struct xn_store *xn_store_reading_new(struct xn_core *core, const char *dir)
{
	/* Who only loads a database calls nothing else. */
	static const struct xn_store_ops ops = {.open = reading_open, .close = reading_close};
	struct reading_store *s = xn_calloc(1, sizeof(*s));

	s->store.ops = &ops;
	s->store.core = core;
	s->dir = xn_asprintf("%s/db", dir);
	s->dir_fd = s->lock_fd = -1;
	return &s->store;
}
