/*
 * History within its bounds: a file that follows another gets an image of its own, so that the
 * older one can go. See history.h. Runs beside the recorder, which touches the newest file only.
 */
#include "modules/db/history/image.h"
#include "modules/db/history/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static int write_rows(struct xn_image_writer *image, const struct xn_history_rows *rows,
		      const struct xn_names *names)
{
	struct xn_buf row = {0};
	int rc = xn_image_names(image, names->bytes.data, names->bytes.len);

	for (size_t i = 0; rc == 0 && i < xn_history_rows_count(rows); i++) {
		const struct xn_history_row *r = xn_history_row(rows, i);
		const struct xn_row_head head = {names->class_no[r->class_id], r->created,
						 r->created};
		struct xn_slice bytes;

		row.len = 0;
		xn_put_row_head(&row, &head);
		xn_buf_add(&row, r->pairs.data, r->pairs.len);
		bytes = (struct xn_slice){(unsigned char *)row.data, row.len};
		rc = xn_image_row(image, &r->ref, &bytes);
	}
	xn_buf_clear(&row);
	return rc;
}

/* What was when the source began. */
static int make_image(struct xn_history *h, struct xn_history_source *s)
{
	struct xn_history_rows *rows = NULL;
	struct xn_image_writer image;
	int rc = xn_history_rows_at(h, s->changes.head.generation - 1, NULL, NULL, &rows);

	if (rc < 0)
		return rc;
	rc = xn_image_begin(&image, h->dir_fd, &s->changes.head);
	if (rc == 0)
		rc = write_rows(&image, rows, &h->names);
	if (rc == 0)
		rc = xn_image_commit(&image);
	xn_image_end(&image);
	xn_history_rows_free(rows);
	if (rc < 0)
		return rc;
	s->starts_whole = true;
	return xn_history_file_open(h->dir_fd, XN_HISTORY_IMAGE, s->changes.head.number, &s->image);
}

/* What is now must follow from what is kept. */
static bool is_sound(struct xn_history *h, const struct xn_history_source *s)
{
	bool sound = s->starts_whole;

	for (size_t i = 0; sound && i < s->changes.n_blocks; i++)
		sound = xn_history_block_read(&s->changes, &s->changes.blocks[i], &h->scratch) == 0;
	return sound;
}

static bool wants_image(const struct xn_history *h, size_t i)
{
	return i && !h->sources[i].starts_whole && h->sources[i - 1].joins_next;
}

/* The rest is room for what is written until the next time: a file and more, and its image. */
static uint64_t most_bytes(uint64_t size, uint64_t image)
{
	uint64_t room = xn_history_room(size, image);

	if (room < size / 4)
		room = size / 4;
	return room < size ? size - room : 0;
}

/* The first one whose changes stay, if an image that is not there yet is as large as the newest
 * that is. The last one always does, with an image. */
static size_t first_kept(const struct xn_history *h, int64_t now_us, uint64_t *bytes_out)
{
	uint64_t image = xn_history_image_bytes(h), bytes = 0, wanted = 0;
	uint64_t most = most_bytes(h->options->size, image);
	size_t first = 0;

	for (size_t i = 0; i < h->n_sources; i++) {
		bytes += h->sources[i].changes.size + h->sources[i].image.size;
		wanted += wants_image(h, i);
	}
	for (; first + 1 < h->n_sources; first++) {
		const struct xn_history_source *s = &h->sources[first];
		/* All of it is older than where the next one begins. */
		int64_t age_us = now_us - s[1].changes.head.wall_us;

		if (bytes + wanted * image <= most && age_us <= h->options->age_us)
			break;
		bytes -= s->changes.size + s->image.size;
		wanted -= wants_image(h, first);
	}
	*bytes_out = bytes;
	return first;
}

/* What goes next needs none. */
static int make_images(struct xn_history *h, size_t first)
{
	for (size_t i = first; i < h->n_sources; i++) {
		int made;

		if (!wants_image(h, i))
			continue;
		made = make_image(h, &h->sources[i]);
		if (made < 0 && made != -ENODATA)
			return made;
	}
	return is_sound(h, &h->sources[h->n_sources - 1]) ? 0 : -EBADMSG;
}

static void remove_file(struct xn_history *h, enum xn_history_kind kind, uint32_t number)
{
	char name[XN_HISTORY_NAME];

	xn_history_name(kind, number, name);
	unlinkat(h->dir_fd, name, 0); /* what stays is tried again */
}

/* Images that lost their changes to a crash in remove_oldest(), and files without a head. */
static int remove_remains(struct xn_history *h, enum xn_history_kind kind)
{
	uint32_t *numbers = NULL, oldest;
	size_t n = 0;
	int rc = xn_history_list(h->dir_fd, kind, &numbers, &n);

	oldest = h->n_sources ? h->sources[0].changes.head.number : 0;
	for (size_t i = 0; rc == 0 && i < n; i++)
		if (numbers[i] < oldest)
			remove_file(h, kind, numbers[i]);
	free(numbers);
	return rc;
}

static int remove_oldest(struct xn_history *h, int64_t now_us)
{
	size_t first = first_kept(h, now_us, &h->bounds.bytes);

	for (size_t i = 0; i < first; i++) {
		remove_file(h, XN_HISTORY_IMAGE, h->sources[i].changes.head.number);
		remove_file(h, XN_HISTORY_CHANGES, h->sources[i].changes.head.number);
	}
	if (first)
		h->bounds.from_us = h->sources[first].changes.head.wall_us;
	return first && fsync(h->dir_fd) < 0 ? -errno : 0;
}

int xn_history_tidy(const char *dir, const struct xn_history_options *options, int64_t now_us,
		    struct xn_history_tidied *out)
{
	struct xn_history *h = NULL;
	char *why = NULL;
	int rc = xn_history_open_files(dir, options, &h, &why), made = 0;

	free(why);
	if (rc < 0)
		return rc;
	if (h->dir_fd >= 0 && h->n_sources) {
		made = make_images(h, first_kept(h, now_us, &h->bounds.bytes));
		rc = made < 0 && made != -EBADMSG ? made : remove_oldest(h, now_us);
		if (rc == 0)
			rc = remove_remains(h, XN_HISTORY_IMAGE);
		if (rc == 0)
			rc = remove_remains(h, XN_HISTORY_CHANGES);
	}
	*out = (struct xn_history_tidied){h->bounds.bytes, xn_history_limit(h), h->bounds.from_us};
	xn_history_close(h);
	return rc < 0 ? rc : made;
}
