/*
 * The command line's side of the daemon: from a conversation (talk.h) to a command's runs (command.h)
 * and back. One engine a daemon; it belongs to the module rpc.
 */
#ifndef XE_ENGINE_H
#define XE_ENGINE_H

struct xn_rpc;
struct xe_engine;

/* Opens /cli. */
struct xe_engine *xe_engine_new(struct xn_rpc *rpc);
/* Ends every conversation; what has a task goes on without it. NULL is fine. */
void xe_engine_free(struct xe_engine *engine);

#endif
