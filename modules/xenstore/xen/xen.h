/*
 * What carries guests' rings on real Xen (ring.h): granted pages, event channels, and the news that a
 * domain stopped or is going. The only folder that sees the headers of these libraries; without them
 * the daemon is built with no_xen.c and cannot be a host's xenstored.
 */
#ifndef XN_XENSTORE_XEN_H
#define XN_XENSTORE_XEN_H

#include "core/error.h"
#include "core/log.h"
#include "modules/xenstore/server/ring.h"

/* NULL with @err: not on Xen, or no rights. */
struct xn_xs_carrier *xn_xs_xen_new(struct xn_loop *loop, struct xn_log *log, struct xn_error *err);

#endif
