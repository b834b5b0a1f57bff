/* What the store's files share: nodes, permissions, the change set, a transaction's view. */
#ifndef XN_XENSTORE_STORE_INTERNAL_H
#define XN_XENSTORE_STORE_INTERNAL_H

#include "core/slab.h"
#include "modules/xenstore/store/path.h"
#include "modules/xenstore/store/store.h"

/* ---- perms.c ---- */
enum { XN_XS_MAY_READ = 1, XN_XS_MAY_WRITE = 2, XN_XS_OWNS = 4 };

struct xn_xs_ace {
	struct xn_xs_domain *domain; /* a reference */
	unsigned mode;               /* XN_XS_MAY_*; the owner's entry: what all others may */
};
/* Immutable, shared by all nodes that have the same; entry 0 is the owner. */
struct xn_xs_perms {
	struct xn_hnode hash;
	struct xn_xs_store *store;
	unsigned refs;
	unsigned n;
	struct xn_xs_ace entries[];
};
struct xn_xs_perm_spec {
	uint32_t domid;
	unsigned mode;
	bool has_birth; /* exactly that domain is meant, dead or alive */
	uint64_t birth;
};
/* Number of entries in @out (XN_XS_PERMS_MAX at most), or -EINVAL, -ENOSPC. @births: with them. */
int xn_xs_perms_parse(const char *text, size_t len, bool births, struct xn_xs_perm_spec *out);
/* Both in one; a new reference. */
int xn_xs_perms_read(struct xn_xs_store *store, const char *text, size_t len, bool births,
		     struct xn_xs_perms **perms_out);
struct xn_xs_perms *xn_xs_perms_make(struct xn_xs_store *store, const struct xn_xs_perm_spec *specs,
				     unsigned n);
struct xn_xs_perms *xn_xs_perms_ref(struct xn_xs_perms *perms);
void xn_xs_perms_unref(struct xn_xs_perms *perms);
/* What a node that @by makes below one with @parent gets; a new reference. */
struct xn_xs_perms *xn_xs_perms_inherit(struct xn_xs_perms *parent, struct xn_xs_domain *by);
unsigned xn_xs_perms_mode(const struct xn_xs_perms *perms, const struct xn_xs_domain *who);

/* ---- node.c ---- */
/*
 * A node of the tree, of a transaction's overlay (flags) or of the tree of watches. One allocation
 * holds the name and, up to `room` bytes, the value; a longer value's address is kept there
 * instead. Packed, because a million nodes must fit.
 */
enum xn_xs_node_flags {
	XN_XS_THROUGH = 1,   /* overlay: only on the way to others; what it is, the store says */
	XN_XS_GONE = 2,      /* overlay: removed */
	XN_XS_HIDES = 4,     /* overlay: the store's node and all below it are not seen */
	XN_XS_UNCHARGED = 8, /* removed, and in nobody's account any more */
};
struct xn_xs_node {
	struct xn_xs_node *parent;
	struct xn_xs_kids *kids; /* NULL: none */
	union {
		struct xn_xs_perms *perms; /* a reference */
		struct xn_list *watchers;  /* tree of watches; NULL: none here */
	};
	uint64_t generation; /* of its last change, in value, permissions or children's names */
	uint32_t owned_at;   /* its place in its owner's list */
	uint16_t name_len : 12, flags : 4;
	uint16_t value_len;
	uint8_t room;
	char name[]; /* terminated; then `room` bytes */
};
const char *xn_xs_node_value(const struct xn_xs_node *node);
void xn_xs_node_sizes_init(struct xn_xs_store *store);
void xn_xs_node_sizes_clear(struct xn_xs_store *store);
/* @perms is taken. */
struct xn_xs_node *xn_xs_node_new(struct xn_xs_store *store, const char *name, size_t name_len,
				  const void *value, size_t value_len, struct xn_xs_perms *perms);
void xn_xs_node_free(struct xn_xs_node *node); /* without kids; perms stay the caller's */
void xn_xs_node_set_value(struct xn_xs_node *node, const void *value, size_t len);
/* The node after @node, parents before children, NULL after the last of @top's tree; skip passes
 * over what is below @node. *level follows. */
struct xn_xs_node *xn_xs_node_next(const struct xn_xs_node *top, const struct xn_xs_node *node,
				   unsigned *level);
struct xn_xs_node *xn_xs_node_skip(const struct xn_xs_node *top, const struct xn_xs_node *node,
				   unsigned *level);
/* Takes down a detached tree from the leaves; @drop frees one node (kids are gone). */
void xn_xs_node_free_tree(struct xn_xs_node *top, void (*drop)(struct xn_xs_node *node));
void xn_xs_node_drop(struct xn_xs_node *node); /* unrefs perms, frees */
size_t xn_xs_node_bytes(const struct xn_xs_node *node);
/* The node at @path below @root, or NULL. */
struct xn_xs_node *xn_xs_node_find(struct xn_xs_node *root, const char *path, size_t len);
/* What follows @path, parents before children, whether @path itself is there or not; or NULL. */
struct xn_xs_node *xn_xs_node_after(struct xn_xs_node *root, const char *path, size_t len);
/* Its path, written at the end of @room. */
const char *xn_xs_node_path(const struct xn_xs_node *node, char room[XN_XS_PATH_MAX + 1]);

/* ---- kids.c ---- */
struct xn_xs_node *xn_xs_node_kid(const struct xn_xs_node *node, const char *name, size_t len);
/* That one, or else the first behind it. */
struct xn_xs_node *xn_xs_node_kid_from(const struct xn_xs_node *node, const char *name, size_t len);
struct xn_xs_node *xn_xs_node_first_kid(const struct xn_xs_node *node);
struct xn_xs_node *xn_xs_node_sibling(const struct xn_xs_node *node); /* the next one, or NULL */
void xn_xs_node_attach(struct xn_xs_node *parent, struct xn_xs_node *node);
/* The same, and quick when it comes after all its siblings. NULL: one of that name is there. */
struct xn_xs_node *xn_xs_node_attach_last(struct xn_xs_node *parent, struct xn_xs_node *node);
void xn_xs_node_detach(struct xn_xs_node *node);
/* Takes the last one off; its parent is still noted in it. NULL: none is left. */
struct xn_xs_node *xn_xs_node_pop_kid(struct xn_xs_node *parent);
struct xn_xs_kid_walk { /* the children must not change on the way */
	const struct xn_xs_kids *kids;
	uint32_t leaf, at;
};
void xn_xs_kid_walk_init(struct xn_xs_kid_walk *walk, const struct xn_xs_node *node_or_null);
/* Begins with @kid, which has a parent. */
void xn_xs_kid_walk_from(struct xn_xs_kid_walk *walk, const struct xn_xs_node *kid);
struct xn_xs_node *xn_xs_kid_walk_next(struct xn_xs_kid_walk *walk);

/* ---- domain.c ---- */
struct xn_xs_owned {
	size_t n, cap;
	struct xn_xs_node *at[];
};
enum { XN_XS_INTRODUCE, XN_XS_RELEASE, XN_XS_SPECIALS };
extern const char *const xn_xs_special_names[XN_XS_SPECIALS];
struct xn_xs_change {
	enum xn_xs_delta_kind kind;
	bool implied;
	struct xn_xs_node *node, *parent;
	const char *path; /* lives until the commit */
	size_t path_len;
	size_t old_value_at, old_value_len; /* in the change set's bytes */
	size_t n_discharged;                /* REMOVED: so many nodes of the tree */
	struct xn_xs_perms *old_perms;      /* a reference */
	uint64_t old_generation, old_parent_generation;
};

struct xn_xs_writer { /* whose transaction changed a path last */
	uint64_t path_hash;
	struct xn_xs_conn *conn;
};

enum { XN_XS_NODE_SIZES = 16 }; /* those that come from slabs: each 16 bytes more */

struct xn_xs_store {
	struct xn_slab node_sizes[XN_XS_NODE_SIZES];
	struct xn_xs_node *root;
	struct xn_xs_node *watch_root, *special_root; /* watched paths; special ones apart */
	struct xn_hmap domains;                       /* alive, and those that nobody has */
	struct xn_hmap births;   /* domains; the dead too, while permissions name them */
	struct xn_hmap perms;    /* interned */
	struct xn_hmap watchers; /* by path, token and connection */
	struct xn_hmap pending;  /* events by watch and path */
	struct xn_list conns;
	struct xn_list ready;   /* connections with events to deliver */
	struct xn_list remains; /* removed trees that are not taken down yet */
	struct xn_list dying;   /* dead domains that still own nodes */
	struct xn_xs_domain *dom0;
	struct xn_xs_perms *special_perms[XN_XS_SPECIALS];
	uint64_t generation, next_birth, next_watcher;
	struct xn_xs_limit limits[XN_XS_QUOTAS];
	unsigned kept_limits; /* a bit a quota that somebody has set for good */
	/* The change set being made; empty between requests. */
	struct xn_xs_change *changes;
	size_t n_changes, cap_changes;
	struct xn_buf old_values;
	/* Transactions that conflict. */
	unsigned n_open;
	uint64_t now_us;                  /* the last time that somebody told */
	struct xn_list fighters, waiters; /* connections: with a turn, waiting for one */
	struct xn_xs_writer writers[256];
	const struct xn_xs_journal_ops *journal;
	void *journal_arg;
	bool must; /* change sets cannot be refused now */
	void (*releasing)(struct xn_xs_domain *domain, void *arg);
	void *releasing_arg;
	bool (*exists)(uint32_t domid, void *arg);
	void *exists_arg;
	void (*quota_told)(const struct xn_xs_domain *domain, enum xn_xs_quota quota,
			   uint64_t value, bool is_hard, void *arg);
	void *quota_told_arg;
	void (*wake)(void *arg);
	void *wake_arg;
	bool is_awake; /* xn_xs_store_deliver() will be called */
};

struct xn_xs_conn {
	struct xn_list link;
	struct xn_xs_store *store;
	struct xn_xs_domain *domain; /* a reference */
	struct xn_list watchers, transactions;
	uint32_t next_tx;
	uint32_t lost_tx; /* up to here they were begun by an earlier run of the daemon */
	struct xn_list events;
	struct xn_list ready;
	size_t n_events, event_bytes;
	struct xn_xs_list_end *list_end; /* lookup.c; or NULL */
	bool is_kept;               /* the journal hears of its events */
	void (*waiting)(void *arg); /* NULL: events are delivered */
	void *waiting_arg;
	/* contention.c */
	uint64_t fought[4]; /* hashes of the paths that it fought for, the newest first */
	unsigned n_calm;    /* commits since for which nobody waited */
	struct xn_list fighter, waiter;
	uint64_t lease_until, wait_until;
	bool only_yields; /* it waits with a single change */
	void (*go)(void *arg);
	void *go_arg;
	bool is_writer, is_slow;
};

static inline bool xn_xs_domain_is_privileged(const struct xn_xs_domain *domain)
{
	return domain->domid == 0;
}
/* It lived; its number may be somebody else's by now. */
static inline bool xn_xs_domain_is_dead(const struct xn_xs_domain *domain)
{
	return domain->birth && !domain->alive;
}
void xn_xs_domain_unref(struct xn_xs_domain *domain);
void xn_xs_domain_drop_target(struct xn_xs_domain *domain);
/* The living domain, else the stand-in for a domid that nobody has; a new reference. */
struct xn_xs_domain *xn_xs_domain_named(struct xn_xs_store *store, uint32_t domid);
struct xn_xs_domain *xn_xs_domain_new(struct xn_xs_store *store, uint32_t domid, uint64_t birth);
/* The one born then, dead or alive; a new reference. */
struct xn_xs_domain *xn_xs_domain_meant(struct xn_xs_store *store, uint32_t domid, uint64_t birth);
void xn_xs_domain_note(struct xn_xs_store *store, const struct xn_xs_note *note);
int xn_xs_special_index(const char *path); /* or -1 */
void xn_xs_special_set(struct xn_xs_store *store, int special, struct xn_xs_perms *perms);

/* ---- account.c ---- */
/* Counts a node into its owner's account, or out of it. */
void xn_xs_charge(struct xn_xs_node *node);
void xn_xs_discharge(struct xn_xs_node *node);
void xn_xs_recharge(struct xn_xs_node *node, size_t old_bytes); /* it has another size */
/* Whether @who may bring what is charged to @owner to @value: 0, or the quota's error. */
int xn_xs_quota_check(const struct xn_xs_domain *who, struct xn_xs_domain *owner,
		      enum xn_xs_quota quota, uint64_t value);
/* The same for @more bytes of memory. */
int xn_xs_quota_check_memory(const struct xn_xs_domain *who, struct xn_xs_domain *owner,
			     uint64_t more);
bool xn_xs_quota_is_passed(struct xn_xs_domain *domain, enum xn_xs_quota quota, uint64_t value);

/* What a request sees at a path: the tree, or a transaction's overlay above it. */
struct xn_xs_spot {
	struct xn_xs_node *node;    /* what is there, or NULL */
	struct xn_xs_node *nearest; /* the deepest that is there on the way to it */
	size_t nearest_len;         /* bytes of the path that lead to it */
	bool has_parent;            /* one level up something is there */
};
void xn_xs_find(struct xn_xs_store *store, struct xn_xs_node *overlay, const char *path, size_t len,
		struct xn_xs_spot *out);

/* The requests proper, on the tree (overlay NULL) or on an overlay; paths are resolved. Changes of
 * the tree go to the change set, which the caller commits or rolls back. */
struct xn_xs_view {
	struct xn_xs_store *store;
	struct xn_xs_node *overlay;
	struct xn_xs_domain *who;
	uint64_t *n_made; /* overlay: nodes made in it so far; NULL: not counted */
};
#define XN_XS_MADE_UNKNOWN UINT64_MAX /* some were removed, too */
int xn_xs_do_read(const struct xn_xs_view *view, const char *path, size_t len,
		  struct xn_xs_node **node_out);
int xn_xs_do_directory(const struct xn_xs_view *view, const char *path, size_t len,
		       struct xn_buf *names);
int xn_xs_do_perms(const struct xn_xs_view *view, const char *path, size_t len,
		   struct xn_xs_perms **perms_out); /* borrowed */
int xn_xs_do_write(const struct xn_xs_view *view, const char *path, size_t len, const void *value,
		   size_t value_len, bool only_make);
int xn_xs_do_rm(const struct xn_xs_view *view, const char *path, size_t len);
int xn_xs_do_set_perms(const struct xn_xs_view *view, const char *path, size_t len,
		       struct xn_xs_perms *perms);
/* ---- change.c ---- */
/* Each adds to the change set; @path must live until its end. @perms are taken. */
struct xn_xs_node *xn_xs_create(struct xn_xs_store *store, struct xn_xs_node *parent,
				struct xn_xs_node *node, const char *path, size_t len,
				bool implied);
void xn_xs_set_value(struct xn_xs_store *store, struct xn_xs_node *node, const char *path,
		     size_t len, const void *value, size_t value_len);
void xn_xs_set_perms(struct xn_xs_store *store, struct xn_xs_node *node, const char *path,
		     size_t len, struct xn_xs_perms *perms);
void xn_xs_remove(struct xn_xs_store *store, struct xn_xs_node *node, const char *path, size_t len);
/* 0; or what the journal refuses it with: then it is rolled back. */
int xn_xs_commit(struct xn_xs_store *store, const struct xn_xs_domain *by, uint32_t transaction);
/* What is told between them is one record. */
void xn_xs_record_together(struct xn_xs_store *store);
void xn_xs_record_done(struct xn_xs_store *store);
void xn_xs_rollback(struct xn_xs_store *store);

/* ---- transaction.c ---- */
struct xn_xs_tx;
struct xn_xs_tx *xn_xs_tx_find(struct xn_xs_conn *conn, uint32_t id);
void xn_xs_tx_free(struct xn_xs_tx *tx);
struct xn_xs_node *xn_xs_tx_overlay(const struct xn_xs_tx *tx);
uint64_t xn_xs_tx_changes(const struct xn_xs_tx *tx); /* own ones so far */
int xn_xs_tx_read(struct xn_xs_tx *tx, const struct xn_xs_path *path, struct xn_xs_node **node_out);
int xn_xs_tx_directory(struct xn_xs_tx *tx, const struct xn_xs_path *path, struct xn_buf *names);
int xn_xs_tx_perms(struct xn_xs_tx *tx, const struct xn_xs_path *path,
		   struct xn_xs_perms **perms_out);
int xn_xs_tx_write(struct xn_xs_tx *tx, const struct xn_xs_path *path, const void *value,
		   size_t value_len, bool only_make);
int xn_xs_tx_rm(struct xn_xs_tx *tx, const struct xn_xs_path *path);
int xn_xs_tx_set_perms(struct xn_xs_tx *tx, const struct xn_xs_path *path,
		       struct xn_xs_perms *perms);

/* ---- reap.c ---- */
/* Takes a removed tree out of the accounts, or so many of its nodes; the rest follows. */
size_t xn_xs_reap_discharge(struct xn_xs_node *top);
void xn_xs_reap_charge_again(struct xn_xs_node *top, size_t n);
void xn_xs_reap_tree(struct xn_xs_store *store,
		     struct xn_xs_node *top); /* frees it, sooner or later */
void xn_xs_reap_domain(struct xn_xs_store *store, struct xn_xs_domain *domain); /* what it owns */
void xn_xs_reap_domain_later(struct xn_xs_store *store, struct xn_xs_domain *domain);
bool xn_xs_reap_some(struct xn_xs_store *store); /* whether more is left */
void xn_xs_reap_all(struct xn_xs_store *store);

/* ---- contention.c ---- */
/* It is about to commit the change set. */
void xn_xs_contention_won(struct xn_xs_conn *conn, bool by_transaction);
/* Its transaction conflicts at @path. */
void xn_xs_contention_lost(struct xn_xs_conn *conn, const char *path, size_t len);
void xn_xs_contention_ended(struct xn_xs_conn *conn, bool is_committed); /* its transaction */
void xn_xs_contention_leave(struct xn_xs_conn *conn);
void xn_xs_contention_forget(struct xn_xs_conn *conn); /* the connection ends */

/* ---- event.c ---- */
struct xn_xs_watcher {
	struct xn_list link; /* the connection's */
	struct xn_list at_node;
	struct xn_list events;
	struct xn_hnode known; /* in the store's watchers */
	struct xn_xs_conn *conn;
	struct xn_xs_node *node; /* in the tree of watches */
	uint64_t id;
	int depth;
	unsigned cut; /* bytes to leave out of an event's path: the watch's was relative */
	void (*fired)(const char *path, const char *token, void *arg);
	void *arg;
	size_t bytes, token_len;
	bool is_special;
	char token[]; /* then the path as given */
};
struct xn_xs_event_path; /* shared by the events of one change */
struct xn_xs_event_path *xn_xs_event_path_new(const char *text, size_t len);
void xn_xs_event_path_unref(struct xn_xs_event_path *path); /* NULL is fine */
void xn_xs_event_queue(struct xn_xs_watcher *watcher, struct xn_xs_event_path *path);
void xn_xs_event_drop_all(struct xn_xs_watcher *watcher);
void xn_xs_store_wake(struct xn_xs_store *store); /* there is something to deliver, or to reap */

/* ---- watch.c ---- */
/* The watched path, written at the end of @room. */
const char *xn_xs_watcher_path(const struct xn_xs_watcher *watcher, char room[XN_XS_PATH_MAX + 1]);
/* Queues the events of a committed change. @node: as it is now, or detached when @removed. */
void xn_xs_watch_fire(struct xn_xs_store *store, const struct xn_xs_change *change);
void xn_xs_watch_fire_special(struct xn_xs_store *store, int special, uint32_t domid);
void xn_xs_watch_drop_all(struct xn_xs_conn *conn);

#endif
