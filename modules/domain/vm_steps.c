/*
 * Steps that several operations on VMs share: hold the rows, reserve memory, disks, domain,
 * devices, and the last one of all, which waits until the rows tell the truth. In the order in
 * which VM.start has them. Each can be run again after a restart.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

static struct xn_backend *backend_of(struct xn_vm_op *vmo)
{
	return vmo->d->backend;
}

/* ---- hold ---- */

/* The first step of what changes a domain but does not build it. Its undo, the last of all, is
 * xn_step_sync: what the rows say must be true again before the call fails. */
void xn_step_find_domain(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_error err = {0};

	if (xn_vm_op_domain(vmo)) {
		xn_op_done(op, 0);
		return;
	}
	xn_error_set(&err, XN_ERR_VM_BAD_POWER_STATE, vmo->vm, "running", "halted");
	xn_op_fail(op, &err);
}

void xn_step_hold(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	if (!vmo->holds)
		xn_vm_hold(vmo->d, vmo->uuid);
	vmo->holds = true;
	xn_op_done(op, 0);
}

void xn_step_hold_undo(struct xn_op *op)
{
	xn_step_sync(op);
}

/* ---- memory ---- */

/* Beyond any machine, and so small that sums cannot overflow. */
static const int64_t memory_max = (int64_t)1 << 56;

static int64_t within(int64_t value, int64_t least, int64_t most)
{
	return value > most ? most : value < least ? least : value;
}

void xn_vm_memory_range(const struct xn_row *vm, int64_t *least_out, int64_t *most_out)
{
	int64_t most = within(xn_row_int(vm, XN_VM_memory_static_max), 0, memory_max);
	int64_t least = within(xn_row_int(vm, XN_VM_memory_static_min), 0, most);

	*most_out = within(xn_row_int(vm, XN_VM_memory_dynamic_max), least, most);
	*least_out = within(xn_row_int(vm, XN_VM_memory_dynamic_min), least, *most_out);
	/* The shim inside cannot balloon before its guest runs. */
	if (strcmp(xn_row_string(vm, XN_VM_domain_type), "pv_in_pvh") == 0)
		*least_out = *most_out = most;
}

/* So that nobody takes it between the end of the old domain and the new one. */
void xn_step_keep_memory(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	struct xn_row *vm = xn_vm_op_row(vmo);

	if (!vm)
		return;
	if (domain)
		xn_memory_reserve(vmo, (int64_t)domain->memory_bytes, xn_vm_memory_overhead(vm));
	xn_op_done(op, 0);
}

static void on_granted(struct xn_vm_op *vmo, int64_t bytes)
{
	struct xn_row *vm = xn_vm_op_row(vmo);

	if (!vm)
		return;
	xn_db_set_int(vmo->d->db, vm, XN_VM_memory_target, bytes);
	xn_op_done(&vmo->op, 0);
}

void xn_step_reserve(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	struct xn_row *vm = xn_vm_op_row(vmo);
	struct xn_error err = {0};
	int64_t least, most, overhead, kept;
	bool keeps;

	if (!vm)
		return;
	overhead = xn_vm_memory_overhead(vm);
	xn_vm_memory_range(vm, &least, &most);
	/* A guest that goes on from an image has what it had. */
	if (xn_map_get(op->args, "image") && xn_row_int(vm, XN_VM_memory_target) > 0)
		least = most = within(xn_row_int(vm, XN_VM_memory_target), 0, memory_max);
	/* What the old domain had is this one's, whoever waits for memory. */
	kept = (int64_t)vmo->reserved - overhead;
	keeps = vmo->reserved > 0 && kept >= least;
	xn_memory_release(vmo);
	if (xn_vm_check_boot(vmo->d, vm, xn_domains_host(vmo->d), !keeps, &err) < 0 ||
	    xn_vm_plan_make(vmo->d, vm, &vmo->plan, &err) < 0)
		xn_op_fail(op, &err);
	else if (keeps)
		on_granted(vmo, xn_memory_retake(vmo, kept, most, overhead));
	else
		xn_memory_want(vmo, 0, least, most, overhead, on_granted);
}

void xn_step_reserve_undo(struct xn_op *op)
{
	xn_memory_release(xn_vm_op_of(op));
	xn_op_done(op, 0);
}

/* After a restart the plan that an earlier step made is gone. */
static bool have_plan(struct xn_vm_op *vmo)
{
	struct xn_error err = {0};
	struct xn_row *vm;

	if (vmo->plan.disks)
		return true;
	vm = xn_vm_op_row(vmo);
	if (!vm)
		return false;
	if (xn_vm_plan_make(vmo->d, vm, &vmo->plan, &err) == 0)
		return true;
	xn_op_fail(&vmo->op, &err);
	return false;
}

/* ---- disks ---- */

struct activation {
	struct xn_pending *pending;
	char vbd[48];
	/* What follows once the disk is active; NULL: nothing. */
	void (*then)(struct xn_vm_op *vmo, struct xn_vm_disk *disk, struct xn_pending *pending);
};

static struct xn_vm_disk *disk_of(struct xn_vm_op *vmo, const char *vbd)
{
	for (unsigned i = 0; i < vmo->plan.n_disks; i++)
		if (strcmp(vmo->plan.disks[i].vbd, vbd) == 0)
			return &vmo->plan.disks[i];
	return NULL;
}

static void on_active(const struct xn_error *err, const char *path, const char *format, void *arg)
{
	struct activation *act = arg;
	struct xn_vm_op *vmo = xn_pending_op(act->pending);
	struct xn_vm_disk *disk = vmo ? disk_of(vmo, act->vbd) : NULL;

	if (err || !disk) {
		xn_pending_storage_done(err, act->pending);
	} else {
		free(disk->path);
		free(disk->format);
		disk->path = xn_strdup(path);
		disk->format = xn_strdup(format);
		if (act->then)
			act->then(vmo, disk, act->pending);
		else
			xn_pending_storage_done(NULL, act->pending);
	}
}

static void activate(struct xn_vm_op *vmo, struct xn_vm_disk *disk, struct xn_pending *pending,
		     void (*then)(struct xn_vm_op *vmo, struct xn_vm_disk *disk,
				  struct xn_pending *pending))
{
	struct activation *act;

	if (!disk->vdi[0] || disk->path) {
		if (then)
			then(vmo, disk, pending);
		else
			xn_pending_storage_done(NULL, pending);
		return;
	}
	act = xn_calloc(1, sizeof(*act));
	act->pending = pending;
	act->then = then;
	memcpy(act->vbd, disk->vbd, sizeof(act->vbd));
	xn_pending_own(pending, act);
	xn_storage_activate(vmo->d->storage, disk->vdi, disk->dp, !disk->read_only, on_active, act);
}

static void activate_one(struct xn_group *group, unsigned index, void *arg)
{
	struct xn_vm_op *vmo = arg;

	activate(vmo, &vmo->plan.disks[index], xn_pending_new(vmo, group, index), NULL);
}

void xn_step_activate(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	if (have_plan(vmo))
		xn_group_start(op, vmo->plan.n_disks, XN_DISK_WIDTH, activate_one, vmo);
}

static void deactivate_one(struct xn_group *group, unsigned index, void *arg)
{
	struct xn_vm_op *vmo = arg;
	struct xn_vm_disk *disk = &vmo->plan.disks[index];
	struct xn_pending *pending = xn_pending_new(vmo, group, index);

	free(disk->path);
	disk->path = NULL;
	if (!disk->vdi[0])
		xn_pending_storage_done(NULL, pending);
	else
		xn_storage_deactivate(vmo->d->storage, disk->vdi, disk->dp, xn_pending_storage_done,
				      pending);
}

void xn_step_deactivate(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	if (have_plan(vmo))
		xn_group_start(op, vmo->plan.n_disks, XN_DISK_WIDTH, deactivate_one, vmo);
}

/* ---- the domain ---- */

/*
 * A create that is under way: it may end when its step is long over, and the domain must not stay
 * then. Owned by the call to the back end; the operation points to it while both live.
 */
struct xn_creating {
	struct xn_domains *d;
	struct xn_vm_op *vmo; /* NULL: the operation is gone, or has given up */
	struct xn_op_token step;
	struct xn_pending *undo; /* the undo that waits for this end */
};

void xn_creating_forget(struct xn_vm_op *vmo)
{
	vmo->creating->vmo = NULL;
	vmo->creating = NULL;
}

static void ignore_end(int rc, void *arg)
{
}

/* What its rows have for it in xenstore, beside what the back end writes. */
static void tell_guest(struct xn_vm_op *vmo, uint32_t domid)
{
	const struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);

	if (vm)
		xn_vm_tell_xenstore_data(vmo->d, vm, domid);
	for (unsigned i = 0; i < vmo->plan.n_nics; i++)
		xn_vif_tell_address_if_set(vmo->d, vmo->plan.nics[i].vif, domid);
}

static void on_created(int rc, uint32_t domid, void *arg)
{
	struct xn_creating *creating = arg;
	struct xn_domains *d = creating->d;
	struct xn_op *op = xn_op_find(d->core, &creating->step);

	if (creating->vmo)
		creating->vmo->creating = NULL;
	if (!op && rc == 0) { /* too late: nobody wants it any more */
		int gone = d->backend->ops->destroy(d->backend, domid,
						    creating->undo ? xn_pending_done : ignore_end,
						    creating->undo);
		if (gone < 0 && creating->undo)
			xn_pending_failed(creating->undo, gone);
	} else if (!op) {
		if (creating->undo)
			xn_pending_done(0, creating->undo);
	} else {
		struct xn_vm_op *vmo = xn_vm_op_of(op);

		xn_memory_release(vmo); /* the hypervisor counts it now */
		if (rc < 0) {
			xn_pending_failed(xn_pending_new(vmo, NULL, 0), rc);
		} else {
			tell_guest(vmo, domid);
			xn_op_done(op, 0);
		}
	}
	free(creating);
}

/* With a memory image open the guest goes on from there, else it boots. */
static int build(struct xn_vm_op *vmo, const struct xn_value *config)
{
	struct xn_backend *backend = backend_of(vmo);
	int fd;

	xn_op_waiting(&vmo->op, "the domain builder");
	if (!vmo->image)
		return backend->ops->create(backend, config, on_created, vmo->creating);
	fd = xn_image_dup(vmo);
	if (fd < 0)
		return fd;
	xn_image_watch(vmo, (uint64_t)xn_map_get_int(config, "memory", 0));
	return backend->ops->restore(backend, config, fd, on_created, vmo->creating);
}

static void create_now(struct xn_vm_op *vmo)
{
	struct xn_row *vm = xn_vm_op_row(vmo);
	struct xn_value *config;
	int rc;

	if (!vm || !have_plan(vmo))
		return;
	vmo->creating = xn_calloc(1, sizeof(*vmo->creating));
	*vmo->creating =
		(struct xn_creating){.d = vmo->d, .vmo = vmo, .step = xn_op_token(&vmo->op)};
	config = xn_domain_config(vm, &vmo->plan);
	rc = build(vmo, config);
	xn_value_unref(config);
	if (rc < 0) {
		free(vmo->creating);
		vmo->creating = NULL;
		xn_pending_failed(xn_pending_new(vmo, NULL, 0), rc);
	}
}

static void on_leftover_gone(int rc, void *arg)
{
	struct xn_pending *pending = arg;
	struct xn_vm_op *vmo = xn_pending_op(pending);

	if (rc < 0) {
		xn_pending_failed(pending, rc);
		return;
	}
	xn_pending_free(pending);
	if (vmo)
		create_now(vmo);
}

void xn_vm_create_domain(struct xn_vm_op *vmo)
{
	const struct xn_domain_info *leftover = xn_vm_op_domain(vmo);
	struct xn_pending *pending;
	int rc;

	if (!leftover) {
		create_now(vmo);
		return;
	}
	/* Half of a domain, from before a restart. */
	pending = xn_pending_new(vmo, NULL, 0);
	rc = backend_of(vmo)->ops->destroy(backend_of(vmo), leftover->domid, on_leftover_gone,
					   pending);
	if (rc < 0)
		xn_pending_failed(pending, rc);
}

void xn_step_create(struct xn_op *op)
{
	xn_vm_create_domain(xn_vm_op_of(op));
}

static void destroy_domain(struct xn_vm_op *vmo, const struct xn_domain_info *domain)
{
	struct xn_pending *pending = xn_pending_new(vmo, NULL, 0);
	int rc = backend_of(vmo)->ops->destroy(backend_of(vmo), domain->domid, xn_pending_done,
					       pending);

	if (rc < 0)
		xn_pending_failed(pending, rc);
}

/* Once more, now that the lists are read: the builder may have begun its domain meanwhile. */
static void on_lists_read(int rc, void *arg)
{
	struct xn_pending *pending = arg;
	struct xn_vm_op *vmo = xn_pending_op(pending);
	const struct xn_domain_info *domain = vmo ? xn_vm_op_domain(vmo) : NULL;

	if (vmo && domain) {
		xn_pending_free(pending);
		destroy_domain(vmo, domain);
	} else if (vmo && vmo->creating) {
		xn_op_waiting(&vmo->op, "the domain builder, to undo what it makes");
		vmo->creating->undo = pending;
	} else {
		xn_pending_done(0, pending);
	}
}

void xn_step_destroy(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	struct xn_pending *pending;
	int rc;

	if (domain) {
		destroy_domain(vmo, domain);
	} else if (vmo->creating) {
		pending = xn_pending_new(vmo, NULL, 0);
		rc = backend_of(vmo)->ops->refresh(backend_of(vmo), on_lists_read, pending);
		if (rc < 0)
			on_lists_read(rc, pending);
	} else {
		xn_op_done(op, 0);
	}
}

/* ---- devices ---- */

static void plug_disk(struct xn_vm_op *vmo, struct xn_vm_disk *disk, struct xn_pending *pending)
{
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	struct xn_disk_config config = xn_vm_disk_config(disk);
	int rc = domain ? backend_of(vmo)->ops->plug_disk(backend_of(vmo), domain->domid, &config,
							  xn_pending_done, pending)
			: -ENOENT;

	if (rc < 0)
		xn_pending_failed(pending, rc);
}

static void plug_writable(struct xn_vm_op *vmo, struct xn_pending *pending)
{
	activate(vmo, &vmo->plan.disks[xn_pending_index(pending)], pending, plug_disk);
}

static void plug_read_only(struct xn_vm_op *vmo, struct xn_pending *pending)
{
	unsigned index = vmo->plan.n_writable + xn_pending_index(pending);

	activate(vmo, &vmo->plan.disks[index], pending, plug_disk);
}

static void plug_nic(struct xn_vm_op *vmo, struct xn_pending *pending)
{
	const struct xn_vm_nic *nic = &vmo->plan.nics[xn_pending_index(pending)];
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	struct xn_nic_config config = {.devid = nic->devid,
				       .mac = nic->mac,
				       .bridge = nic->bridge,
				       .mtu = nic->mtu,
				       .rate_kbps = nic->rate_kbps};
	int rc = domain ? backend_of(vmo)->ops->plug_nic(backend_of(vmo), domain->domid, &config,
							 xn_pending_done, pending)
			: -ENOENT;

	if (rc < 0)
		xn_pending_failed(pending, rc);
}

static void plug_writable_one(struct xn_group *group, unsigned index, void *arg)
{
	xn_pending_plug(xn_pending_new(arg, group, index), plug_writable);
}

static void plug_read_only_one(struct xn_group *group, unsigned index, void *arg)
{
	xn_pending_plug(xn_pending_new(arg, group, index), plug_read_only);
}

static void plug_nic_one(struct xn_group *group, unsigned index, void *arg)
{
	xn_pending_plug(xn_pending_new(arg, group, index), plug_nic);
}

static void plug_all(struct xn_op *op, unsigned n,
		     void (*plug_one)(struct xn_group *group, unsigned index, void *arg))
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	xn_group_start(op, n, vmo->d->plug_width, plug_one, vmo);
}

void xn_step_plug_writable(struct xn_op *op)
{
	if (have_plan(xn_vm_op_of(op)))
		plug_all(op, xn_vm_op_of(op)->plan.n_writable, plug_writable_one);
}

void xn_step_plug_read_only(struct xn_op *op)
{
	const struct xn_vm_plan *plan = &xn_vm_op_of(op)->plan;

	if (have_plan(xn_vm_op_of(op)))
		plug_all(op, plan->n_disks - plan->n_writable, plug_read_only_one);
}

void xn_step_plug_nics(struct xn_op *op)
{
	if (have_plan(xn_vm_op_of(op)))
		plug_all(op, xn_vm_op_of(op)->plan.n_nics, plug_nic_one);
}

void xn_step_unpause(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	struct xn_pending *pending;
	int rc = -ENOENT;

	if (xn_map_get_bool(op->args, "paused", false)) {
		xn_op_done(op, 0);
		return;
	}
	pending = xn_pending_new(vmo, NULL, 0);
	if (domain)
		rc = backend_of(vmo)->ops->unpause(backend_of(vmo), domain->domid, xn_pending_done,
						   pending);
	if (!domain || rc < 0)
		xn_pending_failed(pending, rc);
}

/* ---- the truth ---- */

static void on_synced(struct xn_barrier *barrier)
{
	struct xn_vm_op *vmo = barrier->arg;

	if (xn_op_find(vmo->d->core, &vmo->at))
		xn_op_done(&vmo->op, 0);
}

void xn_step_sync(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	if (vmo->holds)
		xn_vm_unhold(vmo->d, vmo->uuid);
	vmo->holds = false;
	xn_updates_touch(vmo->d->updates, "VM", vmo->uuid);
	xn_updates_barrier_cancel(&vmo->barrier);
	vmo->at = xn_op_token(op);
	xn_op_waiting(op, "the database to show the domain's state");
	xn_updates_barrier(vmo->d->updates, &vmo->barrier, "VM", vmo->uuid, on_synced, vmo);
}

static void on_durable(struct xn_db_wait *wait, int rc)
{
	struct xn_vm_op *vmo = xn_container_of(wait, struct xn_vm_op, durable);
	struct xn_error err = {0};

	if (!xn_op_find(vmo->d->core, &vmo->at))
		return;
	if (rc < 0) {
		xn_db_error(rc, &err);
		xn_op_fail(&vmo->op, &err);
	} else {
		xn_op_done(&vmo->op, 0);
	}
}

void xn_step_when_durable(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	vmo->at = xn_op_token(op);
	xn_op_waiting(op, "the database to be on disk");
	xn_db_wait_cancel(&vmo->durable);
	xn_db_when_durable(vmo->d->db, &vmo->durable, on_durable);
}

/* ---- others on the VM ---- */

static void on_alone(struct xn_vm_op *vmo)
{
	if (!xn_op_find(vmo->d->core, &vmo->at)) {
		xn_list_remove(&vmo->solo);
		return;
	}
	if (!xn_operation_is_alone(vmo->d->ops, vmo->vm, vmo->op.task))
		return;
	xn_list_remove(&vmo->solo);
	xn_op_done(&vmo->op, 0);
}

/* Who forces a VM down does not wait for those who ask it politely, or still build it. */
void xn_step_stop_others(struct xn_op *op)
{
	static const char *const stopped[] = {
		"clean_shutdown",
		"clean_reboot",
		"hard_reboot",
		"pool_migrate",
		"call_plugin",
		"shutdown",
		"suspend",
		"start",
		"start_on",
		"resume",
		"resume_on",
		"pause",
		"unpause",
		"awaiting_memory_live",
		NULL,
	};
	struct xn_vm_op *vmo = xn_vm_op_of(op);

	vmo->at = xn_op_token(op);
	xn_operation_cancel_holders(vmo->d->ops, vmo->vm, stopped, op->task);
	if (xn_operation_is_alone(vmo->d->ops, vmo->vm, op->task)) {
		xn_op_done(op, 0);
		return;
	}
	xn_op_waiting(op, "the VM's other operations to end");
	xn_list_remove(&vmo->solo);
	xn_list_push(&vmo->d->solos, &vmo->solo);
}

void xn_steps_on_operation_ended(const struct xn_ev_operation_ended *ev, void *arg)
{
	struct xn_domains *d = arg;

	xn_list_each_safe(node, &d->solos) {
		struct xn_vm_op *vmo = xn_list_entry(node, struct xn_vm_op, solo);

		if (strcmp(vmo->vm, ev->object) == 0)
			on_alone(vmo);
	}
}

/* ---- asking the guest ---- */

enum { ACK_US = 60 * 1000000 };

static enum xn_domain_shutdown reason_of(const struct xn_op *op)
{
	return xn_map_get_bool(op->args, "reboot", false) ? XN_SHUTDOWN_REBOOT
							  : XN_SHUTDOWN_POWEROFF;
}

/* The guest did not do as asked: the end, or for VM.shutdown a reason to use force. */
static void guest_refused(struct xn_vm_op *vmo, struct xn_error *err)
{
	xn_vm_wait_end(vmo);
	if (xn_map_get_bool(vmo->op.args, "force_after", false)) {
		xn_error_move(&vmo->soft, err);
		xn_op_done(&vmo->op, 0);
	} else {
		xn_op_fail(&vmo->op, err);
	}
}

static bool is_down(struct xn_vm_op *vmo)
{
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);

	return !domain || domain->shut_down || domain->dying;
}

static void on_ack_late(struct xn_timer *timer)
{
	struct xn_vm_op *vmo = xn_container_of(timer, struct xn_vm_op, timer);
	struct xn_error err = {0};

	if (!xn_op_find(vmo->d->core, &vmo->at)) {
		xn_vm_wait_end(vmo);
		return;
	}
	xn_error_set(&err, XN_ERR_VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT, vmo->vm);
	guest_refused(vmo, &err);
}

static void acknowledged(struct xn_vm_op *vmo)
{
	xn_vm_wait_end(vmo);
	xn_op_done(&vmo->op, 0);
}

static void ask_poke(struct xn_vm_op *vmo)
{
	if (is_down(vmo))
		acknowledged(vmo);
}

struct ack_read {
	struct xn_core *core;
	struct xn_op_token step;
	char path[64];
};

static void on_ack_read(int rc, const struct xn_xs_snapshot *snap, void *arg)
{
	struct ack_read *read = arg;
	struct xn_op *op = xn_op_find(read->core, &read->step);
	const char *value = rc == 0 ? xn_xs_get(snap, read->path) : "unread";

	if (op && xn_vm_op_of(op)->is_waiting && (!value || !*value))
		acknowledged(xn_vm_op_of(op));
	free(read);
}

/* The guest empties or removes the node when it obeys. */
static void on_control_changed(const char *path, void *arg)
{
	struct xn_vm_op *vmo = arg;
	struct ack_read *read;
	const char *paths[1];

	if (!xn_op_find(vmo->d->core, &vmo->at) || strlen(path) >= sizeof(read->path))
		return;
	read = xn_calloc(1, sizeof(*read));
	read->core = vmo->d->core;
	read->step = vmo->at;
	strcpy(read->path, path);
	paths[0] = read->path;
	xn_xs_snapshot(vmo->d->xs, paths, 1, 0, 4096, on_ack_read, read);
}

static void on_asked(int rc, void *arg)
{
	struct xn_pending *pending = arg;
	struct xn_vm_op *vmo = xn_pending_op(pending);
	const struct xn_domain_info *domain = vmo ? xn_vm_op_domain(vmo) : NULL;
	char path[64];

	if (!vmo || rc < 0 || !domain) {
		xn_pending_done(rc, pending);
		return;
	}
	xn_pending_free(pending);
	if (is_down(vmo)) {
		xn_op_done(&vmo->op, 0);
		return;
	}
	xn_op_waiting(&vmo->op, "the guest to acknowledge");
	xn_vm_wait(vmo, ask_poke);
	xn_timer_arm(vmo->d->core->loop, &vmo->timer, ACK_US, on_ack_late);
	snprintf(path, sizeof(path), "/local/domain/%u/control/shutdown", domain->domid);
	vmo->watch = xn_xs_watch(vmo->d->xs, path, on_control_changed, vmo);
}

void xn_step_ask_guest(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	const struct xn_domain_info *domain = xn_vm_op_domain(vmo);
	struct xn_pending *pending;
	int rc;

	if (is_down(vmo)) {
		xn_op_done(op, 0);
		return;
	}
	pending = xn_pending_new(vmo, NULL, 0);
	rc = backend_of(vmo)->ops->shutdown(backend_of(vmo), domain->domid, reason_of(op), on_asked,
					    pending);
	if (rc < 0)
		xn_pending_failed(pending, rc);
}

static void on_guest_late(struct xn_timer *timer)
{
	struct xn_vm_op *vmo = xn_container_of(timer, struct xn_vm_op, timer);
	struct xn_error err = {0};
	char seconds[32];

	if (!xn_op_find(vmo->d->core, &vmo->at)) {
		xn_vm_wait_end(vmo);
		return;
	}
	snprintf(seconds, sizeof(seconds), "%d.",
		 (int)xn_map_get_int(vmo->op.args, "timeout_s", XN_GUEST_TIMEOUT_S));
	xn_error_set(&err, XN_ERR_VM_SHUTDOWN_TIMEOUT, vmo->vm, seconds);
	guest_refused(vmo, &err);
}

static void await_poke(struct xn_vm_op *vmo)
{
	if (is_down(vmo))
		acknowledged(vmo);
}

void xn_step_await_guest(struct xn_op *op)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	int64_t timeout_s = xn_map_get_int(op->args, "timeout_s", XN_GUEST_TIMEOUT_S);

	if (is_down(vmo) || xn_error_is_set(&vmo->soft)) {
		xn_op_done(op, 0);
		return;
	}
	xn_op_waiting(op, "the guest to shut down");
	xn_vm_wait(vmo, await_poke);
	xn_timer_arm(vmo->d->core->loop, &vmo->timer, timeout_s * 1000000, on_guest_late);
}
