/* Tells the service manager how the daemon is doing: systemd's notification protocol. */
#ifndef XN_NOTIFY_H
#define XN_NOTIFY_H

#include "core/base.h"

/* @state: "READY=1". Without a service manager (no NOTIFY_SOCKET) nothing happens. 0 or -errno. */
int xn_notify(const char *state);

#endif
