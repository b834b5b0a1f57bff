/*
 * The rings of this host's domains: opened when a domain is introduced, closed when it is released
 * or the carrier says that it is gone, gone on with after a crash. What stands behind INTRODUCE and
 * RELEASE (struct xn_xs_host).
 */
#ifndef XN_XENSTORE_RING_TABLE_H
#define XN_XENSTORE_RING_TABLE_H

#include "modules/xenstore/server/ring.h"
#include "modules/xenstore/server/server.h"

struct xn_xs_rings;

/* Takes @carrier. @journal: NULL when nothing is kept. The server, the store and the journal must
 * outlive it. Sets the server's host and the store's lookup. */
struct xn_xs_rings *xn_xs_rings_new(struct xn_core *core, struct xn_xs_store *store,
				    struct xn_xs_server *server, struct xn_xs_journal *journal,
				    struct xn_xs_carrier *carrier);
/*
 * Once, before anybody else is served: goes on with the rings that the journal has, lets go of
 * domains that are gone meanwhile, and opens the ring of this domain's own kernel.
 */
void xn_xs_rings_start(struct xn_xs_rings *rings);
/* After the server, whose connections have the links. NULL is fine. */
void xn_xs_rings_free(struct xn_xs_rings *rings);

struct xn_xs_carrier *xn_xs_rings_carrier(struct xn_xs_rings *rings);

#endif
