/* See vm_fixture.h. */
#include "tests/module/vm_fixture.h"

#include "core/json.h"
#include "modules/modules.h"

#include <stdio.h>
#include <stdlib.h>

static const struct xn_module *all_but_rpc[64];

/* It serves HTTP, or needs one that does. */
static bool is_above_rpc(const char *name)
{
	const struct xn_module *module = NULL;

	if (strcmp(name, "rpc") == 0)
		return true;
	for (size_t i = 0; !module; i++)
		if (strcmp(xn_module_list[i]->name, name) == 0)
			module = xn_module_list[i];
	for (size_t i = 0; module->needs && module->needs[i]; i++)
		if (is_above_rpc(module->needs[i]))
			return true;
	return false;
}

int vm_setup(void **state)
{
	size_t n = 0;

	for (size_t i = 0; xn_module_list[i]; i++)
		if (!is_above_rpc(xn_module_list[i]->name))
			all_but_rpc[n++] = xn_module_list[i];
	all_but_rpc[n] = NULL;
	return api_setup_with(state, all_but_rpc);
}

int vm_teardown(void **state)
{
	return api_teardown(state);
}

/* ---- calls ---- */

/* The reference that a call returned. */
static void take_ref(struct api *api, char out[48], const char *method, const char *args)
{
	char *json = api_do(api, method, args);

	assert_memory_equal(json, "\"OpaqueRef:", 11);
	snprintf(out, 48, "%.46s", json + 1);
	free(json);
}

void vm_do(struct vm *vm, const char *method, const char *more)
{
	char *args = xn_asprintf("[\"%s\"%s]", vm->ref, more);

	free(api_do(vm->api, method, args));
	free(args);
}

void vm_begin(struct vm *vm, struct api_call *call, const char *method, const char *more)
{
	char *args = xn_asprintf("[\"%s\"%s]", vm->ref, more);

	api_begin(vm->api, call, method, args);
	free(args);
}

void vm_do_ref(struct vm *vm, const char *method, const char *more, char out[48])
{
	char *args = xn_asprintf("[\"%s\"%s]", vm->ref, more);

	take_ref(vm->api, out, method, args);
	free(args);
}

void vm_fail(struct vm *vm, const char *method, const char *more, const char *code,
	     struct xn_error *err)
{
	char *args = xn_asprintf("[\"%s\"%s]", vm->ref, more);

	api_fail(vm->api, method, args, code, err);
	free(args);
}

/* ---- rows ---- */

struct xn_row *row_of(struct api *api, int class_id, const char *ref)
{
	struct xn_row *row = xn_db_get(api->db, class_id, ref);

	assert_non_null(row);
	return row;
}

struct xn_row *vm_row(const struct vm *vm)
{
	return row_of(vm->api, XN_CLASS_VM, vm->ref);
}

void vm_find_devices(struct vm *vm)
{
	const struct xn_value *vbds = xn_row_get(vm_row(vm), XN_VM_VBDs);
	const struct xn_value *vifs = xn_row_get(vm_row(vm), XN_VM_VIFs);

	for (size_t i = 0; i < xn_set_len(vbds); i++) {
		const char *ref = xn_value_string(xn_set_at(vbds, i));
		const struct xn_row *vbd = row_of(vm->api, XN_CLASS_VBD, ref);

		if (strcmp(xn_row_string(vbd, XN_VBD_type), "CD") == 0) {
			snprintf(vm->cd, sizeof(vm->cd), "%s", ref);
		} else {
			snprintf(vm->disk, sizeof(vm->disk), "%s", ref);
			snprintf(vm->vdi, sizeof(vm->vdi), "%s", xn_row_string(vbd, XN_VBD_VDI));
		}
	}
	if (xn_set_len(vifs))
		snprintf(vm->vif, sizeof(vm->vif), "%s", xn_value_string(xn_set_at(vifs, 0)));
}

void assert_state(const struct vm *vm, const char *power_state)
{
	assert_string_equal(xn_row_string(vm_row(vm), XN_VM_power_state), power_state);
}

struct xn_backend *backend_of(struct api *api)
{
	return xn_domains_backend(xn_domains_of(&api->core));
}

int64_t vm_counter(const struct vm *vm)
{
	return xn_sim_guest_counter(backend_of(vm->api), vm_domain(vm)->domid);
}

bool has_message(struct api *api, const char *name)
{
	for (struct xn_row *row = xn_db_first(api->db, XN_CLASS_message); row;
	     row = xn_db_next(api->db, row))
		if (strcmp(xn_row_string(row, XN_message_name), name) == 0)
			return true;
	return false;
}

const struct xn_domain_info *vm_domain(const struct vm *vm)
{
	struct xn_backend *b = backend_of(vm->api);

	return b->ops->find(b, vm->uuid);
}

bool is_allowed(const struct xn_row *row, int field, const char *operation)
{
	return xn_set_has_string(xn_row_get(row, field), operation);
}

/* ---- given ---- */

static void make_vm(struct api *api, struct vm *vm, const char *other_config)
{
	char *args = xn_asprintf(
		"[{\"name_label\":\"one\",\"name_description\":\"\",\"user_version\":1,"
		"\"is_a_template\":false,\"affinity\":\"OpaqueRef:NULL\","
		"\"memory_static_max\":67108864,\"memory_dynamic_max\":67108864,"
		"\"memory_dynamic_min\":67108864,\"memory_static_min\":16777216,"
		"\"VCPUs_params\":{},\"VCPUs_max\":1,\"VCPUs_at_startup\":1,"
		"\"actions_after_shutdown\":\"destroy\",\"actions_after_reboot\":\"restart\","
		"\"actions_after_crash\":\"destroy\",\"PV_bootloader\":\"\",\"PV_kernel\":\"\","
		"\"PV_ramdisk\":\"\",\"PV_args\":\"\",\"PV_bootloader_args\":\"\","
		"\"PV_legacy_args\":\"\",\"HVM_boot_policy\":\"BIOS order\","
		"\"HVM_boot_params\":{},\"platform\":{},\"PCI_bus\":\"\",\"recommendations\":\"\","
		"\"other_config\":{%s}}]",
		other_config);

	vm->api = api;
	take_ref(api, vm->ref, "VM.create", args);
	free(args);
	snprintf(vm->uuid, sizeof(vm->uuid), "%s", xn_row_uuid(vm_row(vm)));
}

static const char *default_sr(struct api *api)
{
	struct xn_row *pool = xn_db_first(api->db, XN_CLASS_pool);

	return xn_row_string(pool, XN_pool_default_SR);
}

static void make_vdi(struct vm *vm, char out[48])
{
	char *args =
		xn_asprintf("[{\"name_label\":\"disk\",\"name_description\":\"\",\"SR\":\"%s\","
			    "\"virtual_size\":1048576,\"type\":\"user\",\"sharable\":false,"
			    "\"read_only\":false,\"other_config\":{}}]",
			    default_sr(vm->api));

	take_ref(vm->api, out, "VDI.create", args);
	free(args);
}

static void make_vbd(struct vm *vm, char out[48], const char *type, const char *mode,
		     const char *vdi)
{
	char *args =
		xn_asprintf("[{\"VM\":\"%s\",\"VDI\":\"%s\",\"userdevice\":\"autodetect\","
			    "\"bootable\":true,\"mode\":\"%s\",\"type\":\"%s\",\"empty\":%s,"
			    "\"unpluggable\":true,\"other_config\":{},"
			    "\"qos_algorithm_type\":\"\",\"qos_algorithm_params\":{}}]",
			    vm->ref, vdi ? vdi : XN_NULL_REF, mode, type, vdi ? "false" : "true");

	take_ref(vm->api, out, "VBD.create", args);
	free(args);
}

static void make_vif(struct vm *vm)
{
	char *args = xn_asprintf("[{\"VM\":\"%s\",\"network\":\"%s\",\"device\":\"0\",\"MAC\":\"\","
				 "\"MTU\":1500,\"other_config\":{},\"qos_algorithm_type\":\"\","
				 "\"qos_algorithm_params\":{}}]",
				 vm->ref, xn_row_ref(xn_db_first(vm->api->db, XN_CLASS_network)));

	take_ref(vm->api, vm->vif, "VIF.create", args);
	free(args);
}

void given_vm(struct api *api, struct vm *vm, const char *other_config)
{
	*vm = (struct vm){0};
	make_vm(api, vm, other_config);
	make_vdi(vm, vm->vdi);
	make_vdi(vm, vm->medium);
	make_vbd(vm, vm->disk, "Disk", "RW", vm->vdi);
	make_vbd(vm, vm->cd, "CD", "RO", NULL);
	make_vif(vm);
}

void given_vm_that_is(struct api *api, struct vm *vm, const char *power_state,
		      const char *other_config)
{
	given_vm(api, vm, other_config);
	if (strcmp(power_state, "Halted") == 0)
		return;
	vm_do(vm, "VM.start", ",false,false");
	api_run(api, 2);
	if (strcmp(power_state, "Paused") == 0)
		vm_do(vm, "VM.pause", "");
	else if (strcmp(power_state, "Suspended") == 0)
		vm_do(vm, "VM.suspend", "");
	assert_state(vm, power_state);
}

void given_disks(struct vm *vm, unsigned n)
{
	char vdi[48], vbd[48];

	for (unsigned i = 0; i < n; i++) {
		make_vdi(vm, vdi);
		make_vbd(vm, vbd, "Disk", "RW", vdi);
	}
}

/* ---- the whole ---- */

static void put_row(struct xn_buf *out, struct xn_row *row, const char *const *fields)
{
	const struct xn_class *cls = &xn_classes[xn_row_class(row)];

	for (; *fields; fields++) {
		int field = xn_field_find(cls, *fields);

		assert_true(field >= 0);
		xn_buf_printf(out, "%s.%s=", cls->name, *fields);
		xn_json_write(xn_row_get(row, field), out);
		xn_buf_add_char(out, '\n');
	}
}

char *world_of(const struct vm *vm)
{
	static const char *const vm_fields[] = {"power_state",
						"resident_on",
						"current_operations",
						"allowed_operations",
						"is_a_template",
						"parent",
						"suspend_VDI",
						"VBDs",
						"VIFs",
						"memory_dynamic_max",
						NULL};
	static const char *const vbd_fields[] = {"currently_attached",
						 "current_operations",
						 "allowed_operations",
						 "VDI",
						 "empty",
						 NULL};
	static const char *const vif_fields[] = {"currently_attached", "current_operations",
						 "allowed_operations", "network", NULL};
	static const char *const vdi_fields[] = {"current_operations", "allowed_operations", NULL};
	static const int counted[] = {XN_CLASS_VM,          XN_CLASS_VBD,        XN_CLASS_VIF,
				      XN_CLASS_VDI,         XN_CLASS_VM_metrics, XN_CLASS_task,
				      XN_CLASS_xn_operation};
	struct api *api = vm->api;
	struct xn_backend *b = backend_of(api);
	const struct xn_domain_info *domain = vm_domain(vm);
	struct xn_row *row = xn_db_get(api->db, XN_CLASS_VM, vm->ref);
	struct xn_host_info host;
	struct xn_buf out = {0};
	size_t n;

	if (row) {
		put_row(&out, row, vm_fields);
		put_row(&out, row_of(api, XN_CLASS_VBD, vm->disk), vbd_fields);
		put_row(&out, row_of(api, XN_CLASS_VBD, vm->cd), vbd_fields);
		put_row(&out, row_of(api, XN_CLASS_VIF, vm->vif), vif_fields);
	}
	put_row(&out, row_of(api, XN_CLASS_VDI, vm->vdi), vdi_fields);
	for (size_t i = 0; i < XN_ARRAY_SIZE(counted); i++)
		xn_buf_printf(&out, "%s: %zu\n", xn_classes[counted[i]].name,
			      xn_db_count(api->db, counted[i]));
	b->ops->list(b, &n);
	b->ops->host_info(b, &host);
	xn_buf_printf(&out, "domains: %zu, free memory: %llu, domain: %s\n", n,
		      (unsigned long long)host.memory_free,
		      !domain             ? "none"
		      : domain->paused    ? "paused"
		      : domain->shut_down ? "down"
					  : "running");
	return xn_buf_steal(&out);
}
