/* What the files of this folder share; see operation.h. */
#ifndef XN_OPERATION_INTERNAL_H
#define XN_OPERATION_INTERNAL_H

#include "core/hmap.h"
#include "modules/operation/operation.h"
#include "modules/task/task.h"

struct xn_rules_state {
	const struct xn_operation_rules *rules;
	unsigned n_advertised;
	struct xn_value *names[XN_OPERATION_MAX_ADVERTISED];
	struct xn_hmap sets; /* mask -> the set value that all rows with it share */
};

struct xn_operations {
	struct xn_core *core;
	struct xn_db *db;
	struct xn_tasks *tasks;
	struct xn_rules_state *rules[XN_CLASS_COUNT];
	struct xn_hmap objects; /* struct xn_claimed, by reference */
	struct xn_hmap waiting; /* struct xn_claim, by holder */
	struct xn_list runs;    /* whole operations, for a clean stop */
	struct xn_list shorts;  /* short.c: those that wait */
	struct xn_list kinds;
	struct xn_subscription *on_db_failed;
	int wiping; /* class of which marks that nobody holds are wiped next */
	struct xn_job wipe;
	struct xn_value *stale; /* NULL, or references of rows to set right, from .stale_at on ... */
	size_t stale_at;
	int stale_class; /* ... and then those of this class */
	struct xn_job refresh_stale;
	struct xn_metrics_source metrics;
};

struct xn_claimed {
	struct xn_hnode node;
	struct xn_operations *ops;
	char ref[48];
	struct xn_list held, waiting; /* of claims; waiting in arrival order */
	unsigned n_waiting;
	struct xn_job wake;
};

/* allowed_operations; rules.c */
const struct xn_operation_rules *xn_rules_of(const struct xn_operations *ops, int class_id);
void xn_rules_free(struct xn_rules_state *state);

/* claim.c */
void xn_claims_stop(struct xn_operations *ops);

/* After turns that the disk refused: current_operations shows what is held. In slices follow the
 * marks that nobody holds, whereupon who waits asks again, and what is allowed. */
void xn_claims_restore(struct xn_operations *ops);

/* run.c, short.c */
void xn_runs_stop(struct xn_operations *ops);
void xn_shorts_stop(struct xn_operations *ops);

#endif
