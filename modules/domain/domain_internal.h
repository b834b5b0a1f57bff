/* What the files of this folder share; see domain.h. */
#ifndef XN_DOMAIN_INTERNAL_H
#define XN_DOMAIN_INTERNAL_H

#include "core/hmap.h"
#include "core/op.h"
#include "modules/console/console.h"
#include "modules/db/db.h"
#include "modules/domain/domain.h"
#include "modules/host/host.h"
#include "modules/operation/operation.h"
#include "modules/storage/storage.h"
#include "modules/task/task.h"
#include "modules/updates/updates.h"
#include "modules/xenstore/xenstore.h"

enum {
	XN_DISK_WIDTH = 10,        /* images of one VM activated or deleted at a time */
	XN_XENSTORE_MAX = 1 << 18, /* bytes of one domain's snapshot */
	XN_GUEST_TIMEOUT_S = 1200, /* for a guest to shut down */
};

struct xn_domains {
	struct xn_core *core;
	struct xn_db *db;
	struct xn_backend *backend;
	struct xn_xenstore *xs;
	struct xn_updates *updates;
	struct xn_operations *ops;
	struct xn_storage *storage;
	unsigned plug_width;       /* devices of one VM plugged at a time */
	struct xn_gate *plugs;     /* devices of all of them */
	uint64_t reserved_memory;  /* of domains that are about to be created */
	struct {                   /* memory_share.c */
		struct xn_hmap by_uuid;          /* struct xn_sharer */
		struct xn_list sharers, moving;  /* the same; those on their way to a target */
		struct xn_list reservations;     /* struct xn_vm_op */
		struct xn_list wants;            /* struct xn_vm_op, in order of arrival */
		struct xn_timer timer;
		struct xn_job look;
		bool refreshing, may_raise;
	} memory;
	struct xn_hmap watched;    /* domain_watch.c: struct watched, by domid */
	struct xn_hmap held;       /* vm_hold.c: VMs whose rows stay as they are for now */
	struct xn_hmap waiters;    /* vm_wait.c: operations that wait for their domain to change */
	struct {                   /* auto_poweron.c */
		struct xn_subscription *on_ready;
		struct xn_xs_request *reading;
		struct xn_db_wait journaled;
	} auto_poweron;
	struct xn_list members;    /* vm_appliance.c: struct xn_member */
	struct xn_list solos;      /* vm_steps.c: operations that wait to be alone on their VM */
	struct xn_list leftovers;  /* leftover.c */
	struct xn_job leftovers_job;
	struct xn_subscription *leftovers_on_ready;
	struct xn_list pendings;   /* vm_op.c: calls to the back end and to storage */
	struct xn_list reconciles; /* domain_read.c: with a snapshot under way */
	struct xn_list stopped_guests, asked_guests; /* disk_writers.c */
	struct xn_list taking_back; /* vm_disks.c: disks that go */
	struct xn_list makings;    /* vm_disks.c: disks under way */
	struct xn_list stills;     /* vm_wait.c: operations whose guest must not run */
	struct xn_list images;     /* vm_image.c: memory images that are open */
	struct xn_pool *image_workers;
	struct xn_xs_watch *introduced, *released;
	struct xn_subscription *on_domain_changed, *on_operation_ended, *on_db_failed;
	struct xn_job refresh;
	struct xn_job listed; /* domain_watch.c: compares a list that was read */
	struct xn_timer refresh_retry;
	struct xn_timer settle; /* domain_watch.c: looks at memory that moves */
	unsigned quiet_looks;
	bool refreshing, refresh_again, stopped;
	struct xn_metrics_source metrics;
};

/* ---- rules ---- */
extern const struct xn_operation_rules xn_vm_rules, xn_vbd_rules, xn_vif_rules, xn_vusb_rules,
	xn_vtpm_rules, xn_appliance_rules;
/* Visits the VDI of a VBD, if it has one. */
void xn_vbd_disk(struct xn_db *db, struct xn_row *vbd, void (*visit)(struct xn_row *row, void *arg),
		 void *arg);
const char *xn_power_state_lower(const char *name); /* "Halted" -> "halted" */
/* Whether attaching @vbd now would share @vdi in a way that is forbidden. */
int xn_vbd_check_sharing(struct xn_db *db, const struct xn_row *vbd, const struct xn_row *vdi,
			 struct xn_error *err);

/* ---- small facts about rows ---- */
struct xn_row *xn_domains_host(const struct xn_domains *d); /* this host's row, or NULL */
bool xn_vm_is(const struct xn_row *vm, const char *power_state);
/* What it boots as: "hvm", "pv", "pvh": domain_type, or guessed from the boot policy. */
const char *xn_vm_type(const struct xn_row *vm);

/* ---- devices' names and numbers; device_name.c ---- */
/* userdevice -> position: "0", "xvda", "hdb", "sdc". -1: none of these, or beyond @max. */
int xn_disk_position(const char *userdevice);
struct xn_disk_name {
	char vdev[16];
	int devid;
};
/* How position @n appears in a domain of that kind. */
void xn_disk_name(int position, bool hvm, bool is_cdrom, struct xn_disk_name *out);
int xn_nic_position(const char *device); /* "0" ...; -1 */
/* The address that a VM's seed gives its nth interface. @out: 18 bytes. */
void xn_mac_from_seed(const char *seed, int device, char out[18]);
bool xn_mac_is_valid(const char *mac);

/* ---- what will be plugged; vm_plan.c ---- */
struct xn_vm_disk {
	char vbd[48], vdi[48]; /* vdi "": empty drive */
	char dp[96];
	struct xn_disk_name name;
	bool read_only, is_cdrom;
	char *path, *format; /* known once active */
};
struct xn_vm_nic {
	char vif[48];
	int devid, mtu;
	char mac[18], bridge[16];
	int64_t rate_kbps;
};
struct xn_vm_plan {
	struct xn_vm_disk *disks; /* writable first */
	unsigned n_disks, n_writable;
	struct xn_vm_nic *nics;
	unsigned n_nics;
};
int xn_vm_plan_make(struct xn_domains *d, const struct xn_row *vm, struct xn_vm_plan *plan,
		    struct xn_error *err);
void xn_vm_plan_clear(struct xn_vm_plan *plan);
int xn_vm_disk_of(struct xn_domains *d, const struct xn_row *vm, const struct xn_row *vbd,
		  struct xn_vm_disk *out, struct xn_error *err);
/* For the back end; borrows the disk's texts. */
struct xn_disk_config xn_vm_disk_config(const struct xn_vm_disk *disk);
int xn_vm_nic_of(struct xn_domains *d, const struct xn_row *vif, struct xn_vm_nic *out,
		 struct xn_error *err);

/* ---- domain_config.c ---- */
enum { XN_PCI_ADDRESS_SIZE = 13, XN_PCI_MAX = 64 };
/* The map that backend.h describes; the caller's. */
struct xn_value *xn_domain_config(const struct xn_row *vm, const struct xn_vm_plan *plan);
/* A new set: what other_config:pci names, in its order. */
struct xn_value *xn_vm_pci_addresses(const struct xn_row *vm);

/* ---- an operation on a VM; vm_op.c ---- */
struct xn_creating;
struct xn_making;
struct xn_image;
struct xn_vm_op {
	struct xn_op op;
	struct xn_domains *d;
	char vm[48], uuid[37];
	char device[48]; /* VBD or VIF that it is about, or "" */
	struct xn_vm_plan plan;
	bool holds;        /* rows held back */
	uint64_t reserved; /* bytes of d->reserved_memory */
	struct {           /* memory_share.c */
		struct xn_list reserving, wanting;
		int64_t had, least, most, overhead;
		struct xn_op_token at;
		void (*granted)(struct xn_vm_op *vmo, int64_t bytes);
	} memory;
	struct xn_barrier barrier;
	struct xn_op_token at; /* the step that waits, for barrier, timer, waiter */
	struct xn_timer timer;
	struct xn_xs_watch *watch;
	struct xn_creating *creating;
	struct xn_making **makings; /* vm_disks.c: disks under way, or NULL */
	unsigned n_makings, n_made;
	struct xn_image *image;    /* vm_image.c: open, or NULL */
	struct xn_db_wait durable; /* of the step that waits for it */
	struct xn_hnode waiter; /* in d->waiters while is_waiting */
	bool is_waiting;
	void (*poke)(struct xn_vm_op *vmo); /* the domain may have changed */
	struct xn_list solo;
	struct xn_list still;  /* in d->stills */
	int64_t still_us;      /* since when */
	struct xn_error soft; /* a refusal that does not end the step it comes in */
};
static inline struct xn_vm_op *xn_vm_op_of(struct xn_op *op)
{
	return xn_container_of(op, struct xn_vm_op, op);
}
struct xn_op *xn_vm_op_make(struct xn_core *core, const struct xn_op_kind *kind,
			    const struct xn_value *args);
void xn_vm_op_free(struct xn_op *op);
/* A kind whose operations are struct xn_vm_op; declared below. */
#define XN_VM_OP_KIND(id, kind_name, step_table, restart)                                          \
	XN_OP_KIND(, id, kind_name, step_table, restart, xn_vm_op_make, xn_vm_op_free)
/* A new operation of @kind: args hold the VM; more may be put into (*args) before it starts. */
struct xn_op *xn_vm_op_new(struct xn_domains *d, const struct xn_op_kind *kind,
			   const struct xn_row *vm, struct xn_value *extra_taken);
/*
 * The usual whole of a call on a VM (its first argument): hold it for the method's operation, and
 * what @also adds (as in struct xn_run_spec, or NULL); run @kind with @args (taken; NULL: none) and
 * the VM; answer.
 */
void xn_vm_run(struct xn_call *call, const struct xn_op_kind *kind, struct xn_value *args,
	       void (*also)(struct xn_op *op, struct xn_run *run));
struct xn_value *xn_vm_flag(const char *name, bool value); /* new args with that one flag */
/* The same for a call on a VBD or VIF: holds the device, for @operation. */
void xn_device_run(struct xn_call *call, const struct xn_op_kind *kind, const char *operation,
		   struct xn_value *args);
struct xn_row *xn_vm_op_row(struct xn_vm_op *vmo); /* NULL: gone, and the step has failed */
const struct xn_domain_info *xn_vm_op_domain(struct xn_vm_op *vmo); /* or NULL */

/* A call to the back end on behalf of the current step (or of a group's member): its end is the
 * step's, unless the step is over by then. */
struct xn_pending;
struct xn_pending *xn_pending_new(struct xn_vm_op *vmo, struct xn_group *group, unsigned index);
struct xn_vm_op *xn_pending_op(const struct xn_pending *pending); /* NULL: its step is over */
unsigned xn_pending_index(const struct xn_pending *pending);
/*
 * Begins when the host may plug one more device; what is pending keeps the place until it is done.
 * @begin ends in xn_pending_done() or one of its kind; it is not called when the step is over by
 * then. Not for unplugging: that waits for the guest, and a few bad ones would hold all places.
 */
void xn_pending_plug(struct xn_pending *pending,
		     void (*begin)(struct xn_vm_op *vmo, struct xn_pending *pending));
void xn_pending_own(struct xn_pending *pending, void *taken); /* freed with it */
/* Storage tells nobody what becomes of calls when the daemon stops: what waits for them goes. */
void xn_pendings_stop(struct xn_domains *d);
void xn_pending_free(struct xn_pending *pending); /* unused: something else will end the step */
void xn_pending_done(int rc, void *pending);      /* an xn_backend_done; frees it */
/* For calls that returned < 0 and will not call back. */
void xn_pending_failed(struct xn_pending *pending, int rc);
void xn_pending_storage_done(const struct xn_error *err, void *pending); /* an xn_storage_done */

/* Steps that several operations share (vm_steps.c); *_undo belongs to the step it is named after.
 */
void xn_step_hold(struct xn_op *op);
void xn_step_hold_undo(struct xn_op *op);
void xn_step_keep_memory(struct xn_op *op); /* the old domain's, for the one after it */
void xn_step_reserve(struct xn_op *op);
void xn_step_reserve_undo(struct xn_op *op);
void xn_step_activate(struct xn_op *op);
void xn_step_deactivate(struct xn_op *op);
void xn_step_create(struct xn_op *op);
/* The same outside a step's beginning; from the memory image that is open, if one is. */
void xn_vm_create_domain(struct xn_vm_op *vmo);
void xn_creating_forget(
	struct xn_vm_op *vmo); /* the operation goes; the call to the back end stays */
void xn_step_destroy(struct xn_op *op);
void xn_step_plug_writable(struct xn_op *op);
void xn_step_plug_read_only(struct xn_op *op);
void xn_step_plug_nics(struct xn_op *op);
void xn_step_pause(struct xn_op *op); /* vm_pause.c */
void xn_step_unpause(struct xn_op *op);
void xn_step_find_domain(struct xn_op *op);
void xn_step_sync(struct xn_op *op); /* lets the rows go, waits until they tell the truth */
void xn_step_stop_others(struct xn_op *op);
void xn_steps_on_operation_ended(const struct xn_ev_operation_ended *ev, void *domains);
enum { XN_CORE_DUMP_MS = 1200 * 1000 };
/* Only where the argument "core_dump" asks for it; never fails. guest_shutdown.c */
void xn_step_core_dump(struct xn_op *op);
void xn_step_ask_guest(struct xn_op *op);
void xn_step_await_guest(struct xn_op *op);
/* Ends when all that was changed so far survives power loss; else fails. */
void xn_step_when_durable(struct xn_op *op);

/* ---- memory images; vm_image.c ---- */
void xn_images_init(struct xn_domains *d);
void xn_images_stop(struct xn_domains *d);
/* Where the memory of the operation's VM would go: what is to be the first of its "disks". */
int xn_image_plan(struct xn_vm_op *vmo, struct xn_value **disk_out, struct xn_error *err);
/* The VDI that the operation's memory image is put in; NULL: it makes none. */
const char *xn_image_ref(const struct xn_op *op);
/* Within a step: ends it on failure, else goes on with @opened. */
void xn_image_open(struct xn_vm_op *vmo, const char *vdi, bool writable,
		   void (*opened)(struct xn_vm_op *vmo));
int xn_image_dup(const struct xn_vm_op *vmo); /* a descriptor for the back end, or -errno */
/* The step's progress is how much of @expected bytes was read or written. */
void xn_image_watch(struct xn_vm_op *vmo, uint64_t expected);
void xn_image_close(struct xn_vm_op *vmo); /* none open: nothing */
void xn_step_make_image(struct xn_op *op);
void xn_step_save(struct xn_op *op);
void xn_step_save_undo(struct xn_op *op); /* the guest goes on */
void xn_step_sync_image(struct xn_op *op);
void xn_step_restore(struct xn_op *op); /* from the VDI in argument "image" */
/* The last ones; vm_delay.c. Each second is progress. */
void xn_step_start_delay(struct xn_op *op);
void xn_step_shutdown_delay(struct xn_op *op);
void xn_step_resume_domain(struct xn_op *op); /* a guest that shut down for a suspend goes on */

/* ---- rows of one VM for another; copied_rows.c ---- */
/* Whether the rows of @vm and its devices may be copied: they are not too much at once. */
int xn_copy_check_size(struct xn_domains *d, const struct xn_row *vm, struct xn_error *err);
/* @vdi: what the new one has; NULL: what it has now, if it is a CD or empty; else none is made. */
void xn_copy_vbd(struct xn_domains *d, const struct xn_row *vbd, const char *vm, const char *vdi);
/* @seed: of a new address; NULL: the same address. */
void xn_copy_vif(struct xn_domains *d, const struct xn_row *vif, const char *vm, const char *seed);
/* Both kinds of metrics. */
void xn_copy_metrics(struct xn_domains *d, const struct xn_row *from, struct xn_row *to);

/* ---- disks that an operation makes ---- */
unsigned xn_vm_count_disks(const struct xn_op *op);
const struct xn_value *xn_vm_disk_at(const struct xn_op *op, unsigned index);
/* A device may go while its disk is copied: nothing would lead to the copy then. 0, or -1 and @err. */
int xn_vm_disks_are_wanted(struct xn_vm_op *vmo, struct xn_error *err);
/* A member of the step's group; fills .ref and what is told of the plan. */
void xn_vm_make_disk(struct xn_vm_op *vmo, struct xn_group *group, unsigned index,
		     struct xn_vdi_plan *plan);
/* The same for the disk at @disk, which need not be the member's @index. @only_content: the member
 * ends when the disk's content is there; xn_step_keep_disks() waits for the rest. */
void xn_vm_make_disk_at(struct xn_vm_op *vmo, struct xn_group *group, unsigned index,
			unsigned disk, struct xn_vdi_plan *plan, bool only_content);
void xn_step_keep_disks(struct xn_op *op);
void xn_vm_forget_makings(struct xn_vm_op *vmo); /* the operation goes; calls to storage stay */
void xn_step_delete_disks(struct xn_op *op);     /* an undo */
/* A member of the step's group: the disk goes, or stays if it must. */
void xn_vm_drop_disk(struct xn_vm_op *vmo, struct xn_group *group, unsigned index,
		     const char *vdi);
void xn_vm_disks_stop(struct xn_domains *d);

/* ---- holding rows, waiting ---- */
void xn_vm_hold(struct xn_domains *d, const char *uuid);
void xn_vm_unhold(struct xn_domains *d, const char *uuid); /* and signals */
bool xn_vm_is_held(const struct xn_domains *d, const char *uuid);
/* The operation wants the guest not to run. Return: whether another does already. */
bool xn_vm_stand_still(struct xn_vm_op *vmo);
/* No more. Return: whether another still does. */
bool xn_vm_move_again(struct xn_vm_op *vmo);
bool xn_vm_is_still(const struct xn_domains *d, const char *uuid); /* for an operation */
void xn_disk_writers_init(struct xn_domains *d);
void xn_disk_writers_stop(struct xn_domains *d);
bool xn_disk_writer_is_stopped(const struct xn_domains *d, const char *uuid);
void xn_vm_wait(struct xn_vm_op *vmo, void (*poke)(struct xn_vm_op *vmo));
void xn_vm_wait_end(struct xn_vm_op *vmo);
void xn_vm_wake(struct xn_domains *d, const char *uuid);
void xn_vm_wait_stop(struct xn_domains *d);

/* ---- what is read in xenstore; domain_read.c ---- */
enum { XN_BACKEND_PATH_MAX = 96 };
extern const char *const xn_disk_backends[], *const xn_nic_backends[]; /* end with NULL */
void xn_backend_path(char out[XN_BACKEND_PATH_MAX], const char *backend, uint32_t domid, int devid,
		     const char *key);
enum xn_domain_part { XN_PART_DEVICES = 1, XN_PART_GUEST = 2, XN_PART_ALL = 3 };
/* Each part goes to xn_vm_write_part(); ends in xn_updates_done(). */
void xn_domain_read(struct xn_domains *d, struct xn_reconcile *r, const struct xn_row *vm,
		    const struct xn_domain_info *info, unsigned parts);
void xn_domain_read_stop(struct xn_domains *d);
/* False: the domain is not what it was when reading began. vm_reconcile.c */
bool xn_vm_write_part(struct xn_domains *d, const char *uuid, uint32_t domid,
		      enum xn_domain_part part, const struct xn_xs_snapshot *snap);

/* ---- watcher and reconcile ---- */
int xn_domain_watch_start(struct xn_domains *d);
void xn_domain_watch_listed(void *domains); /* the back end has read its list */
void xn_domain_watch_stop(struct xn_domains *d);
/* A domain of ours wrote more than is read: said in the log, not too often. */
void xn_domain_watch_complain(struct xn_domains *d, uint32_t domid);
/* Signals: "VM" is all, and what operations wait for; "devices" and "guest" are its parts. */
void xn_vm_reconcile(struct xn_reconcile *r, const char *uuid, void *domains);
void xn_vm_reconcile_devices(struct xn_reconcile *r, const char *uuid, void *domains);
void xn_vm_reconcile_guest(struct xn_reconcile *r, const char *uuid, void *domains);
/* What is certain without reading xenstore, written at once: for the start of the daemon. */
void xn_vm_reconcile_now(struct xn_domains *d, struct xn_row *vm);
/* ---- PCI devices; vm_pci.c ---- */
int xn_vm_check_pci(struct xn_domains *d, const struct xn_row *vm, struct xn_error *err);
bool xn_vm_may_have_pcis(const struct xn_row *vm);
bool xn_vm_write_pcis(struct xn_domains *d, struct xn_row *vm, uint32_t domid,
		      const struct xn_xs_snapshot *snap);
/* VM.xenstore_data into a new domain's xenstore; vm_xenstore_data.c. */
void xn_vm_tell_xenstore_data(struct xn_domains *d, const struct xn_row *vm, uint32_t domid);
/* The part of VM.xenstore_data that the guest shares. */
bool xn_vm_write_xenstore_data(struct xn_domains *d, struct xn_row *vm, uint32_t domid,
			       const struct xn_xs_snapshot *snap);
/* What the guest tells; @is_cut: there was more than its quota. */
bool xn_guest_metrics_write(struct xn_domains *d, struct xn_row *vm, uint32_t domid,
			    const struct xn_xs_snapshot *snap, bool is_cut);
/* Whether a driver of the guest runs one of its devices. */
bool xn_guest_metrics_write_drivers(struct xn_domains *d, struct xn_row *vm, bool connected);
/* Half-made domains of a dead daemon; leftover.c. look: at the start, before the row is written. */
void xn_leftovers_init(struct xn_domains *d);
void xn_leftovers_look(struct xn_domains *d, const struct xn_row *vm);
void xn_leftovers_stop(struct xn_domains *d);
/* A domain has shut down by itself: does what actions_after_* say. */
void xn_guest_shutdown(struct xn_domains *d, struct xn_row *vm, const struct xn_domain_info *info);

/* ---- boot ---- */
/* What it may have when it boots, without overhead: its dynamic range, made to fit the static one. */
void xn_vm_memory_range(const struct xn_row *vm, int64_t *least_out, int64_t *most_out);
int64_t xn_vm_shadow_memory_at(const struct xn_row *vm, double multiplier);
int64_t xn_vm_shadow_memory(const struct xn_row *vm); /* bytes; a part of the overhead */
int64_t xn_vm_memory_overhead_at(const struct xn_row *vm, int64_t static_max);
int xn_vm_check_boot(struct xn_domains *d, const struct xn_row *vm, const struct xn_row *host,
		     bool memory_too, struct xn_error *err);
/* Whether @host can reach it. */
bool xn_sr_is_attached(struct xn_domains *d, const struct xn_row *sr, const struct xn_row *host);

/* ---- the host's memory; memory_share.c ---- */
enum { XN_MEMORY_WAIT_MS = 60000 }; /* deadline of a step with xn_memory_want(), since progress */
int64_t xn_domains_free_memory(struct xn_domains *d); /* now */
/* With what running VMs can give back, and without what is promised to those who wait. */
int64_t xn_domains_available_memory(struct xn_domains *d);
/* Whether that is @needed; @available_out is filled when it is not. */
bool xn_domains_has_memory(struct xn_domains *d, int64_t needed, int64_t *available_out);
int xn_no_memory(struct xn_error *err, int64_t needed, int64_t available); /* -1 */
/*
 * xn_memory_want - the current step's wish: at least @least, at most @most bytes, and @overhead,
 * beside what the domain @had.
 * granted() comes once, inside or later, with bytes that are reserved then (with the overhead), unless
 * the step fails or ends before. xn_memory_release() withdraws.
 */
void xn_memory_want(struct xn_vm_op *vmo, int64_t had, int64_t least, int64_t most,
		    int64_t overhead, void (*granted)(struct xn_vm_op *vmo, int64_t bytes));
/* Without asking: what it had before (a reboot, a restart of the daemon). */
void xn_memory_reserve(struct xn_vm_op *vmo, int64_t bytes, int64_t overhead);
/* What was reserved so and released in this turn is had again, and what is free on top, up to @most.
 * Bytes without @overhead. */
int64_t xn_memory_retake(struct xn_vm_op *vmo, int64_t kept, int64_t most, int64_t overhead);
void xn_memory_release(struct xn_vm_op *vmo);
/* Whether a domain for that VM is on its way. */
bool xn_memory_is_wanted_for(struct xn_domains *d, const char *uuid);
/* The back end was told a target by somebody else. */
void xn_memory_told(struct xn_domains *d, const struct xn_row *vm, int64_t target);
/* What a domain has for sure: not what its balloon, on its way down, is about to give to others. */
int64_t xn_memory_settled(struct xn_domains *d, const struct xn_domain_info *info);
/* Whether the guest has come to its target; @gave_up_out: it does not seem to try. */
bool xn_memory_is_reached(struct xn_domains *d, const char *uuid, bool *gave_up_out);
void xn_memory_look(struct xn_domains *d); /* something changed */
void xn_memory_see(struct xn_domains *d, struct xn_row *vm, const struct xn_domain_info *info);
void xn_memory_gone(struct xn_domains *d, const char *uuid);
void xn_memory_init(struct xn_domains *d);
void xn_memory_start(struct xn_domains *d);
void xn_memory_stop(struct xn_domains *d);

/* ---- tables of API calls, and operation kinds ---- */
extern const struct xn_method_impl xn_vm_methods[], xn_vm_setters[], xn_vbd_methods[],
	xn_vif_methods[], xn_memory_methods[], xn_appliance_methods[],
	xn_xenstore_data_methods[];
void xn_vm_kinds_register(struct xn_domains *d);
extern const struct xn_op_kind xn_vm_leftover_kind, xn_vm_start_kind, xn_vm_shutdown_kind, xn_vm_hard_shutdown_kind,
	xn_vm_reboot_kind, xn_vm_hard_reboot_kind, xn_vm_pause_kind, xn_vm_unpause_kind,
	xn_vm_reset_kind, xn_vm_suspend_kind, xn_vm_resume_kind, xn_vm_revert_kind, xn_vm_live_kind,
	xn_vm_balloon_kind, xn_appliance_kind, xn_vm_clone_kind, xn_vm_provision_kind, xn_vm_destroy_kind,
	xn_vbd_plug_kind, xn_vbd_unplug_kind, xn_vbd_media_kind, xn_vif_plug_kind,
	xn_vif_unplug_kind, xn_vif_move_kind;

/* Parts of operations that others start, too. */
void xn_vm_also_devices(struct xn_op *op, struct xn_run *run);
/* Operations for xn_operation_run_internal(); what they need of @spec beside object and operation is
 * filled in. @spec->operation: "clean_shutdown", "hard_shutdown" or "shutdown". */
struct xn_op *xn_vm_start_op(struct xn_domains *d, const struct xn_row *vm, bool paused,
			     struct xn_run_spec *spec);
struct xn_op *xn_vm_shutdown_op(struct xn_domains *d, struct xn_row *vm, struct xn_run_spec *spec);
void xn_appliances_init(struct xn_domains *d);
void xn_appliances_stop(struct xn_domains *d);
void xn_auto_poweron_init(struct xn_domains *d);
void xn_auto_poweron_stop(struct xn_domains *d);

void xn_vm_delete_rows(struct xn_domains *d, struct xn_row *vm);
/* Destroys the image that the VM is suspended to, as the step of its operation; what the VM is then is
 * looked at, also when the operation has given up. */
void xn_vm_drop_image(struct xn_vm_op *vmo, const struct xn_row *vdi);
/* platform:cores-per-socket must divide the number of VCPUs. */
int xn_vm_check_cores(const struct xn_value *platform, int64_t vcpus_max, struct xn_error *err);

void xn_vm_set_template(struct xn_domains *d, struct xn_row *vm, bool yes);

/* Handlers that have a file of their own. */
void xn_vm_set_memory(struct xn_call *call);
void xn_vm_set_memory_dynamic(struct xn_call *call);
void xn_vm_wait_memory_target_live(struct xn_call *call);
void xn_vm_set_memory_target_live(struct xn_call *call);
void xn_vm_add_to_VCPUs_params_live(struct xn_call *call);
void xn_vm_set_shadow_multiplier_live(struct xn_call *call);
void xn_vm_set_VCPUs_number_live(struct xn_call *call);
void xn_vm_send_trigger(struct xn_call *call);
void xn_vm_send_sysrq(struct xn_call *call);
int xn_vm_provision_check(struct xn_call *call, struct xn_error *err);
void xn_vm_start(struct xn_call *call);
void xn_vm_start_on(struct xn_call *call);
int xn_vm_start_check(struct xn_call *call, struct xn_error *err);
int xn_vm_start_on_check(struct xn_call *call, struct xn_error *err);
void xn_vm_clean_shutdown(struct xn_call *call);
void xn_vm_hard_shutdown(struct xn_call *call);
void xn_vm_shutdown(struct xn_call *call);
void xn_vm_power_state_reset(struct xn_call *call);
void xn_vm_clean_reboot(struct xn_call *call);
void xn_vm_hard_reboot(struct xn_call *call);
void xn_vm_pause(struct xn_call *call);
void xn_vm_unpause(struct xn_call *call);
void xn_vm_suspend(struct xn_call *call);
void xn_vm_resume(struct xn_call *call);
void xn_vm_resume_on(struct xn_call *call);
void xn_vm_create(struct xn_call *call);
int xn_vm_create_check(struct xn_call *call, struct xn_error *err);
int xn_vm_copy_check(struct xn_call *call, struct xn_error *err);
void xn_vm_clone(struct xn_call *call);
void xn_vm_copy(struct xn_call *call);
void xn_vm_snapshot(struct xn_call *call);
void xn_vm_checkpoint(struct xn_call *call);
void xn_vm_csvm(struct xn_call *call);
void xn_vm_revert(struct xn_call *call);
void xn_vm_provision(struct xn_call *call);
void xn_vm_destroy(struct xn_call *call);

void xn_vbd_plug(struct xn_call *call);
void xn_vbd_unplug(struct xn_call *call);
void xn_vbd_unplug_force(struct xn_call *call);
void xn_vbd_insert(struct xn_call *call);
int xn_vbd_insert_check(struct xn_call *call, struct xn_error *err);
void xn_vbd_eject(struct xn_call *call);
void xn_vif_plug(struct xn_call *call);
void xn_vif_unplug(struct xn_call *call);
void xn_vif_unplug_force(struct xn_call *call);
bool xn_is_ip_address(int family, const char *text);
int xn_vif_configure(struct xn_call *call, struct xn_error *err); /* configure_ipv4, _ipv6 */
/* Says to the guest what its VIF's rows say; *_if_set: only when there is an address. */
void xn_vif_tell_address(struct xn_domains *d, const struct xn_row *vif, uint32_t domid);
void xn_vif_tell_address_if_set(struct xn_domains *d, const char *ref, uint32_t domid);
void xn_vif_move(struct xn_call *call);
int xn_vif_move_check(struct xn_call *call, struct xn_error *err);

/* The method's check when it takes an operation: in a dry run, what would be refused now. */
int xn_check_operation(struct xn_call *call, struct xn_error *err);
/* Message objects about a VM; vm_message.c. ended: for the run of each operation on a VM. */
void xn_vm_ended(struct xn_op *op, const struct xn_error *err, void *arg);
void xn_vm_crashed(struct xn_domains *d, const struct xn_row *vm);

#endif
