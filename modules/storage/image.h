/*
 * Disk images in a folder, one sparse file each, and the names by which a crash can be told from an
 * intention:
 *
 *	<uuid>.raw	 a disk; with a row, or (put there by hand) waiting for SR.scan to adopt it
 *	<uuid>.raw.new	 being made: it gets its name only when its row survives power loss
 *	<uuid>.raw.gone	 being destroyed: it is unlinked only when its row is gone for good
 *
 * and the same with .qcow2 for QEMU's format. So a leftover .new without a row never was a disk and a
 * .gone with a row still is one. All functions block and belong in a worker. Return 0 or -errno.
 */
#ifndef XN_IMAGE_H
#define XN_IMAGE_H

#include <stdatomic.h>

#include "core/base.h"

enum xn_image_state { XN_IMAGE_READY, XN_IMAGE_NEW, XN_IMAGE_GONE };
enum xn_image_format { XN_IMAGE_RAW, XN_IMAGE_QCOW2 };

enum { XN_IMAGE_BLOCK = 4096 }; /* sizes are multiples of this */

struct xn_image_info {
	enum xn_image_format format;
	int64_t virtual_size, physical_size; /* bytes */
};

const char *xn_image_format_name(enum xn_image_format format); /* "raw", "qcow2" */
bool xn_image_format_find(const char *name, enum xn_image_format *out);

/* Shared between the worker that copies and the loop, which reads and may ask it to stop. */
struct xn_copy_progress {
	_Atomic int64_t done, total; /* bytes of the source looked at; 0 of 0 before it begins */
	_Atomic bool stop;           /* -ECANCELED soon */
};

/* Whether @uuid may be part of a file name: 36 characters, lower-case hex and dashes. */
bool xn_image_uuid_is_valid(const char *uuid);

int xn_image_make(const char *folder, const char *uuid, enum xn_image_format format,
		  int64_t size); /* as .new */
/*
 * The same with the content and in the format of the file @source, whose holes stay holes; beyond
 * its end zeros. Shares blocks with it where the file system can.
 */
int xn_image_copy(const char *folder, const char *uuid, const char *source, int64_t size,
		  struct xn_copy_progress *progress);
/* Into the existing file @path of the same format (else -EOPNOTSUPP), whose other content is gone
 * then. It is at least as long. */
int xn_image_overwrite(const char *path, const char *source, struct xn_copy_progress *progress);

/* From .new or .gone to its plain name; when it has that already: nothing. */
int xn_image_settle(const char *folder, const char *uuid);
/* To .gone, from whichever name it has. -ENOENT when there is none. */
int xn_image_retire(const char *folder, const char *uuid);
/* Under every name; none there is fine. */
int xn_image_remove(const char *folder, const char *uuid);
int xn_image_grow(const char *folder, const char *uuid, int64_t size);
/* Takes back a growth: to the @size from before it, or nothing where it is no longer. -ENOTEMPTY: a
 * raw image has data beyond that. */
int xn_image_shrink(const char *folder, const char *uuid, int64_t size);
int xn_image_stat(const char *path, struct xn_image_info *out);

/* The format's name is part of a file's: that of an image in any state, else raw. */
enum xn_image_format xn_image_format_of(const char *path);
/* Splits a file name; false when it is none of them. */
bool xn_image_parse_name(const char *name, char uuid[37], enum xn_image_state *state);
/* The plain name, in the format that is there; raw when there is none. The caller frees. */
char *xn_image_path(const char *folder, const char *uuid);
/* The same, of what is being made. */
char *xn_image_new_path(const char *folder, const char *uuid);

#endif
