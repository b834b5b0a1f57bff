/*
 * The module: state, start, stop, and what happens when the daemon finds domains that were there
 * before it.
 */
#include <stdlib.h>

#include "modules/domain/domain_internal.h"
#include "modules/message/message.h"

/* ---- for other modules ---- */

struct xn_backend *xn_domains_backend(struct xn_domains *domains)
{
	return domains->backend;
}

const struct xn_gate *xn_domains_plugs(const struct xn_domains *domains)
{
	return domains->plugs;
}

int xn_check_operation(struct xn_call *call, struct xn_error *err)
{
	const struct xn_method *method = call->method;
	struct xn_domains *d = call->state;

	/* A real call waits where this would refuse, so only a dry run is told now. */
	if (!call->dry_run || method->lock_param < 0)
		return 0;
	return xn_operation_check(d->ops, method->params[method->lock_param].type->class_id,
				  xn_call_string(call, (unsigned)method->lock_param),
				  method->operation, err);
}

/* ---- after a restart ---- */

/* What was kept for a domain that is not built yet is kept again. */
static void reserve_again(struct xn_vm_op *vmo)
{
	const struct xn_row *vm = xn_db_get(vmo->d->db, XN_CLASS_VM, vmo->vm);

	if (vm)
		xn_memory_reserve(vmo, xn_row_int(vm, XN_VM_memory_target),
				  xn_vm_memory_overhead(vm));
}

/* An operation that goes on in the middle finds its rows held as its first step left them. */
static void restarted(struct xn_op *op, void *arg)
{
	struct xn_vm_op *vmo = xn_vm_op_of(op);
	bool reserved = false;

	for (int i = 0; i < op->step && op->kind->steps[i].name; i++)
		reserved = op->kind->steps[i].run == xn_step_reserve ||
			   op->kind->steps[i].run == xn_step_keep_memory ||
			   (reserved && op->kind->steps[i].run != xn_step_create);
	if (reserved && !op->undoing)
		reserve_again(vmo);
	for (int i = 0; i < op->step && op->kind->steps[i].name; i++)
		if (op->kind->steps[i].run == xn_step_hold && !vmo->holds) {
			xn_vm_hold(vmo->d, vmo->uuid);
			vmo->holds = true;
		}
}

static const struct xn_op_kind *const kinds[] = {
	&xn_vm_start_kind,
	&xn_vm_shutdown_kind,
	&xn_vm_hard_shutdown_kind,
	&xn_vm_reboot_kind,
	&xn_vm_hard_reboot_kind,
	&xn_vm_pause_kind,
	&xn_vm_unpause_kind,
	&xn_vm_reset_kind,
	&xn_vm_suspend_kind,
	&xn_vm_resume_kind,
	&xn_vm_revert_kind,
	&xn_vm_live_kind,
	&xn_vm_leftover_kind,
	&xn_vm_balloon_kind,
	&xn_vm_clone_kind,
	&xn_vm_provision_kind,
	&xn_vm_destroy_kind,
	&xn_vbd_plug_kind,
	&xn_vbd_unplug_kind,
	&xn_vbd_media_kind,
	&xn_vif_plug_kind,
	&xn_vif_unplug_kind,
	&xn_vif_move_kind,
};

static struct xn_row **rows_of(struct xn_db *db, int class_id, size_t *n_out)
{
	struct xn_row **rows = xn_calloc(xn_db_count(db, class_id) + 1, sizeof(*rows));
	size_t n = 0;

	for (struct xn_row *row = xn_db_first(db, class_id); row; row = xn_db_next(db, row))
		rows[n++] = row;
	*n_out = n;
	return rows;
}

/* Its domain lives: what it is attached to is in use. */
static void adopt_disks(struct xn_domains *d, const struct xn_row *vm)
{
	const struct xn_value *vbds = xn_row_get(vm, XN_VM_VBDs);

	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		const struct xn_row *vbd =
			xn_db_get(d->db, XN_CLASS_VBD, xn_value_string(xn_set_at(vbds, i)));
		struct xn_vm_disk disk;
		struct xn_error ignored = {0};

		if (vbd && xn_row_bool(vbd, XN_VBD_currently_attached) &&
		    xn_vm_disk_of(d, vm, vbd, &disk, &ignored) == 0 && disk.vdi[0])
			xn_storage_adopt(d->storage, disk.vdi, disk.dp, !disk.read_only);
		xn_error_clear(&ignored);
	}
}

/* Guests went on while the daemon was away, or did not: the rows say what is true now. */
static void adopt(struct xn_domains *d)
{
	static const int classes[] = {XN_CLASS_VM, XN_CLASS_VBD, XN_CLASS_VIF};
	size_t n;
	struct xn_row **rows = rows_of(d->db, XN_CLASS_VM, &n);

	for (size_t i = 0; i < n; i++) {
		xn_leftovers_look(d, rows[i]);
		xn_vm_reconcile_now(d, rows[i]);
		if (d->backend->ops->find(d->backend, xn_row_uuid(rows[i])))
			adopt_disks(d, rows[i]);
	}
	free(rows);
	for (size_t c = 0; c < XN_ARRAY_SIZE(classes); c++) {
		rows = rows_of(d->db, classes[c], &n);
		for (size_t i = 0; i < n; i++)
			xn_operation_refresh(d->ops, rows[i]);
		free(rows);
	}
}

/* ---- the back end ---- */

struct progress {
	const char *vm_uuid, *what;
	double fraction;
};

static bool is_our_kind(const struct xn_op_kind *kind)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(kinds); i++)
		if (kinds[i] == kind)
			return true;
	return false;
}

static void note_progress(const struct xn_op *op, void *arg)
{
	const struct progress *progress = arg;
	struct xn_op *ours = (struct xn_op *)op; /* a note ends and cancels nothing */

	if (!is_our_kind(op->kind) || !op->running ||
	    strcmp(xn_vm_op_of(ours)->uuid, progress->vm_uuid) != 0)
		return;
	xn_op_progress(ours, progress->fraction < 0 ? op->step_progress : progress->fraction);
	xn_op_waiting(ours, "%s", progress->what);
}

/* A call to the hypervisor goes on, or waits for others: the step's deadline starts anew. */
static void on_backend_progress(const char *vm_uuid, const char *what, double fraction, void *arg)
{
	struct xn_domains *d = arg;
	struct progress progress = {.vm_uuid = vm_uuid, .what = what, .fraction = fraction};

	xn_op_each(d->core, note_progress, &progress);
}

/* ---- the bus ---- */

static void on_domain_changed(const struct xn_ev_domain_changed *ev, void *arg)
{
	struct xn_domains *d = arg;

	xn_updates_touch(d->updates, "VM", ev->vm_uuid);
	xn_vm_wake(d, ev->vm_uuid);
	xn_memory_look(d);
}

static void on_operation_ended(const struct xn_ev_operation_ended *ev, void *arg)
{
	struct xn_domains *d = arg;
	const struct xn_row *vm = xn_db_get(d->db, XN_CLASS_VM, ev->object);
	const struct xn_domain_info *info =
		vm ? d->backend->ops->find(d->backend, xn_row_uuid(vm)) : NULL;

	xn_steps_on_operation_ended(ev, d);
	xn_memory_look(d);
	/* It went down while the operation looked after it, which may not have been what it wanted.
	 */
	if (info && info->shut_down)
		xn_updates_touch(d->updates, "VM", xn_row_uuid(vm));
}

/* What was read while the disk refused changes is not in the rows. */
static void on_db_failed(const struct xn_ev_db_failed *ev, void *arg)
{
	struct xn_domains *d = arg;

	if (ev->error)
		return;
	for (struct xn_row *vm = xn_db_first(d->db, XN_CLASS_VM); vm; vm = xn_db_next(d->db, vm))
		xn_updates_touch(d->updates, "VM", xn_row_uuid(vm));
}

/* ---- the module ---- */

static int add_methods(struct xn_domains *d, struct xn_error *err)
{
	static const struct xn_method_impl *const tables[] = {xn_vm_setters, xn_vbd_methods,
							      xn_vif_methods, xn_memory_methods,
							      xn_appliance_methods,
							      xn_xenstore_data_methods};

	for (size_t t = 0; t < XN_ARRAY_SIZE(tables); t++)
		for (const struct xn_method_impl *impl = tables[t]; impl->name; impl++)
			if (xn_methods_add(d->core->methods, impl, d, err) < 0)
				return -1;
	return 0;
}

static bool is_xen(const struct xn_core *core)
{
	return core->config && strcmp(xn_config_string(core->config, "hypervisor"), "xen") == 0;
}

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	struct xn_domains *d = xn_container_of(source, struct xn_domains, metrics);
	int64_t foreign = 0;
	struct xn_value *list = xn_domains_foreign(d);

	if (list->kind == XN_SET)
		foreign = (int64_t)xn_set_len(list);
	xn_value_unref(list);
	xn_metrics_gauge(page, "xenolith_domains", "",
			 "Domains that the hypervisor has and that are watched.",
			 (int64_t)d->watched.count);
	xn_metrics_gauge(page, "xenolith_domains_foreign", "",
			 "Domains that belong to none of our VMs.", foreign);
	xn_metrics_gauge(page, "xenolith_plugs_running", "", "Devices being plugged or unplugged.",
			 xn_gate_inside(d->plugs));
	xn_metrics_gauge(page, "xenolith_plugs_waiting", "", "Devices that wait for their turn.",
			 xn_gate_waiting(d->plugs));
	xn_metrics_counter(page, "xenolith_plugs_ended", "", "Devices that had their turn.",
			   xn_gate_moves(d->plugs));
	xn_metrics_gauge(page, "xenolith_domains_reserved_memory_bytes", "bytes",
			 "Memory of domains that are about to be created.",
			 (int64_t)d->reserved_memory);
	if (d->backend->ops->count)
		d->backend->ops->count(d->backend, page);
	return 0;
}

static int domain_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_domains *d = xn_calloc(1, sizeof(*d));

	d->core = core;
	d->db = xn_db_of(core);
	d->xs = xn_xenstore_of(core);
	d->updates = xn_updates_of(core);
	d->ops = xn_operations_of(core);
	d->storage = xn_storage_of(core);
	d->plug_width = (unsigned)xn_config_int(core->config, "plug-width");
	d->plugs = xn_gate_new(core->loop, (unsigned)xn_config_int(core->config, "plug-limit"),
			       d->plug_width);
	xn_list_init(&d->solos);
	xn_list_init(&d->reconciles);
	xn_list_init(&d->pendings);
	xn_list_init(&d->stills);
	xn_list_init(&d->taking_back);
	xn_leftovers_init(d);
	xn_list_init(&d->makings);
	xn_disk_writers_init(d);
	xn_memory_init(d);
	xn_images_init(d);
	xn_appliances_init(d);
	xn_auto_poweron_init(d);
	d->backend = is_xen(core) ? xn_backend_libxl_new(core) : xn_backend_sim_new(core);
	d->backend->progress = on_backend_progress;
	d->backend->listed = xn_domain_watch_listed;
	d->backend->listener = d;
	xn_operation_register_rules(d->ops, &xn_vm_rules);
	xn_operation_register_rules(d->ops, &xn_vbd_rules);
	xn_operation_register_rules(d->ops, &xn_vif_rules);
	xn_operation_register_rules(d->ops, &xn_vusb_rules);
	xn_operation_register_rules(d->ops, &xn_vtpm_rules);
	xn_operation_register_rules(d->ops, &xn_appliance_rules);
	for (size_t i = 0; i < XN_ARRAY_SIZE(kinds); i++)
		xn_operation_register_kind(d->ops, kinds[i], restarted, xn_vm_ended, NULL, d);
	xn_operation_register_kind(d->ops, &xn_appliance_kind, NULL, NULL, NULL, d);
	xn_updates_register(d->updates, "VM", xn_vm_reconcile, d);
	xn_updates_register(d->updates, "devices", xn_vm_reconcile_devices, d);
	xn_updates_register(d->updates, "guest", xn_vm_reconcile_guest, d);
	d->on_domain_changed =
		xn_subscribe_domain_changed(core->bus, "domain", on_domain_changed, d);
	d->on_operation_ended =
		xn_subscribe_operation_ended(core->bus, "domain", on_operation_ended, d);
	d->on_db_failed = xn_subscribe_db_failed(core->bus, "domain", on_db_failed, d);
	d->metrics.write = write_metrics;
	xn_metrics_add(core->metrics, &d->metrics);
	*state_out = d;
	return add_methods(d, err);
}

/* The host's record tells what runs it. */
static void tell_host(struct xn_domains *d)
{
	struct xn_hypervisor_facts facts;
	struct xn_host_info info = {0};

	if (d->backend->ops->host_info(d->backend, &info) < 0)
		return;
	facts = (struct xn_hypervisor_facts){.xen_version = info.xen_version,
					     .capabilities = info.capabilities,
					     .memory_total = info.memory_total};
	if (is_xen(d->core)) {
		facts.cpus = info.cpus;
		facts.sockets = info.sockets;
		facts.threads_per_core = info.threads_per_core;
		facts.nodes = info.nodes;
		facts.cpu_mhz = info.cpu_mhz;
		facts.virtualisation = info.hvm;
		facts.iommu = info.iommu;
	}
	xn_host_set_hypervisor(xn_host_of(d->core), &facts);
}

static int domain_start(void *state, struct xn_error *err)
{
	struct xn_domains *d = state;

	if (d->backend->ops->open(d->backend, err) < 0)
		return -1;
	xn_memory_start(d);
	tell_host(d);
	adopt(d);
	return xn_domain_watch_start(d);
}

static void domain_stop(void *state)
{
	struct xn_domains *d = state;

	d->stopped = true;
	xn_metrics_remove(&d->metrics);
	xn_bus_unsubscribe(d->on_domain_changed);
	xn_bus_unsubscribe(d->on_operation_ended);
	xn_bus_unsubscribe(d->on_db_failed);
	xn_domain_watch_stop(d);
	xn_domain_read_stop(d);
	xn_leftovers_stop(d);
	xn_memory_stop(d);
	xn_appliances_stop(d);
	xn_gate_close(d->plugs);
	xn_auto_poweron_stop(d);
	d->backend->ops->close(d->backend);
	xn_images_stop(d);
	xn_vm_disks_stop(d);
	xn_disk_writers_stop(d);
	d->backend->ops->free(d->backend);
	xn_vm_wait_stop(d);
	xn_pendings_stop(d);
	xn_gate_free(d->plugs);
	free(d);
}

static const char *const domain_needs[] = {"auth",      "db",      "task",    "message",
					   "operation", "updates", "records", "xenstore",
					   "storage",   "host",    "console", NULL};
static const enum xn_event_id domain_publishes[] = {XN_EVENT_domain_changed, XN_EVENT_COUNT};

const struct xn_module xn_domain_module = {
	.name = "domain",
	.needs = domain_needs,
	.publishes = domain_publishes,
	.methods = xn_vm_methods,
	.init = domain_init,
	.start = domain_start,
	.stop = domain_stop,
};
