/* See fair.h. A turn is a caller's, or one of its objects'; it lives while something is queued. */
#include "core/fair.h"

#include <stdlib.h>

struct xn_fair_turn {
	struct xn_hnode node;
	struct xn_list link;         /* in its caller's ring, or the queue's */
	struct xn_fair_turn *caller; /* NULL: this is a caller's */
	uint64_t key;
	struct xn_list ring;  /* a caller's: turns of its objects */
	struct xn_list items; /* an object's */
};

void xn_fair_init(struct xn_fair *fair)
{
	*fair = (struct xn_fair){0};
	xn_list_init(&fair->callers);
}

static uint64_t hash_of(const struct xn_fair_turn *caller, uint64_t key)
{
	return caller ? (caller->key ^ key) * UINT64_C(0x9e3779b97f4a7c15) : key;
}

static struct xn_fair_turn *get_turn(struct xn_fair *fair, struct xn_fair_turn *caller,
				     uint64_t key)
{
	struct xn_hnode *node = xn_hmap_first_same(&fair->turns, hash_of(caller, key));
	struct xn_fair_turn *turn;

	for (; node; node = xn_hmap_next_same(node)) {
		turn = xn_container_of(node, struct xn_fair_turn, node);
		if (turn->caller == caller && turn->key == key)
			return turn;
	}
	turn = xn_calloc(1, sizeof(*turn));
	turn->caller = caller;
	turn->key = key;
	xn_list_init(&turn->ring);
	xn_list_init(&turn->items);
	xn_list_push(caller ? &caller->ring : &fair->callers, &turn->link);
	xn_hmap_insert(&fair->turns, &turn->node, hash_of(caller, key));
	return turn;
}

static void free_turn(struct xn_fair *fair, struct xn_fair_turn *turn)
{
	xn_list_remove(&turn->link);
	xn_hmap_remove(&fair->turns, &turn->node);
	free(turn);
}

static void free_if_idle(struct xn_fair *fair, struct xn_fair_turn *object)
{
	struct xn_fair_turn *caller = object->caller;

	if (!xn_list_empty(&object->items))
		return;
	free_turn(fair, object);
	if (xn_list_empty(&caller->ring))
		free_turn(fair, caller);
}

void xn_fair_put(struct xn_fair *fair, struct xn_fair_item *item, uint64_t caller, uint64_t object)
{
	item->turn = get_turn(fair, get_turn(fair, NULL, caller), object);
	xn_list_push(&item->turn->items, &item->link);
	fair->count++;
}

void xn_fair_remove(struct xn_fair *fair, struct xn_fair_item *item)
{
	struct xn_fair_turn *turn = item->turn;

	if (!turn)
		return;
	item->turn = NULL;
	xn_list_remove(&item->link);
	fair->count--;
	free_if_idle(fair, turn);
}

static void to_the_back(struct xn_list *ring, struct xn_list *link)
{
	xn_list_remove(link);
	xn_list_push(ring, link);
}

static struct xn_fair_item *take_of(struct xn_fair *fair, struct xn_fair_turn *object)
{
	struct xn_fair_item *item = xn_list_entry(object->items.next, struct xn_fair_item, link);

	to_the_back(&fair->callers, &object->caller->link);
	to_the_back(&object->caller->ring, &object->link);
	xn_fair_remove(fair, item);
	return item;
}

struct xn_fair_item *xn_fair_take(struct xn_fair *fair, bool (*may)(uint64_t object, void *arg),
				  void *arg)
{
	xn_list_each(c, &fair->callers) {
		struct xn_fair_turn *caller = xn_list_entry(c, struct xn_fair_turn, link);

		xn_list_each(o, &caller->ring) {
			struct xn_fair_turn *object = xn_list_entry(o, struct xn_fair_turn, link);

			if (!may || may(object->key, arg))
				return take_of(fair, object);
		}
	}
	return NULL;
}

void xn_fair_clear(struct xn_fair *fair)
{
	if (fair->callers.next)
		while (xn_fair_take(fair, NULL, NULL))
			;
	xn_hmap_clear(&fair->turns);
}
