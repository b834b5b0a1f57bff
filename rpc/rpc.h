/*
 * The wire: HTTP server, JSON-RPC, XML-RPC, dispatch. A module like the others; reaches API methods
 * through core->methods only.
 */
#ifndef XN_RPC_H
#define XN_RPC_H

#include "core/call.h"
#include "core/module.h"
#include "rpc/http.h"

extern const struct xn_module xn_rpc_module;

struct xn_rpc;

/*
 * ---- HTTP requests that are no API calls: for modules that need "rpc" ----
 * Added in start, removed in stop with the same @arg. Without a server (a simulation): nothing.
 */
void xn_rpc_add_route(struct xn_core *core, const struct xn_http_route *route, void *arg);
void xn_rpc_remove_routes(struct xn_core *core, const void *arg);

/* Who sends such a request, and the task that it works under: one that the request names (task_id),
 * or a new one. */
struct xn_rpc_visit {
	struct xn_caller caller;
	char task[48];	  /* "": none */
	char created[48]; /* set by who makes something, for the audit log */
};

struct xn_rpc_door {
	const char *name;	/* "get_audit_log": the realm of a 401; permission "http/get_audit_log" */
	enum xn_role role;	/* the least that may */
	const char *task_label; /* of the task that is made; NULL: none is */
	/* It changes what is kept: refused while no change is accepted, and not run before its task and
	 * its line in the audit log are safe. */
	bool changes;
	struct { /* parameters that name what it is about, for that line */
		const char *param;
		int class_id;
	} objects[4];
	/* Admitted. @req is good until this returns. It answers through @req->conn, now or later, and
	 * ends the visit with xn_rpc_leave(), exactly once. */
	void (*run)(const struct xn_http_request *req, struct xn_rpc_visit *visit, void *arg);
};

/*
 * xn_rpc_admit - runs @door for who may pass it, and answers 401, 403 or 400 to everybody else
 * Called from a route's run(), for any kind of route. Who may: the Unix socket's trusted peers; a
 * session, by the cookie or query session_id; HTTP's basic scheme, with a session for this request.
 * door->run() comes inside, or later when a password has to be checked.
 */
void xn_rpc_admit(struct xn_core *core, const struct xn_http_request *req,
		  const struct xn_rpc_door *door, void *arg);
/* Ends the visit and its task: failed with @err, or done (with what xn_task_succeed() was given
 * before, or nothing). */
void xn_rpc_leave(struct xn_rpc_visit *visit, const struct xn_error *err);

/* What an XML-RPC text of one <value> says, for files that hold such; on any thread. NULL with a sentence
 * in @why. */
struct xn_value *xn_rpc_read_value(const char *text, size_t len, struct xn_buf *why);

/* What a caller may store, for objects that come by other ways than a call's arguments: texts, members
 * and bytes of @record, the fields of one object, which is a @what. On any thread. 0, or -1 with the
 * error of a call that brings as much. How many there may be: xn_db_check_room(). */
int xn_rpc_check_record(struct xn_core *core, const char *what, const struct xn_value *record,
			struct xn_error *err);

/*
 * ---- who reads records as they were ----
 * Somebody to whom they go no faster than it takes them, so that rows which change leave their old ones
 * behind for it. When there are more of these than old-records, whoever took nothing for longest goes.
 */
struct xn_rpc_reader { /* embedded; all zero bytes but for the first group = none */
	/* Ends it. False: it is not to blame now, since it is our turn. May free. */
	bool (*cut)(struct xn_rpc_reader *reader);

	bool is_charged; /* it counts against all-replies, too */
	struct xn_list link;
	int64_t moved_us;
};
/* It has begun, or took something. */
void xn_rpc_reader_moves(struct xn_core *core, struct xn_rpc_reader *reader);
void xn_rpc_reader_leaves(struct xn_rpc_reader *reader); /* any time */

/*
 * xn_rpc_call - one call without a socket: the same parsing, checks and answers as over HTTP
 * For the simulator and for tests. @body: a JSON-RPC or XML-RPC request by its first byte.
 * @reply gets the HTTP body, once, from the loop.
 */
void xn_rpc_call(struct xn_rpc *rpc, const char *body, size_t len, const struct xn_caller *from,
		 void (*reply)(const char *body, size_t len, void *arg), void *arg);

#endif
