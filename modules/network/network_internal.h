/* Inside modules/network only. */
#ifndef XN_NETWORK_INTERNAL_H
#define XN_NETWORK_INTERNAL_H

#include "modules/db/db.h"
#include "modules/host/host.h"
#include "modules/network/interfaces.h"
#include "modules/network/network.h"

struct xn_network {
	struct xn_core *core;
	struct xn_db *db;
	struct xn_host *host;
	int notices; /* the kernel's link and address notices; -1 */
	struct xn_io *notices_io;
	struct xn_timer settle; /* a burst of notices is answered once */
	bool reading, again;
	struct xn_list readings; /* under way in workers */
};

extern const struct xn_method_impl xn_network_methods[];

/*
 * PIF, PIF_metrics and network rows that differ from @found are written. @adopt: cards without a
 * PIF get one. Rows of cards that are gone stay, without carrier.
 */
void xn_pifs_apply(struct xn_network *network, const struct xn_interfaces *found, bool adopt);
struct xn_row *xn_pif_of_device(struct xn_network *network, const char *device);
/* A new physical PIF, its metrics, and its network (found by its bridge, or made). */
struct xn_row *xn_pif_make(struct xn_network *network, const struct xn_interface *card,
			   bool managed);
struct xn_row *xn_network_by_bridge(struct xn_db *db, const char *bridge);

/* Reads the interfaces in a worker, then calls back on the loop. */
void xn_network_read(struct xn_network *network,
		     void (*done)(struct xn_network *network, const struct xn_interfaces *found,
				  void *arg),
		     void *arg);

#endif
