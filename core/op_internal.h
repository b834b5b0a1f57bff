/* What op.c shares with op_group.c. */
#ifndef XN_OP_INTERNAL_H
#define XN_OP_INTERNAL_H

#include "core/module.h"
#include "core/op.h"

struct xn_engine {
	struct xn_list live;   /* struct xn_op, in the order they were started */
	struct xn_hmap by_id;
	struct xn_list groups; /* struct xn_group with children under way */
};

/* What a test wants to go wrong now; see enum xn_op_fault. */
enum xn_op_fault xn_op_fault_of(const struct xn_op *op, int member);
void xn_groups_free_(struct xn_engine *engine);

#endif
