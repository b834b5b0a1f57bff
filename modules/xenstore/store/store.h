/*
 * The xenstore itself, synchronous and in process: the tree, permissions, watches, transactions.
 * For this folder (client_local.c, later the wire) and for the simulated hypervisor, which speaks
 * as domain 0 and as each of its guests; everybody else uses xenstore.h.
 *
 * Every request comes from a connection, and a connection has the identity of one domain. Identity
 * is a struct, not a number: a domain that reuses a dead one's domid gets a new struct (with a new
 * birth), so it inherits neither rights nor nodes. Requests answer 0 or -errno, and one that fails
 * has changed nothing. Errors are those of the protocol: EINVAL (path, arguments), ENOENT, EACCES,
 * EPERM, EEXIST, E2BIG, ENOSPC (quota), EAGAIN (a transaction that conflicts), EBUSY.
 */
#ifndef XN_XENSTORE_STORE_H
#define XN_XENSTORE_STORE_H

#include "core/buf.h"
#include "core/hmap.h"
#include "core/list.h"

enum {
	XN_XS_PATH_MAX = 3072,          /* bytes of an absolute path, without the final NUL */
	XN_XS_RELATIVE_PATH_MAX = 2048, /* of a path below the domain's own directory */
	XN_XS_VALUE_MAX = 4096,
	XN_XS_PERMS_MAX = 1024,   /* entries of one node */
	XN_XS_DOMID_END = 0x7ff0, /* domids are below */
	XN_XS_NO_DEPTH = -1,
};

struct xn_xs_store;
struct xn_xs_conn;
struct xn_xs_watcher;

/* What a domain has in the store, in things and in bytes. Quotas are checked against it. */
struct xn_xs_account {
	uint64_t nodes, node_bytes;
	uint64_t watches, watch_bytes;
	uint64_t transactions, transaction_bytes;
	uint64_t events, event_bytes;
	uint64_t buffer_bytes; /* what the server holds for it: input, queued replies */
};

/*
 * Limits, the store's or a domain's own. Domain 0 has none but that of events. A request that would
 * pass a hard one is refused and changes nothing; events and buffers are held in check otherwise.
 */
enum xn_xs_quota {
	XN_XS_QUOTA_NODES,
	XN_XS_QUOTA_NODE_SIZE,
	XN_XS_QUOTA_PERMS,
	XN_XS_QUOTA_PATH,
	XN_XS_QUOTA_WATCHES,
	XN_XS_QUOTA_TRANSACTIONS,
	XN_XS_QUOTA_TRANSACTION_NODES,
	XN_XS_QUOTA_MEMORY,
	XN_XS_QUOTA_EVENTS,
	XN_XS_QUOTA_EVENT_BYTES,
	XN_XS_QUOTA_BUFFERS,
	XN_XS_QUOTAS,
};
struct xn_xs_limit {
	uint64_t soft, hard; /* the most that is fine; 0: no limit */
};
struct xn_xs_quota_row {
	const char *name; /* as control commands call it */
	const char *text;
	struct xn_xs_limit limit; /* by default */
	int rc; /* of a request that would pass the hard limit; 0: none is refused */
};
extern const struct xn_xs_quota_row xn_xs_quotas[XN_XS_QUOTAS];

struct xn_xs_domain {
	struct xn_hnode hash; /* by domid, while alive */
	struct xn_hnode by_birth;
	struct xn_xs_store *store;
	unsigned refs; /* the store's while alive, connections', permissions' */
	uint32_t domid;
	uint64_t birth; /* unique in a store; 0: a domid that nobody has (yet) */
	bool alive, introduced, stopped;
	bool has_ring;  /* somebody has introduced it, with a ring */
	bool is_played; /* the simulated hypervisor's, which alone releases it */
	uint32_t hidden_features; /* bits of the protocol's that it is not offered */
	struct xn_xs_domain *target; /* whose rights it has, too (a device model); or NULL */
	struct xn_xs_account account;
	struct xn_xs_limit *own_limits; /* XN_XS_QUOTAS of them, or NULL */
	unsigned has_own;               /* a bit a quota for which it has one */
	unsigned soft_told;             /* a bit a quota whose soft limit it was seen to pass */
	uint64_t n_refused;             /* requests, for a hard limit */
	struct xn_xs_owned *owned;      /* its nodes; domain 0's are not listed */
	struct xn_list dying;           /* gone, and nodes of its are left */
};

/*
 * @wake: called when events wait and none did before, or memory of removed nodes is to be freed;
 * the owner then calls xn_xs_store_deliver() from its loop until that returns false. Domain 0
 * exists from the start.
 */
struct xn_xs_store *xn_xs_store_new(void (*wake)(void *arg), void *arg);
void xn_xs_store_free(struct xn_xs_store *store);                      /* after its connections */
bool xn_xs_store_deliver(struct xn_xs_store *store, unsigned at_most); /* whether some are left */
uint64_t xn_xs_store_generation(const struct xn_xs_store *store); /* committed change sets so far */

/* What all domains have together, those that are gone but still own something too. How many there
 * are. */
unsigned xn_xs_store_account(const struct xn_xs_store *store, struct xn_xs_account *sum_out);

/* ---- domains ---- */
/* A domain came into being. NULL when @domid is out of range or lives already. */
struct xn_xs_domain *xn_xs_domain_add(struct xn_xs_store *store, uint32_t domid);
struct xn_xs_domain *xn_xs_domain_find(struct xn_xs_store *store,
				       uint32_t domid); /* alive, or NULL */
/* All that live; nobody comes or goes meanwhile. */
void xn_xs_store_each_domain(const struct xn_xs_store *store,
			     void (*visit)(const struct xn_xs_domain *domain, void *arg),
			     void *arg);
/* It may talk to the store from now on: fires @introduceDomain, the first time. */
void xn_xs_domain_introduce(struct xn_xs_domain *domain);
/* It crashed or shut down, and still exists: fires @releaseDomain, once until it is resumed. */
void xn_xs_domain_stopped(struct xn_xs_domain *domain);
void xn_xs_domain_resume(struct xn_xs_domain *domain);
/*
 * It is gone: its connections must be closed already. Nodes that it owned are removed wherever they
 * are (what is beyond the usual quota of nodes: soon), and @releaseDomain fires.
 */
void xn_xs_domain_release(struct xn_xs_domain *domain);
/* @releasing: called first, by whoever releases a domain, to close its connections. */
void xn_xs_store_set_releasing(struct xn_xs_store *store,
			       void (*releasing)(struct xn_xs_domain *domain, void *arg),
			       void *arg);
void xn_xs_domain_hide_features(struct xn_xs_domain *domain, uint32_t bits);
void xn_xs_domain_set_target(struct xn_xs_domain *domain, struct xn_xs_domain *target_or_null);
/*
 * @exists: whether the hypervisor has the domain. Asked when permissions name one that is not here:
 * if it exists it is added, as a toolstack gives a domain its nodes before it introduces it.
 */
void xn_xs_store_set_lookup(struct xn_xs_store *store, bool (*exists)(uint32_t domid, void *arg),
			    void *arg);

/* ---- quotas ---- */
/* What it has of @quota now; 0 for those that concern a single thing. */
uint64_t xn_xs_domain_used(const struct xn_xs_domain *domain, enum xn_xs_quota quota);
struct xn_xs_limit xn_xs_domain_limit(const struct xn_xs_domain *domain, enum xn_xs_quota quota);
struct xn_xs_limit xn_xs_store_limit(const struct xn_xs_store *store, enum xn_xs_quota quota);
void xn_xs_store_set_limit(struct xn_xs_store *store, enum xn_xs_quota quota,
			   struct xn_xs_limit limit);
/* The same for good: it outlives the daemon, and what the configuration says. */
void xn_xs_store_keep_limit(struct xn_xs_store *store, enum xn_xs_quota quota,
			    struct xn_xs_limit limit);
/* Instead of the store's. */
void xn_xs_domain_set_limit(struct xn_xs_domain *domain, enum xn_xs_quota quota,
			    struct xn_xs_limit limit);
/* @told: once when a domain passes a soft limit, and each time that a hard one refuses something.
 */
void xn_xs_store_set_quota_told(struct xn_xs_store *store,
				void (*told)(const struct xn_xs_domain *domain,
					     enum xn_xs_quota quota, uint64_t value, bool is_hard,
					     void *arg),
				void *arg);
/* Bytes that the server holds for a domain. */
void xn_xs_domain_charge(struct xn_xs_domain *domain, size_t bytes);
void xn_xs_domain_discharge(struct xn_xs_domain *domain, size_t bytes);
/* Whether the server must not hold more for it: its input then waits. Never for domain 0. */
bool xn_xs_domain_is_full(struct xn_xs_domain *domain);

/* ---- connections ---- */
struct xn_xs_conn *xn_xs_conn_new(struct xn_xs_domain *domain);
void xn_xs_conn_free(
	struct xn_xs_conn *conn); /* drops its watches and transactions; NULL is fine */
struct xn_xs_domain *xn_xs_conn_domain(const struct xn_xs_conn *conn);
/* Number of the newest transaction that was begun; 0: none yet. */
uint32_t xn_xs_conn_highest_transaction(const struct xn_xs_conn *conn);
/*
 * This connection goes on where one of an earlier run of the daemon was: its transactions up to
 * @highest are lost. Who goes on with one finds it there, and gets EAGAIN at its end.
 */
void xn_xs_conn_lost_transactions(struct xn_xs_conn *conn, uint32_t highest);

/*
 * Requests. @tx: 0, or a transaction of this connection (ENOENT otherwise). Paths are absolute or
 * relative to /local/domain/<own domid>.
 */
/* Borrowed bytes, valid until the next request; not terminated. */
int xn_xs_conn_read(struct xn_xs_conn *conn, uint32_t tx, const char *path, const char **value_out,
		    size_t *len_out);
/* Missing parents are made; new nodes get the parent's permissions, a guest's are its own. */
int xn_xs_conn_write(struct xn_xs_conn *conn, uint32_t tx, const char *path, const void *value,
		     size_t len);
int xn_xs_conn_write_string(struct xn_xs_conn *conn, uint32_t tx, const char *path, const char *s);
int xn_xs_conn_writef(struct xn_xs_conn *conn, uint32_t tx, const char *path, const char *fmt, ...)
	XN_PRINTF(4, 5);
int xn_xs_conn_mkdir(struct xn_xs_conn *conn, uint32_t tx, const char *path); /* there: fine */
/* With all below. Absent: fine when the parent is there, else ENOENT. */
int xn_xs_conn_rm(struct xn_xs_conn *conn, uint32_t tx, const char *path);
/* Appends the children's names, sorted, each with a final NUL. */
int xn_xs_conn_directory(struct xn_xs_conn *conn, uint32_t tx, const char *path,
			 struct xn_buf *names);
/* Appends "n0", "r5" ..., each with a final NUL; the owner first. */
int xn_xs_conn_get_perms(struct xn_xs_conn *conn, uint32_t tx, const char *path,
			 struct xn_buf *text);
/* @text: "n0 r5", separated by spaces or NULs; @len bytes. The special paths are fine too. */
int xn_xs_conn_set_perms(struct xn_xs_conn *conn, uint32_t tx, const char *path, const char *text,
			 size_t len);

/*
 * Transactions see the store with their own changes on top. A commit runs the same requests again
 * on the store as it is then, and succeeds only if each would have told the client the same: so
 * two that merely share a parent both commit, and EAGAIN means that something read has changed.
 * All or nothing.
 */
int xn_xs_conn_begin(struct xn_xs_conn *conn, uint32_t *tx_out);
/*
 * Whether the start of a transaction should be held back, because others that this connection keeps
 * conflicting with have one open. 0: begin now; else no later than then it is to ask again, and
 * sooner when @go says so, from inside another's request: it only makes a note. @now_us:
 * microseconds of any steady clock. A time that is not yet up never keeps it from beginning anyway.
 */
uint64_t xn_xs_conn_hold_until(struct xn_xs_conn *conn, uint64_t now_us);
/* The same for a change outside of transactions, which waits for the control domain's only. */
uint64_t xn_xs_conn_yield_until(struct xn_xs_conn *conn, uint64_t now_us);
void xn_xs_conn_when_free(struct xn_xs_conn *conn, void (*go)(void *arg), void *arg);
int xn_xs_conn_end(struct xn_xs_conn *conn, uint32_t tx, bool commit);

/*
 * A watch on @path and all below, or @depth levels below (XN_XS_NO_DEPTH: no limit), or on
 * @introduceDomain, @releaseDomain (with depth 1 the event's path has /<domid> at its end). @fired
 * is called by xn_xs_store_deliver(), once soon in any case, then for each change that the domain
 * may read; pending events of the same watch and path are one. The path is relative if @path was.
 * @token is copied; a connection may have one watch for a path and token (EEXIST). @fired: NULL on
 * a connection that takes its events itself.
 */
int xn_xs_conn_watch(struct xn_xs_conn *conn, const char *path, const char *token, int depth,
		     void (*fired)(const char *path, const char *token, void *arg), void *arg,
		     struct xn_xs_watcher **watcher_out);
void xn_xs_conn_unwatch(struct xn_xs_watcher *watcher); /* inside @fired too */
struct xn_xs_watcher *xn_xs_conn_find_watch(struct xn_xs_conn *conn, const char *path,
					    const char *token);
/* The path as it was given: the same watch may be found by another that means the same node. */
const char *xn_xs_watcher_given(const struct xn_xs_watcher *watcher);
void xn_xs_conn_reset(struct xn_xs_conn *conn); /* drops all watches and transactions */

/* Whether tree and accounts agree with each other: how many things are wrong, told in @report. */
unsigned xn_xs_store_check(struct xn_xs_store *store, struct xn_buf *report);

/* ---- for the protocol's server (lookup.c) ---- */
bool xn_xs_conn_has_transaction(struct xn_xs_conn *conn, uint32_t tx);
int xn_xs_conn_check_watch_path(const struct xn_xs_conn *conn, const char *path); /* or -EINVAL */
/* Of what a listing says: a number that is another one after the list has changed. */
int xn_xs_conn_generation(struct xn_xs_conn *conn, uint32_t tx, const char *path,
			  uint64_t *generation_out);
/*
 * As directory, but in parts: names from byte @from of the list on, at most @at_most bytes, whole
 * ones but perhaps the first. Parts in a row cost no more than the names they have.
 */
int xn_xs_conn_list(struct xn_xs_conn *conn, uint32_t tx, const char *path, size_t from,
		    size_t at_most, struct xn_buf *names, bool *is_end_out);

/*
 * A connection that takes its events itself, when it has room for them, in order; for others
 * xn_xs_store_deliver() calls the watches. Meanwhile they wait: at most one a watch and path, and
 * past the domain's quota one a watch, for the watched path itself: something below has changed.
 * Set before the first watch. @waiting: called when one waits and none did before, inside another's
 * request: it only makes a note.
 */
struct xn_xs_event {
	const char *path, *token; /* terminated */
	size_t path_len, token_len;
};
void xn_xs_conn_take_events(struct xn_xs_conn *conn, void (*waiting)(void *arg), void *arg);
/* The first one that waits, borrowed until the next change or request; false: none does. */
bool xn_xs_conn_first_event(struct xn_xs_conn *conn, struct xn_xs_event *out);
void xn_xs_conn_pop_event(struct xn_xs_conn *conn);
size_t xn_xs_conn_n_events(const struct xn_xs_conn *conn);
/* In order; @path is absolute, as put_event takes it. */
void xn_xs_conn_each_event(struct xn_xs_conn *conn,
			   void (*visit)(struct xn_xs_watcher *watcher, const char *path,
					 void *arg),
			   void *arg);
void xn_xs_conn_each_watch(struct xn_xs_conn *conn,
			   void (*visit)(struct xn_xs_watcher *watcher, const char *path,
					 const char *token, int depth, void *arg),
			   void *arg);
/* Puts back what waited: an event at the end of the queue, or no events any more. */
void xn_xs_watcher_put_event(struct xn_xs_watcher *watcher, const char *path);
void xn_xs_conn_drop_events(struct xn_xs_conn *conn);

/* ---- the journal's hook ---- */
enum xn_xs_delta_kind {
	XN_XS_CREATED, /* value and perms are new */
	XN_XS_VALUE,
	XN_XS_PERMS,
	XN_XS_REMOVED, /* with all below */
};
/* One change of a committed set; all borrowed for the call. New values are the final ones. */
struct xn_xs_delta {
	enum xn_xs_delta_kind kind;
	bool implied;   /* a parent made on the way to a node */
	bool inherited; /* CREATED: the permissions are just the parent's */
	const char *path;
	size_t path_len;
	const char *value, *old_value;
	size_t value_len, old_value_len;
	const struct xn_xs_perms *perms, *old_perms;
};
struct xn_xs_commit {
	const struct xn_xs_store *store;
	uint64_t generation;
	const struct xn_xs_domain *by;
	uint32_t transaction; /* 0: a single request */
	size_t n;
	bool must; /* cannot be refused: a dead domain's nodes go */
};
/* The @index-th change of the set that the journal is being told of. */
void xn_xs_commit_delta(const struct xn_xs_commit *commit, size_t index, struct xn_xs_delta *out);
void xn_xs_perms_print(const struct xn_xs_perms *perms, char separator, struct xn_buf *out);
/*
 * For files: with births, "n0.1 r5.17", each followed by a space; exactly these domains are meant
 * when it is read again, and nobody when they are gone. 0: a domid that nobody had.
 */
void xn_xs_perms_print_births(const struct xn_xs_perms *perms, struct xn_buf *out);

/* What happened to a domain, or to the permissions of a special path. */
enum xn_xs_note_kind {
	XN_XS_NOTE_ADDED,
	XN_XS_NOTE_INTRODUCED,
	XN_XS_NOTE_STOPPED,
	XN_XS_NOTE_RESUMED,
	XN_XS_NOTE_RELEASED, /* its nodes were removed before */
	XN_XS_NOTE_TARGET,
	XN_XS_NOTE_LIMIT,    /* of a domain, or of all: then domain is NULL */
	XN_XS_NOTE_FEATURES,
	XN_XS_NOTE_SPECIAL,
};
struct xn_xs_note {
	enum xn_xs_note_kind kind;
	const struct xn_xs_domain *domain; /* SPECIAL: NULL */
	enum xn_xs_quota quota;            /* LIMIT */
	struct xn_xs_limit limit;
	const char *path; /* SPECIAL */
	const struct xn_xs_perms *perms;
};

/*
 * Who is told of all that changes, before any event leaves and before the reply; each member may be
 * NULL. What is told between begin and end belongs together; they nest.
 */
struct xn_xs_journal_ops {
	void (*begin)(void *arg);
	/* A change set. -ENOSPC, -EIO: it is undone and its request refused; else the end follows.
	 */
	int (*commit)(const struct xn_xs_commit *commit, void *arg);
	void (*note)(const struct xn_xs_note *note, void *arg);
	/* An event waits from now on for a connection that is kept; @path is absolute. @instead: of
	 * all others of that watch, which are dropped. */
	void (*event)(const struct xn_xs_domain *domain, const char *watch, const char *token,
		      const char *path, bool instead, void *arg);
	void (*end)(void *arg);
};
void xn_xs_store_set_journal(struct xn_xs_store *store, const struct xn_xs_journal_ops *ops,
			     void *arg); /* NULL: nobody */
/* The journal hears of this connection's events; nothing waits yet. */
void xn_xs_conn_keep(struct xn_xs_conn *conn);

/*
 * ---- putting back what a journal holds ----
 * Notes: by the same functions as at first (introduce, release ...), while no journal is set; but
 * domains are added with the births that they had. Change sets: by redo; no quota refuses them, and
 * watches that are set hear of them.
 */
/* NULL: out of range, or it or its birth lives already. Domain 0 with its birth: itself. */
struct xn_xs_domain *xn_xs_domain_restore(struct xn_xs_store *store, uint32_t domid,
					  uint64_t birth);
struct xn_xs_domain *xn_xs_domain_born(struct xn_xs_store *store, uint64_t birth); /* or NULL */
uint64_t xn_xs_store_highest_birth(const struct xn_xs_store *store);
/* Never lowers them. */
void xn_xs_store_restore_counters(struct xn_xs_store *store, uint64_t generation,
				  uint64_t highest_birth);
/* @perms: with births. -EINVAL */
int xn_xs_store_restore_special(struct xn_xs_store *store, const char *path, const char *perms,
				size_t perms_len);
struct xn_xs_redo {
	enum xn_xs_delta_kind kind;
	bool implied;
	const char *path; /* valid until the set's end */
	size_t path_len;
	const char *value; /* CREATED, VALUE */
	size_t value_len;
	const char *perms; /* CREATED, PERMS, with births; NULL: the parent's */
	size_t perms_len;
};
/*
 * What is older than the image that was loaded may be done again: a node that is there is changed
 * and not created, one that is not there was removed later. 0; -EINVAL: it is no such change, and
 * the set that it is of is undone.
 */
int xn_xs_store_redo(struct xn_xs_store *store, const struct xn_xs_redo *redo);
void xn_xs_store_redo_end(struct xn_xs_store *store, uint64_t generation);

/*
 * Walks what the domain may read at and below @path to @depth levels, parents first, children in
 * byte order; @visit stops the walk with a non-zero return, which is returned. No path is resolved
 * twice and nothing is copied: for snapshots. @level: 0 for @path itself.
 */
int xn_xs_conn_walk(struct xn_xs_conn *conn, const char *path, unsigned depth,
		    int (*visit)(const char *name, size_t name_len, unsigned level,
				 const char *value, size_t value_len, void *arg),
		    void *arg);

#endif
