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
};

enum xn_sim_crash {
	XN_CRASH_KILL,	/* SIGKILL: all that was appended is there */
	XN_CRASH_POWER, /* the host booted: see above */
};

struct xn_sim_disk *xn_sim_disk_new(uint64_t seed); /* syncs take 50 to 2000 us, nothing fails */
void xn_sim_disk_free(struct xn_sim_disk *disk);
void xn_sim_disk_set_faults(struct xn_sim_disk *disk, const struct xn_sim_faults *faults);
/* Ends the life of the store on the disk: what it still does has no effect. */
void xn_sim_disk_crash(struct xn_sim_disk *disk, enum xn_sim_crash kind);

/* The store is freed by its close(), which the database calls. */
struct xn_store *xn_store_sim_new(struct xn_core *core, struct xn_sim_disk *disk);

#endif
