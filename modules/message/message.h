/*
 * Messages: alerts that the server or a client leaves for people to read. Rows of the class
 * message, kept over a restart, the oldest of too many removed.
 */
#ifndef XN_MESSAGE_H
#define XN_MESSAGE_H

#include "core/module.h"

extern const struct xn_module xn_message_module;

struct xn_messages;

static inline struct xn_messages *xn_messages_of(struct xn_core *core)
{
	return xn_module_state(core, "message");
}

/* @name: "VM_STARTED"; @cls: a value of enum cls ("VM", "Host"); @obj_uuid: what it is about. */
void xn_message_create(struct xn_messages *messages, const char *name, int64_t priority,
		       const char *cls, const char *obj_uuid, const char *body, char ref[48]);

#endif
