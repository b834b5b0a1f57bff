/* What the files of history's reader share; see history.h. */
#ifndef XN_DB_HISTORY_INTERNAL_H
#define XN_DB_HISTORY_INTERNAL_H

#include "modules/db/history/file.h"
#include "modules/db/history/record.h"
#include "modules/db/item.h"

struct xn_history_source { /* a changes file, with its image where there is one */
	struct xn_history_file changes, image;
	bool starts_whole; /* its image is there and whole, or nothing was before it */
	bool joins_next; /* nothing is missing between it and the next one, or the journal */
};

struct xn_history {
	int dir_fd, db_fd; /* dir_fd -1: no history was written yet */
	const struct xn_history_options *options; /* the caller's */
	struct xn_history_source *sources;
	size_t n_sources;
	struct xn_names names;
	struct xn_buf tail; /* what only the journal has: texts, as in a block */
	struct xn_history_block tail_block;
	bool tail_is_blind; /* without what its changes replaced */
	struct xn_history_gap *gaps;
	size_t n_gaps;
	struct xn_history_bounds bounds;
	struct xn_buf scratch; /* the block that is read */
	bool files_only; /* if there are any: what only the journal has is not read */
};

/* Bytes of the newest image that there is. */
uint64_t xn_history_image_bytes(const struct xn_history *h);
uint64_t xn_history_limit(const struct xn_history *h); /* see xn_history_tidied */
/* Of an image and the changes behind it: a file grows somewhat beyond its share. */
static inline uint64_t xn_history_room(uint64_t size, uint64_t image)
{
	return image + xn_history_share(size) * 3 / 2;
}
/* As xn_history_open(), for who keeps the files. */
int xn_history_open_files(const char *dir, const struct xn_history_options *options,
			  struct xn_history **out, char **why) XN_MUST_CHECK;

void xn_history_add_gap(struct xn_history *h, const struct xn_history_gap *gap);

/* ---- rows.c ---- */
struct xn_history_rows *xn_history_rows_new(void);
/* A row that is or was; or NULL. */
struct xn_item *xn_history_rows_get(const struct xn_history_rows *rows, const struct xn_slice *ref);
/* From an image; @row as it is there. */
void xn_history_rows_put(struct xn_history_rows *rows, const struct xn_slice *ref,
			 const struct xn_slice *row);
/* Applies what the transaction did up to the generation, to rows that are wanted. */
int xn_history_rows_apply(struct xn_history_rows *rows, const struct xn_history *h,
			  struct xn_cursor tx, uint64_t until,
			  bool (*wants)(void *arg, const struct xn_slice *ref, int class_id),
			  void *arg) XN_MUST_CHECK;
/* Before rows are looked at by index. */
int xn_history_rows_sort(struct xn_history_rows *rows, const struct xn_names *names) XN_MUST_CHECK;

#endif
