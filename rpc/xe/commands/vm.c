/*
 * The life of VMs: start, resume, shut down, restart, and why no host would take one. What is one
 * API call and no more is a line of commands.txt.
 */
#include "rpc/xe/commands/vm.h"

/* ---- why a VM does not start on a host ---- */

static const char *name_of(struct xe *x, const char *ref)
{
	const struct xn_row *row = xn_db_get_any(xe_db(x), ref);
	const struct xn_value *label;

	if (!row)
		return ref;
	label = xn_classes[xn_row_class(row)].name_label_field >= 0
			? xn_row_get(row, xn_classes[xn_row_class(row)].name_label_field)
			: NULL;
	return label ? xe_text(x, "%s (%s)", xn_row_uuid(row), xn_value_string(label))
		     : xn_row_uuid(row);
}

/* What each code says of a host; %s: the parameter of that number. */
static const struct reason {
	const char *code, *text;
	unsigned param;
} reasons[] = {
	{XN_ERR_VM_REQUIRES_SR, "VM requires access to SR: %s", 1},
	{XN_ERR_VM_REQUIRES_NETWORK, "VM requires access to network: %s", 1},
	{XN_ERR_HOST_CANNOT_ATTACH_NETWORK, "Host cannot attach to network: %s", 1},
	{XN_ERR_HOST_DISABLED, "Host disabled (use 'xe host-enable' to re-enable)", 0},
	{XN_ERR_HOST_NOT_LIVE, "Host down", 0},
	{XN_ERR_HOST_NOT_ENOUGH_FREE_MEMORY, "Not enough free memory", 0},
	{XN_ERR_VM_HVM_REQUIRED, "HVM not supported", 0},
	{XN_ERR_HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED, "VM requires access to non-shared SR: %s",
	 0},
	{XN_ERR_HA_CONSTRAINT_VIOLATION_NETWORK_NOT_SHARED,
	 "VM requires access to non-shared network: %s", 0},
};

const char *xe_why_not(struct xe *x, const struct xn_error *err)
{
	const char *text;

	for (size_t i = 0; i < XN_ARRAY_SIZE(reasons); i++) {
		const struct reason *r = &reasons[i];
		const char *found = strstr(r->text, "%s");

		if (strcmp(err->code, r->code) != 0)
			continue;
		if (!found)
			return r->text;
		return xe_text(x, "%.*s%s", (int)(found - r->text), r->text,
			       r->param < err->n_params ? name_of(x, err->params[r->param]) : "?");
	}
	text = err->code;
	for (unsigned i = 0; i < err->n_params; i++)
		text = xe_text(x, "%s%s%s", text, i ? ", " : ": ", name_of(x, err->params[i]));
	return text;
}

bool xe_vm_may_boot(struct xe *x, const char *vm, const char **why_not_out)
{
	const struct xn_error *err;

	if (!xe_try(x, NULL, &err, "VM.assert_can_boot_here", "ss", vm, xe_host(x)))
		return false;
	*why_not_out = err ? xe_why_not(x, err) : NULL;
	return true;
}

void xe_show_host_report(struct xe *x, const char *why_not)
{
	const struct xn_row *host = xe_row(x, XN_CLASS_host, xe_host(x));
	struct xe_pair pair = {host ? xn_row_string(host, XN_host_name_label) : "", "OK"};

	if (why_not)
		pair.value = xe_text(x, "Cannot start here [%s]", why_not);
	xe_show_pairs(x, &pair, 1);
}

/* A start or resume that failed; why, host by host, where none took it. */
static void fail_to_start(struct xe *x, const struct xn_error *err)
{
	struct xn_error copy = {0};
	const char *why_not;

	if (strcmp(err->code, XN_ERR_NO_HOSTS_AVAILABLE) == 0) {
		if (!xe_vm_may_boot(x, xe_object(x), &why_not))
			return;
		xe_print(x, "There are no suitable hosts to start this VM on.");
		xe_print(x,
			 "The following table provides per-host reasons for why the VM could not "
			 "be started:");
		xe_print(x, "%s", "");
		xe_show_host_report(x, why_not);
	}
	xn_error_copy(&copy, err);
	xe_fail_api(x, &copy);
}

/* ---- start, resume ---- */

/* The call, or its twin with a host where on= names one. */
static void bring_up(struct xe *x, const char *method, bool paused, bool force)
{
	const char *on = xe_param(x, "on"), *host;
	const struct xn_error *err;

	if (on && !xe_by_name(x, XN_CLASS_host, on, &host))
		return;
	if (!(on ? xe_try(x, NULL, &err, xe_text(x, "%s_on", method), "ssbb", xe_object(x), host,
			  paused, force)
		 : xe_try(x, NULL, &err, method, "sbb", xe_object(x), paused, force)))
		return;
	if (err)
		fail_to_start(x, err);
}

XE_COMMAND(vm_start)
{
	bool paused, force;

	if (xe_param_bool(x, "paused", false, &paused) && xe_param_bool(x, "force", false, &force))
		bring_up(x, "VM.start", paused, force);
}

XE_COMMAND(vm_resume)
{
	bool force;

	if (xe_param_bool(x, "force", false, &force))
		bring_up(x, "VM.resume", false, force);
}

/* ---- down, and again ---- */

static void clean_or_hard(struct xe *x, const char *ref, const char *clean, const char *hard)
{
	const struct xn_error *err;
	struct xn_error copy = {0};
	bool force;

	if (!xe_param_bool(x, "force", false, &force) ||
	    !xe_try(x, NULL, &err, force ? hard : clean, "s", ref) || !err)
		return;
	if (!force && (strcmp(err->code, XN_ERR_VM_LACKS_FEATURE) == 0 ||
		       strcmp(err->code, XN_ERR_VM_SHUTDOWN_TIMEOUT) == 0 ||
		       strcmp(err->code, XN_ERR_VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT) == 0))
		xe_hint(x, "The guest does not do it by itself. --force does it without the guest");
	xn_error_copy(&copy, err);
	xe_fail_api(x, &copy);
}

XE_COMMAND(vm_shutdown)
{
	clean_or_hard(x, xe_object(x), "VM.clean_shutdown", "VM.hard_shutdown");
}

XE_COMMAND(vm_reboot)
{
	clean_or_hard(x, xe_object(x), "VM.clean_reboot", "VM.hard_reboot");
}

bool xe_need_force(struct xe *x)
{
	bool force;

	if (!xe_param_bool(x, "force", false, &force))
		return false;
	if (!force)
		xe_fail(x, "This operation is dangerous and may cause data loss. It must be forced "
			   "(use --force).");
	return force;
}

XE_COMMAND(vm_reset_powerstate)
{
	if (xe_need_force(x) && xe_call(x, NULL, "VM.power_state_reset", "s", xe_object(x)))
		return;
}

/* ---- appliances ---- */

XE_COMMAND(appliance_shutdown)
{
	const char *ref;

	if (xe_by_uuid(x, XN_CLASS_VM_appliance, xe_param(x, "uuid"), &ref))
		clean_or_hard(x, ref, "VM_appliance.clean_shutdown", "VM_appliance.hard_shutdown");
}
