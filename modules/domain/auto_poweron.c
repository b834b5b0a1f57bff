/*
 * VMs that start with the host: halted ones whose other_config:auto_poweron is "true", when the
 * pool's is, too. Once a boot of the host and not at each start of the daemon. What says that it
 * was done is a node in xenstore, which goes when the hypervisor does, with the host's boot time in
 * it, for a store that is kept on disk. (A simulated host boots when its world file is gone.)
 *
 * The node is written when the starts are in the journal, from which they come back by themselves.
 */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

#define DONE_NODE "/tool/xenolith/host-boot"

enum { SAME_BOOT_S = 5 }; /* the kernel computes the boot time from two clocks */

static long long boot_time(struct xn_domains *d)
{
	const struct xn_row *host = xn_domains_host(d);
	const char *text = host ? xn_row_map_string(host, XN_host_other_config, "boot_time") : NULL;

	return text ? strtoll(text, NULL, 10) : 0;
}

static bool is_wanted(const struct xn_row *row, int field)
{
	const char *value = xn_row_map_string(row, field, "auto_poweron");

	return value && strcmp(value, "true") == 0;
}

static void on_over(const struct xn_error *err, void *arg)
{
	struct xn_domains *d = arg;

	if (err)
		xn_log_warn(d->core->log, "domain",
			    "a VM could not be started with the host: %s %s", err->code,
			    err->n_params ? err->params[0] : "");
}

static void start(struct xn_domains *d, const struct xn_row *vm)
{
	struct xn_run_spec spec = {
		.class_id = XN_CLASS_VM,
		.ref = xn_row_ref(vm),
		.operation = "start",
		.over = on_over,
		.arg = d,
	};
	struct xn_op *op = xn_vm_start_op(d, vm, false, &spec);

	xn_log_info(d->core->log, "domain", "VM %s starts with the host", xn_row_uuid(vm));
	xn_operation_run_internal(op, &spec);
}

static int by_order(const void *a, const void *b)
{
	const struct xn_row *const *x = a, *const *y = b;
	int64_t first = xn_row_int(*x, XN_VM_order), second = xn_row_int(*y, XN_VM_order);

	return (first > second) - (first < second);
}

static void start_all(struct xn_domains *d)
{
	struct xn_row **vms =
		xn_calloc(xn_db_count(d->db, XN_CLASS_VM) + 1, sizeof(struct xn_row *));
	size_t n = 0;

	for (struct xn_row *vm = xn_db_first(d->db, XN_CLASS_VM); vm; vm = xn_db_next(d->db, vm))
		if (is_wanted(vm, XN_VM_other_config) && xn_vm_is(vm, "Halted") &&
		    !xn_row_bool(vm, XN_VM_is_a_template) &&
		    !xn_row_bool(vm, XN_VM_is_a_snapshot) &&
		    !xn_row_bool(vm, XN_VM_is_control_domain))
			vms[n++] = vm;
	qsort(vms, n, sizeof(struct xn_row *), by_order);
	for (size_t i = 0; i < n; i++)
		start(d, vms[i]);
	free(vms);
}

static void on_journaled(struct xn_db_wait *wait, int rc)
{
	struct xn_domains *d = xn_container_of(wait, struct xn_domains, auto_poweron.journaled);
	char text[32];
	const struct xn_xs_change change = {.path = DONE_NODE, .value = text};

	if (rc < 0)
		return; /* the next start of the daemon tries again */
	snprintf(text, sizeof(text), "%lld", boot_time(d));
	xn_xs_write(d->xs, &change, 1, NULL, NULL);
}

static void on_read(int rc, const struct xn_xs_snapshot *snap, void *arg)
{
	struct xn_domains *d = arg;
	const struct xn_row *pool = xn_db_first(d->db, XN_CLASS_pool);
	const char *done = rc == 0 ? xn_xs_get(snap, DONE_NODE) : NULL;

	d->auto_poweron.reading = NULL;
	if (rc < 0 || (done && llabs(strtoll(done, NULL, 10) - boot_time(d)) <= SAME_BOOT_S))
		return;
	if (pool && is_wanted(pool, XN_pool_other_config))
		start_all(d);
	xn_db_when_visible(d->db, &d->auto_poweron.journaled, on_journaled);
}

static void on_daemon_ready(const struct xn_ev_daemon_ready *ev, void *arg)
{
	static const char *const paths[] = {DONE_NODE};
	struct xn_domains *d = arg;

	d->auto_poweron.reading = xn_xs_snapshot(d->xs, paths, 1, 0, 4096, on_read, d);
}

void xn_auto_poweron_init(struct xn_domains *d)
{
	d->auto_poweron.on_ready =
		xn_subscribe_daemon_ready(d->core->bus, "domain", on_daemon_ready, d);
}

void xn_auto_poweron_stop(struct xn_domains *d)
{
	xn_bus_unsubscribe(d->auto_poweron.on_ready);
	if (d->auto_poweron.reading)
		xn_xs_cancel(d->auto_poweron.reading);
	xn_db_wait_cancel(&d->auto_poweron.journaled);
}
