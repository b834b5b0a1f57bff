/* Of VMs: their console, what keeps them from starting, plug-ins, BIOS strings. */
#include <stdio.h>
#include <stdlib.h>

#include "rpc/xe/commands/vm.h"
#include "rpc/xe/record/record.h"

/* ---- console ---- */

static const struct xn_row *text_console(struct xe *x)
{
	const struct xn_row *vm = xe_row(x, XN_CLASS_VM, xe_object(x));
	const struct xn_value *refs = vm ? xn_row_get(vm, XN_VM_consoles) : NULL;

	for (size_t i = 0; vm && i < xn_set_len(refs); i++) {
		const struct xn_row *console =
			xe_row(x, XN_CLASS_console, xn_value_string(xn_set_at(refs, i)));

		if (console && strcmp(xn_row_string(console, XN_console_protocol), "vt100") == 0)
			return console;
	}
	return NULL;
}

XE_COMMAND(console)
{
	struct {
		bool is_looked_for;
		char uuid[48];
	} *found = xe_state(x, sizeof(*found), NULL);
	const struct xn_row *console, *vm;

	if (!found->is_looked_for) {
		found->is_looked_for = true;
		console = text_console(x);
		if (console)
			snprintf(found->uuid, sizeof(found->uuid), "%s", xn_row_uuid(console));
	}
	if (!*found->uuid) {
		xe_fail(x, "No text console available");
		xe_hint(x, "Only a running VM has a console; one with a screen needs a VNC viewer");
		return;
	}
	vm = xe_row(x, XN_CLASS_VM, xe_object(x));
	xe_say_line(x, xe_text(x, "Connecting to console on VM %s. Press Ctrl + ']' to quit.",
			       vm ? xn_row_string(vm, XN_VM_name_label) : ""));
	/* Not the address in the console's row: this one the client has reached. */
	if (!xe_connect(x,
			xe_text(x, "https://%s/console?uuid=%s", xe_own_address(x), found->uuid)))
		return;
}

/* ---- diagnostic-vm-status ---- */

/* The VM and its VBDs, as they were when the command began: [0] is the VM. */
struct looked_at {
	struct xn_record **records;
	size_t n;
};

static void clear_looked_at(void *state)
{
	struct looked_at *l = state;

	for (size_t i = 0; i < l->n; i++)
		xn_record_unref(l->records[i]);
	free(l->records);
}

static void look_at(struct xe *x, struct looked_at *l, struct xn_row *vm)
{
	size_t n;
	struct xn_row **vbds = xe_vbds(x, xn_row_ref(vm), &n);

	l->records = xn_calloc(n + 1, sizeof(struct xn_record *));
	l->records[l->n++] = xn_row_take(vm);
	for (size_t i = 0; i < n; i++)
		l->records[l->n++] = xn_row_take(vbds[i]);
	free(vbds);
}

/* What is shown of each, with all that only calls tell. */
static bool ask_all(struct xe *x, const struct looked_at *l, struct xe_shown *shown,
		    struct xe_told (*told)[XE_TOLD_MAX])
{
	for (size_t i = 0; i < l->n; i++) {
		const char *prefix = i ? "vbd" : "vm";

		shown[i] = (struct xe_shown){.kind = xe_kind_find(prefix, strlen(prefix)),
					     .record = l->records[i]};
		xe_columns_parse(shown[i].kind,
				 i ? "uuid,userdevice,device,vdi-uuid,empty,mode,type,storage-lock,"
				     "attachable"
				   : "uuid,name-label,power-state,possible-hosts",
				 &shown[i].columns);
		if (!xe_ask(x, &shown[i], told[i]))
			return false;
	}
	return true;
}

static void show_status(struct xe *x, const struct looked_at *l, const struct xe_shown *shown,
			const char *why_not_here, const struct xn_error *bound)
{
	xe_show(x, &shown[0], 1);
	xe_print(x, "Checking to see whether disks are attachable");
	for (size_t i = 1; i < l->n; i++)
		xe_show(x, &shown[i], 1);
	xe_print(x, "Checking to see whether VM can boot on each host");
	xe_show_host_report(x, why_not_here);
	xe_print(x, bound ? "VM is not agile because: %s" : "VM is agile.",
		 bound ? xe_why_not(x, bound) : "");
}

XE_COMMAND(diagnostic_vm_status)
{
	struct looked_at *l = xe_state(x, sizeof(*l), clear_looked_at);
	struct xe_told (*told)[XE_TOLD_MAX];
	struct xe_shown *shown;
	const struct xn_error *bound;
	const char *vm, *why_not_here;
	struct xn_row *row;

	if (!xe_by_uuid(x, XN_CLASS_VM, xe_param(x, "uuid"), &vm))
		return;
	row = xe_row(x, XN_CLASS_VM, vm);
	if (!l->n && row)
		look_at(x, l, row);
	if (!l->n || !xe_vm_may_boot(x, vm, &why_not_here) ||
	    !xe_try(x, NULL, &bound, "VM.assert_agile", "s", vm))
		return;
	shown = xn_calloc(l->n, sizeof(*shown));
	told = xn_calloc(l->n, sizeof(*told));
	if (ask_all(x, l, shown, told))
		show_status(x, l, shown, why_not_here, bound);
	free(told);
	free(shown);
}

/* ---- plug-ins ---- */

/* args:KEY=VALUE and args:KEY:file=NAME, the content of a file of the client's. NULL: not yet. */
static struct xn_value *plugin_arguments(struct xe *x)
{
	const struct xn_value *given = xe_param_map(x, "args");
	struct xn_value *map = xn_map_new();

	for (size_t i = 0; i < xn_map_len(given); i++) {
		const char *key = xn_map_key_at(given, i), *end = strchr(key, ':');
		const struct xn_buf *content;

		if (!end || strcmp(end, ":file") != 0) {
			xn_map_put(&map, key, xn_value_ref(xn_map_at(given, i)));
			continue;
		}
		if (!xe_load(x, xn_value_string(xn_map_at(given, i)), &content)) {
			xn_value_unref(map);
			return NULL;
		}
		xn_map_put(&map, xe_text(x, "%.*s", (int)(end - key), key),
			   xn_string_len(content->len ? content->data : "", content->len));
	}
	return map;
}

static void call_plugin(struct xe *x, const char *method)
{
	const struct xn_value *result;
	struct xn_value *args;
	const char *vm;

	if (!xe_by_uuid(x, XN_CLASS_VM, xe_param(x, "vm-uuid"), &vm))
		return;
	args = plugin_arguments(x);
	if (args &&
	    xe_call(x, &result, method, "sssv", vm, xe_param(x, "plugin"), xe_param(x, "fn"), args))
		xe_value(x, xn_value_string(result));
}

XE_COMMAND(vm_call_plugin)
{
	call_plugin(x, "VM.call_plugin");
}

XE_COMMAND(vm_call_host_plugin)
{
	call_plugin(x, "VM.call_host_plugin");
}

XE_COMMAND(vm_query_services)
{
	const struct xn_value *services;
	struct xe_pair *pairs;
	size_t n;

	if (!xe_call(x, &services, "VM.query_services", "s", xe_object(x)))
		return;
	n = xn_map_len(services);
	pairs = xn_calloc(n + 1, sizeof(*pairs));
	pairs[0] = (struct xe_pair){"Type", "Name"};
	for (size_t i = 0; i < n; i++)
		pairs[i + 1] = (struct xe_pair){xn_map_key_at(services, i),
						xn_value_string(xn_map_at(services, i))};
	xe_show_pairs(x, pairs, n + 1);
	free(pairs);
}

/* ---- BIOS strings ---- */

/* What a VM has that was never given any of a host's: all others are empty. */
static bool is_generic(const struct xn_value *strings)
{
	static const struct xe_pair generic[] = {
		{"bios-vendor", "Xen"},
		{"system-manufacturer", "Xen"},
		{"system-product-name", "HVM domU"},
		{"oem-1", "Xen"},
		{"oem-2", "MS_VM_CERT/SHA1/bdbeb6e0a816d43fa6d3fe8aaef04c2bad9d3e3d"},
	};
	size_t n_equal = 0;

	for (size_t i = 0; i < xn_map_len(strings); i++) {
		const char *value = xn_value_string(xn_map_at(strings, i));
		bool is_equal = false;

		for (size_t g = 0; g < XN_ARRAY_SIZE(generic); g++)
			is_equal |= strcmp(xn_map_key_at(strings, i), generic[g].key) == 0 &&
				    strcmp(value, generic[g].value) == 0;
		if (*value && !is_equal)
			return false;
		n_equal += is_equal;
	}
	return n_equal == XN_ARRAY_SIZE(generic);
}

XE_COMMAND(vm_is_bios_customized)
{
	const struct xn_row *vm = xe_row(x, XN_CLASS_VM, xe_object(x));
	const struct xn_value *strings = vm ? xn_row_get(vm, XN_VM_bios_strings) : NULL;

	if (!vm)
		return;
	xe_print(x, "%s",
		 !xn_map_len(strings)  ? "The BIOS strings of this VM have not yet been set."
		 : is_generic(strings) ? "This VM is BIOS-generic."
				       : "This VM is BIOS-customized.");
}
