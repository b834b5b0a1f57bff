/*
 * What the journal's files share.
 *
 *   journal.c   records: parts are collected in a buffer, the end copies it into the segment
 *   segment.c   segments: the one that is written, those prepared ahead, those that are full
 *   image.c     making an image of the whole store in slices while it goes on; what is removed then
 *   recover.c   a start: image, then segments
 *   kept.c      the model of connections that outlive a crash
 *   redo.c      what parts say put back into a store
 *   slice.c     nodes as bytes, and back
 *   record.c    the bytes
 *   media_*.c   where files are
 */
#ifndef XN_XENSTORE_JOURNAL_INTERNAL_H
#define XN_XENSTORE_JOURNAL_INTERNAL_H

#include "modules/xenstore/journal/journal.h"
#include "modules/xenstore/journal/kept.h"
#include "modules/xenstore/journal/slice.h"

enum {
	XN_XS_SEGMENT_BYTES = 512 << 10,
	XN_XS_IMAGE_AFTER = 8 << 20, /* bytes of records that a start reads in a twentieth of a second */
	XN_XS_SPARES = 2,
	/* Of the last segment with room: for what cannot be refused. */
	XN_XS_RESERVE = 128 << 10,
};

struct xn_xs_journal_segment {
	uint64_t number;
	struct xn_xs_map map; /* NULL: none */
	size_t used;
};

/* Work of a worker on files; what it needs is copied. Lives on alone when the journal is closed. */
struct xn_xs_journal_work {
	struct xn_work work;
	struct xn_xs_journal *journal; /* NULL: closed meanwhile */
	struct xn_xs_media *media;
	/* Segments: what is full and goes, what is wanted. */
	struct xn_xs_journal_segment full[8], fresh[XN_XS_SPARES];
	unsigned n_full, n_fresh;
	size_t segment_bytes;
	/* An image: bytes for it; then its end. */
	struct xn_buf bytes;
	bool is_first, is_last;
	uint64_t number, history_bytes;
	bool makes_room; /* segments: history gives way, what is older than image @number goes */
};

struct xn_xs_journal {
	struct xn_core *core;
	struct xn_xs_store *store;
	struct xn_xs_media *media;
	char *folder;
	unsigned char boot_id[XN_XS_BOOT_ID];
	uint64_t history_bytes, image_after;
	size_t segment_bytes;

	struct xn_buf record;
	unsigned depth;
	int64_t now_us, wall_us; /* the loop's time when the wall's was read last, and that */
	struct xn_xs_kept_table kept;

	struct xn_xs_journal_segment segment; /* the one that is written */
	struct xn_xs_journal_segment spares[XN_XS_SPARES], full[8];
	unsigned n_spares, n_full;
	uint64_t next_number;
	struct xn_xs_journal_work *preparing; /* or NULL */
	int64_t prepare_at_us; /* not before: it failed */
	int64_t refused_at_us;		      /* when the disk last had no room */
	int refusal;			      /* -ENOSPC ...; 0: there is room */
	bool has_complained, is_lost;	      /* something was not recorded: the next segment tells it */

	uint64_t since_image; /* bytes of records */
	struct {
		bool is_running;
		uint64_t number, nodes;
		struct xn_job slice;
		struct xn_xs_journal_work *writing; /* or NULL */
		struct xn_buf bytes;
		char *cursor;
	} image;
	uint64_t image_bytes, last_image; /* of the last one; its number */
	bool wants_room;		  /* the disk is full: history gives way */
	uint64_t n_records, n_bytes, n_images, n_refused;
};

/* ---- journal.c ---- */
void xn_xs_put_domain(struct xn_buf *out, const struct xn_xs_domain *domain);
void xn_xs_put_limit(struct xn_buf *out, enum xn_xs_quota quota, struct xn_xs_limit limit);
void xn_xs_put_special(struct xn_buf *out, const char *path, const struct xn_xs_perms *perms);

/* ---- segment.c ---- */
/* Room for a record of @len bytes in the segment. @must: it cannot be refused. 0 or -errno. */
int xn_xs_segment_room(struct xn_xs_journal *journal, size_t len, bool must);
void xn_xs_segment_write(struct xn_xs_journal *journal, const char *record, size_t len);
/* The next segment begins. */
int xn_xs_segment_rotate(struct xn_xs_journal *journal);
int xn_xs_segment_first(struct xn_xs_journal *journal);
void xn_xs_segment_close(struct xn_xs_journal *journal);

/* ---- image.c ---- */
void xn_xs_image_begin(struct xn_xs_journal *journal);
/* While one is made: a domain came, and slices will name it. */
void xn_xs_image_add_domain(struct xn_xs_journal *journal, const struct xn_xs_domain *domain);
void xn_xs_image_close(struct xn_xs_journal *journal);
/* A record of all that is no node. @again: and nothing of what was told before. */
void xn_xs_image_put_kept(struct xn_xs_journal *journal, bool again, struct xn_buf *out);
/* One that is empty, at once: what was before is history. */
int xn_xs_image_empty(struct xn_xs_journal *journal, uint64_t number);
/* Removes files that are older than the image @number and that history has no room for. Any thread. */
void xn_xs_image_prune(struct xn_xs_media *media, uint64_t number, uint64_t history_bytes);

/* ---- redo.c ---- */
/* Puts back what a part says of domains and nodes. 0, -EINVAL, -EPROTO. */
int xn_xs_redo_part(struct xn_xs_store *store, struct xn_xs_loading *loading,
		    struct xn_xs_part *part);

/* ---- recover.c ---- */
int xn_xs_recover(struct xn_xs_journal *journal, bool outlives_boots, struct xn_error *err);
void xn_xs_recover_rings(struct xn_xs_journal *journal);

#endif
