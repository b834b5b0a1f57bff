/*
 * Networks and the host's network cards: rows from the machine's real interfaces, kept true by the
 * kernel's own notices; and the API calls on them. Says which bridge a VIF belongs on.
 */
#ifndef XN_NETWORK_H
#define XN_NETWORK_H

#include "core/module.h"

extern const struct xn_module xn_network_module;

struct xn_network;

static inline struct xn_network *xn_network_of(struct xn_core *core)
{
	return xn_module_state(core, "network");
}

/* What network.create does with a record that was checked: a bridge of its own where none is named.
 * @ref: chosen beforehand; NULL: any. */
struct xn_row;
struct xn_value;
struct xn_row *xn_network_new(struct xn_network *network, const char *ref,
			      const struct xn_value *given);

#endif
