/* What the files of rpc/ share about one call on the wire. Not for other modules. */
#ifndef XN_RPC_INTERNAL_H
#define XN_RPC_INTERNAL_H

#include "core/call.h"
#include "core/config.h"
#include "core/fair.h"
#include "core/hmap.h"
#include "core/metrics.h"
#include "modules/audit/audit.h"
#include "modules/auth/auth.h"
#include "modules/db/db.h"
#include "modules/operation/operation.h"
#include "modules/task/task.h"
#include "rpc/http.h"
#include "rpc/request.h"
#include "rpc/rpc.h"

enum { XN_RPC_ROUTES = 3 };

struct xn_certificate; /* tls_certificate.h */
struct xe_engine;	/* rpc/xe/engine.h */
typedef void xn_rpc_told(const struct xn_value *result, const struct xn_error *err, void *arg);
struct xn_rpc_account;	/* quota.c: what one caller uses */

struct xn_rpc_quotas { /* as configured */
	size_t session_calls, session_arguments, all_arguments, login_arguments;
	size_t session_replies, all_replies, old_records;
	size_t string_bytes, field_items, row_bytes, task_bytes, long_bodies;
};

enum xn_rpc_quota { /* those that calls are refused for */
	XN_QUOTA_SESSION_CALLS,
	XN_QUOTA_SESSION_ARGUMENTS,
	XN_QUOTA_ALL_ARGUMENTS,
	XN_QUOTA_LOGIN_ARGUMENTS,
	XN_QUOTA_SESSION_REPLIES,
	XN_QUOTA_ALL_REPLIES,
	XN_QUOTA_STRING_BYTES,
	XN_QUOTA_FIELD_ITEMS,
	XN_QUOTA_ROW_BYTES,
	XN_QUOTA_TASK_BYTES,
	XN_QUOTA_LONG_BODIES,
	XN_QUOTA_COUNT,
};

enum { XN_RPC_METHODS_SEEN = 100, XN_RPC_CODES_SEEN = 60 };
struct xn_method_times {
	const struct xn_method *method;
	struct xn_histogram took;
};
struct xn_rpc_counts { /* call_metrics.c; the last of each is for all that came too late */
	uint16_t *slot_of;
	unsigned n_methods, n_codes;
	struct xn_method_times methods[XN_RPC_METHODS_SEEN + 1];
	struct {
		char code[48];
		uint64_t n;
	} codes[XN_RPC_CODES_SEEN + 1];
};

struct xn_rpc {
	struct xn_core *core;
	struct xn_http *http;
	struct xn_http_route routes[XN_RPC_ROUTES];
	struct xn_certificate *certificate; /* NULL: no sockets, in a simulation */
	struct xn_db *db;
	struct xn_auth *auth;
	struct xn_audit *audit;
	struct xn_tasks *tasks;
	struct xn_operations *operations;
	struct xn_list calls; /* struct xn_rpc_call, by link */
	/* Who waits for a turn, by address, then by session: calls to begin, slices of long replies. */
	struct xn_fair begins, slices;
	struct xn_job begin_job, slice_job;
	bool stopping; /* no call begins any more */
	struct xn_buf piece; /* of the slice under way */
	struct xn_list downloads; /* audit_log.c */
	unsigned n_downloads;
	struct xn_rpc_quotas quotas;
	struct xn_hmap accounts;
	size_t n_calls, argument_bytes, reply_bytes;
	struct xn_list unread; /* struct xn_rpc_reader; who moved last is last */
	struct xn_timer look_again; /* quota.c: whether one of them stands still */
	_Atomic size_t n_over_quota[XN_QUOTA_COUNT]; /* workers hold archives against them, too */
	uint64_t n_cut;
	struct xn_rpc_counts counts;
	struct xn_metrics_source metrics;
	struct xn_subscription *on_committed;
	struct xn_list visits; /* visit.c: those whose password is being checked */
	struct xn_list entered; /* visit.c: those that were admitted and go on */
	struct xn_subscription *on_reload, *on_ready, *on_db_failed;
	struct xn_pool *readers; /* body.c: threads that parse long bodies */
	struct xn_request_bounds bounds; /* of a call */
	struct xn_hmap senders;  /* body.c: addresses whose bodies the readers have */
	size_t long_bytes;       /* of these, queued ones too */
	struct xe_engine *xe;    /* the command line; NULL in a simulation */
};

/*
 * One request from its parsing to its reply. It lives until the reply is out and, for an Async.
 * call, until the handler has ended; `holders` counts these two.
 */
struct xn_rpc_call {
	struct xn_call call;
	struct xn_rpc *rpc; /* NULL: the module has stopped, nobody is answered any more */
	struct xn_list link;
	struct xn_request request;
	unsigned holders;
	uint64_t address, caller; /* numbers for where it comes from, and for whose session it is */
	struct xn_fair_item turn; /* in rpc->begins, later perhaps in rpc->slices */
	bool async;
	bool answered;
	unsigned asked_again;
	bool waited; /* white space was sent meanwhile */
	int64_t began_us;
	char task[48]; /* Async: the task that the handler's end goes to */

	/* Where the reply goes: a connection, a function that takes its body (xn_rpc_call), or one that
	 * takes the value (invoke.c). All NULL: nobody waits. */
	struct xn_http_conn *conn;
	void (*reply)(const char *body, size_t len, void *arg);
	xn_rpc_told *told;
	void *reply_arg;
	bool invoked;		 /* by invoke.c: nothing is encoded */
	struct xn_value *result; /* of an invoked call, while it waits to be durable */
	struct xn_error failure; /* or this */

	struct xn_buf body;	/* the encoded reply, while it waits to be durable; or its beginning */
	struct xn_value *rest;	/* what follows on that, in parts from rest_at on; NULL: nothing */
	size_t rest_at;
	bool bare, sending; /* of a reply with a rest: without Status; its head is out */
	bool rest_is_whole; /* with what stands around a result */
	bool is_written;    /* all of it, and not all is out */
	bool busy;	    /* a slice of it is being written: it must not be freed */
	struct xn_rpc_account *account; /* NULL: of nobody */
	size_t arguments;		/* bytes there for the parameters */
	size_t charged;			/* and for this reply */
	struct xn_rpc_reader reader;	/* of a reply that is long */
	struct xn_db_wait wait;
	bool audited;		  /* it changes something: its end gets a line */
	bool is_emergency;	  /* nothing can be stored, and it goes on all the same */
	struct xn_buf subject;	  /* of that line */
	uint64_t audit_line;	  /* the last one about it; 0: none */
	struct xn_audit_wait audit_wait;
	struct xn_timer patience; /* a silent synchronous call: white space before clients hang up */
};

/*
 * invoke.c: calls by the daemon's own code in rpc/, as a client makes them: all checks, roles, audit,
 * quotas, and an answer that comes when it is durable.
 * @params: a set, the session's secret first; taken. @from: only origin and is_trusted_socket matter.
 * @told: once, from the loop; @result and @err are borrowed.
 * Return: the call, until told() or xn_rpc_invoke_forget().
 */
struct xn_rpc_call *xn_rpc_invoke(struct xn_rpc *rpc, const char *method, struct xn_value *params,
				  const struct xn_caller *from, const char *user_agent,
				  xn_rpc_told *told, void *arg);
/* Nobody waits for it any more: told() does not come. What has a task goes on. */
void xn_rpc_invoke_forget(struct xn_rpc_call *rc);

/* dispatch.c. Takes @rc: every path ends in exactly one reply. */
void xn_rpc_dispatch(struct xn_rpc_call *rc);
/* A question whose answer showed what the store then refused is put again, and so is a login: reads go on while changes
 * are refused. False for all else: @rc is as it was. */
bool xn_rpc_ask_again(struct xn_rpc_call *rc);
void xn_rpc_malformed(struct xn_rpc_call *rc, const char *why);
void xn_rpc_find_address(struct xn_rpc_call *rc); /* from its origin */
void xn_rpc_call_drop(struct xn_rpc_call *rc); /* one holder less */
/* The client hung up before its reply. */
void xn_rpc_client_gone(struct xn_rpc_call *rc);
/* The module stops: @rc is answered by nobody, and ends with its handler. */
void xn_rpc_abandon(struct xn_rpc_call *rc);

/* body.c: from a body to a dispatched call. @rc is taken; @is_json: no XML is looked for. */
void xn_rpc_read_body(struct xn_rpc_call *rc, const char *body, size_t len, bool is_json);

/* rpc.c: W3C's trace context, VERSION-TRACEID-PARENT-FLAGS, of which the log shows the id. */
void xn_rpc_read_trace(const struct xn_http_request *req, char trace[33]);

/* dispatch.c: whether a call of @method may, to go by the model's names. */
bool xn_rpc_changes_something(const struct xn_method *method);

/* call_audit.c: the audit log's lines about @rc. */
void xn_rpc_audit_prepared(struct xn_rpc_call *rc); /* it may run: before it does */
void xn_rpc_audit_goes_on(struct xn_rpc_call *rc);  /* it runs on, or under a task */
void xn_rpc_audit_ended(struct xn_rpc_call *rc, const struct xn_value *result,
			const struct xn_error *err);
void xn_rpc_audit_refused(struct xn_rpc_call *rc, const struct xn_error *err);
/* Somebody logged in for one request of an HTTP handler. */
void xn_rpc_audit_visitor(struct xn_rpc *rpc, const struct xn_caller *caller,
			  const char *user_agent);
/* That request was refused, has begun, has ended (@err NULL: well). The line's number; 0: none. */
struct xn_rpc_visit_facts {
	const char *door;
	const struct xn_caller *caller;
	const char *task, *created;
	const struct xn_buf *subject;
};
void xn_rpc_audit_visit_refused(struct xn_rpc *rpc, const struct xn_rpc_visit_facts *facts,
				const struct xn_error *err);
uint64_t xn_rpc_audit_visit_begun(struct xn_rpc *rpc, const struct xn_rpc_visit_facts *facts);
void xn_rpc_audit_visit_ended(struct xn_rpc *rpc, const struct xn_rpc_visit_facts *facts,
			      const struct xn_error *err);

/* audit_log.c */
extern const struct xn_http_route xn_rpc_audit_log_route;
void xn_rpc_drop_downloads(struct xn_rpc *rpc);

/* visit.c */
/* Those that wait to be let in, to what was added with @arg; NULL: all. */
void xn_rpc_drop_visits(struct xn_rpc *rpc, const void *arg);

/* rpc.c: a call that is not parsed yet. */
struct xn_rpc_call *xn_rpc_call_new(struct xn_rpc *rpc);

/* reply.c. Each takes the reply's hold on @rc. */
void xn_rpc_answer(struct xn_rpc_call *rc, const struct xn_value *result, bool bare,
		   enum xn_durability durability);
void xn_rpc_answer_error(struct xn_rpc_call *rc, const struct xn_error *err);
/* Whether the answer that was given waits to be safe. */
bool xn_rpc_answer_waits(const struct xn_rpc_call *rc);
/* Nobody reads the answer that was given; nothing when it has gone out. */
void xn_rpc_answer_unread(struct xn_rpc_call *rc);
void xn_rpc_answer_malformed(struct xn_rpc_call *rc, const char *why);

/* quota.c */
void xn_rpc_read_quotas(struct xn_rpc *rpc);
/* Counts it, and says TOO_MANY_PENDING_TASKS. Returns -1. */
int xn_rpc_over_quota(struct xn_rpc *rpc, enum xn_rpc_quota quota, struct xn_error *err);
/* The call counts, with what its parameters take. */
int xn_rpc_open_account(struct xn_rpc_call *rc, struct xn_error *err);
void xn_rpc_close_account(struct xn_rpc_call *rc); /* no more; any time */
/* A reply that is not read yet takes so many bytes. */
int xn_rpc_charge_reply(struct xn_rpc_call *rc, size_t bytes, struct xn_error *err);
bool xn_rpc_cut_reply(struct xn_rpc_reader *reader); /* rc->reader.cut */
void xn_rpc_bound_old_records(struct xn_rpc *rpc);
/* Before the handler: sizes of what is stored, numbers of what is made. */
int xn_rpc_check_quotas(struct xn_rpc_call *rc, bool async, struct xn_error *err);

/* call_metrics.c */
void xn_rpc_add_metrics(struct xn_rpc *rpc);
void xn_rpc_remove_metrics(struct xn_rpc *rpc);
/* A handler ended, or a call was refused. @method NULL: none of that name. */
void xn_rpc_count(struct xn_rpc *rpc, const struct xn_method *method, int64_t took_us,
		  const struct xn_error *err);

#endif
