/* The table of calls; see calls.h. Time-outs are without progress: what tells of some, goes on. */
#include "modules/domain/libxl/child.h"

enum { SECONDS = 1000 };

const struct xn_libxl_call xn_libxl_calls[] = {
	{"list", xn_libxl_list, 10 * SECONDS},
	{"host_info", xn_libxl_host_info, 10 * SECONDS},
	{"create", xn_libxl_create, 300 * SECONDS},
	{"restore", xn_libxl_restore, 300 * SECONDS},
	{"destroy", xn_libxl_destroy, 120 * SECONDS},
	{"pause", xn_libxl_pause, 60 * SECONDS},
	{"unpause", xn_libxl_unpause, 60 * SECONDS},
	{"shutdown", xn_libxl_shutdown, 60 * SECONDS},
	{"save", xn_libxl_save, 300 * SECONDS},
	{"resume", xn_libxl_resume, 120 * SECONDS},
	{"core_dump", xn_libxl_core_dump, 600 * SECONDS},
	{"plug_disk", xn_libxl_plug_disk, 120 * SECONDS},
	{"unplug_disk", xn_libxl_unplug_disk, 120 * SECONDS},
	{"change_media", xn_libxl_change_media, 60 * SECONDS},
	{"plug_nic", xn_libxl_plug_nic, 120 * SECONDS},
	{"unplug_nic", xn_libxl_unplug_nic, 120 * SECONDS},
	{"plug_pci", xn_libxl_plug_pci, 120 * SECONDS},
	{"unplug_pci", xn_libxl_unplug_pci, 120 * SECONDS},
	{"set_memory", xn_libxl_set_memory, 60 * SECONDS},
	{"set_shadow", xn_libxl_set_shadow, 60 * SECONDS},
	{"set_vcpus", xn_libxl_set_vcpus, 60 * SECONDS},
	{"set_vcpu_params", xn_libxl_set_vcpu_params, 60 * SECONDS},
	{"trigger", xn_libxl_trigger, 60 * SECONDS},
	{NULL},
};

const struct xn_libxl_call *xn_libxl_call_find(const char *name)
{
	for (const struct xn_libxl_call *call = xn_libxl_calls; call->name; call++)
		if (strcmp(call->name, name) == 0)
			return call;
	return NULL;
}
