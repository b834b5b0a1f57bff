/* What the operations of this module share: making, freeing, and callbacks that may come late. */
#include <stdio.h>
#include <stdlib.h>

#include "modules/storage/storage_internal.h"

struct xn_storage_wait {
	struct xn_list link; /* st->waits */
	struct xn_storage *st;
	struct xn_storage_op *op; /* NULL: nobody waits any more */
	struct xn_op_token step;  /* that waits: its operation may be between two of them */
	char ref[XN_REF_LEN];     /* the VDI, else the SR, that it is about; or "" */
};

struct xn_op *xn_storage_op_make(struct xn_core *core, const struct xn_op_kind *kind,
				 const struct xn_value *args)
{
	struct xn_storage_op *o = xn_calloc(1, sizeof(*o));

	xn_op_init(&o->op, kind, core, args);
	o->st = xn_storage_of(core);
	return &o->op;
}

static void stop_waiting(struct xn_storage_op *o)
{
	if (o->waiting)
		o->waiting->op = NULL;
	o->waiting = NULL;
}

void xn_storage_op_free(struct xn_op *op)
{
	struct xn_storage_op *o = xn_storage_op_of(op);

	stop_waiting(o);
	xn_timer_cancel(&o->tick);
	xn_job_cancel(&o->turn);
	xn_value_unref(o->record);
	free(o);
}

struct xn_storage_wait *xn_storage_wait_new(struct xn_storage_op *o)
{
	struct xn_storage_wait *wait = xn_calloc(1, sizeof(*wait));

	stop_waiting(o);
	xn_list_push(&o->st->waits, &wait->link);
	wait->st = o->st;
	wait->op = o;
	wait->step = xn_op_token(&o->op);
	snprintf(wait->ref, sizeof(wait->ref), "%s", xn_storage_op_arg(o, "vdi"));
	if (!wait->ref[0])
		snprintf(wait->ref, sizeof(wait->ref), "%s", xn_storage_op_arg(o, "sr"));
	o->waiting = wait;
	return wait;
}

struct xn_storage_op *xn_storage_wait_take(struct xn_storage_wait *wait)
{
	struct xn_storage_op *o = wait->op;

	if (o)
		o->waiting = NULL;
	if (o && !xn_op_find(wait->st->core, &wait->step))
		o = NULL;
	xn_list_remove(&wait->link);
	free(wait);
	return o;
}

struct xn_storage_op *xn_storage_wait_op(const struct xn_storage_wait *wait)
{
	return wait->op;
}

const char *xn_storage_wait_ref(const struct xn_storage_wait *wait)
{
	return wait->ref;
}

struct xn_storage *xn_storage_wait_storage(const struct xn_storage_wait *wait)
{
	return wait->st;
}

void xn_storage_waits_abandon(struct xn_storage *st)
{
	xn_list_each_safe(node, &st->waits)
		xn_storage_wait_take(xn_list_entry(node, struct xn_storage_wait, link));
}

void xn_storage_op_end_step(struct xn_storage_op *o, const struct xn_error *err)
{
	struct xn_error copy = {0};

	if (!err) {
		xn_op_done(&o->op, 0);
		return;
	}
	xn_error_copy(&copy, err);
	xn_op_fail(&o->op, &copy);
}

void xn_storage_wait_done(const struct xn_error *err, void *wait)
{
	struct xn_storage_op *o = xn_storage_wait_take(wait);

	if (o)
		xn_storage_op_end_step(o, err);
}
