/* The real thing under the random test, by the way that reaches it: the store's own calls
 * (real_store.c), or frames into connections of the server. */
#ifndef XN_TEST_XENSTORE_REAL_H
#define XN_TEST_XENSTORE_REAL_H

#include "model.h"

typedef void real_event(unsigned conn, const char *path, const char *token, void *arg);

/* Connections from here on, of domains 1 and so on, are their rings: they come and go with them, and
 * outlive kills. */
enum { REAL_RINGS = M_CONNS - M_DOMIDS };

struct real_ops {
	const char *name;
	bool has_rings;
	void *(*open)(uint64_t seed);
	void (*close)(void *real);
	void (*domain_add)(void *real, uint32_t domid);
	void (*domain_introduce)(void *real, uint32_t domid);
	void (*domain_stopped)(void *real, uint32_t domid);
	void (*domain_resume)(void *real, uint32_t domid); /* NULL: there is no such thing */
	void (*domain_release)(void *real, uint32_t domid);
	void (*domain_set_target)(void *real, uint32_t domid, uint32_t target);
	void (*conn_open)(void *real, unsigned conn, uint32_t domid);
	void (*conn_close)(void *real, unsigned conn);
	/* Any request; TRANSACTION_START answers the number as text. */
	void (*request)(void *real, unsigned conn, uint32_t tx, const struct m_request *q,
			struct m_answer *out);
	/* Something that is no right request, the @kind-th sort of it; what it was told, or NULL when
	 * the right error came. The connection is closed by what is no frame: *is_closed_out. */
	const char *(*junk)(void *real, unsigned conn, unsigned kind, bool *is_closed_out);
	/* Watch events that wait, @at_most of them. Return whether there are more. */
	bool (*deliver)(void *real, unsigned at_most, real_event *came, void *arg);
	/* Nodes that a domain is charged for; -1: cannot be told. */
	int64_t (*nodes_of)(void *real, uint32_t domid);
	/* What survives SIGKILL only; else NULL. The kill comes at the @n-th point from now on at which
	 * somebody could see a difference; 0: not any more. A request that dies is answered with
	 * -ENOTCONN, but by a ring. */
	void (*arm)(void *real, unsigned n);
	/* Whether it was killed; then it has been started again, and all connections but rings are gone. */
	bool (*was_killed)(void *real);
	void (*set_full)(void *real, bool is_full); /* the journal's disk */
};

/* The model's quotas; the others stay as they are. */
struct xn_xs_store;
void real_set_limits(struct xn_xs_store *store);

extern const struct real_ops real_store_ops, real_server_ops, real_journal_ops;

#endif
