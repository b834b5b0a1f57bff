/*
 * Subscriptions: "*", "class", "class/ref" parsed once, shared by all clients with the same wishes,
 * and the index from classes and objects to the subscriptions that somebody waits on.
 */
#include "modules/event/event_internal.h"

#include <stdio.h>
#include <stdlib.h>

void subscriptions_init(struct subscriptions *set)
{
	*set = (struct subscriptions){0};
	for (unsigned i = 0; i < XN_CLASS_COUNT; i++)
		xn_list_init(&set->by_class[i]);
}

void subscriptions_clear(struct subscriptions *set)
{
	xn_hmap_clear(&set->all);
	for (unsigned i = 0; i < REF_TABLES; i++)
		xn_hmap_clear(&set->by_ref[i]);
}

/* ---- parsing ---- */

static void want_all(struct subscription *sub)
{
	for (unsigned i = 0; i < XN_CLASS_COUNT; i++)
		sub->classes[i] = xn_classes[i].has_events;
}

static void add_object(struct subscription *sub, int class_id, const char *ref)
{
	struct object *object;

	if (strlen(ref) >= XN_REF_LEN) /* no object has such a reference */
		return;
	if ((sub->n_objects & (sub->n_objects - 1)) == 0) /* full at each power of two */
		sub->objects = xn_realloc(sub->objects, (sub->n_objects ? sub->n_objects * 2 : 1) *
								sizeof(*sub->objects));
	object = &sub->objects[sub->n_objects++];
	memset(object, 0, sizeof(*object));
	object->class_id = class_id;
	snprintf(object->ref, sizeof(object->ref), "%s", ref);
}

static void add_wish(struct subscription *sub, const char *wish)
{
	const char *slash = strchr(wish, '/');
	size_t len = slash ? (size_t)(slash - wish) : strlen(wish);
	const struct xn_class *cls;
	char name[64];

	if (strcmp(wish, "*") == 0) {
		want_all(sub);
		return;
	}
	if (len >= sizeof(name))
		return;
	memcpy(name, wish, len);
	name[len] = '\0';
	cls = xn_class_find_event(name);
	if (!cls || !cls->has_events)
		return;
	if (slash)
		add_object(sub, cls->id, slash + 1);
	else
		sub->classes[cls->id] = true;
}

static int by_class_and_ref(const void *pa, const void *pb)
{
	const struct object *a = pa, *b = pb;

	if (a->class_id != b->class_id)
		return a->class_id < b->class_id ? -1 : 1;
	return strcmp(a->ref, b->ref);
}

/* Sorted, each once, and none that a whole class covers: one form for one wish. */
static void tidy_objects(struct subscription *sub)
{
	size_t kept = 0;

	if (sub->n_objects)
		qsort(sub->objects, sub->n_objects, sizeof(*sub->objects), by_class_and_ref);
	for (size_t i = 0; i < sub->n_objects; i++) {
		const struct object *object = &sub->objects[i];

		if (sub->classes[object->class_id] ||
		    (kept && by_class_and_ref(object, &sub->objects[kept - 1]) == 0))
			continue;
		sub->objects[kept++] = *object;
	}
	sub->n_objects = kept;
}

/* ---- sharing ---- */

static uint64_t hash_of(const struct subscription *sub)
{
	return xn_hash_bytes(sub->classes, sizeof(sub->classes)) ^
	       xn_hash_bytes(sub->objects, sub->n_objects * sizeof(*sub->objects));
}

static bool is_same(const struct subscription *a, const struct subscription *b)
{
	return memcmp(a->classes, b->classes, sizeof(a->classes)) == 0 &&
	       a->n_objects == b->n_objects &&
	       (!a->n_objects ||
		memcmp(a->objects, b->objects, a->n_objects * sizeof(*a->objects)) == 0);
}

static void subscription_free(struct subscription *sub)
{
	free(sub->objects);
	free(sub->class_watches);
	free(sub->object_watches);
	free(sub);
}

struct subscription *subscription_get(struct subscriptions *set, const struct xn_value *wishes)
{
	struct subscription *sub = xn_calloc(1, sizeof(*sub));
	struct xn_hnode *node;
	uint64_t hash;

	for (size_t i = 0; i < xn_set_len(wishes); i++)
		add_wish(sub, xn_value_string(xn_set_at(wishes, i)));
	tidy_objects(sub);
	hash = hash_of(sub);
	for (node = xn_hmap_first_same(&set->all, hash); node; node = xn_hmap_next_same(node)) {
		struct subscription *old = xn_container_of(node, struct subscription, by_wish);

		if (is_same(old, sub)) {
			subscription_free(sub);
			return subscription_ref(old);
		}
	}
	sub->refs = 1;
	xn_list_init(&sub->waiters);
	xn_list_init(&sub->asked);
	xn_list_init(&sub->woken);
	xn_list_init(&sub->listeners);
	xn_hmap_insert(&set->all, &sub->by_wish, hash);
	return sub;
}

struct subscription *subscription_ref(struct subscription *sub)
{
	sub->refs++;
	return sub;
}

void subscription_unref(struct subscriptions *set, struct subscription *sub)
{
	if (!sub || --sub->refs)
		return;
	subscription_unindex(set, sub);
	xn_list_remove(&sub->woken);
	selection_unref(sub->latest);
	xn_hmap_remove(&set->all, &sub->by_wish);
	subscription_free(sub);
}

bool subscription_wants(const struct subscription *sub, int class_id, const char *ref)
{
	struct object key = {.class_id = class_id};

	if (sub->classes[class_id])
		return true;
	if (!sub->n_objects)
		return false;
	snprintf(key.ref, sizeof(key.ref), "%s", ref);
	return bsearch(&key, sub->objects, sub->n_objects, sizeof(key), by_class_and_ref) != NULL;
}

/* ---- index ---- */

static size_t table_of(uint64_t hash)
{
	return hash >> 56;
}

struct watched *watched_find(const struct subscriptions *set, int class_id, const char *ref)
{
	uint64_t hash = xn_hash_string(ref);
	struct xn_hnode *node = xn_hmap_first_same(&set->by_ref[table_of(hash)], hash);

	for (; node; node = xn_hmap_next_same(node)) {
		struct watched *watched = xn_container_of(node, struct watched, by_ref);

		if (watched->object.class_id == class_id && strcmp(watched->object.ref, ref) == 0)
			return watched;
	}
	return NULL;
}

static struct watched *watched_get(struct subscriptions *set, const struct object *object)
{
	struct watched *watched = watched_find(set, object->class_id, object->ref);
	uint64_t hash = xn_hash_string(object->ref);

	if (watched)
		return watched;
	watched = xn_calloc(1, sizeof(*watched));
	watched->object = *object;
	xn_list_init(&watched->watches);
	xn_hmap_insert(&set->by_ref[table_of(hash)], &watched->by_ref, hash);
	set->n_watched++;
	return watched;
}

static void unwatch(struct subscriptions *set, struct object_watch *watch)
{
	struct watched *watched = watch->watched;

	xn_list_remove(&watch->link);
	if (!xn_list_empty(&watched->watches))
		return;
	xn_hmap_remove(&set->by_ref[table_of(watched->by_ref.hash)], &watched->by_ref);
	set->n_watched--;
	free(watched);
}

void subscription_index(struct subscriptions *set, struct subscription *sub)
{
	if (sub->is_indexed)
		return;
	sub->is_indexed = true;
	sub->class_watches = xn_calloc(XN_CLASS_COUNT, sizeof(*sub->class_watches));
	for (unsigned i = 0; i < XN_CLASS_COUNT; i++) {
		struct class_watch *watch = &sub->class_watches[sub->n_class_watches];

		if (!sub->classes[i])
			continue;
		watch->sub = sub;
		xn_list_push(&set->by_class[i], &watch->link);
		sub->n_class_watches++;
	}
	sub->object_watches = xn_calloc(sub->n_objects, sizeof(*sub->object_watches));
	for (size_t i = 0; i < sub->n_objects; i++) {
		struct object_watch *watch = &sub->object_watches[i];

		watch->sub = sub;
		watch->watched = watched_get(set, &sub->objects[i]);
		xn_list_push(&watch->watched->watches, &watch->link);
	}
}

void subscription_unindex(struct subscriptions *set, struct subscription *sub)
{
	if (!sub->is_indexed)
		return;
	for (size_t i = 0; i < sub->n_class_watches; i++)
		xn_list_remove(&sub->class_watches[i].link);
	for (size_t i = 0; i < sub->n_objects; i++)
		unwatch(set, &sub->object_watches[i]);
	free(sub->class_watches);
	free(sub->object_watches);
	sub->class_watches = NULL;
	sub->object_watches = NULL;
	sub->n_class_watches = 0;
	sub->is_indexed = false;
}

void subscription_unindex_idle(struct subscriptions *set, struct subscription *sub)
{
	if (xn_list_empty(&sub->waiters) && xn_list_empty(&sub->asked) &&
	    xn_list_empty(&sub->listeners))
		subscription_unindex(set, sub);
}
