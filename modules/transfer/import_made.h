/*
 * What an import has made, by the arguments of its operation: removed again, or let go for everybody to
 * use. Also after a restart, when there is nothing but the operation. In slices, a turn of the loop each.
 */
#ifndef XN_IMPORT_MADE_H
#define XN_IMPORT_MADE_H

#include "modules/transfer/transfer_internal.h"

/* The undo, and the step that comes when all is there; each ends with xn_op_done() or xn_op_fail(). */
void xn_import_remove_all(struct xn_op *op);
void xn_import_let_go(struct xn_op *op);
/* A machine that was just made is the task's until one of them is through with it. */
void xn_import_hold_vm(struct xn_transfers *t, const char *vm, const char *task);
/* At the stop: the next start goes on. */
void xn_import_drop_made(struct xn_transfers *t);

#endif
