/* What must hold when nothing runs any more; see sim.h. */
#include "modules/db/db.h"
#include "sim.h"

static void check_rows(struct sim_world *w)
{
	struct xn_buf report XN_CLEANUP(xn_buf_clear_p) = {0};

	if (xn_db_check(xn_db_of(&w->core), &report))
		sim_fail(w, "the database is inconsistent: %s", xn_buf_cstr(&report));
}

/* No operation without an owner: nothing runs, so nothing may be under way. */
static void check_operations(struct sim_world *w)
{
	static const struct {
		int class_id, field;
	} holders[] = {
		{XN_CLASS_VM, XN_VM_current_operations},   {XN_CLASS_VBD, XN_VBD_current_operations},
		{XN_CLASS_VIF, XN_VIF_current_operations}, {XN_CLASS_VDI, XN_VDI_current_operations},
		{XN_CLASS_SR, XN_SR_current_operations},   {XN_CLASS_host, XN_host_current_operations},
	};
	struct xn_db *db = xn_db_of(&w->core);

	for (size_t i = 0; i < XN_ARRAY_SIZE(holders); i++)
		for (struct xn_row *row = xn_db_first(db, holders[i].class_id); row;
		     row = xn_db_next(db, row))
			if (xn_map_len(xn_row_get(row, holders[i].field)))
				sim_fail(w, "%s %s has an operation that nobody runs",
					 xn_classes[holders[i].class_id].name, xn_row_ref(row));
	if (xn_db_count(db, XN_CLASS_xn_operation))
		sim_fail(w, "%zu operations are journaled that nobody runs",
			 xn_db_count(db, XN_CLASS_xn_operation));
}

static void check_tasks(struct sim_world *w)
{
	struct xn_db *db = xn_db_of(&w->core);

	for (struct xn_row *row = xn_db_first(db, XN_CLASS_task); row; row = xn_db_next(db, row))
		if (strcmp(xn_row_string(row, XN_task_status), "pending") == 0)
			sim_fail(w, "task %s (%s) is pending for ever", xn_row_ref(row),
				 xn_row_string(row, XN_task_name_label));
}

void sim_check_rest(struct sim_world *w)
{
	check_rows(w);
	check_operations(w);
	check_tasks(w);
}

uint64_t sim_state_hash(struct sim_world *w)
{
	return xn_db_state_hash(xn_db_of(&w->core));
}
