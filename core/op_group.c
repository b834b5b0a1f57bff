/* Groups: a step that does the same for many things, some at a time. See op.h. */
#include "core/op_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct xn_group {
	struct xn_list link;
	struct xn_core *core;
	struct xn_op_token step; /* the step that this group is */
	unsigned n, width;
	unsigned begun, ended;
	bool beginning; /* a run() that ends inside must not begin the next one: no recursion */
	struct xn_error error;
	void (*run)(struct xn_group *group, unsigned index, void *arg);
	void *arg;
	int broken; /* XN_FAULT_FAIL_AFTER: this member's success becomes a failure; -1 */
};

static void free_group(struct xn_group *group)
{
	xn_list_remove(&group->link);
	xn_error_clear(&group->error);
	free(group);
}

void xn_groups_free_(struct xn_engine *engine)
{
	while (!xn_list_empty(&engine->groups))
		free_group(xn_list_entry(engine->groups.next, struct xn_group, link));
}

/* Nothing new begins after an error, nor when the step is over (timed out, cancelled). */
static bool may_begin_one(const struct xn_group *group)
{
	return group->begun < group->n && group->begun - group->ended < group->width &&
	       !group->error.code && xn_op_find(group->core, &group->step);
}

static void end_group(struct xn_group *group)
{
	struct xn_op *op = xn_op_find(group->core, &group->step);
	struct xn_error err = {0};

	xn_error_move(&err, &group->error);
	free_group(group);
	if (op && err.code)
		xn_op_fail(op, &err);
	else if (op)
		xn_op_done(op, 0);
	xn_error_clear(&err);
}

static void begin_member(struct xn_group *group)
{
	unsigned index = group->begun++;
	struct xn_op *op = xn_op_find(group->core, &group->step);
	enum xn_op_fault fault = op ? xn_op_fault_of(op, (int)index) : XN_FAULT_NONE;
	struct xn_error err = {0};

	if (fault == XN_FAULT_HANG)
		return;
	if (fault == XN_FAULT_FAIL) {
		xn_error_from_errno(&err, -EIO, "a test broke it");
		xn_group_done(group, index, &err);
		return;
	}
	if (fault == XN_FAULT_FAIL_AFTER)
		group->broken = (int)index;
	group->run(group, index, group->arg);
}

/* Begins what may begin. Return false when that was the end of the group. */
static bool go_on(struct xn_group *group)
{
	if (group->beginning)
		return true;
	group->beginning = true;
	while (may_begin_one(group))
		begin_member(group);
	group->beginning = false;
	if (group->begun > group->ended)
		return true;
	end_group(group);
	return false;
}

struct xn_group *xn_group_start(struct xn_op *op, unsigned n, unsigned width,
				void (*run)(struct xn_group *group, unsigned index, void *arg),
				void *arg)
{
	struct xn_group *group = xn_calloc(1, sizeof(*group));

	assert(width > 0);
	group->core = op->core;
	group->step = xn_op_token(op);
	group->n = n;
	group->width = width;
	group->broken = -1;
	group->run = run;
	group->arg = arg;
	xn_list_push(&op->core->engine->groups, &group->link);
	return go_on(group) ? group : NULL;
}

void xn_group_done(struct xn_group *group, unsigned index, struct xn_error *err)
{
	struct xn_op *op = xn_op_find(group->core, &group->step);
	struct xn_error broken = {0};

	assert(index < group->begun);
	group->ended++;
	if ((int)index == group->broken && !(err && err->code)) {
		xn_error_from_errno(&broken, -EIO, "a test broke it");
		err = &broken;
	}
	if (err && err->code && !group->error.code)
		xn_error_move(&group->error, err);
	else if (err)
		xn_error_clear(err);
	if (op)
		xn_op_progress(op, (double)group->ended / group->n);
	go_on(group);
}
