/*
 * Claims: who holds an object, and the queues of those that wait; see operation.h. The rows'
 * current_operations show what is held here.
 *
 * A claim that the rules call busy waits in the queue of the object named in the refusal. When a
 * claim on that object ends, its queue is asked again from the front; the first that is still busy
 * there stops the round, so nobody overtakes except what the rules call urgent.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/operation/operation_internal.h"

static void wake_later(struct xn_claimed *object);

/* ---- objects with claims ---- */

static struct xn_claimed *find_object(const struct xn_operations *ops, const char *ref)
{
	struct xn_hnode *node = xn_hmap_first_same(&ops->objects, xn_hash_string(ref));

	for (; node; node = xn_hmap_next_same(node)) {
		struct xn_claimed *object = xn_container_of(node, struct xn_claimed, node);

		if (strcmp(object->ref, ref) == 0)
			return object;
	}
	return NULL;
}

static struct xn_claimed *get_object(struct xn_operations *ops, const char *ref)
{
	struct xn_claimed *object = find_object(ops, ref);

	if (object)
		return object;
	object = xn_calloc(1, sizeof(*object));
	object->ops = ops;
	memcpy(object->ref, ref, strnlen(ref, sizeof(object->ref) - 1));
	xn_list_init(&object->held);
	xn_list_init(&object->waiting);
	xn_hmap_insert(&ops->objects, &object->node, xn_hash_string(object->ref));
	return object;
}

static void free_object(struct xn_claimed *object)
{
	xn_job_cancel(&object->wake);
	xn_hmap_remove(&object->ops->objects, &object->node);
	free(object);
}

static void free_if_unused(struct xn_claimed *object)
{
	if (xn_list_empty(&object->held) && xn_list_empty(&object->waiting))
		free_object(object);
}

/* ---- one claim ---- */

static bool is_urgent(const struct xn_operation_rules *rules, const char *operation)
{
	const char *const *urgent = rules ? rules->urgent : NULL;

	for (; urgent && *urgent; urgent++)
		if (strcmp(*urgent, operation) == 0)
			return true;
	return false;
}

bool xn_operation_is_urgent(const struct xn_operations *ops, const struct xn_method *method)
{
	if (method->lock_param < 0 || !method->operation)
		return false;
	return is_urgent(xn_rules_of(ops, method->params[method->lock_param].type->class_id),
			 method->operation);
}

static int ask(struct xn_claim *claim, struct xn_error *err)
{
	struct xn_operations *ops = claim->ops;
	const struct xn_operation_rules *rules = xn_rules_of(ops, claim->class_id);
	struct xn_row *row = xn_db_need(ops->db, claim->class_id, claim->object, err);

	if (!row)
		return -1;
	return rules ? rules->refuse(ops->db, row, claim->operation, NULL, err) : 0;
}

static bool is_busy(const struct xn_error *err)
{
	return err->code && strcmp(err->code, XN_ERR_OTHER_OPERATION_IN_PROGRESS) == 0;
}

static void tell(struct xn_job *job)
{
	struct xn_claim *claim = xn_container_of(job, struct xn_claim, wake);
	struct xn_error err = {0};

	if (claim->held) {
		claim->granted(claim, NULL);
		return;
	}
	xn_error_move(&err, &claim->refused);
	claim->granted(claim, &err);
	xn_error_clear(&err);
}

static void tell_later(struct xn_claim *claim)
{
	xn_loop_defer_as(claim->ops->core->loop, &claim->wake, XN_PRIO_OPERATION, tell,
			 claim->caller);
}

/* Out of its queue, whose object is returned and may be unused now. */
static struct xn_claimed *stop_waiting(struct xn_claim *claim)
{
	struct xn_claimed *object = claim->at;

	xn_list_remove(&claim->link);
	xn_hmap_remove(&claim->ops->waiting, &claim->by_holder);
	claim->at = NULL;
	object->n_waiting--;
	xn_task_waiting(claim->ops->tasks, claim->holder, "", "");
	return object;
}

static void leave_queue(struct xn_claim *claim)
{
	xn_timer_cancel(&claim->deadline);
	free_if_unused(stop_waiting(claim));
}

static void hold(struct xn_claim *claim)
{
	struct xn_operations *ops = claim->ops;
	const struct xn_operation_rules *rules = xn_rules_of(ops, claim->class_id);
	struct xn_row *row = xn_db_get(ops->db, claim->class_id, claim->object);

	claim->held = true;
	claim->since_us = xn_now_us(ops->core->loop);
	claim->at = get_object(ops, claim->object);
	xn_list_push(&claim->at->held, &claim->link);
	if (!row || !rules)
		return;
	xn_db_map_put(ops->db, row, rules->current_field, claim->holder, claim->operation);
	xn_operation_refresh_all(ops, row);
}

/* Takes what @err holds. */
static void refuse(struct xn_claim *claim, struct xn_error *err)
{
	xn_error_move(&claim->refused, err);
	tell_later(claim);
}

static void on_deadline(struct xn_timer *timer)
{
	struct xn_claim *claim = xn_container_of(timer, struct xn_claim, deadline);
	struct xn_error err = {0};
	int rc = ask(claim, &err);

	wake_later(claim->at); /* those behind it may have waited for it only */
	leave_queue(claim);
	if (rc < 0) {
		refuse(claim, &err);
		return;
	}
	hold(claim);
	tell_later(claim);
}

static const char *operation_of(const struct xn_claimed *object, const char **holder)
{
	const struct xn_claim *first = xn_list_entry(object->held.next, struct xn_claim, link);

	if (xn_list_empty(&object->held))
		return NULL;
	*holder = first->holder;
	return first->operation;
}

/* @busy: the refusal that makes it wait, or empty: it is behind others. */
static void tell_what_for(struct xn_claim *claim, const struct xn_error *busy)
{
	const char *class_name = busy->n_params ? busy->params[0] : xn_classes[claim->class_id].name;
	const char *holder = busy->n_params >= 4 ? busy->params[3] : "";
	const char *doing = busy->n_params >= 3 ? busy->params[2] : operation_of(claim->at, &holder);
	char what[200];

	snprintf(what, sizeof(what), "%s %s: %s is under way%s", class_name, claim->at->ref,
		 doing ? doing : "another operation",
		 claim->at->n_waiting > 1 ? ", others wait before it" : "");
	xn_task_waiting(claim->ops->tasks, claim->holder, what, holder);
}

static void wait_at(struct xn_claim *claim, const char *ref, const struct xn_error *busy)
{
	struct xn_claimed *object = get_object(claim->ops, ref);

	claim->at = object;
	xn_list_push(&object->waiting, &claim->link);
	object->n_waiting++;
	xn_hmap_insert(&claim->ops->waiting, &claim->by_holder, xn_hash_string(claim->holder));
	tell_what_for(claim, busy);
}

/* What @holder waits for, or NULL. */
static const struct xn_claim *waiting_of(const struct xn_operations *ops, const char *holder)
{
	struct xn_hnode *node = xn_hmap_first_same(&ops->waiting, xn_hash_string(holder));

	for (; node; node = xn_hmap_next_same(node)) {
		const struct xn_claim *claim =
			xn_container_of(node, struct xn_claim, by_holder);

		if (strcmp(claim->holder, holder) == 0)
			return claim;
	}
	return NULL;
}

/* Whether somebody who holds @object waits, at the end of a chain of holders, for @holder. */
static bool waits_for(const struct xn_operations *ops, const struct xn_claimed *object,
		      const char *holder, int depth)
{
	enum { MAX_CHAIN = 16 };

	if (!object || depth == MAX_CHAIN)
		return false;
	xn_list_each(node, &object->held) {
		const struct xn_claim *held = xn_list_entry(node, struct xn_claim, link);
		bool is_own = strcmp(held->holder, holder) == 0;
		const struct xn_claim *next = is_own ? NULL : waiting_of(ops, held->holder);

		if (is_own && depth > 0)
			return true;
		if (next && waits_for(ops, next->at, holder, depth + 1))
			return true;
	}
	return false;
}

static void init(struct xn_operations *ops, struct xn_claim *claim, int class_id, const char *ref,
		 const char *operation, const char *holder)
{
	*claim = (struct xn_claim){.ops = ops,
				   .class_id = class_id,
				   .operation = operation,
				   .caller = xn_loop_caller(ops->core->loop)};
	xn_list_init(&claim->link);
	memcpy(claim->object, ref, strnlen(ref, sizeof(claim->object) - 1));
	memcpy(claim->holder, holder, strnlen(holder, sizeof(claim->holder) - 1));
}

/* The object that stands in the way of a busy claim: the refusal names it. */
static const char *in_the_way(const struct xn_claim *claim, const struct xn_error *err)
{
	return err->n_params >= 2 ? err->params[1] : claim->object;
}

/* Whether one of the holders that a refusal names has a claim here: its end will wake us. */
static bool ends_some_day(const struct xn_operations *ops, const struct xn_error *busy)
{
	const char *holders = busy->n_params >= 4 ? busy->params[3] : "";

	for (struct xn_hnode *node = xn_hmap_first(&ops->objects); node;
	     node = xn_hmap_next(&ops->objects, node)) {
		struct xn_claimed *object = xn_container_of(node, struct xn_claimed, node);

		xn_list_each(link, &object->held)
			if (strstr(holders, xn_list_entry(link, struct xn_claim, link)->holder))
				return true;
	}
	return false;
}

/* Queues at the object in the way, or refuses. @busy holds why it cannot go on, if it is that. */
static void enqueue(struct xn_claim *claim, const char *at, unsigned wait_ms, struct xn_error *busy)
{
	struct xn_claimed *object = find_object(claim->ops, at);

	if (xn_error_is_set(busy) && (!ends_some_day(claim->ops, busy) ||
				      waits_for(claim->ops, object, claim->holder, 0))) {
		refuse(claim, busy);
	} else if (object && object->n_waiting >= XN_OPERATION_MAX_WAITING) {
		xn_error_set(busy, XN_ERR_TOO_MANY_PENDING_TASKS);
		refuse(claim, busy);
	} else {
		claim->since_us = xn_now_us(claim->ops->core->loop);
		wait_at(claim, at, busy);
		xn_timer_arm(claim->ops->core->loop, &claim->deadline, (int64_t)wait_ms * 1000,
			     on_deadline);
	}
}

void xn_operation_take(struct xn_operations *ops, struct xn_claim *claim, int class_id,
		       const char *ref, const char *operation, const char *holder, unsigned wait_ms,
		       void (*granted)(struct xn_claim *claim, struct xn_error *err), void *arg)
{
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct xn_claimed *object = find_object(ops, ref);
	bool others_wait = object && object->n_waiting > 0 &&
			   !is_urgent(xn_rules_of(ops, class_id), operation);
	int rc;

	init(ops, claim, class_id, ref, operation, holder);
	claim->granted = granted;
	claim->arg = arg;
	rc = ask(claim, &err);
	if (rc == 0 && !others_wait) {
		hold(claim);
		tell_later(claim);
	} else if (rc < 0 && !is_busy(&err)) {
		refuse(claim, &err);
	} else {
		char at[48];

		snprintf(at, sizeof(at), "%s", rc < 0 ? in_the_way(claim, &err) : ref);
		enqueue(claim, at, wait_ms, &err);
	}
}

int xn_operation_take_now(struct xn_operations *ops, struct xn_claim *claim, int class_id,
			  const char *ref, const char *operation, const char *holder,
			  struct xn_error *err)
{
	init(ops, claim, class_id, ref, operation, holder);
	if (ask(claim, err) < 0)
		return -1;
	hold(claim);
	return 0;
}

void xn_claim_force(struct xn_operations *ops, struct xn_claim *claim, int class_id,
		    const char *ref, const char *operation, const char *holder)
{
	init(ops, claim, class_id, ref, operation, holder);
	hold(claim);
}

/* ---- the end of a claim ---- */

static void wake_waiting(struct xn_job *job)
{
	struct xn_claimed *object = xn_container_of(job, struct xn_claimed, wake);

	while (!xn_list_empty(&object->waiting)) {
		struct xn_claim *claim = xn_list_entry(object->waiting.next, struct xn_claim, link);
		struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
		bool last = object->n_waiting == 1;
		int rc = ask(claim, &err);

		if (rc < 0 && is_busy(&err)) {
			if (strcmp(in_the_way(claim, &err), object->ref) == 0)
				return;
			/* Something else is in its way now; its deadline goes on. */
			stop_waiting(claim);
			wait_at(claim, in_the_way(claim, &err), &err);
		} else if (rc < 0) {
			last = last && xn_list_empty(&object->held);
			leave_queue(claim);
			refuse(claim, &err);
			if (last)
				return; /* the object is freed */
		} else {
			xn_timer_cancel(&claim->deadline);
			stop_waiting(claim);
			hold(claim);
			tell_later(claim);
		}
	}
	free_if_unused(object);
}

static void wake_later(struct xn_claimed *object)
{
	if (object && object->n_waiting > 0)
		xn_loop_defer(object->ops->core->loop, &object->wake, XN_PRIO_OPERATION,
			      wake_waiting);
}

static void wake_dependent(struct xn_row *row, void *arg)
{
	wake_later(find_object(arg, xn_row_ref(row)));
}

static void let_go(struct xn_claim *claim)
{
	struct xn_operations *ops = claim->ops;
	const struct xn_operation_rules *rules = xn_rules_of(ops, claim->class_id);
	struct xn_row *row = xn_db_get(ops->db, claim->class_id, claim->object);
	struct xn_claimed *object = claim->at;
	struct xn_ev_operation_ended ev = {0};

	memcpy(ev.object, object->ref, sizeof(ev.object));
	xn_list_remove(&claim->link);
	claim->held = false;
	claim->at = NULL;
	if (row && rules) {
		xn_db_map_remove(ops->db, row, rules->current_field, claim->holder);
		xn_operation_refresh_all(ops, row);
		if (rules->dependents)
			rules->dependents(ops->db, row, wake_dependent, ops);
	}
	wake_later(object);
	free_if_unused(object);
	xn_publish_operation_ended(ops->core->bus, &ev);
}

void xn_operation_release(struct xn_claim *claim)
{
	struct xn_claimed *queue = claim->at;

	if (!claim->ops)
		return;
	xn_job_cancel(&claim->wake);
	if (claim->held) {
		let_go(claim);
	} else if (queue) {
		/* It may have been the one that stopped those behind it. */
		wake_later(queue);
		leave_queue(claim);
	}
	xn_error_clear(&claim->refused);
	claim->ops = NULL;
}

void xn_operation_cancel_holders(struct xn_operations *ops, const char *ref,
				 const char *const *operations, const char *self)
{
	struct xn_claimed *object = find_object(ops, ref);

	if (!object)
		return;
	xn_list_each_safe(node, &object->held) {
		struct xn_claim *claim = xn_list_entry(node, struct xn_claim, link);
		const char *const *name = operations;

		while (name && *name && strcmp(*name, claim->operation) != 0)
			name++;
		if ((name && !*name) || (self && strcmp(self, claim->holder) == 0))
			continue;
		if (claim->cancel)
			claim->cancel(claim);
	}
}

bool xn_operation_is_alone(const struct xn_operations *ops, const char *ref, const char *holder)
{
	struct xn_claimed *object = find_object(ops, ref);

	if (!object)
		return true;
	xn_list_each(node, &object->held) {
		struct xn_claim *claim = xn_list_entry(node, struct xn_claim, link);

		if (!holder || strcmp(holder, claim->holder) != 0)
			return false;
	}
	return true;
}

/* ---- told ---- */

static struct xn_value *describe_claims(const struct xn_operations *ops, const struct xn_list *list)
{
	struct xn_value *set = xn_set_new();

	xn_list_each(node, list) {
		const struct xn_claim *claim = xn_list_entry(node, struct xn_claim, link);
		int64_t us = xn_now_us(ops->core->loop) - claim->since_us;
		struct xn_value *map = xn_map_new();

		xn_map_put_string(&map, "task", claim->holder);
		xn_map_put_string(&map, "operation", claim->operation);
		xn_map_put(&map, "since_s", xn_float((double)us / 1000000));
		xn_set_append(&set, map);
	}
	return set;
}

struct xn_value *xn_operations_describe(const struct xn_operations *ops)
{
	enum { MAX_OBJECTS = 1000 };
	struct xn_value *set = xn_set_new();

	for (struct xn_hnode *node = xn_hmap_first(&ops->objects);
	     node && xn_set_len(set) < MAX_OBJECTS; node = xn_hmap_next(&ops->objects, node)) {
		const struct xn_claimed *object = xn_container_of(node, struct xn_claimed, node);
		const struct xn_row *row = xn_db_get_any(ops->db, object->ref);
		struct xn_value *map = xn_map_new();

		xn_map_put_string(&map, "object", object->ref);
		xn_map_put_string(&map, "class", row ? xn_classes[xn_row_class(row)].name : "");
		xn_map_put(&map, "held", describe_claims(ops, &object->held));
		xn_map_put(&map, "waiting", describe_claims(ops, &object->waiting));
		xn_set_append(&set, map);
	}
	return set;
}

/* ---- after turns that were rolled back ---- */

static struct xn_value *held_on(const struct xn_operations *ops, const char *ref)
{
	const struct xn_claimed *object = find_object(ops, ref);
	struct xn_value *current = xn_map_new();

	if (!object)
		return current;
	xn_list_each(node, &object->held) {
		const struct xn_claim *claim = xn_list_entry(node, struct xn_claim, link);

		xn_map_put_string(&current, claim->holder, claim->operation);
	}
	return current;
}

static void restore_current(struct xn_operations *ops, struct xn_row *row)
{
	const struct xn_operation_rules *rules = xn_rules_of(ops, xn_row_class(row));

	xn_db_set(ops->db, row, rules->current_field, held_on(ops, xn_row_ref(row)));
}

/* Of one class in one call, some 0.1 us a row. */
static void each_row(struct xn_operations *ops, int class_id,
		     void (*visit)(struct xn_operations *ops, struct xn_row *row))
{
	struct xn_row *row = xn_rules_of(ops, class_id) ? xn_db_first(ops->db, class_id) : NULL;

	for (; row; row = xn_db_next(ops->db, row))
		visit(ops, row);
}

static void mark_stale(struct xn_operations *ops, struct xn_row *row)
{
	xn_set_append_string(&ops->stale, xn_row_ref(row));
}

static void drop_stale(struct xn_operations *ops)
{
	xn_value_unref(ops->stale);
	ops->stale = xn_set_new();
	ops->stale_at = 0;
}

static void refresh_stale(struct xn_job *job)
{
	enum { A_SLICE = 64 };
	struct xn_operations *ops = xn_container_of(job, struct xn_operations, refresh_stale);
	size_t end = ops->stale_at + A_SLICE;

	for (; ops->stale_at < end && ops->stale_at < xn_set_len(ops->stale); ops->stale_at++) {
		const char *ref = xn_value_string(xn_set_at(ops->stale, ops->stale_at));
		struct xn_row *row = xn_db_get_any(ops->db, ref);

		if (row)
			xn_operation_refresh(ops, row);
	}
	if (ops->stale_at == xn_set_len(ops->stale)) {
		drop_stale(ops);
		if (ops->stale_class == XN_CLASS_COUNT)
			return;
		each_row(ops, ops->stale_class++, mark_stale);
	}
	xn_loop_defer(ops->core->loop, job, XN_PRIO_REFRESH, refresh_stale);
}

static void mark_to_wipe(struct xn_operations *ops, struct xn_row *row)
{
	if (xn_map_len(xn_row_get(row, xn_rules_of(ops, xn_row_class(row))->current_field)) > 0)
		mark_stale(ops, row);
}

static void wake_all(struct xn_operations *ops)
{
	for (struct xn_hnode *node = xn_hmap_first(&ops->objects); node;
	     node = xn_hmap_next(&ops->objects, node))
		wake_later(xn_container_of(node, struct xn_claimed, node));
}

/* Above the calls, which such a mark would refuse. */
static void wipe(struct xn_job *job)
{
	struct xn_operations *ops = xn_container_of(job, struct xn_operations, wipe);

	each_row(ops, ops->wiping++, mark_to_wipe);
	for (size_t i = 0; i < xn_set_len(ops->stale); i++) {
		const char *ref = xn_value_string(xn_set_at(ops->stale, i));

		restore_current(ops, xn_db_get_any(ops->db, ref));
	}
	drop_stale(ops);
	if (ops->wiping < XN_CLASS_COUNT) {
		xn_loop_defer(ops->core->loop, job, XN_PRIO_OPERATION, wipe);
		return;
	}
	wake_all(ops);
	/* What is allowed on a row depends on others' current operations, of any class. */
	ops->stale_class = 0;
	xn_loop_defer(ops->core->loop, &ops->refresh_stale, XN_PRIO_REFRESH, refresh_stale);
}

void xn_claims_restore(struct xn_operations *ops)
{
	/* At once, so that nobody takes what is held. */
	for (struct xn_hnode *node = xn_hmap_first(&ops->objects); node;
	     node = xn_hmap_next(&ops->objects, node)) {
		const struct xn_claimed *object = xn_container_of(node, struct xn_claimed, node);
		struct xn_row *row = xn_db_get_any(ops->db, object->ref);

		if (row && xn_rules_of(ops, xn_row_class(row)))
			restore_current(ops, row);
	}
	xn_job_cancel(&ops->refresh_stale);
	drop_stale(ops);
	ops->wiping = 0;
	xn_loop_defer(ops->core->loop, &ops->wipe, XN_PRIO_OPERATION, wipe);
}

void xn_claim_cut(struct xn_claim *claim)
{
	if (!claim->ops)
		return;
	xn_job_cancel(&claim->wake);
	xn_timer_cancel(&claim->deadline);
	xn_error_clear(&claim->refused);
	if (claim->at && !claim->held)
		xn_hmap_remove(&claim->ops->waiting, &claim->by_holder);
	xn_list_remove(&claim->link);
	claim->ops = NULL;
}

void xn_claims_stop(struct xn_operations *ops)
{
	struct xn_hnode *node, *next;

	xn_job_cancel(&ops->wipe);
	xn_job_cancel(&ops->refresh_stale);
	xn_value_unref(ops->stale);
	for (node = xn_hmap_first(&ops->objects); node; node = next) {
		struct xn_claimed *object = xn_container_of(node, struct xn_claimed, node);

		next = xn_hmap_next(&ops->objects, node);
		/* The claims belong to others, who may still look at them: they are only cut off. */
		xn_list_each_safe(link, &object->held)
			xn_list_remove(link);
		xn_list_each_safe(link, &object->waiting)
			xn_claim_cut(xn_list_entry(link, struct xn_claim, link));
		free_object(object);
	}
	xn_hmap_clear(&ops->objects);
	xn_hmap_clear(&ops->waiting);
}
