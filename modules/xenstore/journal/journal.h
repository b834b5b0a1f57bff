/*
 * What makes the embedded xenstore survive SIGKILL at any instruction: every change is copied into a
 * shared mapping of a file before its reply or watch event leaves, so the kernel has it whatever
 * becomes of the daemon. No system call a record; nothing is synced, because a host reboot ends all
 * domains anyway (a journal of another boot is only history).
 *
 * A record is all or nothing. Parts are added between begin and end; the store's own changes are
 * added by its hook (store.h); a change outside begin and end is a record by itself. Records in a
 * row are also the store's history (history.h). Their format, and the files: record.h.
 *
 * Changes that find no room are refused with ENOSPC by the store, before anything is changed; all
 * else goes on, and changes go on when there is room again.
 */
#ifndef XN_XENSTORE_JOURNAL_H
#define XN_XENSTORE_JOURNAL_H

#include "core/module.h"
#include "modules/xenstore/journal/media.h"
#include "modules/xenstore/store/store.h"

struct xn_xs_journal;

struct xn_xs_journal_options {
	const char *folder;	   /* for messages, and where the files are if @media is NULL */
	struct xn_xs_media *media; /* taken, even in failure */
	const unsigned char *boot_id; /* NULL: the kernel's; tests have their own */
	bool outlives_boots;	   /* what another boot of the kernel left holds, too */
	uint64_t history_bytes;	   /* that older files may have */
	size_t segment_bytes;	   /* 0: as usual; tests have smaller ones */
	uint64_t image_after;	   /* bytes of records after which an image is made; 0: as usual */
};

/*
 * Opens the journal, puts back what it holds into @store, which is fresh, and records the store's
 * changes from then on. What it holds of rings is kept for xn_xs_journal_each_ring(). @err: no
 * space, not writable, not ours.
 */
struct xn_xs_journal *xn_xs_journal_open(struct xn_core *core, struct xn_xs_store *store,
					 const struct xn_xs_journal_options *options,
					 struct xn_error *err);
void xn_xs_journal_close(struct xn_xs_journal *journal); /* before the store; NULL is fine */

/* What the history reads. */
const char *xn_xs_journal_folder(const struct xn_xs_journal *journal);
struct xn_xs_media *xn_xs_journal_media(struct xn_xs_journal *journal);
/* Whether it ended well so far: false while changes find no room. */
bool xn_xs_journal_has_room(const struct xn_xs_journal *journal);
void xn_xs_journal_write_metrics(const struct xn_xs_journal *journal,
				 struct xn_metrics_page *page);

/* ---- a record ---- */
/* They nest; the outermost end writes. */
void xn_xs_journal_begin(struct xn_xs_journal *journal);
void xn_xs_journal_end(struct xn_xs_journal *journal);
/* 0; or -ENOSPC, -EIO before anything is recorded: the caller rolls back and refuses. Changes of the
 * store ask by themselves. */
int xn_xs_journal_room(struct xn_xs_journal *journal, size_t bytes);

/* ---- connections that outlive a crash ---- */

/* A guest's ring, by its domain's birth. The same again: it has another frame or port; nothing else
 * changes. Its connection must be one whose events the store tells (xn_xs_conn_keep()). */
void xn_xs_journal_ring_open(struct xn_xs_journal *journal, uint64_t birth, uint32_t domid,
			     uint64_t gfn, uint32_t port);
void xn_xs_journal_ring_close(struct xn_xs_journal *journal, uint64_t birth);
/* Bytes read up to position @at; @partial: those of them that are an unfinished request. */
void xn_xs_journal_ring_input(struct xn_xs_journal *journal, uint64_t birth, uint32_t at,
			      const void *partial, size_t len);
/* Bytes that will be written to the ring, from position @at on. @events: how many of the store's
 * waiting watch events of this connection they carry. */
void xn_xs_journal_ring_output(struct xn_xs_journal *journal, uint64_t birth, uint32_t at,
			       const void *bytes, size_t len, unsigned events);
/* The ring has all bytes up to position @at: they need not be kept. No record: it is only said that
 * no more need be remembered. */
void xn_xs_journal_ring_sent(struct xn_xs_journal *journal, uint64_t birth, uint32_t at);
void xn_xs_journal_ring_watch(struct xn_xs_journal *journal, uint64_t birth, const char *path,
			      const char *token, int depth);
void xn_xs_journal_ring_unwatch(struct xn_xs_journal *journal, uint64_t birth, const char *path,
				const char *token); /* both NULL: all of them */
void xn_xs_journal_ring_transaction(struct xn_xs_journal *journal, uint64_t birth,
				    uint32_t highest_id);

/* A ring as the journal last knew it, to go on with. Watches are set again and their unsent events
 * wait again in the store by then; transactions that were open are gone: EAGAIN at their end. */
struct xn_xs_kept_ring {
	uint64_t birth;
	uint32_t domid;
	uint64_t gfn;
	uint32_t port;
	struct xn_xs_conn *conn; /* the visitor's from now on */
	uint32_t in_at, out_at;  /* positions: taken; of the first byte of @unsent */
	const void *partial, *unsent;
	size_t partial_len, unsent_len; /* of unsent, the ring's own producer index tells what it has */
	uint32_t highest_transaction;
};
/* Once each; what nobody visits stays as it is. */
void xn_xs_journal_each_ring(struct xn_xs_journal *journal,
			     void (*visit)(const struct xn_xs_kept_ring *ring, void *arg), void *arg);

#endif
