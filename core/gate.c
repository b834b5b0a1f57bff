/* See gate.h. */
#include "core/gate.h"

#include <assert.h>
#include <stdlib.h>

struct room { /* how many of one object are inside */
	struct xn_hnode node;
	unsigned inside;
};

struct xn_gate {
	struct xn_loop *loop;
	unsigned limit, limit_an_object, inside;
	uint64_t moves;
	struct xn_fair line;
	struct xn_hmap rooms; /* of objects with some inside */
	struct xn_job let_in;
};

struct xn_gate *xn_gate_new(struct xn_loop *loop, unsigned limit, unsigned limit_an_object)
{
	struct xn_gate *gate = xn_calloc(1, sizeof(*gate));

	gate->loop = loop;
	gate->limit = limit;
	gate->limit_an_object = limit_an_object;
	xn_fair_init(&gate->line);
	return gate;
}

void xn_gate_free(struct xn_gate *gate)
{
	if (!gate)
		return;
	assert(gate->line.count == 0);
	xn_job_cancel(&gate->let_in);
	xn_fair_clear(&gate->line);
	for (struct xn_hnode *node = xn_hmap_first(&gate->rooms), *next; node; node = next) {
		next = xn_hmap_next(&gate->rooms, node);
		free(xn_container_of(node, struct room, node));
	}
	xn_hmap_clear(&gate->rooms);
	free(gate);
}

static struct room *find_room(const struct xn_gate *gate, uint64_t object)
{
	struct xn_hnode *node = xn_hmap_first_same(&gate->rooms, object);

	return node ? xn_container_of(node, struct room, node) : NULL;
}

static bool has_room(uint64_t object, void *arg)
{
	const struct xn_gate *gate = arg;
	const struct room *room = find_room(gate, object);

	return !room || room->inside < gate->limit_an_object;
}

static void go_in(struct xn_pass *pass)
{
	struct xn_gate *gate = pass->gate;
	struct room *room = find_room(gate, pass->object);

	if (!room) {
		room = xn_calloc(1, sizeof(*room));
		xn_hmap_insert(&gate->rooms, &room->node, pass->object);
	}
	room->inside++;
	gate->inside++;
	pass->inside = true;
	pass->enter(pass); /* may leave, and be freed */
}

static void let_in(struct xn_job *job)
{
	struct xn_gate *gate = xn_container_of(job, struct xn_gate, let_in);
	struct xn_fair_item *item;

	while (gate->inside < gate->limit && (item = xn_fair_take(&gate->line, has_room, gate)))
		go_in(xn_container_of(item, struct xn_pass, item));
}

void xn_gate_close(struct xn_gate *gate)
{
	gate->limit = gate->limit_an_object = UINT32_MAX;
	let_in(&gate->let_in);
}

bool xn_gate_ask(struct xn_gate *gate, struct xn_pass *pass, uint64_t caller, uint64_t object,
		 void (*enter)(struct xn_pass *pass))
{
	pass->gate = gate;
	pass->object = object;
	pass->enter = enter;
	if (gate->inside < gate->limit && !xn_job_is_pending(&gate->let_in) &&
	    has_room(object, gate)) {
		go_in(pass);
		return true;
	}
	xn_fair_put(&gate->line, &pass->item, caller, object);
	return false;
}

void xn_gate_leave(struct xn_pass *pass)
{
	struct xn_gate *gate = pass->gate;
	struct room *room;

	if (!gate)
		return;
	pass->gate = NULL;
	if (!pass->inside) {
		xn_fair_remove(&gate->line, &pass->item);
		return;
	}
	pass->inside = false;
	room = find_room(gate, pass->object);
	if (--room->inside == 0) {
		xn_hmap_remove(&gate->rooms, &room->node);
		free(room);
	}
	gate->inside--;
	gate->moves++;
	if (gate->line.count > 0)
		xn_loop_defer(gate->loop, &gate->let_in, XN_PRIO_OPERATION, let_in);
}

unsigned xn_gate_limit(const struct xn_gate *gate)
{
	return gate->limit;
}

unsigned xn_gate_inside(const struct xn_gate *gate)
{
	return gate->inside;
}

unsigned xn_gate_waiting(const struct xn_gate *gate)
{
	return gate->line.count;
}

uint64_t xn_gate_moves(const struct xn_gate *gate)
{
	return gate->moves;
}
