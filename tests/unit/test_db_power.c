/*
 * Power cuts. Every write and sync that the real store makes is recorded (this program stands in
 * front of libc's calls, for LMDB too), then the states that a cut could leave are made: at a
 * random moment, what was synced is there; of what was not, a random choice of sectors, and of new
 * names and sizes a prefix. Each must open, be whole, and be one of the states between the last
 * durable turn and the last one begun.
 *
 * A life's seed also decides what it is like: how large turns are, how often it makes checkpoints and
 * restarts, whether syncs fail and the store opens anew.
 *
 *   test_db_power [SEED [CUTS [LIVES]]]      CUTS of each life
 */
#undef _FILE_OFFSET_BITS /* it would make open() and open64() one: both are defined here */
#include "tests/unit/db_workload.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum { TURNS = 240, MAX_FDS = 1024, MAX_FILES = 400, SECTOR = 512, BIG = 150000 };

#ifdef __SANITIZE_THREAD__
#define IS_THREAD_SANITIZED 1
#else
#define IS_THREAD_SANITIZED 0
#endif

static uint64_t seed = 1; /* the command line's first */
static unsigned n_cuts = 60, n_lives = 4;

static const struct manner { /* of a life; by seed */
	unsigned big_every, checkpoint_every, restart_every;
	unsigned failing_syncs; /* one in so many; 0: none. Then in virtual time */
} manners[] = {
	{4, 20, 70, 0},
	{1, 5, 50, 0},	/* a segment every few turns */
	{50, 2, 11, 0}, /* nearly nothing in the journal */
	{4, 30, 90, 6},
	{9, 1000, 1000, 0}, /* nearly all in the journal */
	{2, 7, 40, 3},
};
static const struct manner *manner;

/* ---- the record ---- */

enum op_kind { OP_CREATE, OP_RENAME, OP_UNLINK, OP_SIZE, OP_WRITE, OP_SYNC, OP_BEGUN, OP_DURABLE };

struct op {
	enum op_kind kind;
	int file;	     /* of the record's numbering; SYNC: -1 is the folder */
	char name[32], to[32];
	bool only_grows;     /* SIZE: space was reserved */
	bool synced;	     /* WRITE: through a descriptor that syncs */
	uint64_t offset, len; /* SIZE: len */
	char *data;
	size_t covers;	     /* SYNC: operations before this one */
	unsigned k;
};

static struct recorder {
	pthread_mutex_t mutex;
	bool on, failing;
	unsigned n_failed;
	struct dice luck; /* of syncs */
	char dir[80]; /* DIR/db */
	int fd_file[MAX_FDS]; /* number + 1; 0: not ours; -1: the folder */
	bool fd_dsync[MAX_FDS];
	char names[MAX_FILES][32]; /* of living files; "" when gone */
	int n_files;
	struct op *ops;
	size_t n, cap;
} rec = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static struct op *add_op(enum op_kind kind, int file)
{
	if (rec.n == rec.cap) {
		rec.cap = rec.cap ? rec.cap * 2 : 1024;
		rec.ops = realloc(rec.ops, rec.cap * sizeof(*rec.ops));
	}
	rec.ops[rec.n] = (struct op){.kind = kind, .file = file};
	return &rec.ops[rec.n++];
}

static int file_named(const char *name)
{
	int i = rec.n_files - 1;

	while (i >= 0 && strcmp(rec.names[i], name) != 0)
		i--;
	return i;
}

static int new_file(const char *name)
{
	assert_true(rec.n_files < MAX_FILES);
	snprintf(rec.names[rec.n_files], sizeof(rec.names[0]), "%s", name);
	return rec.n_files++;
}

static int file_of(int fd)
{
	return fd >= 0 && fd < MAX_FDS && rec.fd_file[fd] > 0 ? rec.fd_file[fd] - 1 : -1;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void on_open(int dir, const char *path, int flags, int fd, bool existed)
{
	bool in_dir = dir >= 0 && dir < MAX_FDS && rec.fd_file[dir] == -1;
	const char *name = base_name(path);
	struct op *op;
	int file;

	if (fd < 0 || fd >= MAX_FDS)
		return;
	rec.fd_file[fd] = 0;
	if (!rec.on || !*rec.dir)
		return;
	if (strcmp(path, rec.dir) == 0 || (in_dir && strcmp(path, ".") == 0)) {
		rec.fd_file[fd] = -1;
		return;
	}
	if (!in_dir && strncmp(path, rec.dir, strlen(rec.dir)) != 0)
		return;
	file = file_named(name);
	if (!existed || file < 0) {
		file = new_file(name);
		op = add_op(OP_CREATE, file);
		snprintf(op->name, sizeof(op->name), "%s", name);
	} else if (flags & O_TRUNC) {
		add_op(OP_SIZE, file);
	}
	rec.fd_file[fd] = file + 1;
	rec.fd_dsync[fd] = (flags & O_DSYNC) != 0;
}

static void on_write(int fd, const void *data, size_t len, uint64_t offset)
{
	int file = file_of(fd);
	struct op *op;

	if (!rec.on || file < 0)
		return;
	op = add_op(OP_WRITE, file);
	op->offset = offset;
	op->len = len;
	op->synced = rec.fd_dsync[fd];
	op->data = malloc(len);
	memcpy(op->data, data, len);
}

static void on_size(int fd, uint64_t size, bool only_grows)
{
	if (rec.on && file_of(fd) >= 0) {
		struct op *op = add_op(OP_SIZE, file_of(fd));

		op->len = size;
		op->only_grows = only_grows;
	}
}

/* ---- in front of libc ---- */

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

static int open_recorded(const char *symbol, int dir, const char *path, int flags, int mode)
{
	int (*real)(int, const char *, int, ...) =
		REAL(symbol, int (*)(int, const char *, int, ...));
	bool existed;
	struct stat st;
	int fd;

	pthread_mutex_lock(&rec.mutex);
	existed = fstatat(dir, path, &st, 0) == 0;
	fd = real(dir, path, flags, mode);
	on_open(dir, path, flags, fd, existed);
	pthread_mutex_unlock(&rec.mutex);
	return fd;
}

#define OPEN_MODE(flags)                                     \
	int mode = 0;                                        \
	if ((flags) & O_CREAT) {                             \
		va_list ap;                                  \
		va_start(ap, flags);                         \
		mode = va_arg(ap, int);                      \
		va_end(ap);                                  \
	}

int open(const char *path, int flags, ...)
{
	OPEN_MODE(flags)
	return open_recorded("openat", AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	OPEN_MODE(flags)
	return open_recorded("openat", AT_FDCWD, path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
	OPEN_MODE(flags)
	return open_recorded("openat", dir, path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...)
{
	OPEN_MODE(flags)
	return open_recorded("openat", dir, path, flags, mode);
}

int close(int fd)
{
	if (fd >= 0 && fd < MAX_FDS)
		rec.fd_file[fd] = 0;
	return REAL("close", int (*)(int))(fd);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
	ssize_t n;

	pthread_mutex_lock(&rec.mutex);
	n = REAL("pwrite", ssize_t (*)(int, const void *, size_t, off_t))(fd, data, len, offset);
	if (n > 0)
		on_write(fd, data, (size_t)n, (uint64_t)offset);
	pthread_mutex_unlock(&rec.mutex);
	return n;
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t offset)
{
	return pwrite(fd, data, len, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int n_parts, off_t offset)
{
	ssize_t n, left;

	pthread_mutex_lock(&rec.mutex);
	n = REAL("pwritev", ssize_t (*)(int, const struct iovec *, int, off_t))(fd, parts, n_parts,
									      offset);
	left = n;
	for (int i = 0; i < n_parts && left > 0; i++) {
		size_t len = parts[i].iov_len < (size_t)left ? parts[i].iov_len : (size_t)left;

		on_write(fd, parts[i].iov_base, len, (uint64_t)offset);
		offset += (off_t)len;
		left -= (ssize_t)len;
	}
	pthread_mutex_unlock(&rec.mutex);
	return n;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int n_parts, off_t offset)
{
	return pwritev(fd, parts, n_parts, offset);
}

/* LMDB seeks and writes where it has several pages in a row. */
ssize_t writev(int fd, const struct iovec *parts, int n_parts)
{
	off_t offset = file_of(fd) >= 0 ? lseek(fd, 0, SEEK_CUR) : -1;
	ssize_t n;

	if (offset < 0)
		return REAL("writev", ssize_t(*)(int, const struct iovec *, int))(fd, parts,
										  n_parts);
	n = pwritev(fd, parts, n_parts, offset);
	if (n > 0)
		lseek(fd, offset + n, SEEK_SET);
	return n;
}

ssize_t write(int fd, const void *data, size_t len)
{
	struct iovec part = {(void *)data, len};

	if (file_of(fd) >= 0)
		return writev(fd, &part, 1);
	return REAL("write", ssize_t (*)(int, const void *, size_t))(fd, data, len);
}

static int sync_recorded(const char *symbol, int fd)
{
	int file = file_of(fd), rc;
	bool ours = rec.on && fd < MAX_FDS && rec.fd_file[fd] != 0;
	size_t covers = 0;

	pthread_mutex_lock(&rec.mutex);
	covers = rec.n;
	pthread_mutex_unlock(&rec.mutex);
	rc = ours ? 0 : REAL(symbol, int (*)(int))(fd); /* the record stands for the disk */
	pthread_mutex_lock(&rec.mutex);
	if (ours && rec.failing && roll(&rec.luck, manner->failing_syncs) == 0) {
		errno = EIO;
		rc = -1;
		rec.n_failed++;
	}
	if (ours && rc == 0)
		add_op(OP_SYNC, file)->covers = covers;
	pthread_mutex_unlock(&rec.mutex);
	return rc;
}

int fdatasync(int fd)
{
	return sync_recorded("fdatasync", fd);
}

int fsync(int fd)
{
	return sync_recorded("fsync", fd);
}

int ftruncate(int fd, off_t size)
{
	int rc;

	pthread_mutex_lock(&rec.mutex);
	rc = REAL("ftruncate", int (*)(int, off_t))(fd, size);
	if (rc == 0)
		on_size(fd, (uint64_t)size, false);
	pthread_mutex_unlock(&rec.mutex);
	return rc;
}

int ftruncate64(int fd, off_t size)
{
	return ftruncate(fd, size);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	int rc;

	pthread_mutex_lock(&rec.mutex);
	rc = REAL("fallocate", int (*)(int, int, off_t, off_t))(fd, mode, offset, len);
	if (rc == 0)
		on_size(fd, (uint64_t)(offset + len), true);
	pthread_mutex_unlock(&rec.mutex);
	return rc;
}

int fallocate64(int fd, int mode, off_t offset, off_t len)
{
	return fallocate(fd, mode, offset, len);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	int rc, file;

	pthread_mutex_lock(&rec.mutex);
	rc = REAL("renameat", int (*)(int, const char *, int, const char *))(from_dir, from, to_dir,
									     to);
	file = file_named(from);
	if (rc == 0 && rec.on && file >= 0) {
		struct op *op = add_op(OP_RENAME, file);

		snprintf(op->name, sizeof(op->name), "%s", from);
		snprintf(op->to, sizeof(op->to), "%s", to);
		if (file_named(to) >= 0)
			*rec.names[file_named(to)] = '\0';
		snprintf(rec.names[file], sizeof(rec.names[0]), "%s", to);
	}
	pthread_mutex_unlock(&rec.mutex);
	return rc;
}

int unlinkat(int dir, const char *name, int flags)
{
	int rc, file;

	pthread_mutex_lock(&rec.mutex);
	rc = REAL("unlinkat", int (*)(int, const char *, int))(dir, name, flags);
	file = file_named(name);
	if (rc == 0 && rec.on && file >= 0) {
		snprintf(add_op(OP_UNLINK, file)->name, sizeof(rec.ops->name), "%s", name);
		*rec.names[file] = '\0';
	}
	pthread_mutex_unlock(&rec.mutex);
	return rc;
}

static void mark(enum op_kind kind, unsigned k)
{
	pthread_mutex_lock(&rec.mutex);
	add_op(kind, -1)->k = k;
	pthread_mutex_unlock(&rec.mutex);
}

/* ---- the recorded life ---- */

struct mark_wait {
	struct xn_db_wait wait;
	unsigned k;
};

static void on_durable(struct xn_db_wait *wait, int rc)
{
	struct mark_wait *m = xn_container_of(wait, struct mark_wait, wait);

	if (rc == 0)
		mark(OP_DURABLE, m->k);
	free(m);
}

static void turn(struct fixture *f, unsigned k)
{
	struct mark_wait *m = calloc(1, sizeof(*m));
	struct xn_row *pool;
	static char big[BIG];

	m->k = k;
	mark(OP_BEGUN, k);
	workload_turn(f->db, seed, k);
	if (k % manner->big_every == 0) { /* so that segments fill up */
		memset(big, 'a' + (int)(k % 26), sizeof(big) - 1);
		pool = xn_db_get(f->db, XN_CLASS_pool, WORKLOAD_POOL);
		xn_db_set_string(f->db, pool, XN_pool_name_description, big);
	}
	xn_db_when_durable(f->db, &m->wait, on_durable);
	commit(f);
}

static uint64_t hashes[TURNS + 1]; /* by turn */

static void wait_until_it_works(struct fixture *f)
{
	for (int i = 0; xn_db_writable(f->db) < 0; i++) {
		assert_true(i < 10000);
		xn_loop_turn(f->core.loop, 1000000);
	}
}

static void restart_in_order(struct fixture *f)
{
	rec.failing = false;
	wait_until_it_works(f);
	assert_int_equal(sync_all(f), 0); /* no wait may be pending */
	restart(f);
	rec.failing = manner->failing_syncs;
}

static void live(struct fixture *f)
{
	struct dice dice = {seed + 99};

	for (unsigned k = 1; k <= TURNS; k++) {
		wait_until_it_works(f);
		turn(f, k);
		if (workload_at(f->db) != k) { /* refused: once more */
			k--;
			continue;
		}
		hashes[k] = xn_db_state_hash(f->db);
		while (roll(&dice, 2))
			xn_loop_turn(f->core.loop, 1000);
		if (k % manner->checkpoint_every == 0)
			f->db->store->ops->checkpoint(f->db->store);
		if (k % manner->restart_every == 0)
			restart_in_order(f);
	}
	rec.failing = false;
	wait_until_it_works(f);
	assert_int_equal(sync_all(f), 0);
}

/* ---- what a cut leaves ---- */

struct image {
	char *data;
	uint64_t len, cap;
	char name[32]; /* in the folder; "" */
	size_t synced;	 /* operations before this one are safe */
	size_t sizes_to; /* unsynced changes of size before this one happened */
};

static void image_resize(struct image *image, uint64_t len)
{
	if (len > image->cap) {
		image->data = realloc(image->data, len);
		memset(image->data + image->cap, 0, len - image->cap);
		image->cap = len;
	}
	if (len < image->len)
		memset(image->data + len, 0, image->len - len);
	image->len = len;
}

/* The chance that an unsynced sector is there is 0, 1/2 or 1 in a cut. */
static void apply_write(struct image *image, const struct op *op, bool safe, unsigned luck,
			struct dice *dice)
{
	for (uint64_t at = 0; at < op->len;) {
		uint64_t offset = op->offset + at, n = SECTOR - offset % SECTOR;

		if (n > op->len - at)
			n = op->len - at;
		if (safe || roll(dice, 2) < luck) {
			if (offset + n > image->len)
				image_resize(image, offset + n);
			memcpy(image->data + offset, op->data + at, n);
		}
		at += n;
	}
}

static void find_safe(struct image *images, size_t *names_safe, size_t end)
{
	for (size_t i = 0; i < end; i++) {
		const struct op *op = &rec.ops[i];

		if (op->kind != OP_SYNC)
			continue;
		if (op->file < 0)
			*names_safe = op->covers > *names_safe ? op->covers : *names_safe;
		else if (op->covers > images[op->file].synced)
			images[op->file].synced = op->covers;
	}
}

static void apply_name(struct image *images, const struct op *op)
{
	const char *name = op->kind == OP_RENAME ? op->to : op->name;

	for (int i = 0; i < rec.n_files; i++) /* whoever had the name has it no more */
		if (strcmp(images[i].name, name) == 0)
			*images[i].name = '\0';
	snprintf(images[op->file].name, sizeof(images[0].name), "%s",
		 op->kind == OP_UNLINK ? "" : name);
}

static void make_images(struct image *images, size_t end, struct dice *dice)
{
	size_t names_safe = 0, names_to;
	unsigned luck = (unsigned)roll(dice, 3);

	find_safe(images, &names_safe, end);
	names_to = names_safe + (end > names_safe ? roll(dice, end - names_safe + 1) : 0);
	for (int i = 0; i < rec.n_files; i++)
		images[i].sizes_to =
			images[i].synced +
			(end > images[i].synced ? roll(dice, end - images[i].synced + 1) : 0);
	for (size_t i = 0; i < end; i++) {
		const struct op *op = &rec.ops[i];
		struct image *image = op->file >= 0 ? &images[op->file] : NULL;

		if (op->kind <= OP_UNLINK && i < names_to)
			apply_name(images, op);
		if (op->kind == OP_SIZE && i < image->sizes_to &&
		    (!op->only_grows || op->len > image->len))
			image_resize(image, op->len);
		if (op->kind == OP_WRITE)
			apply_write(image, op, op->synced || i < image->synced, luck, dice);
	}
}

static void write_image(const char *dir, const struct image *image)
{
	static const char zeros[4096];
	char *path = xn_asprintf("%s/db/%s", dir, image->name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	for (uint64_t at = 0; at < image->len; at += sizeof(zeros)) {
		size_t n = image->len - at < sizeof(zeros) ? image->len - at : sizeof(zeros);

		if (memcmp(image->data + at, zeros, n) != 0)
			assert_int_equal(pwrite(fd, image->data + at, n, (off_t)at), n);
	}
	assert_int_equal(ftruncate(fd, (off_t)image->len), 0);
	close(fd);
	free(path);
}

static void check_state(struct fixture *f, size_t end, unsigned cut)
{
	unsigned least = 0, most = 0, at = workload_at(f->db);

	for (size_t i = 0; i < end; i++) {
		if (rec.ops[i].kind == OP_DURABLE)
			least = rec.ops[i].k;
		if (rec.ops[i].kind == OP_BEGUN)
			most = rec.ops[i].k;
	}
	if (at < least || at > most)
		fail_msg("seed %llu, cut %u at %zu: turn %u, not %u to %u",
			 (unsigned long long)seed, cut, end, at, least, most);
	if (at && xn_db_state_hash(f->db) != hashes[at])
		fail_msg("seed %llu, cut %u at %zu: not the state of turn %u",
			 (unsigned long long)seed, cut, end, at);
	assert_clean(f);
}

static void try_cut(unsigned cut, struct dice *dice)
{
	struct image images[MAX_FILES] = {0};
	struct fixture f = {
		.dir = "/dev/shm/xn-test-cut-XXXXXX"}; /* no real syncs: they cost time */
	size_t end = roll(dice, rec.n + 1);
	char *command, *db_dir;

	make_images(images, end, dice);
	if (!mkdtemp(f.dir)) {
		strcpy(f.dir, "/tmp/xn-test-cut-XXXXXX");
		assert_non_null(mkdtemp(f.dir));
	}
	db_dir = xn_asprintf("%s/db", f.dir);
	assert_int_equal(mkdir(db_dir, 0700), 0);
	for (int i = 0; i < rec.n_files; i++) {
		if (*images[i].name)
			write_image(f.dir, &images[i]);
		free(images[i].data);
	}
	if (!try_start(&f))
		fail_msg("seed %llu, cut %u at %zu: %s", (unsigned long long)seed, cut, end, f.why);
	check_state(&f, end, cut);
	f.db->error = -1; /* no checkpoint */
	stop(&f);
	command = xn_asprintf("rm -rf '%s'", f.dir);
	assert_int_equal(system(command), 0);
	free(command);
	free(db_dir);
}

static void forget_record(void)
{
	for (size_t i = 0; i < rec.n; i++)
		free(rec.ops[i].data);
	free(rec.ops);
	rec.ops = NULL;
	rec.n = rec.cap = 0;
	rec.n_files = 0;
	memset(rec.fd_file, 0, sizeof(rec.fd_file));
	memset(hashes, 0, sizeof(hashes));
}

static void one_life(void)
{
	struct fixture f = {.dir = "/tmp/xn-test-power-XXXXXX", .seed = seed};
	struct dice dice = {seed};
	char *command;

	manner = &manners[(seed - 1) % XN_ARRAY_SIZE(manners)];
	f.in_virtual_time = manner->failing_syncs;
	assert_non_null(mkdtemp(f.dir));
	snprintf(rec.dir, sizeof(rec.dir), "%s/db", f.dir);
	rec.luck.state = seed;
	rec.on = true;
	start(&f);
	rec.failing = manner->failing_syncs;
	live(&f);
	rec.on = false;
	stop(&f);
	assert_int_equal(rec.n_failed > 5, manner->failing_syncs > 0);
	rec.n_failed = 0;
	command = xn_asprintf("rm -rf '%s'", f.dir);
	assert_int_equal(system(command), 0);
	free(command);
	for (unsigned cut = 0; cut < n_cuts; cut++)
		try_cut(cut, &dice);
	forget_record();
}

static void every_cut_leaves_what_was_durable(void **state)
{
	for (unsigned i = 0; i < n_lives; i++, seed++)
		one_life();
	print_message("%u states after a power cut, of %u lives\n", n_lives * n_cuts, n_lives);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cut_leaves_what_was_durable),
	};

	if (IS_THREAD_SANITIZED)
		return 77; /* its runtime opens and locks through the calls that are replaced here, and hangs */
	if (argc > 1)
		seed = (uint64_t)atoll(argv[1]);
	if (argc > 2)
		n_cuts = (unsigned)atoi(argv[2]);
	if (argc > 3)
		n_lives = (unsigned)atoi(argv[3]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
