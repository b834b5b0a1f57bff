/*
 * The host's memory, shared out: who has reserved what for a domain that is not there yet, and
 * which running VMs are asked to give some of theirs (their balloons) when it is short, or get it
 * back.
 *
 * A VM with memory_dynamic_min < memory_dynamic_max shares. When an operation wants more than is
 * free, all that share, and the VMs that want to start, get the same fraction of their ranges:
 *
 *	target = dynamic_min + f * (dynamic_max - dynamic_min)
 *
 * with the largest f <= 1 that fits; targets above it are lowered, and the operation waits until
 * the guests have followed. One that does not move for a while is given up on: what it holds stays
 * with it, and the others give more. While nobody waits, targets are raised as memory comes free.
 * Who waits is served in order of arrival.
 *
 * Hypervisors do not tell when a guest has moved, so its domain is looked at again and again, but
 * only while one is on its way.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

enum {
	MIB = 1 << 20,
	LOOK_US = 100 * 1000,           /* while a balloon moves */
	RAISE_US = 200 * 1000,          /* memory may have come free: no hurry */
	SLOW_LOOK_US = 5 * 1000 * 1000, /* while there are balloons that may move by themselves */
	PATIENCE_US = 10 * 1000 * 1000, /* for a guest that does not move */
	A_TURN = 32,                    /* guests told, or wishes granted, at once */
	NEARLY = 4 * MIB,               /* so close to its target a guest may stop */
	NEARLY_US = 1000 * 1000,
};

struct xn_sharer {
	struct xn_hnode node; /* by uuid */
	struct xn_list link;
	struct xn_list moving; /* in memory.moving until it has reached its target */
	struct xn_domains *d;
	char uuid[37], vm[48];
	uint32_t domid;
	int64_t target, seen; /* seen: its memory when last looked at */
	int64_t moved_us;     /* when that changed, or when it was told */
	bool gave_up;         /* it does not follow */
};

struct telling { /* a call to the back end */
	struct xn_domains *d;
	char uuid[37];
};

static void look_later(struct xn_domains *d, int64_t delay_us);

static int64_t largest(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* ---- who shares ---- */

static struct xn_sharer *find(struct xn_domains *d, const char *uuid)
{
	struct xn_hnode *node = xn_hmap_first_same(&d->memory.by_uuid, xn_hash_string(uuid));

	for (; node; node = xn_hmap_next_same(node)) {
		struct xn_sharer *s = xn_container_of(node, struct xn_sharer, node);

		if (strcmp(s->uuid, uuid) == 0)
			return s;
	}
	return NULL;
}

static void forget(struct xn_sharer *s)
{
	xn_hmap_remove(&s->d->memory.by_uuid, &s->node);
	xn_list_remove(&s->link);
	xn_list_remove(&s->moving);
	free(s);
}

static struct xn_sharer *add(struct xn_domains *d, const struct xn_row *vm)
{
	struct xn_sharer *s = xn_calloc(1, sizeof(*s));

	s->d = d;
	snprintf(s->uuid, sizeof(s->uuid), "%s", xn_row_uuid(vm));
	snprintf(s->vm, sizeof(s->vm), "%s", xn_row_ref(vm));
	xn_list_init(&s->moving);
	xn_list_push(&d->memory.sharers, &s->link);
	xn_hmap_insert(&d->memory.by_uuid, &s->node, xn_hash_string(s->uuid));
	return s;
}

/* What the rows and the hypervisor say about one that shares, read for one look. */
struct view {
	struct xn_row *vm;
	const struct xn_domain_info *info;
	int64_t actual, min, max;
	bool follows; /* may be told another target now */
};

/* Nobody moves a balloon while the domain is being built, saved or taken down. */
static bool is_busy(const struct xn_row *vm)
{
	static const char *const operations[] = {
		"start",
		"start_on",
		"resume",
		"resume_on",
		"suspend",
		"checkpoint",
		"clean_reboot",
		"hard_reboot",
		"shutdown",
		"clean_shutdown",
		"hard_shutdown",
		"pool_migrate",
		"migrate_send",
		"changing_dynamic_range",
		"changing_memory_live",
	};
	const struct xn_value *current = xn_row_get(vm, XN_VM_current_operations);

	for (size_t i = 0; i < xn_map_len(current); i++)
		for (size_t j = 0; j < XN_ARRAY_SIZE(operations); j++)
			if (strcmp(xn_value_string(xn_map_at(current, i)), operations[j]) == 0)
				return true;
	return false;
}

static bool view(const struct xn_sharer *s, struct view *v)
{
	struct xn_domains *d = s->d;

	v->vm = xn_db_get(d->db, XN_CLASS_VM, s->vm);
	v->info = d->backend->ops->find(d->backend, s->uuid);
	if (!v->vm || !v->info)
		return false;
	v->actual = (int64_t)v->info->memory_bytes;
	v->min = xn_row_int(v->vm, XN_VM_memory_dynamic_min);
	v->max = xn_row_int(v->vm, XN_VM_memory_dynamic_max);
	v->follows = !v->info->paused && !v->info->dying && !v->info->shut_down && !is_busy(v->vm);
	return true;
}

static bool is_moving(const struct xn_sharer *s)
{
	return !xn_list_empty(&s->moving);
}

/* What it has, or was promised. */
static int64_t held_by(const struct xn_sharer *s, const struct view *v)
{
	return is_moving(s) ? largest(v->actual, s->target) : v->actual;
}

/* What could be had from it. */
static int64_t gives(const struct xn_sharer *s, const struct view *v)
{
	int64_t floor = s->gave_up ? v->actual : v->min;

	return v->follows ? largest(0, held_by(s, v) - floor) : 0;
}

/* ---- what is free ---- */

/* Not there yet, but promised. */
static int64_t growing(struct xn_domains *d)
{
	int64_t bytes = 0;
	struct view v;

	xn_list_each(node, &d->memory.moving) {
		const struct xn_sharer *s = xn_list_entry(node, struct xn_sharer, moving);

		if (view(s, &v))
			bytes += largest(0, s->target - v.actual);
	}
	return bytes;
}

/* A reservation that its domain has not taken yet. */
static int64_t outstanding(struct xn_domains *d)
{
	int64_t bytes = 0;

	xn_list_each(node, &d->memory.reservations) {
		const struct xn_vm_op *vmo = xn_list_entry(node, struct xn_vm_op, memory.reserving);
		const struct xn_domain_info *info = d->backend->ops->find(d->backend, vmo->uuid);
		int64_t taken = info ? (int64_t)info->memory_bytes - vmo->memory.had : 0;

		if (taken > 0)
			taken += vmo->memory.overhead;
		bytes += largest(0, (int64_t)vmo->reserved - largest(0, taken));
	}
	return bytes;
}

static int64_t unused(struct xn_domains *d)
{
	struct xn_host_info info = {0};

	if (d->backend->ops->host_info(d->backend, &info) < 0)
		return 0;
	return (int64_t)info.memory_free;
}

/* Counts what a half-built domain has taken twice, but does not have to look at each. */
static int64_t surely_free(struct xn_domains *d)
{
	return unused(d) - (int64_t)d->reserved_memory - growing(d);
}

int64_t xn_domains_free_memory(struct xn_domains *d)
{
	return largest(0, unused(d) - outstanding(d) - growing(d));
}

static int64_t wanted_at_least(struct xn_domains *d)
{
	int64_t bytes = 0;

	xn_list_each(node, &d->memory.wants) {
		const struct xn_vm_op *vmo = xn_list_entry(node, struct xn_vm_op, memory.wanting);

		bytes += vmo->memory.least + vmo->memory.overhead;
	}
	return bytes;
}

int64_t xn_domains_available_memory(struct xn_domains *d)
{
	int64_t bytes = xn_domains_free_memory(d) - wanted_at_least(d);
	struct view v;

	xn_list_each(node, &d->memory.sharers) {
		const struct xn_sharer *s = xn_list_entry(node, struct xn_sharer, link);

		if (view(s, &v))
			bytes += gives(s, &v);
	}
	return largest(0, bytes);
}

bool xn_domains_has_memory(struct xn_domains *d, int64_t needed, int64_t *available_out)
{
	if (xn_list_empty(&d->memory.wants) && surely_free(d) >= needed)
		return true;
	*available_out = xn_domains_available_memory(d);
	return *available_out >= needed;
}

int xn_no_memory(struct xn_error *err, int64_t needed, int64_t available)
{
	char a[24], b[24];

	snprintf(a, sizeof(a), "%lld", (long long)needed);
	snprintf(b, sizeof(b), "%lld", (long long)available);
	return xn_error_set(err, XN_ERR_HOST_NOT_ENOUGH_FREE_MEMORY, a, b);
}

/* ---- reservations ---- */

void xn_memory_reserve(struct xn_vm_op *vmo, int64_t bytes, int64_t overhead)
{
	struct xn_domains *d = vmo->d;

	d->reserved_memory += (uint64_t)(bytes + overhead) - vmo->reserved;
	vmo->reserved = (uint64_t)(bytes + overhead);
	vmo->memory.overhead = overhead;
	xn_list_remove(&vmo->memory.reserving);
	xn_list_push(&d->memory.reservations, &vmo->memory.reserving);
}

void xn_memory_release(struct xn_vm_op *vmo)
{
	bool had = vmo->reserved > 0 || !xn_list_empty(&vmo->memory.wanting);

	vmo->d->reserved_memory -= vmo->reserved;
	vmo->reserved = 0;
	vmo->memory.had = 0;
	xn_list_remove(&vmo->memory.reserving);
	xn_list_remove(&vmo->memory.wanting);
	if (had)
		xn_memory_look(vmo->d);
}

int64_t xn_memory_retake(struct xn_vm_op *vmo, int64_t kept, int64_t most, int64_t overhead)
{
	struct xn_domains *d = vmo->d;
	int64_t more = 0, bytes;

	if (xn_list_empty(&d->memory.wants))
		more = largest(0, xn_domains_free_memory(d) - kept - overhead);
	bytes = kept + more < most ? kept + more : most;
	if (bytes < most)
		d->memory.may_raise = true;
	xn_memory_reserve(vmo, bytes, overhead);
	return bytes;
}

bool xn_memory_is_wanted_for(struct xn_domains *d, const char *uuid)
{
	xn_list_each(node, &d->memory.reservations) {
		if (strcmp(xn_list_entry(node, struct xn_vm_op, memory.reserving)->uuid, uuid) == 0)
			return true;
	}
	xn_list_each(node, &d->memory.wants) {
		if (strcmp(xn_list_entry(node, struct xn_vm_op, memory.wanting)->uuid, uuid) == 0)
			return true;
	}
	return false;
}

/* ---- moving balloons ---- */

static void write_target(struct xn_sharer *s, int64_t target)
{
	struct xn_row *vm = xn_db_get(s->d->db, XN_CLASS_VM, s->vm);

	if (vm)
		xn_db_set_int(s->d->db, vm, XN_VM_memory_target, target);
}

void xn_memory_told(struct xn_domains *d, const struct xn_row *vm, int64_t target)
{
	struct xn_sharer *s = find(d, xn_row_uuid(vm));
	const struct xn_domain_info *info = d->backend->ops->find(d->backend, xn_row_uuid(vm));

	if (!info)
		return;
	if (!s)
		s = add(d, vm);
	s->domid = info->domid;
	s->target = target;
	s->seen = (int64_t)info->memory_bytes;
	s->moved_us = xn_now_us(d->core->loop);
	xn_list_remove(&s->moving);
	xn_list_push(&d->memory.moving, &s->moving);
	look_later(d, LOOK_US);
}

static void on_told(int rc, void *arg)
{
	struct telling *telling = arg;
	struct xn_sharer *s = telling->d->stopped ? NULL : find(telling->d, telling->uuid);

	if (rc < 0 && s) {
		xn_log_warn(s->d->core->log, "domain", "VM %s: memory target: %s", s->uuid,
			    strerror(-rc));
		s->gave_up = true;
		s->target = largest(s->seen, 0);
		xn_list_remove(&s->moving);
	}
	free(telling);
}

static void tell(struct xn_sharer *s, const struct view *v, int64_t target)
{
	struct xn_domains *d = s->d;
	struct telling *telling = xn_calloc(1, sizeof(*telling));
	int rc;

	telling->d = d;
	memcpy(telling->uuid, s->uuid, sizeof(telling->uuid));
	xn_log_debug(d->core->log, "domain", "VM %s: memory target %lld MiB, has %lld", s->uuid,
		     (long long)target / MIB, (long long)v->actual / MIB);
	xn_memory_told(d, v->vm, target);
	write_target(s, target);
	rc = d->backend->ops->set_memory(d->backend, v->info->domid, (uint64_t)target, on_told,
					 telling);
	if (rc < 0)
		on_told(rc, telling);
}

static void write_actual(const struct xn_sharer *s, const struct view *v)
{
	struct xn_row *metrics = xn_row_follow(s->d->db, v->vm, XN_VM_metrics);

	if (metrics)
		xn_db_set_int(s->d->db, metrics, XN_VM_metrics_memory_actual, v->actual);
}

/* Return whether it is a step nearer. */
static bool follow(struct xn_sharer *s)
{
	int64_t now = xn_now_us(s->d->core->loop), off;
	struct view v;

	if (!view(s, &v)) {
		forget(s);
		return true;
	}
	off = llabs(v.actual - s->target);
	if (v.actual != s->seen) {
		write_actual(s, &v);
		s->seen = v.actual;
		s->moved_us = now;
		s->gave_up = false;
		if (off > 0)
			return true;
	}
	if (off == 0 || (off <= NEARLY && now - s->moved_us >= NEARLY_US)) {
		xn_list_remove(&s->moving);
		return true;
	}
	if (now - s->moved_us < PATIENCE_US)
		return false;
	if (!s->gave_up)
		xn_log_info(s->d->core->log, "domain",
			    "VM %s does not follow its memory target: given up", s->uuid);
	s->gave_up = true;
	if (s->target < v.actual) /* one that should grow may still do so: that stays promised */
		xn_list_remove(&s->moving);
	return true;
}

static bool follow_all(struct xn_domains *d)
{
	bool progress = false;

	xn_list_each_safe(node, &d->memory.moving)
		progress |= follow(xn_list_entry(node, struct xn_sharer, moving));
	return progress;
}

int64_t xn_memory_settled(struct xn_domains *d, const struct xn_domain_info *info)
{
	const struct xn_sharer *s = find(d, info->uuid);
	int64_t actual = (int64_t)info->memory_bytes;

	return s && is_moving(s) && s->target < actual ? s->target : actual;
}

bool xn_memory_is_reached(struct xn_domains *d, const char *uuid, bool *gave_up_out)
{
	const struct xn_sharer *s = find(d, uuid);

	*gave_up_out = s && s->gave_up;
	return !s || (!is_moving(s) && !s->gave_up);
}

/* ---- sharing out ---- */

/* The fraction of their ranges that all can have. */
static double fraction(struct xn_domains *d, bool for_wants)
{
	double left = (double)xn_domains_free_memory(d), range = 0;
	struct view v;

	xn_list_each(node, &d->memory.sharers) {
		const struct xn_sharer *s = xn_list_entry(node, struct xn_sharer, link);

		if (!view(s, &v) || !v.follows || (for_wants && s->gave_up))
			continue;
		left += (double)(held_by(s, &v) - v.min);
		range += (double)(v.max - v.min);
	}
	xn_list_each(node, &d->memory.wants) {
		const struct xn_vm_op *vmo = xn_list_entry(node, struct xn_vm_op, memory.wanting);

		left -= (double)(vmo->memory.least + vmo->memory.overhead);
		range += (double)(vmo->memory.most - vmo->memory.least);
	}
	if (left <= 0)
		return 0;
	return range <= 0 || left >= range ? 1 : left / range;
}

static int64_t share(int64_t min, int64_t max, double f)
{
	int64_t bytes = min + (int64_t)((double)(max - min) * f);

	if (bytes >= max)
		return max;
	return largest(min, bytes / MIB * MIB);
}

/* False: there are more than one turn should take. */
static bool lower_targets(struct xn_domains *d, double f)
{
	unsigned told = 0;
	struct view v;

	xn_list_each_safe(node, &d->memory.sharers) {
		struct xn_sharer *s = xn_list_entry(node, struct xn_sharer, link);
		int64_t target;

		if (!view(s, &v) || !v.follows || s->gave_up)
			continue;
		target = share(v.min, v.max, f);
		if (target >= held_by(s, &v) || target == s->target)
			continue;
		if (told++ == A_TURN)
			return false;
		d->memory.may_raise = true;
		tell(s, &v, target);
	}
	return true;
}

static void raise_targets(struct xn_domains *d)
{
	double f = fraction(d, false);
	int64_t left = xn_domains_free_memory(d);
	bool all = f >= 1;
	unsigned told = 0;
	struct view v;

	xn_list_each_safe(node, &d->memory.sharers) {
		struct xn_sharer *s = xn_list_entry(node, struct xn_sharer, link);
		int64_t target, more;

		if (!view(s, &v))
			continue;
		if (!v.follows) {
			all &= s->target >= v.max;
			continue;
		}
		target = share(v.min, v.max, f);
		more = largest(0, target - held_by(s, &v));
		if (target <= s->target)
			continue;
		if (told == A_TURN || more > left || (target < v.max && target - s->target < MIB)) {
			all = false;
			continue;
		}
		left -= more;
		told++;
		tell(s, &v, target);
	}
	d->memory.may_raise = !all;
}

/* ---- who waits ---- */

/* Who is on the way down. */
struct giving {
	const struct xn_sharer *first;
	unsigned n;
	bool may_be_more; /* not all were told yet */
};

static struct giving look_who_gives(struct xn_domains *d)
{
	struct giving giving = {0};

	xn_list_each(node, &d->memory.moving) {
		const struct xn_sharer *s = xn_list_entry(node, struct xn_sharer, moving);

		if (s->target >= s->seen)
			continue;
		giving.n++;
		if (!giving.first)
			giving.first = s;
	}
	return giving;
}

/* Said anew only when it is something new: since when an operation waits is told, too. */
static void describe_wait(struct xn_vm_op *vmo, const struct giving *giving)
{
	const struct xn_sharer *first = giving->first;
	char words[sizeof(vmo->op.waiting_for)] = "memory that others wait for, too";

	if (first)
		snprintf(words, sizeof(words),
			 "%u VMs to give back memory: %s has %lld MiB left to go, %lld are wanted",
			 giving->n, first->uuid, (long long)(first->seen - first->target) / MIB,
			 (long long)(vmo->memory.least + vmo->memory.overhead) / MIB);
	if (strcmp(words, vmo->op.waiting_for) != 0)
		xn_op_waiting(&vmo->op, "%s", words);
}

static void grant(struct xn_vm_op *vmo, int64_t bytes)
{
	if (bytes < vmo->memory.most)
		vmo->d->memory.may_raise = true;
	xn_list_remove(&vmo->memory.wanting);
	xn_memory_reserve(vmo, bytes, vmo->memory.overhead);
	vmo->memory.granted(vmo, bytes);
}

/* The first in the queue; false: it goes on waiting. */
static bool serve(struct xn_domains *d, struct xn_vm_op *vmo, double f, const struct giving *giving)
{
	int64_t left = xn_domains_free_memory(d) - vmo->memory.overhead;
	int64_t wanted = share(vmo->memory.least, vmo->memory.most, f);
	struct xn_error err = {0};

	if (!xn_op_find(d->core, &vmo->memory.at)) {
		xn_list_remove(&vmo->memory.wanting); /* its step is over */
		return true;
	}
	if (left >= wanted) {
		grant(vmo, wanted);
		return true;
	}
	if (giving->n > 0 || giving->may_be_more)
		return false;
	if (left >= vmo->memory.least) {
		grant(vmo, left / MIB * MIB >= vmo->memory.least ? left / MIB * MIB : left);
		return true;
	}
	xn_list_remove(&vmo->memory.wanting);
	xn_no_memory(&err, vmo->memory.least + vmo->memory.overhead,
		     largest(0, left + vmo->memory.overhead));
	xn_op_fail(&vmo->op, &err);
	return true;
}

static void serve_all(struct xn_domains *d, bool progress)
{
	double f = fraction(d, true);
	bool all_told = lower_targets(d, f);
	struct giving giving = look_who_gives(d);
	unsigned served = 0;

	giving.may_be_more = !all_told;
	while (!xn_list_empty(&d->memory.wants) && served < A_TURN) {
		struct xn_vm_op *vmo =
			xn_list_entry(d->memory.wants.next, struct xn_vm_op, memory.wanting);

		if (!serve(d, vmo, f, &giving))
			break;
		served++;
	}
	xn_list_each(node, &d->memory.wants) {
		struct xn_vm_op *vmo = xn_list_entry(node, struct xn_vm_op, memory.wanting);

		if (!xn_op_find(d->core, &vmo->memory.at))
			continue;
		describe_wait(vmo, &giving);
		if (progress || served > 0)
			xn_op_progress(&vmo->op, 0);
	}
	if (!all_told || served == A_TURN)
		xn_memory_look(d); /* the rest in the next turn */
}

void xn_memory_want(struct xn_vm_op *vmo, int64_t had, int64_t least, int64_t most,
		    int64_t overhead, void (*granted)(struct xn_vm_op *vmo, int64_t bytes))
{
	struct xn_domains *d = vmo->d;

	xn_memory_release(vmo);
	vmo->memory.had = had;
	vmo->memory.least = least;
	vmo->memory.most = largest(least, most);
	vmo->memory.overhead = overhead;
	vmo->memory.granted = granted;
	vmo->memory.at = xn_op_token(&vmo->op);
	if (xn_list_empty(&d->memory.wants) && surely_free(d) >= most + overhead) {
		grant(vmo, vmo->memory.most);
		return;
	}
	xn_list_push(&d->memory.wants, &vmo->memory.wanting);
	xn_op_waiting(&vmo->op, "the memory of the host to be shared out");
	xn_memory_look(d);
}

/* ---- looking ---- */

static void look(struct xn_domains *d)
{
	bool progress = follow_all(d);

	if (!xn_list_empty(&d->memory.wants))
		serve_all(d, progress);
	if (xn_list_empty(&d->memory.wants) && d->memory.may_raise)
		raise_targets(d);
	if (!xn_list_empty(&d->memory.moving) || !xn_list_empty(&d->memory.wants))
		look_later(d, LOOK_US);
	else if (d->memory.may_raise)
		look_later(d, SLOW_LOOK_US);
}

static void look_now(struct xn_job *job)
{
	look(xn_container_of(job, struct xn_domains, memory.look));
}

static void on_refreshed(int rc, void *arg)
{
	struct xn_domains *d = arg;

	d->memory.refreshing = false;
	if (!d->stopped)
		look(d);
}

static void on_time(struct xn_timer *timer)
{
	struct xn_domains *d = xn_container_of(timer, struct xn_domains, memory.timer);
	int rc;

	if (d->memory.refreshing)
		return;
	d->memory.refreshing = true;
	rc = d->backend->ops->refresh(d->backend, on_refreshed, d);
	if (rc < 0)
		on_refreshed(rc, d);
}

static void look_later(struct xn_domains *d, int64_t delay_us)
{
	struct xn_timer *timer = &d->memory.timer;
	int64_t due = xn_now_us(d->core->loop) + delay_us;

	if (d->stopped || (xn_timer_is_armed(timer) && timer->due_us <= due))
		return;
	xn_timer_arm(d->core->loop, timer, delay_us, on_time);
}

void xn_memory_look(struct xn_domains *d)
{
	if (d->stopped)
		return;
	if (!xn_list_empty(&d->memory.wants))
		xn_loop_defer(d->core->loop, &d->memory.look, XN_PRIO_OPERATION, look_now);
	else if (d->memory.may_raise)
		look_later(d, RAISE_US);
}

/* ---- what the reconcilers see ---- */

void xn_memory_see(struct xn_domains *d, struct xn_row *vm, const struct xn_domain_info *info)
{
	int64_t max = xn_row_int(vm, XN_VM_memory_dynamic_max);
	bool shares = xn_row_int(vm, XN_VM_memory_dynamic_min) < max;
	struct xn_sharer *s = find(d, xn_row_uuid(vm));

	if (!s && !shares)
		return;
	if (s && !shares && !is_moving(s)) {
		forget(s);
		return;
	}
	if (!s)
		s = add(d, vm);
	if (s->domid != info->domid) {
		s->domid = info->domid;
		s->gave_up = false;
		s->target = xn_row_int(vm, XN_VM_memory_target);
		s->seen = (int64_t)info->memory_bytes;
		s->moved_us = xn_now_us(d->core->loop);
		if (s->target != s->seen) /* from before a restart of the daemon */
			xn_memory_told(d, vm, s->target);
	}
	if (s->target < max && !d->memory.may_raise) {
		d->memory.may_raise = true;
		xn_memory_look(d);
	}
}

void xn_memory_gone(struct xn_domains *d, const char *uuid)
{
	struct xn_sharer *s = find(d, uuid);

	if (s)
		forget(s);
	xn_memory_look(d);
}

static void tell_host(void *arg, int64_t *free_out, int64_t *available_out)
{
	struct xn_domains *d = arg;

	*free_out = unused(d);
	*available_out = xn_domains_available_memory(d);
}

void xn_memory_start(struct xn_domains *d)
{
	xn_host_set_memory_source(xn_host_of(d->core), tell_host, d);
}

void xn_memory_init(struct xn_domains *d)
{
	xn_list_init(&d->memory.sharers);
	xn_list_init(&d->memory.moving);
	xn_list_init(&d->memory.reservations);
	xn_list_init(&d->memory.wants);
}

void xn_memory_stop(struct xn_domains *d)
{
	xn_host_set_memory_source(xn_host_of(d->core), NULL, NULL);
	xn_timer_cancel(&d->memory.timer);
	xn_job_cancel(&d->memory.look);
	xn_list_each_safe(node, &d->memory.sharers)
		forget(xn_list_entry(node, struct xn_sharer, link));
	xn_hmap_clear(&d->memory.by_uuid);
}

/* ---- calls ---- */

static bool is_cooperative(struct xn_domains *d, const char *uuid)
{
	const struct xn_sharer *s = find(d, uuid);

	return !s || !s->gave_up;
}

static void get_cooperative(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	struct xn_error err = {0};
	const struct xn_row *vm = xn_db_need(d->db, XN_CLASS_VM, xn_call_string(call, 0), &err);

	if (vm)
		xn_call_reply(call, xn_bool(is_cooperative(d, xn_row_uuid(vm))));
	else
		xn_call_fail(call, &err);
}

/* get_uncooperative_resident_VMs: references; get_uncooperative_domains: UUIDs. */
static void get_uncooperative(struct xn_call *call)
{
	struct xn_domains *d = call->state;
	bool refs = strcmp(call->method->message, "get_uncooperative_resident_VMs") == 0;
	struct xn_error err = {0};
	struct xn_value *set;

	if (!xn_db_need(d->db, XN_CLASS_host, xn_call_string(call, 0), &err)) {
		xn_call_fail(call, &err);
		return;
	}
	set = xn_set_new();
	xn_list_each(node, &d->memory.sharers) {
		const struct xn_sharer *s = xn_list_entry(node, struct xn_sharer, link);

		if (s->gave_up)
			xn_set_append_string(&set, refs ? s->vm : s->uuid);
	}
	xn_call_reply(call, set);
}

const struct xn_method_impl xn_memory_methods[] = {
	{"VM.get_cooperative", get_cooperative, NULL, false},
	{"host.get_uncooperative_resident_VMs", get_uncooperative, NULL, false},
	{"host.get_uncooperative_domains", get_uncooperative, NULL, false},
	{NULL, NULL, NULL, false},
};
