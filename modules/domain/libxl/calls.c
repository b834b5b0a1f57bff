/*
 * The table of calls; see calls.h. Time-outs are without progress: what tells of some, goes on.
 * Each is somewhat less than the deadline of the operations' steps that make the call (vm_start.c
 * and its neighbours), so that a step fails with what became of its call, and not before it. (That a
 * call begins is progress for its step: a second try has its time, too.)
 */
#include "modules/domain/libxl/child.h"

enum { SECONDS = 1000 };

const struct xn_libxl_call xn_libxl_calls[] = {
	{"list", xn_libxl_list, 10 * SECONDS},
	{"host_info", xn_libxl_host_info, 10 * SECONDS},
	{"create", xn_libxl_create, 110 * SECONDS},
	{"restore", xn_libxl_restore, 140 * SECONDS},
	{"destroy", xn_libxl_destroy, 110 * SECONDS},
	{"pause", xn_libxl_pause, 25 * SECONDS},
	{"unpause", xn_libxl_unpause, 25 * SECONDS},
	{"shutdown", xn_libxl_shutdown, 25 * SECONDS},
	{"save", xn_libxl_save, 140 * SECONDS},
	{"resume", xn_libxl_resume, 100 * SECONDS},
	{"core_dump", xn_libxl_core_dump, 600 * SECONDS},
	{"plug_disk", xn_libxl_plug_disk, 55 * SECONDS},
	{"unplug_disk", xn_libxl_unplug_disk, 110 * SECONDS},
	{"change_media", xn_libxl_change_media, 55 * SECONDS},
	{"plug_nic", xn_libxl_plug_nic, 55 * SECONDS},
	{"unplug_nic", xn_libxl_unplug_nic, 110 * SECONDS},
	{"plug_pci", xn_libxl_plug_pci, 55 * SECONDS},
	{"unplug_pci", xn_libxl_unplug_pci, 110 * SECONDS},
	{"set_memory", xn_libxl_set_memory, 50 * SECONDS},
	{"set_shadow", xn_libxl_set_shadow, 50 * SECONDS},
	{"set_vcpus", xn_libxl_set_vcpus, 50 * SECONDS},
	{"set_vcpu_params", xn_libxl_set_vcpu_params, 50 * SECONDS},
	{"trigger", xn_libxl_trigger, 50 * SECONDS},
	{NULL},
};

const struct xn_libxl_call *xn_libxl_call_find(const char *name)
{
	for (const struct xn_libxl_call *call = xn_libxl_calls; call->name; call++)
		if (strcmp(call->name, name) == 0)
			return call;
	return NULL;
}
