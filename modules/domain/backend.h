/*
 * What runs domains: one small ops struct with two implementations, `sim` (a simulated hypervisor
 * with guests, in process) and `libxl` (real Xen). All logic sits above it. Both leave the same
 * xenstore keys, so the watcher cannot tell them apart. Calls return < 0 and never call back, or
 * return 0 and call back once, later, from the loop.
 */
#ifndef XN_BACKEND_H
#define XN_BACKEND_H

#include "core/module.h"

struct xn_backend;

enum xn_domain_shutdown { XN_SHUTDOWN_NONE = -1, XN_SHUTDOWN_POWEROFF, XN_SHUTDOWN_REBOOT,
	XN_SHUTDOWN_SUSPEND, XN_SHUTDOWN_CRASH, XN_SHUTDOWN_WATCHDOG, XN_SHUTDOWN_SOFT_RESET };

struct xn_domain_info {
	uint32_t domid;
	char uuid[37];	/* of the VM */
	bool paused, dying, shut_down;
	enum xn_domain_shutdown shutdown_code;
	uint64_t memory_bytes, max_memory_bytes;
	unsigned vcpus;
	uint64_t cpu_ns;
	char type[8]; /* "pv", "pvh", "hvm" */
};

struct xn_host_info { /* physinfo */
	uint64_t memory_total, memory_free; /* bytes */
	unsigned cpus, sockets, cores_per_socket, threads_per_core, nodes;
	char xen_version[64], capabilities[256];
};

/* A domain's configuration as a map value; keys in domain_config.c. Devices come by plug. */
typedef void xn_backend_done(int rc, void *arg);

struct xn_disk_config {
	const char *vdev;	/* "xvda", "hda" */
	int devid;		/* xenstore number, 51712 ... */
	const char *path;	/* image; NULL: empty CD drive */
	const char *format;	/* "raw", "qcow2" */
	bool read_only, is_cdrom;
};
struct xn_nic_config {
	int devid;
	const char *mac, *bridge;
	int mtu;
	int64_t rate_kbps; /* 0: none */
};

struct xn_backend_ops {
	const char *name; /* "sim", "libxl" */
	/* Reads what exists (also after a daemon restart). */
	int (*open)(struct xn_backend *b, struct xn_error *err);
	void (*close)(struct xn_backend *b); /* leaves domains alone */
	int (*host_info)(struct xn_backend *b, struct xn_host_info *out); /* cached, no I/O */
	/* All domains, cached from the last refresh; borrowed until the next turn. */
	const struct xn_domain_info *(*list)(struct xn_backend *b, size_t *n_out);
	const struct xn_domain_info *(*find)(struct xn_backend *b, const char *vm_uuid);
	/* The hypervisor's lists are read anew (after @introduceDomain, @releaseDomain). */
	int (*refresh)(struct xn_backend *b, xn_backend_done *done, void *arg);

	/* Built and paused. @config: map, borrowed for the call. */
	int (*create)(struct xn_backend *b, const struct xn_value *config,
		      void (*done)(int rc, uint32_t domid, void *arg), void *arg);
	int (*destroy)(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg);
	int (*pause)(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg);
	int (*unpause)(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg);
	/* Asks the guest (control/shutdown); done when asked, not when it went. */
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
	int (*set_memory)(struct xn_backend *b, uint32_t domid, uint64_t bytes,
			  xn_backend_done *done, void *arg);
	int (*set_vcpus)(struct xn_backend *b, uint32_t domid, unsigned n, xn_backend_done *done,
			 void *arg);
	/* Domains are saved to and restored from a descriptor, never a path. The callee owns fd. */
	int (*save)(struct xn_backend *b, uint32_t domid, int fd, bool checkpoint,
		    xn_backend_done *done, void *arg);
	int (*restore)(struct xn_backend *b, const struct xn_value *config, int fd,
		       void (*done)(int rc, uint32_t domid, void *arg), void *arg);
	void (*free)(struct xn_backend *b);
};

struct xn_backend {
	const struct xn_backend_ops *ops;
	struct xn_core *core;
};

struct xn_backend *xn_backend_sim_new(struct xn_core *core);

#endif
