/*
 * What the journal keeps its files in: a folder (media_file.c), or memory that stands for one, for
 * simulation and tests (media_memory.c). Names are without a slash. All but append() of one file and
 * the mapped bytes may be used from any thread; calls may block. 0 or -errno.
 */
#ifndef XN_XENSTORE_MEDIA_H
#define XN_XENSTORE_MEDIA_H

#include "core/base.h"

struct xn_xs_media;

struct xn_xs_map { /* a file as bytes */
	char *bytes;
	size_t len;
};

struct xn_xs_media_ops {
	/* @visit of each file; nothing is made or removed meanwhile. */
	int (*list)(struct xn_xs_media *media,
		    void (*visit)(const char *name, uint64_t size, void *arg), void *arg);
	/* A new file of @len zero bytes that have their room on the disk, so that writing into the
	 * mapping cannot fail; what is written there outlives the process at once. One of that name
	 * is replaced. -ENOSPC and others: nothing is left of it. */
	int (*create)(struct xn_xs_media *media, const char *name, size_t len,
		      struct xn_xs_map *out);
	/* Gets a mapping's pages, so that writing does not have to. NULL: there is nothing to get. */
	void (*prefault)(struct xn_xs_map *map);
	int (*map)(struct xn_xs_media *media, const char *name, struct xn_xs_map *out); /* to read */
	void (*unmap)(struct xn_xs_media *media, struct xn_xs_map *map);
	/* At the end of a file, which is made if it is not there. */
	int (*append)(struct xn_xs_media *media, const char *name, const void *bytes, size_t len);
	/* To @len bytes and a few more, which are zeros: a reader that has it mapped may look for
	 * one record's frame behind the last one. */
	int (*truncate)(struct xn_xs_media *media, const char *name, uint64_t len);
	int (*rename)(struct xn_xs_media *media, const char *from, const char *to);
	int (*remove)(struct xn_xs_media *media, const char *name);
	void (*free)(struct xn_xs_media *media);
};
struct xn_xs_media {
	const struct xn_xs_media_ops *ops;
	unsigned users; /* on the loop's thread; the last one frees */
};
static inline struct xn_xs_media *xn_xs_media_ref(struct xn_xs_media *media)
{
	media->users++;
	return media;
}
static inline void xn_xs_media_unref(struct xn_xs_media *media)
{
	if (media && !--media->users)
		media->ops->free(media);
}

/* With one user. @path is made if missing. NULL with -errno in *rc. */
struct xn_xs_media *xn_xs_media_file_new(const char *path, int *rc);

/*
 * The twin in memory. It keeps what was written into mappings when its user dies (is forgotten), as
 * a disk does. Tests let it refuse or die: before each call that changes something @at is asked, and
 * a non-zero answer is the call's result; @at may also leave by longjmp.
 */
struct xn_xs_media *xn_xs_media_memory_new(void);
void xn_xs_media_memory_watch(struct xn_xs_media *media, int (*at)(const char *call, void *arg),
			      void *arg);
/* Bytes that files may have in all; beyond -ENOSPC. */
void xn_xs_media_memory_limit(struct xn_xs_media *media, uint64_t bytes);
/* Free is for its user, who may come and go: this is the end of it. */
void xn_xs_media_memory_destroy(struct xn_xs_media *media);

#endif
