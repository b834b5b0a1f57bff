/*
 * Who waits for what on a VM: rows that are held back while a domain is built or replaced (so that
 * no client sees the states in between), and operations that wait for their domain to change.
 */
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

/* ---- rows held back ---- */

struct held {
	struct xn_hnode node;
	char uuid[37];
	unsigned holders;
};

static struct held *find_held(const struct xn_domains *d, const char *uuid)
{
	struct xn_hnode *node = xn_hmap_first_same(&d->held, xn_hash_string(uuid));

	for (; node; node = xn_hmap_next_same(node)) {
		struct held *held = xn_container_of(node, struct held, node);

		if (strcmp(held->uuid, uuid) == 0)
			return held;
	}
	return NULL;
}

void xn_vm_hold(struct xn_domains *d, const char *uuid)
{
	struct held *held = find_held(d, uuid);

	if (!held) {
		held = xn_calloc(1, sizeof(*held));
		memcpy(held->uuid, uuid, strnlen(uuid, sizeof(held->uuid) - 1));
		xn_hmap_insert(&d->held, &held->node, xn_hash_string(held->uuid));
	}
	held->holders++;
}

void xn_vm_unhold(struct xn_domains *d, const char *uuid)
{
	struct held *held = find_held(d, uuid);

	if (held && --held->holders == 0) {
		xn_hmap_remove(&d->held, &held->node);
		free(held);
	}
	xn_updates_touch(d->updates, "VM", uuid);
}

bool xn_vm_is_held(const struct xn_domains *d, const char *uuid)
{
	return find_held(d, uuid) != NULL;
}

/* ---- guests that must not run ---- */

bool xn_vm_is_still(const struct xn_domains *d, const char *uuid)
{
	xn_list_each(node, &d->stills)
		if (strcmp(xn_list_entry(node, struct xn_vm_op, still)->uuid, uuid) == 0)
			return true;
	return false;
}

static bool others_stand_still(const struct xn_vm_op *vmo)
{
	if (xn_disk_writer_is_stopped(vmo->d, vmo->uuid))
		return true;
	xn_list_each(node, &vmo->d->stills) {
		const struct xn_vm_op *other = xn_list_entry(node, struct xn_vm_op, still);

		if (other != vmo && strcmp(other->uuid, vmo->uuid) == 0)
			return true;
	}
	return false;
}

bool xn_vm_stand_still(struct xn_vm_op *vmo)
{
	xn_list_remove(&vmo->still);
	xn_list_push(&vmo->d->stills, &vmo->still);
	if (!vmo->still_us)
		vmo->still_us = xn_now_us(vmo->d->core->loop);
	return others_stand_still(vmo);
}

bool xn_vm_move_again(struct xn_vm_op *vmo)
{
	xn_list_remove(&vmo->still);
	if (others_stand_still(vmo))
		return true;
	if (vmo->still_us && xn_map_get_bool(vmo->op.args, "stopped_by_us", false))
		xn_log_info(vmo->d->core->log, "domain", "VM %s stood still for %.1f ms",
			    vmo->uuid,
			    (double)(xn_now_us(vmo->d->core->loop) - vmo->still_us) / 1000);
	vmo->still_us = 0;
	return false;
}

/* ---- waiting for the domain ---- */

void xn_vm_wait(struct xn_vm_op *vmo, void (*poke)(struct xn_vm_op *vmo))
{
	vmo->poke = poke;
	vmo->at = xn_op_token(&vmo->op);
	if (!vmo->is_waiting)
		xn_hmap_insert(&vmo->d->waiters, &vmo->waiter, xn_hash_string(vmo->uuid));
	vmo->is_waiting = true;
}

void xn_vm_wait_end(struct xn_vm_op *vmo)
{
	if (vmo->is_waiting)
		xn_hmap_remove(&vmo->d->waiters, &vmo->waiter);
	vmo->is_waiting = false;
	xn_timer_cancel(&vmo->timer);
	xn_xs_unwatch(vmo->watch);
	vmo->watch = NULL;
}

void xn_vm_wake(struct xn_domains *d, const char *uuid)
{
	struct xn_hnode *node = xn_hmap_first_same(&d->waiters, xn_hash_string(uuid)), *next;

	for (; node; node = next) {
		struct xn_vm_op *vmo = xn_container_of(node, struct xn_vm_op, waiter);

		next = xn_hmap_next_same(node);
		if (strcmp(vmo->uuid, uuid) != 0)
			continue;
		if (!xn_op_find(vmo->d->core, &vmo->at))
			xn_vm_wait_end(vmo); /* its step is over: cancelled, or too late */
		else
			vmo->poke(vmo);
	}
}

void xn_vm_wait_stop(struct xn_domains *d)
{
	struct xn_hnode *node, *next;

	for (node = xn_hmap_first(&d->held); node; node = next) {
		next = xn_hmap_next(&d->held, node);
		free(xn_container_of(node, struct held, node));
	}
	xn_hmap_clear(&d->held);
	xn_hmap_clear(&d->waiters);
}
