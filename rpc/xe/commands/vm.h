/* What the commands about VMs share; see command.h for what a command sees. */
#ifndef XE_COMMANDS_VM_H
#define XE_COMMANDS_VM_H

#include "rpc/xe/command.h"

/* ---- pairs.c: small tables that are not of a record ---- */

struct xe_pair {
	const char *key, *value;
};
/* A record's layout; with --minimal the first value, with --json an object. Said once. */
void xe_show_pairs(struct xe *x, const struct xe_pair *pairs, size_t n);
/* A line that scripts see with --minimal, too; not with --json. */
void xe_say_line(struct xe *x, const char *text);
/* The record that a create message takes, from JSON that is in our own code. */
struct xn_value *xe_record(const char *json);

/* ---- vm.c ---- */

/* Why an assertion about a VM did not hold, as a sentence; valid for this time the handler runs. */
const char *xe_why_not(struct xe *x, const struct xn_error *err);
/* Why the VM would not start on the host, NULL where it would. False: not yet. */
bool xe_vm_may_boot(struct xe *x, const char *vm, const char **why_not_out) XN_MUST_CHECK;
/* That as a table, a line a host. */
void xe_show_host_report(struct xe *x, const char *why_not);
/* False: there is no --force, and the command has failed. */
bool xe_need_force(struct xe *x) XN_MUST_CHECK;

/* ---- vm_make.c ---- */

/* The reference behind snapshot-uuid= or uuid=; false: it is none of a snapshot, or not given. */
bool xe_snapshot(struct xe *x, const char **ref_out) XN_MUST_CHECK;
/* The reference behind template-uuid=. */
bool xe_template(struct xe *x, const char **ref_out) XN_MUST_CHECK;

/* ---- vm_disk.c ---- */

/* A VM's VBDs in the order of their numbers, as they are now; the array is the caller's to free. */
struct xn_row **xe_vbds(struct xe *x, const char *vm, size_t *n_out);
/* The rows behind a set of references, the oldest first. */
struct xn_row **xe_rows(struct xe *x, int class_id, const struct xn_value *refs, size_t *n_out);
/* The disks (or CD drives) of a VM, each with what is in it. At a handler's end. */
void xe_show_disks(struct xe *x, const char *vm, bool cds);

#endif
