/* The checkpoint on LMDB; see checkpoint.h. The only file that sees LMDB. */
#include "modules/db/checkpoint.h"

#include "core/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of address space, while the file is open. */
static const size_t map_size = sizeof(size_t) > 4 ? (size_t)16 << 30 : (size_t)512 << 20;
static const char file_name[] = "checkpoint.mdb", new_name[] = "checkpoint.new";
static const char position_key[] = "position";
static const char *const space_names[XN_SPACE_COUNT] = {
	[XN_SPACE_META] = "meta",   [XN_SPACE_ROWS] = "rows",	[XN_SPACE_TOMBS] = "tombstones",
	[XN_SPACE_LATER] = "later", [XN_SPACE_STORE] = "store",
};

struct xn_checkpoint {
	struct xn_kv kv;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi spaces[XN_SPACE_COUNT];
	int dir_fd;
	bool is_new; /* the file has to take its place, or has just been made */
	bool afresh;
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

static struct xn_checkpoint *from_kv(struct xn_kv *kv)
{
	return xn_container_of(kv, struct xn_checkpoint, kv);
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

static int kv_get(struct xn_kv *kv, enum xn_space space, const void *key, size_t key_len,
		  struct xn_slice *value)
{
	struct xn_checkpoint *cp = from_kv(kv);
	MDB_val k = {key_len, (void *)key}, v;
	int rc = from_mdb(mdb_get(cp->txn, cp->spaces[space], &k, &v));

	return rc < 0 ? rc : unwrap(&v, value);
}

static int kv_put(struct xn_kv *kv, enum xn_space space, const void *key, size_t key_len,
		  const void *value, size_t len)
{
	struct xn_checkpoint *cp = from_kv(kv);
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

static int kv_del(struct xn_kv *kv, enum xn_space space, const void *key, size_t key_len)
{
	struct xn_checkpoint *cp = from_kv(kv);
	MDB_val k = {key_len, (void *)key};
	int rc = from_mdb(mdb_del(cp->txn, cp->spaces[space], &k, NULL));

	return rc == -ENOENT ? 0 : rc;
}

static int kv_count(struct xn_kv *kv, enum xn_space space, size_t *n_out)
{
	struct xn_checkpoint *cp = from_kv(kv);
	MDB_stat stat;
	int rc = from_mdb(mdb_stat(cp->txn, cp->spaces[space], &stat));

	if (rc == 0)
		*n_out = stat.ms_entries;
	return rc;
}

static int kv_first(struct xn_kv *kv, enum xn_space space, struct xn_slice *key,
		    struct xn_slice *value)
{
	struct xn_checkpoint *cp = from_kv(kv);
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

/* ---- opening ---- */

void xn_checkpoint_end(struct xn_checkpoint *cp)
{
	if (!cp)
		return;
	if (cp->txn)
		mdb_txn_abort(cp->txn);
	if (cp->env)
		mdb_env_close(cp->env);
	free(cp);
}

static int open_spaces(struct xn_checkpoint *cp, bool write)
{
	int rc = 0;

	for (int s = 0; rc == 0 && s < XN_SPACE_COUNT; s++)
		rc = mdb_dbi_open(cp->txn, space_names[s], write ? MDB_CREATE : 0, &cp->spaces[s]);
	return rc;
}

static int open_env(struct xn_checkpoint *cp, const char *path, bool write)
{
	/* The store's own lock keeps others out. */
	unsigned flags = MDB_NOSUBDIR | MDB_NOLOCK | MDB_NORDAHEAD | MDB_NOTLS | (write ? 0 : MDB_RDONLY);
	int rc = mdb_env_create(&cp->env);

	if (rc == 0)
		rc = mdb_env_set_mapsize(cp->env, map_size);
	if (rc == 0)
		rc = mdb_env_set_maxdbs(cp->env, XN_SPACE_COUNT);
	if (rc == 0)
		rc = mdb_env_open(cp->env, path, flags, 0600);
	if (rc == 0)
		rc = mdb_txn_begin(cp->env, NULL, write ? 0 : MDB_RDONLY, &cp->txn);
	if (rc == 0)
		rc = open_spaces(cp, write);
	return from_mdb(rc);
}

static int open_file(const char *dir, const char *name, bool write, struct xn_checkpoint **out)
{
	char *path = xn_asprintf("%s/%s", dir, name);
	struct xn_checkpoint *cp = xn_calloc(1, sizeof(*cp));
	struct stat st;
	int rc;

	cp->kv = (struct xn_kv){kv_get, kv_put, kv_del, kv_count, kv_first};
	cp->is_new = stat(path, &st) < 0 || st.st_size == 0;
	rc = open_env(cp, path, write);
	free(path);
	if (rc < 0) {
		xn_checkpoint_end(cp);
		cp = NULL;
	}
	*out = cp;
	return rc;
}

struct xn_kv *xn_checkpoint_kv(struct xn_checkpoint *cp)
{
	return &cp->kv;
}

/* ---- reading ---- */

static int tell_entry(const struct xn_store_reader *reader, void *arg, enum xn_space space,
		      const MDB_val *k, const MDB_val *v)
{
	struct xn_slice value = {0};
	int rc = unwrap(v, &value);

	if (rc < 0 && reader->damaged_entry) {
		reader->damaged_entry(arg, space, k->mv_data, k->mv_size, value.data, value.len);
		return 0;
	}
	if (rc < 0)
		return rc;
	return reader->entry(arg, space, k->mv_data, k->mv_size, value.data, value.len);
}

/* Tells every entry of a space. */
static int walk(struct xn_checkpoint *cp, enum xn_space space, const struct xn_store_reader *reader,
		void *arg)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc = from_mdb(mdb_cursor_open(cp->txn, cp->spaces[space], &cursor));

	if (rc < 0)
		return rc;
	while ((rc = from_mdb(mdb_cursor_get(cursor, &k, &v, MDB_NEXT))) == 0) {
		rc = tell_entry(reader, arg, space, &k, &v);
		if (rc < 0)
			break;
	}
	mdb_cursor_close(cursor);
	return rc == -ENOENT ? 0 : rc;
}

static int read_position(struct xn_checkpoint *cp, uint64_t *position)
{
	struct xn_slice value;
	struct xn_cursor in;
	int rc = kv_get(&cp->kv, XN_SPACE_STORE, position_key, strlen(position_key), &value);

	if (rc < 0)
		return rc;
	in = xn_cursor(value.data, value.len);
	return xn_take_fixed(&in, position);
}

int xn_checkpoint_read(const char *dir, const struct xn_store_reader *reader, void *arg,
		       uint64_t *position)
{
	char *path = xn_asprintf("%s/%s", dir, file_name);
	struct xn_checkpoint *cp;
	struct stat st;
	bool is_empty = stat(path, &st) < 0 || st.st_size == 0;
	int rc, position_rc = 0;

	free(path);
	*position = 0;
	if (is_empty)
		return 0;
	rc = open_file(dir, file_name, false, &cp);
	if (rc == -ENOENT) /* a crash before the first transaction: nothing is in it */
		return 0;
	if (rc == 0) /* first: who goes on behind what is damaged has it */
		position_rc = read_position(cp, position);
	for (int space = 0; rc == 0 && space < XN_SPACE_STORE; space++)
		rc = walk(cp, (enum xn_space)space, reader, arg);
	if (rc == 0)
		rc = position_rc;
	xn_checkpoint_end(cp);
	return rc;
}

/* ---- reading, entry by entry ---- */

struct xn_checkpoint_walk {
	struct xn_checkpoint *cp;
	MDB_cursor *cursor; /* NULL: before the next space */
	int space;
};

int xn_checkpoint_walk_begin(const char *dir, struct xn_checkpoint_walk **out, uint64_t *position)
{
	char *path XN_CLEANUP(xn_free_p) = xn_asprintf("%s/%s", dir, file_name);
	struct xn_checkpoint *cp;
	struct stat st;
	int rc;

	*out = NULL;
	*position = 0;
	if (stat(path, &st) < 0 || st.st_size == 0)
		return 0;
	rc = open_file(dir, file_name, false, &cp);
	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return rc;
	*out = xn_calloc(1, sizeof(**out));
	(*out)->cp = cp;
	rc = read_position(cp, position);
	if (rc < 0) {
		xn_checkpoint_walk_end(*out);
		*out = NULL;
	}
	return rc;
}

int xn_checkpoint_walk_next(struct xn_checkpoint_walk *walk, enum xn_space *space,
			    struct xn_slice *key, struct xn_slice *value)
{
	MDB_val k, v;
	int rc;

	while (walk && walk->space < XN_SPACE_STORE) {
		rc = walk->cursor ? 0 :
				    from_mdb(mdb_cursor_open(walk->cp->txn,
							     walk->cp->spaces[walk->space],
							     &walk->cursor));
		if (rc == 0)
			rc = from_mdb(mdb_cursor_get(walk->cursor, &k, &v, MDB_NEXT));
		if (rc == 0) {
			*space = (enum xn_space)walk->space;
			*key = (struct xn_slice){k.mv_data, k.mv_size};
			rc = unwrap(&v, value);
			return rc < 0 ? rc : 1;
		}
		if (rc != -ENOENT)
			return rc;
		mdb_cursor_close(walk->cursor);
		walk->cursor = NULL;
		walk->space++;
	}
	return 0;
}

void xn_checkpoint_walk_end(struct xn_checkpoint_walk *walk)
{
	if (!walk)
		return;
	if (walk->cursor)
		mdb_cursor_close(walk->cursor);
	xn_checkpoint_end(walk->cp);
	free(walk);
}

/* ---- writing ---- */

static int copy_entry(void *arg, enum xn_space space, const void *key, size_t key_len,
		      const void *value, size_t len)
{
	return kv_put(arg, space, key, key_len, value, len);
}

static int copy_all(const char *dir, struct xn_checkpoint *to)
{
	static const struct xn_store_reader reader = {.entry = copy_entry};
	char *path = xn_asprintf("%s/%s", dir, file_name);
	bool exists = access(path, F_OK) == 0;
	struct xn_checkpoint *from;
	int rc;

	free(path);
	if (!exists)
		return 0;
	rc = open_file(dir, file_name, false, &from);
	if (rc == -ENOENT)
		return 0;
	for (int space = 0; rc == 0 && space < XN_SPACE_COUNT; space++)
		rc = walk(from, (enum xn_space)space, &reader, &to->kv);
	xn_checkpoint_end(from);
	return rc;
}

static bool is_missing(int dir_fd)
{
	struct stat st;

	return fstatat(dir_fd, file_name, &st, 0) < 0 || st.st_size == 0;
}

int xn_checkpoint_begin(int dir_fd, const char *dir, bool afresh, struct xn_checkpoint **out)
{
	int rc;

	/* Also the very first: under its own name a power cut could leave half a file, which the next
	 * start would rightly call damaged. */
	afresh = afresh || is_missing(dir_fd);
	if (afresh && unlinkat(dir_fd, new_name, 0) < 0 && errno != ENOENT)
		return -errno;
	rc = open_file(dir, afresh ? new_name : file_name, true, out);
	if (rc < 0)
		return rc;
	(*out)->dir_fd = dir_fd;
	(*out)->afresh = afresh;
	if (afresh)
		rc = copy_all(dir, *out);
	if (rc < 0)
		xn_checkpoint_end(*out);
	return rc;
}

static int put_position(struct xn_checkpoint *cp, uint64_t position)
{
	struct xn_buf value = {0};
	int rc;

	xn_put_fixed(&value, position);
	rc = kv_put(&cp->kv, XN_SPACE_STORE, position_key, strlen(position_key), value.data,
		    value.len);
	xn_buf_clear(&value);
	return rc;
}

int xn_checkpoint_commit(struct xn_checkpoint *cp, uint64_t position)
{
	int rc = put_position(cp, position);

	if (rc < 0)
		return rc;
	rc = from_mdb(mdb_txn_commit(cp->txn));
	cp->txn = NULL;
	if (rc < 0)
		return rc;
	if (cp->afresh && renameat(cp->dir_fd, new_name, cp->dir_fd, file_name) < 0)
		return -errno;
	if (cp->is_new && fsync(cp->dir_fd) < 0)
		return -errno;
	return 0;
}
