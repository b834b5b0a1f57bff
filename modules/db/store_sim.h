/*
 * The storage engine's twin for simulation: a disk in memory that outlives the daemon on it. Syncs
 * take virtual time; a power loss keeps what was synced and of the rest a random choice of its
 * sectors. The harness makes a disk, puts a store on it into core->store before the modules start,
 * and after xn_sim_disk_crash() stops that daemon and starts the next one on the same disk.
 */
#ifndef XN_STORE_SIM_H
#define XN_STORE_SIM_H

#include "modules/db/store.h"

struct xn_sim_disk;

struct xn_sim_faults {
	int64_t sync_min_us, sync_max_us;
	unsigned append_failures, sync_failures; /* one in so many fails; 0: none */
	unsigned reopen_failures;
	unsigned slow_syncs; /* one in so many takes a hundred times as long */
};

/* Where the harness is asked, so that it can end the daemon's life there. */
enum xn_sim_point {
	XN_SIM_BEFORE_APPEND,
	XN_SIM_AFTER_APPEND,
	XN_SIM_BEFORE_SYNC,
	XN_SIM_AFTER_SYNC, /* before anybody is told */
	XN_SIM_BEFORE_REOPEN,
	XN_SIM_AFTER_REOPEN,
	XN_SIM_BEFORE_FOLD, /* a checkpoint */
	XN_SIM_AFTER_FOLD,
	XN_SIM_POINTS,
};

enum xn_sim_crash {
	/* SIGKILL: all that was appended is there, unless the last sync failed: nobody knows then what
	 * the kernel has thrown away. */
	XN_CRASH_KILL,
	XN_CRASH_POWER, /* the host booted: see above */
};

struct xn_sim_disk *xn_sim_disk_new(uint64_t seed); /* syncs take 50 to 2000 us, nothing fails */
void xn_sim_disk_free(struct xn_sim_disk *disk);
void xn_sim_disk_set_faults(struct xn_sim_disk *disk, const struct xn_sim_faults *faults);
/* @at may leave by longjmp. */
void xn_sim_disk_watch(struct xn_sim_disk *disk, void (*at)(enum xn_sim_point point, void *arg),
		       void *arg);
/* Whether a SIGKILL now may take something with it that was appended. */
bool xn_sim_disk_is_doubtful(const struct xn_sim_disk *disk);
/* Ends the life of the store on the disk: what it still does has no effect. */
void xn_sim_disk_crash(struct xn_sim_disk *disk, enum xn_sim_crash kind);

/* The store is freed by its close(), which the database calls. */
struct xn_store *xn_store_sim_new(struct xn_core *core, struct xn_sim_disk *disk);

#endif
