/*
 * What the files of the simulated hypervisor share.
 *
 *   sim.c      the back end's calls; domains from create to destroy; memory
 *   keys.c     what the toolstack writes to xenstore for a domain
 *   device.c   disks and interfaces: both ends' states and keys
 *   guest.c    the guest: its clock, its plans, what it does with what it sees
 *   save.c     save, resume, restore, core dump
 *   world.c    the file by which domains outlive the daemon; xenstore does so by itself
 *
 * A guest has a clock of its own, which stands still while it is paused, suspended or shut down;
 * all that the guest does is a plan with a due time on that clock. What the toolstack and the
 * backends do runs on the loop's clock.
 */
#ifndef XN_SIM_INTERNAL_H
#define XN_SIM_INTERNAL_H

#include "core/buf.h"
#include "core/hmap.h"
#include "core/list.h"
#include "modules/domain/sim/sim.h"
#include "modules/xenstore/store/store.h"

struct xn_sim_world;

struct xn_sim {
	struct xn_backend backend;
	struct xn_xs_store *store;
	struct xn_xs_conn *dom0;
	struct xn_list domains; /* in the order of creation */
	struct xn_hmap by_uuid, by_domid;
	struct xn_domain_info *infos; /* what list() showed last */
	size_t n_domains, cap_infos;
	uint32_t last_domid;
	uint64_t total_memory, dom0_memory, used_memory; /* bytes; used: by guests, or promised */
	uint64_t promised_memory;                        /* of that: not taken yet */
	struct xn_list answers;                          /* on their way to callbacks */
	struct xn_list transfers;                        /* save and restore at work */
	struct xn_sim_world *world;                      /* NULL: lives with the daemon only */
	bool is_open;
};

/* ---- devices ---- */
enum xn_sim_kind { XN_SIM_VBD, XN_SIM_VIF, XN_SIM_KINDS };
enum xn_sim_device_phase {
	XN_SIM_ATTACHING, /* the backend gets ready */
	XN_SIM_WAITING,   /* for the guest to connect */
	XN_SIM_CONNECTED,
	XN_SIM_CLOSING, /* for the guest to let go */
};
struct xn_sim_device {
	struct xn_list link;
	struct xn_sim_domain *domain;
	enum xn_sim_kind kind;
	int devid;
	const char *backend; /* its name in xenstore: "vbd", "qdisk", "vif" ... */
	enum xn_sim_device_phase phase;
	struct xn_timer timer; /* the backend's */
	struct xn_list calls;  /* plug or unplug that wait for it */
	bool is_known;	       /* at a start: xenstore has it */
};

/* ---- guests ---- */
enum xn_sim_guest_phase {
	XN_SIM_OFF, /* never ran */
	XN_SIM_BOOTING,
	XN_SIM_UP,
	XN_SIM_RESUMING, /* from a saved image */
	XN_SIM_DOWN,     /* shut down in whatever way */
};
enum xn_sim_plan_kind {
	XN_SIM_PLAN_BOOTED,
	XN_SIM_PLAN_RESUMED,
	XN_SIM_PLAN_CONNECT, /* a device */
	XN_SIM_PLAN_LET_GO,  /* a device */
	XN_SIM_PLAN_AGENT,
	XN_SIM_PLAN_LOOK, /* at control/shutdown */
	XN_SIM_PLAN_ACK,
	XN_SIM_PLAN_GO_DOWN,
	XN_SIM_PLAN_BALLOON,
	XN_SIM_PLAN_VCPUS,
	XN_SIM_PLAN_CRASH,
	XN_SIM_PLAN_REBOOT,
	XN_SIM_PLAN_POWEROFF,
	XN_SIM_PLAN_FLOOD,
	XN_SIM_PLAN_TICK,
	XN_SIM_PLANS,
};
struct xn_sim_plan {
	struct xn_list link;
	int64_t due_us; /* by the guest's clock */
	enum xn_sim_plan_kind kind;
	enum xn_sim_kind device_kind; /* CONNECT, LET_GO */
	int devid;
};
struct xn_sim_guest {
	enum xn_sim_guest_phase phase;
	bool is_running;               /* its clock runs */
	int64_t clock_us;              /* its time when it last stood still */
	int64_t since_us;              /* loop time when it began to run again */
	struct xn_list plans;          /* by due time */
	struct xn_timer timer;         /* of the first plan */
	enum xn_domain_shutdown going; /* the reason it was asked for and acknowledged */
	uint32_t floods;
};

/* A callback that waits for something to happen. */
struct xn_sim_call {
	struct xn_list link;
	struct xn_sim *sim;
	xn_backend_done *done;
	void (*created)(int rc, uint32_t domid, void *arg); /* instead of done */
	void *arg;
	int rc;
	uint32_t domid;
	struct xn_job job;
};

struct xn_sim_domain {
	struct xn_list link;
	struct xn_hnode by_uuid, by_domid;
	struct xn_sim *sim;
	struct xn_domain_info info;
	struct xn_sim_options options;
	struct xn_xs_domain *identity;
	uint64_t birth; /* its identity's; while the world is read there is no other */
	struct xn_xs_conn *conn; /* the guest's; NULL: not introduced, or down */
	uint64_t held_bytes;     /* of the host, with overhead and what it may grow to */
	uint64_t promised_bytes; /* of these: what it may grow by */
	uint64_t overhead_bytes, target_bytes;
	unsigned max_vcpus, wanted_vcpus;
	bool is_building;
	struct xn_timer timer;        /* build, destroy */
	struct xn_sim_call *creation; /* waits for the builder */
	struct xn_list calls;         /* wait for it to be gone */
	struct xn_list devices;
	struct xn_sim_guest guest;
	struct xn_list changed; /* in the world's list: not written since its last change */
	struct xn_list unwritten; /* not in the shorter file yet */
};

/* ---- sim.c ---- */
static inline struct xn_sim *xn_sim_of(struct xn_backend *b)
{
	return xn_container_of(b, struct xn_sim, backend);
}
static inline struct xn_loop *xn_sim_loop(const struct xn_sim *sim)
{
	return sim->backend.core->loop;
}
struct xn_sim_domain *xn_sim_domain(struct xn_sim *sim, uint32_t domid); /* or NULL */
struct xn_sim_call *xn_sim_call_new(struct xn_sim *sim, xn_backend_done *done, void *arg);
/* The callback comes from the loop, with @rc; the call is taken. */
void xn_sim_answer(struct xn_sim_call *call, int rc);
void xn_sim_answer_all(struct xn_list *calls, int rc);
/* A delay of the options, with jitter, in microseconds. */
int64_t xn_sim_delay_us(struct xn_sim_domain *domain, uint32_t ms);
/* Whether its guest's clock may run. */
bool xn_sim_may_run(const struct xn_sim_domain *domain);
/* The guest has reached its target. */
void xn_sim_memory_reached(struct xn_sim_domain *domain);
/* The timers of a domain that came from the world file. */
void xn_sim_domain_reopened(struct xn_sim_domain *domain);
/* A domain object in all tables; no keys, no timers. @identity: NULL while the world is read. */
struct xn_sim_domain *xn_sim_domain_new(struct xn_sim *sim, uint32_t domid, const char *uuid,
					struct xn_xs_domain *identity);
void xn_sim_domain_free(struct xn_sim_domain *domain);
/* Between the guest and the hypervisor: it stops with @reason, and everybody is told. */
void xn_sim_domain_stops(struct xn_sim_domain *domain, enum xn_domain_shutdown reason);
/* create() and restore() up to the builder; @image: the guest resumes at that clock, or -1. */
int xn_sim_domain_build(struct xn_sim *sim, const struct xn_value *config, int64_t image_clock_us,
			struct xn_sim_call *call);

/* ---- keys.c ---- */
/* Writes of one toolstack action: one transaction of domain 0. Errors stay until the end. */
struct xn_sim_keys {
	struct xn_xs_conn *conn;
	uint32_t tx;
	int rc;
	char base[128]; /* what paths are below */
};
void xn_sim_keys_begin(struct xn_sim_keys *keys, struct xn_xs_conn *conn);
void xn_sim_keys_base(struct xn_sim_keys *keys, const char *fmt, ...) XN_PRINTF(2, 3);
void xn_sim_put(struct xn_sim_keys *keys, const char *key, const char *value);
void xn_sim_putf(struct xn_sim_keys *keys, const char *key, const char *fmt, ...) XN_PRINTF(3, 4);
void xn_sim_allow(struct xn_sim_keys *keys, const char *key, const char *fmt, ...) XN_PRINTF(3, 4);
int xn_sim_keys_end(struct xn_sim_keys *keys);

int xn_sim_keys_create(struct xn_sim_domain *domain, const struct xn_value *config);
int xn_sim_keys_built(struct xn_sim_domain *domain);
void xn_sim_keys_destroy(struct xn_sim *sim, uint32_t domid, const char *uuid);

/* ---- device.c ---- */
struct xn_sim_device *xn_sim_device_find(struct xn_sim_domain *domain, enum xn_sim_kind kind,
					 int devid);
struct xn_sim_device *xn_sim_device_new(struct xn_sim_domain *domain, enum xn_sim_kind kind,
					int devid);
void xn_sim_device_free(struct xn_sim_device *device);     /* its calls get -ECANCELED */
void xn_sim_device_connect(struct xn_sim_device *device);  /* the guest does */
void xn_sim_device_let_go(struct xn_sim_device *device);   /* the guest does, or refuses */
/* After a restart of the daemon. Which devices there are, and how far they came, xenstore tells. */
void xn_sim_devices_match(struct xn_sim_domain *domain);
void xn_sim_device_reopened(struct xn_sim_device *device);
/* The guest is down: whatever waited for it goes on without. */
void xn_sim_devices_abandoned(struct xn_sim_domain *domain);
int xn_sim_plug_disk(struct xn_backend *b, uint32_t domid, const struct xn_disk_config *disk,
		     xn_backend_done *done, void *arg);
int xn_sim_unplug_disk(struct xn_backend *b, uint32_t domid, int devid, bool force,
		       xn_backend_done *done, void *arg);
int xn_sim_change_media(struct xn_backend *b, uint32_t domid, const struct xn_disk_config *disk,
			xn_backend_done *done, void *arg);
int xn_sim_plug_nic(struct xn_backend *b, uint32_t domid, const struct xn_nic_config *nic,
		    xn_backend_done *done, void *arg);
int xn_sim_unplug_nic(struct xn_backend *b, uint32_t domid, int devid, bool force,
		      xn_backend_done *done, void *arg);

/* ---- pci.c ---- */
/* What a new domain has from the start; @set: addresses, or NULL. */
int xn_sim_pci_create(struct xn_sim_domain *domain, const struct xn_value *set);
int xn_sim_plug_pci(struct xn_backend *b, uint32_t domid, const char *address,
		    xn_backend_done *done, void *arg);
int xn_sim_unplug_pci(struct xn_backend *b, uint32_t domid, const char *address, bool force,
		      xn_backend_done *done, void *arg);

/* ---- guest.c ---- */
void xn_sim_guest_init(struct xn_sim_domain *domain);
void xn_sim_guest_run(struct xn_sim_domain *domain);    /* its clock goes on */
void xn_sim_guest_freeze(struct xn_sim_domain *domain); /* and stands still */
/* Nobody wants it to suspend any more. */
void xn_sim_guest_stays(struct xn_sim_domain *domain);
int64_t xn_sim_guest_clock_us(const struct xn_sim_domain *domain);
void xn_sim_guest_plan(struct xn_sim_domain *domain, enum xn_sim_plan_kind kind, uint32_t ms);
void xn_sim_guest_plan_device(struct xn_sim_domain *domain, enum xn_sim_plan_kind kind, uint32_t ms,
			      const struct xn_sim_device *device);
/* With the time known: for what comes from the world file. */
void xn_sim_guest_add_plan(struct xn_sim_domain *domain, const struct xn_sim_plan *plan);
void xn_sim_guest_drop_plans(struct xn_sim_domain *domain, const struct xn_sim_device *only_of);
void xn_sim_guest_listen(struct xn_sim_domain *domain); /* connects to xenstore, sets its watches */
/* Something that concerns it has changed; does nothing unless its kernel is up. */
void xn_sim_guest_sees_device(struct xn_sim_device *device);
void xn_sim_guest_reminded(struct xn_sim_device *device); /* the same, unless it plans something */
void xn_sim_guest_sees_vcpus(struct xn_sim_domain *domain);
void xn_sim_guest_report_nics(struct xn_sim_domain *domain);

/* ---- save.c ---- */
int xn_sim_save(struct xn_backend *b, uint32_t domid, int fd, bool checkpoint,
		xn_backend_done *done, void *arg);
int xn_sim_restore(struct xn_backend *b, const struct xn_value *config, int fd,
		   void (*done)(int rc, uint32_t domid, void *arg), void *arg);
int xn_sim_resume(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg);
int xn_sim_core_dump(struct xn_backend *b, uint32_t domid, int fd, xn_backend_done *done,
		     void *arg);
void xn_sim_save_look(struct xn_sim_domain *domain); /* it has stopped, for whatever reason */
void xn_sim_save_drop(struct xn_sim *sim);           /* the daemon stops */

/* ---- world.c ---- */
/* Opens, or makes, the file at @path and fills @sim from it. 0, or -1 with @err. */
int xn_sim_world_open(struct xn_sim *sim, const char *path, struct xn_error *err);
void xn_sim_world_close(struct xn_sim *sim);
/* A domain came, changed, went. Written soon, in one go with all that changed in xenstore. */
void xn_sim_added(struct xn_sim_domain *domain);
void xn_sim_changed(struct xn_sim_domain *domain);
void xn_sim_gone(struct xn_sim_domain *domain);
/* What changed so far is in the file (as far as the kernel) when this returns 0; else -errno, and it
 * is written with what comes next. */
int xn_sim_world_flush(struct xn_sim *sim);

#endif
