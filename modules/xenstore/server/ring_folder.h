/*
 * A carrier (ring.h) for programs that play guests of the simulated hypervisor: pages are files in a
 * folder, event channels are datagrams. A page outlives the daemon as a real guest's does, so what
 * SIGKILL does to a session can be seen without Xen.
 *
 *   FOLDER/events    the daemon's socket. A datagram of 4 bytes, a domid in the machine's byte order:
 *                    that guest signals, or what follows has changed
 *   FOLDER/N.page    domain N's page, 4096 bytes; made by whoever comes first. Gone: so is the guest
 *   FOLDER/N.stopped present: it has stopped
 *   FOLDER/N.events  the guest's socket; the daemon sends it a datagram of a byte for each signal
 */
#ifndef XN_XENSTORE_RING_FOLDER_H
#define XN_XENSTORE_RING_FOLDER_H

#include "core/error.h"
#include "modules/xenstore/server/ring.h"

/* @path is made if missing. NULL with @err. */
struct xn_xs_carrier *xn_xs_folder_new(struct xn_loop *loop, const char *path, struct xn_error *err);

#endif
