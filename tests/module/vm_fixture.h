/*
 * All modules but rpc in virtual time, on the simulated hypervisor and storage: VMs are made,
 * started and looked at through the calls that clients use.
 */
#ifndef XN_VM_FIXTURE_H
#define XN_VM_FIXTURE_H

#include "tests/unit/api_fixture.h"
#include "tests/unit/cmocka_all.h"

#include "modules/domain/domain.h"
#include "modules/domain/sim/sim.h"
#include "modules/operation/operation.h"

struct vm {
	struct api *api;
	char ref[48], uuid[37];
	char disk[48], cd[48], vif[48]; /* VBDs, VIF */
	char vdi[48], medium[48];       /* the disk's VDI, and one that is in no drive */
	char snapshot[48];              /* if a test took one */
};

int vm_setup(void **state); /* state: struct api */
int vm_teardown(void **state);

/* A VM with a 1 MiB disk, an empty CD drive and an interface. @other_config: JSON members ("" or
 * "\"sim-boot-ms\":\"5\""). */
void given_vm(struct api *api, struct vm *vm, const char *other_config);
/* The same, brought to "Halted", "Running" (its agent has reported), "Paused" or
 * "Suspended". */
void given_vm_that_is(struct api *api, struct vm *vm, const char *power_state,
		      const char *other_config);

/* @n more disks for a halted VM. */
void given_disks(struct vm *vm, unsigned n);

/* Calls with the VM's reference first; @more: ",false,false" or "". */
void vm_do(struct vm *vm, const char *method, const char *more);
void vm_begin(struct vm *vm, struct api_call *call, const char *method, const char *more);
void vm_fail(struct vm *vm, const char *method, const char *more, const char *code,
	     struct xn_error *err);
/* The reference that a call returned. */
void vm_do_ref(struct vm *vm, const char *method, const char *more, char out[48]);
struct xn_row *vm_row(const struct vm *vm);
struct xn_row *row_of(struct api *api, int class_id, const char *ref);
/* What a revert has put in the place of the VM's devices. */
void vm_find_devices(struct vm *vm);
void assert_state(const struct vm *vm, const char *power_state);
const struct xn_domain_info *vm_domain(const struct vm *vm); /* or NULL */
struct xn_backend *backend_of(struct api *api);
int64_t vm_counter(const struct vm *vm); /* the guest's: milliseconds that it ran */
bool has_message(struct api *api, const char *name);
bool is_allowed(const struct xn_row *row, int field, const char *operation);

/* What the world looks like, in a text that can be compared: the rows of the VM and its devices,
 * its domain, how many rows there are, free memory, active disks. */
char *world_of(const struct vm *vm);

#endif
