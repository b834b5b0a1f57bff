/*
 * A queue in which who puts much in does not keep the others waiting: what comes out takes turns
 * between callers, for one caller between its objects, and for one object is in order of arrival.
 * Callers and objects are numbers (hashes of what names them); two with the same share a turn.
 */
#ifndef XN_FAIR_H
#define XN_FAIR_H

#include "core/hmap.h"
#include "core/list.h"

struct xn_fair {
	struct xn_hmap turns;	/* of callers and of their objects */
	struct xn_list callers; /* the next one first */
	unsigned count;
};

struct xn_fair_item { /* embedded; all zero bytes = not queued */
	struct xn_list link;
	struct xn_fair_turn *turn;
};

void xn_fair_init(struct xn_fair *fair);
void xn_fair_clear(struct xn_fair *fair); /* what is queued is no longer; no init needed before use */
void xn_fair_put(struct xn_fair *fair, struct xn_fair_item *item, uint64_t caller, uint64_t object);
/* The next one, or NULL. @may: asked about an object's number; passes by those it says no to. NULL:
 * any. */
struct xn_fair_item *xn_fair_take(struct xn_fair *fair, bool (*may)(uint64_t object, void *arg),
				  void *arg);
void xn_fair_remove(struct xn_fair *fair, struct xn_fair_item *item); /* not queued: nothing */
static inline bool xn_fair_is_queued(const struct xn_fair_item *item)
{
	return item->turn != NULL;
}

#endif
