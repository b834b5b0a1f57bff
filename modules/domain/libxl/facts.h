/*
 * What the back end knows of the hypervisor between two readings: the domains and the host. Read by
 * children of their own, so that a reading never waits behind a call that builds a domain.
 */
#ifndef XN_LIBXL_FACTS_H
#define XN_LIBXL_FACTS_H

#include "modules/domain/libxl/domain_table.h"
#include "modules/domain/libxl/pool.h"

struct xn_libxl_facts {
	struct xn_loop *loop;
	struct xn_libxl_pool *pool;
	struct xn_domain_table domains;
	struct xn_host_info host;
	struct xn_list asking, waiting; /* who waits for this reading, and for the next one */
	uint64_t stamp;
	unsigned under_way; /* calls of the reading */
	int rc;
	bool again;
	struct xn_timer regularly;
	void (*listed)(void *arg); /* domains were read; NULL: nobody wants to know */
	void *arg;
};

/*
 * Nobody tells how much memory guests give back or take, so the lists are also read now and then once
 * xn_libxl_facts_keep_fresh() was called. @pool stays the caller's; freed before the facts are
 * cleared.
 */
void xn_libxl_facts_init(struct xn_libxl_facts *facts, struct xn_loop *loop,
			 struct xn_libxl_pool *pool);
void xn_libxl_facts_keep_fresh(struct xn_libxl_facts *facts);
void xn_libxl_facts_clear(struct xn_libxl_facts *facts);
/* A reading that begins now or, when one is under way, after that one; @done may be NULL. */
void xn_libxl_facts_refresh(struct xn_libxl_facts *facts, xn_backend_done *done, void *arg);
/* The first one: waits, @limit_ms at most, with children of its own (@spec; its loop is not used).
 * 0 or -errno. */
int xn_libxl_facts_read_first(struct xn_libxl_facts *facts, const struct xn_libxl_pool_spec *spec,
			      unsigned limit_ms);

#endif
