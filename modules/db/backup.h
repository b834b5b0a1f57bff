/*
 * A backup: the database at one generation, as one stream of bytes. Made from the store's own bytes,
 * so that what another version of the schema wrote is in it, too; no disk of a VM is.
 *
 *	file    magic "XNBACKUP", frames
 *	frame   fixed32 length, fixed32 CRC-32C, bytes: a kind, then
 *	  head         'H', varint version, varint format, fixed generation, fixed time (us since the
 *	               epoch), text hypervisor, text program
 *	  entry        'E', a byte space, text key, text value: of the checkpoint
 *	  transaction  'T', bytes: after it, oldest first
 *	  end          'Z', fixed number of frames before, fixed CRC of their CRCs
 *
 * The CRC of a frame covers the number of the frame, so that none is missing or comes twice.
 */
#ifndef XN_DB_BACKUP_H
#define XN_DB_BACKUP_H

#include "modules/db/db.h"

/* ---- writing ---- */
struct xn_backup; /* of a database; ended before that stops */

/* What is durable now. NULL: this store has no copies. */
struct xn_backup *xn_backup_begin(struct xn_db *db);
/* Worker: some more bytes, about @size. 1; 0: that was all of it; -errno. */
int xn_backup_write(struct xn_backup *backup, struct xn_buf *out, size_t size) XN_MUST_CHECK;
void xn_backup_end(struct xn_backup *backup); /* NULL is fine */

/* ---- reading: any bytes give a result or a sentence ---- */
struct xn_backup_head {
	unsigned version, format;
	uint64_t generation, wall_us;
	char hypervisor[16], program[32];
};
struct xn_backup_reader {
	void (*head)(void *arg, const struct xn_backup_head *head); /* may be NULL */
	/* Borrowed for the call; < 0 ends the reading with it. Either may be NULL. */
	int (*entry)(void *arg, unsigned space, const void *key, size_t key_len, const void *value,
		     size_t len);
	int (*transaction)(void *arg, const void *bytes, size_t len);
};
/* From @fd, which is read to its end: 0, or -errno with a sentence in *why (the caller frees). */
int xn_backup_read(int fd, const struct xn_backup_reader *reader, void *arg, char **why)
	XN_MUST_CHECK;

/*
 * ---- for `xenolithd --restore` ----
 * Makes the state folder's database what the backup in the file @path holds, proven first; history
 * begins with it. @over: also where there is one, which is kept beside as db.replaced. Blocks. 0 with
 * a line in @said, or -1 with a sentence in *why: then nothing was changed.
 */
int xn_backup_restore(const char *path, const struct xn_config *config, bool over,
		      struct xn_buf *said, char **why);

#endif
