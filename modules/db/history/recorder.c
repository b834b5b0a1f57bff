/*
 * The recorder: changes files as the checkpoint is written; see record.h. Runs where the
 * checkpoint is written, never on the loop. What a crash leaves behind the last whole block is cut
 * off at the next begin: the checkpoint had not moved, so those transactions come again. What is
 * found is synced before anything is built on it; after a sync that failed nobody knows what the
 * next one would prove, so all that the checkpoint has not passed goes into a new file.
 */
#include "modules/db/checkpoint.h"
#include "modules/db/history/file.h"
#include "modules/db/history/image.h"
#include "modules/db/history/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/write.h"

struct xn_recorder {
	char *state_dir, *dir;
	struct xn_history_options options;
	int dir_fd, fd; /* of the folder; of the file that grows */
	bool is_ready, anew, dir_dirty;
	bool is_suspect; /* a sync of the newest file failed */
	uint32_t number;
	unsigned n_begun;
	uint64_t size;	  /* of that file */
	int64_t began_us; /* time of its first change; 0: there is none yet */
	uint64_t end;	  /* of the journal, that is in files */
	uint64_t closed;  /* the same, with blocks that are not written */
	uint64_t reached; /* the transaction under way ends there */
	uint64_t generation;
	int64_t wall_us;
	struct xn_names names;
	struct xn_recording recording;
	struct xn_history_block block; /* the open one ... */
	struct xn_buf payload;	       /* ... and what is in it */
	struct xn_buf out;	       /* closed blocks that are not written */
};

static int take(struct xn_recording *recording, const void *bytes, size_t len);

struct xn_recorder *xn_recorder_new(const char *dir, struct xn_history_options *options_taken)
{
	struct xn_recorder *r = xn_calloc(1, sizeof(*r));

	r->state_dir = xn_strdup(dir);
	r->dir = xn_asprintf("%s/history", dir);
	r->options = *options_taken;
	*options_taken = (struct xn_history_options){0};
	r->dir_fd = r->fd = -1;
	xn_names_init(&r->names);
	xn_recording_init(&r->recording, &r->options.skip, &r->names, take);
	return r;
}

void xn_recorder_forget(struct xn_recorder *r)
{
	if (r->fd >= 0)
		close(r->fd);
	if (r->dir_fd >= 0)
		close(r->dir_fd);
	r->dir_fd = r->fd = -1;
	r->is_ready = false;
	r->payload.len = r->out.len = 0;
	r->recording.names_changed = false;
	xn_names_clear(&r->names);
	xn_names_init(&r->names);
}

void xn_recorder_free(struct xn_recorder *r)
{
	if (!r)
		return;
	xn_recorder_forget(r);
	xn_names_clear(&r->names);
	xn_recording_clear(&r->recording);
	xn_history_options_clear(&r->options);
	xn_buf_clear(&r->payload);
	xn_buf_clear(&r->out);
	free(r->state_dir);
	free(r->dir);
	free(r);
}

unsigned xn_recorder_files(const struct xn_recorder *r)
{
	return r->n_begun;
}

int xn_recorder_tidy(const struct xn_recorder *r, int64_t now_us)
{
	struct xn_history_tidied tidied;

	return xn_history_tidy(r->state_dir, &r->options, now_us, &tidied);
}

void xn_recorder_begin_anew(struct xn_recorder *r)
{
	r->anew = true;
}

struct xn_fold_watch *xn_recorder_watch(struct xn_recorder *r)
{
	return &r->recording.watch;
}

/* ---- blocks ---- */

static void open_block(struct xn_recorder *r)
{
	r->payload.len = 0;
	r->block = (struct xn_history_block){.kind = XN_HISTORY_TXS, .first = r->generation};
}

static void put_names(struct xn_recorder *r)
{
	struct xn_history_block block = {.kind = XN_HISTORY_NAMES,
					 .position = r->closed,
					 .first = r->generation,
					 .next = r->generation,
					 .min_us = r->wall_us,
					 .max_us = r->wall_us};

	r->recording.names_changed = false;
	xn_history_put_block(&r->out, &block, r->names.bytes.data, r->names.bytes.len);
}

/* @position: what the journal has behind it is not in this block. */
static void close_block(struct xn_recorder *r, uint64_t position)
{
	if (r->recording.names_changed)
		put_names(r);
	r->block.position = r->closed = position;
	r->block.next = r->generation;
	if (!r->payload.len)
		r->block.min_us = r->block.max_us = r->wall_us;
	xn_history_put_block(&r->out, &r->block, r->payload.data, r->payload.len);
	open_block(r);
}

static int take(struct xn_recording *recording, const void *bytes, size_t len)
{
	struct xn_recorder *r = xn_container_of(recording, struct xn_recorder, recording);
	const struct xn_tx_head *head = &recording->head;

	if (r->reached <= r->end)
		return 0; /* it is in a file since before a crash */
	if (!r->payload.len || head->wall_us < r->block.min_us)
		r->block.min_us = head->wall_us;
	if (!r->payload.len || head->wall_us > r->block.max_us)
		r->block.max_us = head->wall_us;
	xn_put_text(&r->payload, bytes, len);
	return 0;
}

/* ---- files ---- */

static int write_out(struct xn_recorder *r)
{
	int rc = xn_write_all_at(r->fd, r->out.data, r->out.len, r->size);

	if (rc < 0)
		return rc;
	r->size += r->out.len;
	r->out.len = 0;
	if (r->out.cap > 4 * XN_HISTORY_BLOCK)
		xn_buf_clear(&r->out);
	return 0;
}

static bool is_full(const struct xn_recorder *r, int64_t now_us)
{
	return r->size + r->out.len >= xn_history_share(r->options.size) ||
	       (r->began_us && now_us - r->began_us >= r->options.age_us / XN_HISTORY_FILES);
}

/* The next changes file, from r->closed on. */
static int begin_file(struct xn_recorder *r, uint32_t number)
{
	const struct xn_history_head head = {.kind = XN_HISTORY_CHANGES,
					     .number = number,
					     .position = r->closed,
					     .generation = r->generation,
					     .wall_us = r->wall_us};
	char name[XN_HISTORY_NAME];

	xn_history_name(XN_HISTORY_CHANGES, number, name);
	if (r->fd >= 0)
		close(r->fd);
	r->fd = openat(r->dir_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (r->fd < 0)
		return -errno;
	r->number = number;
	r->size = 0;
	r->began_us = 0;
	r->dir_dirty = true;
	r->n_begun++;
	r->out.len = 0;
	xn_history_put_head(&r->out, &head);
	if (r->names.n > 1)
		put_names(r);
	open_block(r);
	return write_out(r);
}

static int sync_written(struct xn_recorder *r)
{
	int rc = 0;

	if (fdatasync(r->fd) < 0 || (r->dir_dirty && fsync(r->dir_fd) < 0))
		rc = -errno;
	r->dir_dirty &= rc < 0;
	r->is_suspect |= rc < 0;
	return rc;
}

static int sync_file(struct xn_recorder *r)
{
	int rc = write_out(r);

	return rc < 0 ? rc : sync_written(r);
}

int xn_recorder_reach(struct xn_recorder *r, uint64_t position)
{
	int rc = 0;

	/* The one before is over. */
	if (r->reached > r->end) {
		r->generation = r->recording.head.next;
		r->wall_us = r->recording.head.wall_us;
		if (!r->began_us)
			r->began_us = r->wall_us;
		if (r->payload.len >= XN_HISTORY_BLOCK)
			close_block(r, r->reached);
		if (r->closed == r->reached && is_full(r, r->wall_us)) {
			rc = sync_file(r);
			if (rc == 0)
				rc = begin_file(r, r->number + 1);
		}
	}
	r->reached = position;
	return rc;
}

/* ---- from the checkpoint ---- */

struct copying { /* the checkpoint into an image */
	struct xn_recorder *recorder;
	struct xn_image_writer image;
	struct xn_buf row;
	bool has_names;
};

static int copy_meta(struct copying *c, const struct xn_slice *key, const void *value, size_t len)
{
	struct xn_recorder *r = c->recorder;
	struct xn_cursor in = xn_cursor(value, len);
	const char *names = XN_META_NAMES, *generation = XN_META_GENERATION;

	if (key->len == strlen(generation) && memcmp(key->data, generation, key->len) == 0)
		return xn_take_fixed(&in, &r->generation);
	if (key->len != strlen(names) || memcmp(key->data, names, key->len) != 0)
		return 0;
	return xn_names_load(&r->names, value, len);
}

static int copy_row(struct copying *c, const struct xn_slice *key, struct xn_cursor in)
{
	struct xn_recorder *r = c->recorder;
	struct xn_row_head head;
	struct xn_slice row;
	int class_id, rc = 0;
	unsigned n;

	if (xn_take_row_head(&in, &head) < 0)
		return -EBADMSG;
	if (!c->has_names)
		rc = xn_image_names(&c->image, r->names.bytes.data, r->names.bytes.len);
	c->has_names = true;
	class_id = xn_names_class(&r->names, head.class_no);
	if (rc < 0 || class_id < 0 || !xn_history_keeps_class(&r->options.skip, class_id))
		return rc;
	c->row.len = 0;
	xn_put_row_head(&c->row, &head);
	if (xn_recording_put_pairs(&r->recording, class_id, in, &c->row, &n) < 0)
		return -EBADMSG;
	row = (struct xn_slice){(unsigned char *)c->row.data, c->row.len};
	return xn_image_row(&c->image, key, &row);
}

static int copy_entry(void *arg, enum xn_space space, const void *key, size_t key_len,
		      const void *value, size_t len)
{
	struct xn_slice key_slice = {key, key_len};

	if (space == XN_SPACE_META)
		return copy_meta(arg, &key_slice, value, len);
	return space == XN_SPACE_ROWS ? copy_row(arg, &key_slice, xn_cursor(value, len)) : 0;
}

/* The checkpoint's rows as the image of a new file. Its time is the image's; there is no better. */
static int copy_checkpoint(struct xn_recorder *r, const char *db_dir, uint32_t number)
{
	static const struct xn_store_reader reader = {.entry = copy_entry};
	const struct xn_history_head head = {.number = number,
					     .position = r->end,
					     .generation = r->generation,
					     .wall_us = r->wall_us};
	struct copying c = {.recorder = r};
	uint64_t position = 0;
	int rc = xn_image_begin(&c.image, r->dir_fd, &head);

	if (rc == 0 && r->end)
		rc = xn_checkpoint_read(db_dir, &reader, &c, &position);
	if (rc == 0 && r->end != position)
		rc = -EBADMSG;
	if (rc == 0 && !c.has_names)
		rc = xn_image_names(&c.image, r->names.bytes.data, r->names.bytes.len);
	c.image.head.generation = r->generation;
	if (rc == 0)
		rc = xn_image_commit(&c.image);
	xn_image_end(&c.image);
	xn_buf_clear(&c.row);
	return rc;
}

/* Nothing to go on from: an image of the checkpoint, and a file behind it. */
static int begin_history(struct xn_recorder *r, const char *db_dir, uint64_t position,
			 int64_t wall_us)
{
	int rc;

	r->end = r->closed = position;
	r->generation = 1;
	r->wall_us = position ? wall_us : 0;
	xn_names_clear(&r->names);
	xn_names_init(&r->names);
	rc = copy_checkpoint(r, db_dir, r->number + 1);
	if (rc == 0)
		rc = begin_file(r, r->number + 1);
	return rc < 0 ? rc : sync_file(r);
}

/* ---- going on ---- */

static int load_names(struct xn_recorder *r, const struct xn_history_file *file)
{
	struct xn_buf bytes = {0};
	int rc = 0;

	for (size_t i = file->n_blocks; i > 0; i--) {
		if (file->blocks[i - 1].kind != XN_HISTORY_NAMES)
			continue;
		rc = xn_history_block_read(file, &file->blocks[i - 1], &bytes);
		if (rc == 0)
			rc = xn_names_load(&r->names, bytes.data, bytes.len);
		break;
	}
	xn_buf_clear(&bytes);
	return rc;
}

static int64_t first_time(const struct xn_history_file *file)
{
	for (size_t i = 0; i < file->n_blocks; i++)
		if (file->blocks[i].kind == XN_HISTORY_TXS)
			return file->blocks[i].min_us;
	return 0;
}

/* What the checkpoint has passed was synced before. */
static void forget_blocks_behind(struct xn_history_file *file, uint64_t position)
{
	while (file->n_blocks && file->blocks[file->n_blocks - 1].position > position)
		file->n_blocks--;
}

static int open_to_write(struct xn_recorder *r)
{
	char name[XN_HISTORY_NAME];

	xn_history_name(XN_HISTORY_CHANGES, r->number, name);
	r->fd = openat(r->dir_fd, name, O_RDWR | O_CLOEXEC);
	if (r->fd < 0 || ftruncate(r->fd, (off_t)r->size) < 0)
		return -errno;
	r->dir_dirty = true;
	return sync_written(r);
}

/* A file, as far as it is whole. 1: goes on in it; 0: it is of no use; -errno. */
static int open_file(struct xn_recorder *r, uint64_t position, uint64_t journal_end)
{
	struct xn_history_file file;
	int rc = xn_history_file_open(r->dir_fd, XN_HISTORY_CHANGES, r->number, &file);

	if (rc < 0)
		return rc;
	rc = xn_history_file_settle(&file);
	if (r->is_suspect)
		forget_blocks_behind(&file, position);
	if (rc == 0)
		rc = load_names(r, &file);
	r->end = xn_history_file_position(&file);
	r->generation = xn_history_file_generation(&file);
	r->size = xn_history_file_end(&file);
	r->began_us = first_time(&file);
	r->wall_us = file.n_blocks ? file.blocks[file.n_blocks - 1].max_us : file.head.wall_us;
	xn_history_file_close(&file);
	if (rc < 0)
		return rc == -EBADMSG ? 0 : rc;
	if (r->end < position || r->end > journal_end)
		return 0; /* a part is missing; or it is of a database that was here before */
	rc = open_to_write(r);
	if (rc < 0)
		return rc;
	r->closed = r->end;
	open_block(r);
	return 1;
}

static int open_folder(struct xn_recorder *r)
{
	uint32_t *numbers = NULL;
	size_t n = 0;
	int rc;

	if (mkdir(r->dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	r->dir_fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->dir_fd < 0)
		return -errno;
	rc = xn_history_list(r->dir_fd, XN_HISTORY_CHANGES, &numbers, &n);
	r->number = n ? numbers[n - 1] : 0;
	free(numbers);
	return rc;
}

/* The newest file; if a power cut left it without a head nothing in it was ever relied on, and the
 * one before goes on. */
static int open_newest(struct xn_recorder *r, uint64_t position, uint64_t journal_end)
{
	int rc = open_file(r, position, journal_end);

	if (rc == -EBADMSG && r->number > 1) {
		r->number--;
		rc = open_file(r, position, journal_end);
		if (rc <= 0)
			r->number++;
	}
	return rc == -EBADMSG || rc == -ENOENT ? 0 : rc;
}

int xn_recorder_begin(struct xn_recorder *r, const char *db_dir, uint64_t position,
		      uint64_t journal_end, int64_t now_us)
{
	int rc = 1;

	if (!r->is_ready) {
		rc = open_folder(r);
		if (rc == 0 && r->number)
			rc = open_newest(r, position, journal_end);
	}
	if (rc >= 0 && (rc == 0 || r->anew || r->end < position))
		rc = begin_history(r, db_dir, position, now_us);
	else if (rc > 0 && (r->is_suspect || (r->end == position && is_full(r, now_us))))
		rc = begin_file(r, r->number + 1);
	if (rc < 0) {
		xn_recorder_forget(r);
		return rc;
	}
	r->anew = r->is_suspect = false;
	r->is_ready = true;
	r->reached = position;
	return 0;
}

int xn_recorder_commit(struct xn_recorder *r)
{
	int rc;

	if (r->reached <= r->end)
		return 0;
	rc = xn_recorder_reach(r, r->reached); /* the last one is over */
	if (rc == 0) {
		if (r->closed < r->reached)
			close_block(r, r->reached);
		rc = sync_file(r);
	}
	if (rc < 0)
		xn_recorder_forget(r);
	else
		r->end = r->reached;
	return rc;
}
