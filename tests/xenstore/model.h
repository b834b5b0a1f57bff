/*
 * The model of the xenstore that the random test compares with: obviously right before anything
 * else. The tree is a flat list of paths; a transaction is a list of requests and of what each of
 * them told, and a commit runs them again on a copy of the tree: exactly when one would tell
 * something else the store may refuse. Identities are (domid, birth). Nothing here is shared with
 * the store but the numbers of the protocol.
 */
#ifndef XN_TEST_XENSTORE_MODEL_H
#define XN_TEST_XENSTORE_MODEL_H

#include "core/base.h"
#include "modules/xenstore/wire.h"

enum {
	M_PATH = 96,
	M_VALUE = 24,
	M_ACES = 4,
	M_NODES = 400,
	M_GRAVES = 400,
	M_CHANGES = 600,
	M_LOG = 40,
	M_TRANSACTIONS = 3, /* of a connection, at a time */
	M_CONNS = 16,
	M_WATCHES = 6, /* of a connection */
	M_EVENTS = 4000,
	M_DOMIDS = 8,
	M_NO_DEPTH = -1,
	/* Of a guest; small, so that they are reached. */
	M_MOST_NODES = 12,
	M_MOST_TRANSACTIONS = 5,
	M_MOST_WATCHES = 9,
};

struct m_who {
	uint32_t domid;
	unsigned birth; /* 0: a number that nobody has */
};
struct m_ace {
	struct m_who who;
	char letter;
};
struct m_perms {
	struct m_ace aces[M_ACES];
	unsigned n;
};
struct m_node {
	unsigned id; /* another one each time that a path is made anew */
	char path[M_PATH];
	char value[M_VALUE];
	struct m_perms perms;
};
struct m_tree {
	struct m_node nodes[M_NODES];
	unsigned n;
};

enum m_kind { M_CREATED, M_VALUE_SET, M_PERMS_SET, M_REMOVED };
/* One change of a set; perms are looked up by node when the set is whole. */
struct m_change {
	enum m_kind kind;
	bool implied;
	char path[M_PATH];
	unsigned node, parent;
	struct m_perms old_perms;
};
struct m_set {
	struct m_change changes[M_CHANGES];
	struct m_grave {
		struct m_node node; /* as it was last */
		unsigned by;	    /* the change that removed it */
	} graves[M_GRAVES];
	unsigned n, n_graves;
};

struct m_request {
	uint32_t type; /* enum xn_xs_wire_type */
	char path[M_PATH], value[M_VALUE], token[M_VALUE];
	struct m_perms perms; /* SET_PERMS, with the domains that had these numbers then */
	int depth;	      /* WATCH */
	bool commit;	      /* TRANSACTION_END */
	uint32_t domid, target;
};
struct m_answer {
	int rc;
	char text[1200]; /* strings of the reply, each with a comma behind it */
};

struct m_transaction {
	uint32_t id; /* 0: free */
	bool is_quiet; /* nothing has changed since it began */
	bool is_lost;  /* the daemon was killed since */
	bool is_doubtful; /* it was killed while this began: lost or not */
	struct m_request log[M_LOG];
	struct m_answer told[M_LOG];
	unsigned n;
};
struct m_watch {
	char path[M_PATH], full[M_PATH], token[M_VALUE];
	int depth;
	bool is_set;
};
struct m_conn {
	bool is_open, is_kept; /* kept: a ring, which outlives the daemon */
	struct m_who who;
	struct m_transaction transactions[M_TRANSACTIONS];
	struct m_watch watches[M_WATCHES];
};
struct m_domain {
	bool is_alive, is_introduced, is_stopped, has_target;
	unsigned birth;
	struct m_who target;
};
/* A watch event that a connection is owed. */
struct m_event {
	unsigned conn;
	char path[M_PATH], token[M_VALUE];
	bool is_due, /* it must come; else it only may: its watch has gone meanwhile */
		is_here;
};

struct model {
	struct m_tree tree;
	struct m_domain domains[M_DOMIDS];
	struct m_conn conns[M_CONNS];
	struct m_perms special[2]; /* @introduceDomain, @releaseDomain */
	struct m_event events[M_EVENTS];
	unsigned n_events, births, next_id;
	struct m_set set; /* of the request at hand */
	bool no_quotas;	  /* while a transaction is looked at */
	bool is_again;	  /* after a kill, rings may be told once more what they know */
};

void m_init(struct model *m);
/* Whoever has this number now. */
struct m_who m_who_has(const struct model *m, uint32_t domid);

/* One of the requests on nodes, outside of transactions. */
void m_run(struct model *m, unsigned conn, const struct m_request *q, struct m_answer *out);
/* Inside: what the store told; compared when only the transaction's own changes can show. Return
 * whether it is right. @expected: if not, what it should have been. A quota refuses there what is sure
 * to fail, and all else at the commit; what it refuses is as if it had never been asked. */
bool m_told(struct model *m, unsigned conn, struct m_transaction *tx, const struct m_request *q,
	    const struct m_answer *told, struct m_answer *expected);
/* Whether one more may begin: 0 or -ENOSPC. */
int m_begin(const struct model *m, unsigned conn);
/* 0: it has happened; -EAGAIN; -ENOSPC. */
int m_commit(struct model *m, unsigned conn, struct m_transaction *tx);
int m_watch(struct model *m, unsigned conn, const struct m_request *q);
int m_unwatch(struct model *m, unsigned conn, const struct m_request *q);
void m_conn_open(struct model *m, unsigned conn, uint32_t domid);
void m_conn_reset(struct model *m, unsigned conn); /* watches and transactions go */
void m_conn_close(struct model *m, unsigned conn);
void m_domain_add(struct model *m, uint32_t domid);
void m_domain_introduce(struct model *m, uint32_t domid);
void m_domain_stopped(struct model *m, uint32_t domid);
void m_domain_resume(struct model *m, uint32_t domid);
void m_domain_release(struct model *m, uint32_t domid);
void m_domain_set_target(struct model *m, uint32_t domid, uint32_t target);
/* The daemon was killed and has started again: connections but rings are gone, all else is there. */
void m_crash(struct model *m);
/* An event has come. Return whether it may. */
bool m_event_came(struct model *m, unsigned conn, const char *path, const char *token);
/* One that is due and has not come, or NULL; then all is told and the list is empty. */
const struct m_event *m_events_settle(struct model *m);
/* What is due in @m and not in @before need not come: nobody can tell whether it has happened. */
void m_events_may_come(struct model *m, struct model *before);
unsigned m_nodes_of(const struct model *m, struct m_who who);

#endif
