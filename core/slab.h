/*
 * Memory for many objects of one size that come and go in crowds: in blocks of their own, of which
 * each goes back to the system as soon as its last object is freed. Among other allocations one that
 * stays would keep what a crowd has left.
 */
#ifndef XN_SLAB_H
#define XN_SLAB_H

#include "core/base.h"
#include "core/list.h"

struct xn_slab { /* embedded */
	size_t size;		/* of an object */
	struct xn_list partial; /* blocks with room, those with the longest life first */
	struct xn_list full;
	size_t n_blocks;
};

void xn_slab_init(struct xn_slab *slab, size_t size);
void *xn_slab_alloc(struct xn_slab *slab); /* all zero bytes; aborts when memory is gone */
void xn_slab_free(struct xn_slab *slab, void *object); /* NULL is fine */
void xn_slab_free_any(void *object); /* of whatever slab it is; NULL is fine */
/* With what was not freed. */
void xn_slab_clear(struct xn_slab *slab);

#endif
