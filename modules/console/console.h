/*
 * Console rows: one for the screen or terminal that a running VM has. Called by the domain module
 * when it reconciles a VM.
 */
#ifndef XN_CONSOLE_H
#define XN_CONSOLE_H

#include "modules/db/db.h"

extern const struct xn_module xn_console_module;

/*
 * Makes the VM's console rows what they should be: one of @protocol ("rfb", "vt100"), or none when
 * it is NULL. A row that fits stays, with its uuid. @port: where the stream is (internal).
 */
void xn_console_sync(struct xn_db *db, const struct xn_row *vm, const char *protocol, int port,
		     const char *host_address);

#endif
