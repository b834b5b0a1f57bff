/*
 * The journal's files as bytes: written by the journal, read at a start and by the history. Two
 * kinds have one format: a segment holds changes as they happened; an image holds the whole store,
 * so that what came before need not be read. A file is a head of fixed size and then records; a
 * record is whole or not there, and one that is not whole ends the file.
 *
 *   record: length of the payload (4, 0 ends the file), its CRC-32C (4), payload
 *   payload: wall time in microseconds (8), then parts
 *   part: kind (1), length of the body (4), body
 *
 * Little-endian, nothing aligned. All that is read here may be any bytes: functions are total, and
 * what they show is borrowed from them.
 *
 * Files are named in order: segment-00000001, segment-00000002 ... with image-0000000N the store as
 * it was when segment N began, or a little later (see XN_XS_PART_IMAGE_END): with the segments from
 * N on it gives the store. A start makes a new segment. What is older than the last whole image is
 * history only. The number, in hexadecimal, never comes again.
 */
#ifndef XN_XENSTORE_RECORD_H
#define XN_XENSTORE_RECORD_H

#include "core/bytes.h"
#include "modules/xenstore/store/store.h"

/* ---- the head of a file ---- */
enum xn_xs_file_kind { XN_XS_SEGMENT = 1, XN_XS_IMAGE };
enum { XN_XS_FILE_HEAD = 64, XN_XS_FILE_VERSION = 1, XN_XS_BOOT_ID = 16 };
struct xn_xs_file_head {
	enum xn_xs_file_kind kind;
	unsigned char boot_id[XN_XS_BOOT_ID]; /* of the kernel; an image of a new boot is empty */
	uint64_t number;
	uint64_t generation; /* the store's when the file was begun */
	int64_t wall_us;
};
void xn_xs_file_head_put(const struct xn_xs_file_head *head, struct xn_buf *out);
/* 0; -EINVAL: not one of these files, or damaged; -EPROTO: of a version that is not known here. */
int xn_xs_file_head_parse(const void *bytes, size_t len, struct xn_xs_file_head *out);
/* "segment-00000001"; @room: XN_XS_FILE_NAME bytes. */
enum { XN_XS_FILE_NAME = 40 };
void xn_xs_file_name(enum xn_xs_file_kind kind, uint64_t number, char *room);
/* Whether @name is such a name. */
bool xn_xs_file_name_parse(const char *name, enum xn_xs_file_kind *kind, uint64_t *number);

/* ---- records ---- */
enum { XN_XS_RECORD_FRAME = 8, XN_XS_RECORD_HEAD = 16 /* with the wall time */ };
struct xn_xs_record {
	int64_t wall_us;
	struct xn_reader parts;
};
/* @file: behind the head, or behind a record. False: what follows is no whole record; @file is
 * where it was. */
bool xn_xs_record_next(struct xn_reader *file, struct xn_xs_record *out);

enum xn_xs_part_kind {
	XN_XS_PART_COMMIT = 1, /* a change set */
	XN_XS_PART_DOMAIN,     /* it came, or changed */
	XN_XS_PART_GONE,       /* a domain is released: with it go all nodes that it owns */
	XN_XS_PART_SPECIAL,    /* permissions of @introduceDomain or @releaseDomain */
	/* Of connections that outlive a crash: guests' rings, by their domain's birth. */
	XN_XS_PART_RING_OPEN,
	XN_XS_PART_RING_CLOSE,
	XN_XS_PART_RING_INPUT,
	XN_XS_PART_RING_OUTPUT,
	XN_XS_PART_RING_TX,
	XN_XS_PART_WATCH,
	XN_XS_PART_UNWATCH,
	XN_XS_PART_EVENT, /* waits for a ring from now on */
	/* Images only. */
	XN_XS_PART_SLICE,     /* nodes: xn_xs_slice_next() */
	XN_XS_PART_IMAGE_END, /* last: without it the image is not whole */
	/* Domains and connections that outlive a crash are what the rest of this record tells; what
	 * was told of them before is void. After records that found no room. */
	XN_XS_PART_KEPT_AGAIN,
	XN_XS_PART_LIMIT, /* a quota of all domains that somebody has set */
	XN_XS_PARTS,
};

struct xn_xs_who { /* a domain's identity */
	uint32_t domid;
	uint64_t birth; /* 0: whoever has that domid, which nobody has */
};
struct xn_xs_text {
	const char *bytes; /* not terminated */
	size_t len;
};
/* Permissions are texts with births, the owner first: "n0.1 r5.17 ", each followed by a space. A
 * domid without a birth that counts has birth 0: whoever has it, and nobody does yet. */
struct xn_xs_perm {
	char mode; /* n r w b */
	struct xn_xs_who who;
};
/* Takes the first from @perms: 1, 0: none is left, -EINVAL. */
int xn_xs_perm_next(struct xn_xs_text *perms, struct xn_xs_perm *out);

struct xn_xs_part {
	enum xn_xs_part_kind kind;
	union {
		struct {
			uint64_t generation; /* of the store, with this set; the last one's + 1 */
			struct xn_xs_who by;
			uint32_t transaction; /* 0: a single request */
			uint32_t n;
			struct xn_reader changes; /* xn_xs_part_change() */
		} commit;
		struct {
			struct xn_xs_who who;
			bool introduced, stopped;
			struct xn_xs_who target; /* birth 0: none */
			uint32_t hidden_features;
			unsigned n_limits;
			struct xn_reader limits; /* xn_xs_part_limit() */
		} domain; /* DOMAIN, all that it is; GONE: who only */
		struct {
			struct xn_xs_text path, perms;
		} special;
		struct {
			uint64_t birth;
			uint32_t domid;
			uint64_t gfn;
			uint32_t port;
			/* INPUT: position behind what was taken, and what of it is an unfinished
			 * request; OUTPUT: position of the first byte of the bytes. */
			uint32_t at;
			uint32_t sent; /* OUTPUT: position up to which the ring has it */
			struct xn_xs_text bytes;
			uint32_t events; /* OUTPUT: how many events these bytes carry */
			uint32_t tx;	 /* TX: the highest transaction so far */
			struct xn_xs_text path, token; /* WATCH, UNWATCH, EVENT (of the watch) */
			bool all; /* UNWATCH: all watches; EVENT: all others of its watch go */
			int depth;
			struct xn_xs_text event; /* EVENT: the path that changed, absolute */
		} ring;
		struct {
			unsigned quota;
			uint64_t soft, hard;
		} limit;
		struct xn_xs_text slice;
		struct {
			uint64_t nodes;
			/* A moment before this generation cannot be told from the image: the nodes were
			 * written down while changes went on, up to this one. */
			uint64_t generation;
			uint64_t next_birth; /* the highest so far */
		} image_end;
	};
};
/* 1: @out is the next part; 0: there is none; -EINVAL: damaged; -EPROTO: a kind that is not known
 * here, of a newer version. */
int xn_xs_record_part(struct xn_xs_record *record, struct xn_xs_part *out);

/* A quota of the domain's own: 1, 0, -EINVAL. */
int xn_xs_part_limit(struct xn_xs_part *domain, unsigned *quota, uint64_t *soft, uint64_t *hard);

/* A change of a set, in the order in which they were made; values and permissions are as they were
 * at the set's end. */
struct xn_xs_record_change {
	enum xn_xs_delta_kind kind;
	bool implied; /* a parent made on the way to a node */
	struct xn_xs_text path, value; /* value: CREATED, VALUE */
	struct xn_xs_text perms;       /* CREATED, PERMS */
};
/* As xn_xs_record_part(). */
int xn_xs_part_change(struct xn_xs_part *commit, struct xn_xs_record_change *out);

/* ---- slices of an image ---- */
/* Nodes in the order of a walk: parents first, siblings by name; a slice goes on where the one
 * before ended. The root is among them (path "/"). */
struct xn_xs_slice {
	struct xn_reader in;
	unsigned level; /* of the last node; before the first: of its parent */
	bool has_root;  /* begins with the root */
	size_t path_len;
	struct xn_xs_text perms; /* of the last node */
	char path[XN_XS_PATH_MAX + 2];
};
struct xn_xs_slice_node {
	struct xn_xs_text path; /* valid until the next */
	struct xn_xs_text name, value, perms;
	unsigned level; /* 0: the root */
	uint64_t generation;
};
/* 0 or -EINVAL. */
int xn_xs_slice_open(struct xn_xs_slice *slice, struct xn_xs_text bytes);
int xn_xs_slice_next(struct xn_xs_slice *slice, struct xn_xs_slice_node *out); /* 1, 0, -EINVAL */

/* ---- writing ---- */
/* A record is made in a buffer: begin, parts, end; the frame's length is filled in by end. Return of
 * begin: where it starts. */
size_t xn_xs_record_begin(struct xn_buf *out, int64_t wall_us);
void xn_xs_record_end(struct xn_buf *out, size_t start);
size_t xn_xs_part_begin(struct xn_buf *out, enum xn_xs_part_kind kind);
void xn_xs_part_end(struct xn_buf *out, size_t start);
void xn_xs_put_commit(struct xn_buf *out, const struct xn_xs_commit *commit);
/* A text with its length (2) before it. */
void xn_xs_put_text(struct xn_buf *out, struct xn_xs_text text);
void xn_xs_put_perms(struct xn_buf *out, const struct xn_xs_perms *perms);
/* A whole part, as xn_xs_record_part() shows it; not COMMIT, SLICE. */
void xn_xs_put_part(struct xn_buf *out, const struct xn_xs_part *part);

#endif
