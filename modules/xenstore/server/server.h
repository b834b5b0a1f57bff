/*
 * The server of the xenstore protocol on the embedded store: connections on links (link.h), whatever
 * carries them. It opens the Unix socket itself (socket.c); guests' rings are made by whoever knows
 * the host's domains, behind struct xn_xs_host.
 */
#ifndef XN_XENSTORE_SERVER_H
#define XN_XENSTORE_SERVER_H

#include "core/module.h"
#include "modules/xenstore/journal/journal.h"
#include "modules/xenstore/server/link.h"
#include "modules/xenstore/store/store.h"

struct xn_xs_server;
struct xn_xs_connection;

/* @journal: NULL when nothing is kept. Both must outlive the server. */
struct xn_xs_server *xn_xs_server_new(struct xn_core *core, struct xn_xs_store *store,
				      struct xn_xs_journal *journal);
/* Ends all connections, before what carries them goes; nobody is served any more. NULL is fine. */
void xn_xs_server_close(struct xn_xs_server *server);
void xn_xs_server_free(struct xn_xs_server *server); /* NULL is fine */

/* Serves domain 0 on a socket file of mode 0600, for root and the daemon's own user. */
int xn_xs_server_listen(struct xn_xs_server *server, const char *path, struct xn_error *err);

/*
 * Serves @domain on @link, which is taken, until the link is over or the domain gone. @kept: as the
 * journal gave it back, to go on with; NULL: a new connection. The caller records a kept link's
 * ring_open before.
 */
struct xn_xs_connection *xn_xs_server_add_link(struct xn_xs_server *server,
					       struct xn_xs_domain *domain,
					       struct xn_xs_link *link,
					       const struct xn_xs_kept_ring *kept);
/* The same on a connected socket that does not block; taken. */
void xn_xs_server_add_socket(struct xn_xs_server *server, struct xn_xs_domain *domain, int fd);
/* Closes it and its link, at once. */
void xn_xs_server_drop(struct xn_xs_connection *connection);
/* Nothing of what was hangs on its connections any more: it was introduced again. */
void xn_xs_server_reset_domain(struct xn_xs_server *server, struct xn_xs_domain *domain);
/* Closes all connections of a domain, which can then be released. */
void xn_xs_server_drop_domain(struct xn_xs_server *server, struct xn_xs_domain *domain);

/*
 * Who makes guests' rings, for INTRODUCE and RELEASE. Without a host a domain is known to the store
 * as introduced, and that is all.
 */
struct xn_xs_host {
	/* Whether the hypervisor has such a domain; NULL: all numbers are fine. */
	bool (*exists)(struct xn_xs_host *host, uint32_t domid);
	/* Makes the ring's link and serves it (xn_xs_server_add_link); again with another port for a
	 * domain that has one: its ring begins anew. 0 or -errno, the client's answer. */
	int (*introduce)(struct xn_xs_host *host, struct xn_xs_domain *domain, uint64_t gfn,
			 uint32_t port);
	/* The domain's connection is closed and the domain released right after. */
	void (*release)(struct xn_xs_host *host, struct xn_xs_domain *domain);
};
void xn_xs_server_set_host(struct xn_xs_server *server, struct xn_xs_host *host); /* or NULL */

/* ---- metrics ---- */
void xn_xs_server_write_metrics(const struct xn_xs_server *server, struct xn_metrics_page *page);

#endif
