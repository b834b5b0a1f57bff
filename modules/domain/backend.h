/*
 * What runs domains: one small ops struct with two implementations, `sim` (a simulated hypervisor
 * with guests, in process) and `libxl` (real Xen). All logic sits above it. Both leave the same
 * xenstore keys, so the watcher cannot tell them apart. Calls return < 0 and never call back, or
 * return 0 and call back once, later, from the loop.
 *
 * When a call is done its effect is in find() and in xenstore. Calls are idempotent where a restart
 * may repeat them: destroying, unplugging, unpausing what is not there (or not so) is success, and
 * so is plugging a device that is there already. Errors with a meaning: -ENOMEM (not enough memory
 * for the domain), -EBUSY (the guest refuses to let a device go), -ETIMEDOUT, -ENOENT (no such
 * domain), -ENOEXEC (what should boot cannot), -EPERM and -EACCES (no such kernel, or ramdisk,
 * that a guest may have), -EOPNOTSUPP; anything else is an internal error.
 */
#ifndef XN_BACKEND_H
#define XN_BACKEND_H

#include "core/module.h"

struct xn_backend;

enum xn_domain_shutdown {
	XN_SHUTDOWN_NONE = -1,
	XN_SHUTDOWN_POWEROFF,
	XN_SHUTDOWN_REBOOT,
	XN_SHUTDOWN_SUSPEND,
	XN_SHUTDOWN_CRASH,
	XN_SHUTDOWN_WATCHDOG,
	XN_SHUTDOWN_SOFT_RESET
};

struct xn_domain_info {
	uint32_t domid;
	char uuid[37]; /* of the VM */
	bool paused, dying, shut_down;
	enum xn_domain_shutdown shutdown_code;
	uint64_t memory_bytes, max_memory_bytes;
	unsigned vcpus;
	uint64_t cpu_ns;
	char type[8]; /* "pv", "pvh", "hvm" */
};

struct xn_host_info {                       /* physinfo */
	uint64_t memory_total, memory_free; /* bytes; free: that no domain has now */
	unsigned cpus, sockets, cores_per_socket, threads_per_core, nodes;
	unsigned cpu_mhz; /* 0: as the kernel says */
	bool hvm, iommu;  /* could run HVM guests, and give them devices */
	char xen_version[64], capabilities[256];
};

typedef void xn_backend_done(int rc, void *arg);

struct xn_disk_config {
	const char *vdev;   /* "xvda", "hda" */
	int devid;          /* xenstore number, 51712 ... */
	const char *path;   /* image; NULL: empty CD drive */
	const char *format; /* "raw", "qcow2" */
	bool read_only, is_cdrom;
};
struct xn_nic_config {
	int devid;
	const char *mac, *bridge;
	int mtu;
	int64_t rate_kbps; /* 0: none */
};

/*
 * A domain's configuration is a map value with these keys (made in domain_config.c):
 *   uuid, name            strings
 *   type                  "pv", "pvh", "hvm"
 *   vcpus, max_vcpus      ints
 *   memory, max_memory    ints, bytes: at boot (the target), and static maximum
 *   shadow_memory         int, bytes
 *   kernel, ramdisk, cmdline, bootloader, bootloader_args   strings; absent: none
 *   firmware              "bios", "uefi" (hvm); boot_order "cd"
 *   on_poweroff, on_reboot, on_crash   always "preserve": the toolstack reacts itself
 *   pci                   set of strings "0000:03:00.0": passed through from the start
 *   rtc_offset            int, seconds (platform:timeoffset)
 *   security_label        string (XSM; platform:security-label); absent: none
 *   has_vendor_device     bool (hvm): the PCI device by which Windows finds its drivers
 *   platform, other_config, xenstore_data, vcpu_params, bios_strings   maps of strings
 *   disks, nics           sets of maps of what will be plugged: {vdev, devid, path, format,
 *                         read_only, is_cdrom}, {devid, mac, bridge, mtu, rate_kbps (in fact KiB a
 *                         second, as in the XenAPI)}: for a device model that
 *                         must know them from the start; a back end may attach them while it builds
 * other_config:sim-* tells the simulated guest how to behave: the tables are in sim/sim.h.
 */

struct xn_backend_ops {
	const char *name; /* "sim", "libxl" */
	/* Reads what exists (also after a daemon restart). */
	int (*open)(struct xn_backend *b, struct xn_error *err);
	void (*close)(struct xn_backend *b);                              /* leaves domains alone */
	int (*host_info)(struct xn_backend *b, struct xn_host_info *out); /* cached, no I/O */
	/* All domains but the control domain, also those that others made; cached from the last
	 * refresh; borrowed until the next turn. */
	const struct xn_domain_info *(*list)(struct xn_backend *b, size_t *n_out);
	/* By hash, not by search; NULL: none. Borrowed until the next turn. */
	const struct xn_domain_info *(*find)(struct xn_backend *b, const char *vm_uuid);
	/* The hypervisor's lists are read anew (after @introduceDomain, @releaseDomain). */
	int (*refresh)(struct xn_backend *b, xn_backend_done *done, void *arg);

	/* Built and paused. @config: map, borrowed for the call. On failure nothing is left of it.
	 */
	int (*create)(struct xn_backend *b, const struct xn_value *config,
		      void (*done)(int rc, uint32_t domid, void *arg), void *arg);
	/* With its devices; whatever state it is in. One that is still being built (find() shows
	 * it) is given up: its create() ends with -ECANCELED. */
	int (*destroy)(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg);
	int (*pause)(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg);
	int (*unpause)(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg);
	/* Asks the guest (control/shutdown); done when asked: that it obeyed shows in that node,
	 * and that it went in find() and on @releaseDomain. HVM without drivers is shut down by the
	 * hypervisor. */
	int (*shutdown)(struct xn_backend *b, uint32_t domid, enum xn_domain_shutdown reason,
			xn_backend_done *done, void *arg);
	int (*plug_disk)(struct xn_backend *b, uint32_t domid, const struct xn_disk_config *disk,
			 xn_backend_done *done, void *arg);
	int (*unplug_disk)(struct xn_backend *b, uint32_t domid, int devid, bool force,
			   xn_backend_done *done, void *arg);
	int (*change_media)(struct xn_backend *b, uint32_t domid, const struct xn_disk_config *disk,
			    xn_backend_done *done, void *arg); /* path NULL: eject */
	int (*plug_nic)(struct xn_backend *b, uint32_t domid, const struct xn_nic_config *nic,
			xn_backend_done *done, void *arg);
	int (*unplug_nic)(struct xn_backend *b, uint32_t domid, int devid, bool force,
			  xn_backend_done *done, void *arg);
	/* @address: "0000:03:00.0" */
	int (*plug_pci)(struct xn_backend *b, uint32_t domid, const char *address,
			xn_backend_done *done, void *arg);
	int (*unplug_pci)(struct xn_backend *b, uint32_t domid, const char *address, bool force,
			  xn_backend_done *done, void *arg);
	int (*set_memory)(struct xn_backend *b, uint32_t domid, uint64_t bytes,
			  xn_backend_done *done, void *arg);
	/* For the hypervisor's page tables of a guest that is not PV. NULL: cannot be changed. */
	int (*set_shadow)(struct xn_backend *b, uint32_t domid, uint64_t bytes,
			  xn_backend_done *done, void *arg);
	int (*set_vcpus)(struct xn_backend *b, uint32_t domid, unsigned vcpus,
			 xn_backend_done *done, void *arg);
	/* @params: map of strings with some of weight, cap, mask (as VM.VCPUs_params). */
	int (*set_vcpu_params)(struct xn_backend *b, uint32_t domid, const struct xn_value *params,
			       xn_backend_done *done, void *arg);
	int (*trigger)(struct xn_backend *b, uint32_t domid, const char *trigger,
		       xn_backend_done *done,
		       void *arg); /* "power", "sleep", "nmi", "sysrq:b" ... */
	/*
	 * Domains are saved to and restored from a descriptor, never a path. The callee owns fd. A
	 * saved domain is shut down (code suspend) for its caller to destroy; with @checkpoint it
	 * goes on instead. When the save failed it may be either: resume() makes it go on.
	 */
	int (*save)(struct xn_backend *b, uint32_t domid, int fd, bool checkpoint,
		    xn_backend_done *done, void *arg);
	/* A domain that has shut down for a suspend goes on, in the state it was in; one that is not
	 * shut down: success. A save() of it that is under way is given up: that ends with
	 * -ECANCELED. */
	int (*resume)(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg);
	int (*restore)(struct xn_backend *b, const struct xn_value *config, int fd,
		       void (*done)(int rc, uint32_t domid, void *arg), void *arg);
	/* The domain's memory and state, for a debugger; it is paused meanwhile. Owns fd. */
	int (*core_dump)(struct xn_backend *b, uint32_t domid, int fd, xn_backend_done *done,
			 void *arg);
	/* For diagnostics: what it is doing now, for which domain, since when. A new map. */
	struct xn_value *(*describe)(struct xn_backend *b);
	/* For the page of metrics; NULL: nothing. */
	void (*count)(const struct xn_backend *b, struct xn_metrics_page *page);
	void (*free)(struct xn_backend *b);
};

struct xn_backend {
	const struct xn_backend_ops *ops;
	struct xn_core *core;
	/* Set by whoever listens; may be NULL. A call for this VM has begun, goes on, or still waits
	 * for others: so its deadline may start anew. @fraction of the call's work, < 0: unknown. */
	void (*progress)(const char *vm_uuid, const char *what, double fraction, void *listener);
	/* list() was read anew, whoever asked for it: it may show others now. Not the simulator's,
	 * whose list is always true. */
	void (*listed)(void *listener);
	void *listener;
};

struct xn_backend *xn_backend_sim_new(struct xn_core *core);
/* libxl/. Whose opening fails when this build has no libxl. */
struct xn_backend *xn_backend_libxl_new(struct xn_core *core);
bool xn_backend_has_libxl(void);

#endif
