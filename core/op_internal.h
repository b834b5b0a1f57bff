/* What op.c shares with op_group.c. */
#ifndef XN_OP_INTERNAL_H
#define XN_OP_INTERNAL_H

#include "core/module.h"
#include "core/op.h"

struct xn_engine {
	struct xn_list made;   /* struct xn_op not started yet: they wait for their claims */
	struct xn_list live;   /* struct xn_op, in the order they were started */
	struct xn_hmap by_id;
	struct xn_list groups; /* struct xn_group with children under way */
	struct xn_op_counts **counts; /* of each kind that ever ran */
	size_t n_counts;
	struct xn_metrics_source metrics;
};

/* op_metrics.c */
struct xn_op_counts {
	const struct xn_op_kind *kind;
	int64_t running;
	uint64_t succeeded, failed, cancelled, deadlines, restarted;
	struct xn_histogram times;
};
struct xn_op_counts *xn_op_counts_(struct xn_op *op);
void xn_op_count_end_(struct xn_op *op);
void xn_op_metrics_init_(struct xn_core *core);
void xn_op_metrics_clear_(struct xn_engine *engine);

/* What a test wants to go wrong now; see enum xn_op_fault. */
enum xn_op_fault xn_op_fault_of(const struct xn_op *op, int member);
void xn_groups_free_(struct xn_engine *engine);

#endif
