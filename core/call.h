/*
 * One API call on its way from the wire to a handler and back. rpc/ parses and checks it (name,
 * count, types, session, role) and runs the handler that a module registered; the handler answers
 * now or later, exactly once.
 */
#ifndef XN_CALL_H
#define XN_CALL_H

#include "core/error.h"
#include "core/loop.h"
#include "core/schema/schema.h"
#include "core/value.h"

struct xn_core;
struct xn_call;

enum { XN_CALL_MAX_ARGS = XN_SCHEMA_MAX_PARAMS };

/* Who calls. Copied into the call: valid until it ends, also after the session's logout. */
struct xn_caller {
	char session[48];   /* public reference of the session row (not the secret); "" without one */
	char user[64];	    /* auth_user_name, cut */
	enum xn_role role;  /* effective role */
	bool is_superuser;  /* local superuser: every permission */
	bool is_trusted_socket; /* came over the Unix socket from root or the daemon's user */
	char origin[64];    /* "10.0.0.5:41234", "unix", "unix-1000" (a user not trusted),
			     * "internal": for log, audit and history */
};

/* How a reply is made durable before it is sent. */
enum xn_durability {
	XN_REPLY_AT_ONCE,      /* reads */
	XN_REPLY_WHEN_VISIBLE, /* survives SIGKILL: sessions */
	XN_REPLY_WHEN_DURABLE, /* survives power loss: every change; the default for non-getters */
};

/* rpc's side of a call: called once, from xn_call_reply or xn_call_fail; an abandoned one is only
 * released. */
struct xn_call_sink {
	void (*finish)(struct xn_call *call, const struct xn_value *result, /* NULL on failure */
		       const struct xn_error *err);			    /* NULL on success */
	void (*released)(struct xn_call *call); /* frees what embeds the call; may be NULL */
};

struct xn_call {
	struct xn_core *core;
	const struct xn_method *method;
	void *state; /* the answering module's state */
	struct xn_value *args[XN_CALL_MAX_ARGS]; /* checked and converted; defaults filled in */
	unsigned n_args;
	struct xn_caller caller;
	char task[48];	/* reference of the task row this call runs under; "" when it has none */
	char trace[33]; /* trace id for the log */
	char secret[64]; /* the session secret as sent, for handlers of session.* and event.*; else "" */
	char user_agent[64];
	enum xn_format format; /* of the reply: for results that are made elsewhere */
	enum xn_durability durability; /* set from the method; a handler may change it */
	bool dry_run;	/* only check: rpc answers after .check */
	/* Set by a handler that waits: the client is gone or the task is cancelled. The handler must
	 * still finish the call (TASK_CANCELLED), now or soon. NULL: cannot be cancelled. */
	void (*on_cancel)(struct xn_call *call);
	void *waiting; /* the handler's, for on_cancel */
	const struct xn_call_sink *sink;
	void *sink_data;
};

/* Answer. @result and what @err holds are taken; the call must not be touched afterwards. */
void xn_call_reply(struct xn_call *call, struct xn_value *result);
void xn_call_reply_void(struct xn_call *call);
void xn_call_fail(struct xn_call *call, struct xn_error *err);
/* At the stop, by whoever would have answered: nobody does. The call must not be touched afterwards. */
void xn_call_abandon(struct xn_call *call);

static inline const char *xn_call_string(const struct xn_call *call, unsigned arg)
{
	return xn_value_string(call->args[arg]);
}

/* A row in a module's table of API calls: the schema tells the rest. */
struct xn_method_impl {
	const char *name; /* "VM.start" */
	void (*run)(struct xn_call *call);
	/* Everything that can be refused before anything changes; also the dry run. NULL: nothing. */
	int (*check)(struct xn_call *call, struct xn_error *err);
	bool takes_idempotency_key;
};

/* The registry: schema method -> handler. Automatic messages are answered by modules/records,
 * which registers one handler a kind. An explicit row wins over the automatic one. */
struct xn_methods;
struct xn_methods *xn_methods_new(void);
void xn_methods_free(struct xn_methods *methods);
/* -1 with @err when the name is not in the schema or registered twice. */
int xn_methods_add(struct xn_methods *methods, const struct xn_method_impl *impl, void *state,
		   struct xn_error *err);
int xn_methods_add_kind(struct xn_methods *methods, enum xn_method_kind kind,
			void (*run)(struct xn_call *call),
			int (*check)(struct xn_call *call, struct xn_error *err), /* or NULL */
			void *state, struct xn_error *err);
/* What answers @method, or NULL: NOT_IMPLEMENTED. */
const struct xn_method_impl *xn_methods_find(const struct xn_methods *methods,
					     const struct xn_method *method, void **state_out);

#endif
