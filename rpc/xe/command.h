/*
 * What a command's code sees: its parameters, the objects it is for, and its effects: calling the API,
 * printing, asking, moving files.
 *
 * A handler is plain code from top to bottom, without callbacks. Where an effect has to wait, its
 * function returns false, the handler returns at once, and the engine runs it again from its beginning
 * when the answer is there. An effect that is done is not done twice: its function returns true with
 * what it remembers. A failure also returns false, and the handler is not run again. So:
 *
 *	void xe_vm_rename(struct xe *x)
 *	{
 *		const struct xn_value *old;
 *
 *		if (!xe_call(x, &old, "VM.get_name_label", "s", xe_object(x)) ||
 *		    !xe_call(x, NULL, "VM.set_name_label", "ss", xe_object(x), xe_param(x, "to")))
 *			return;
 *		xe_print(x, "%s is now %s", xn_value_string(old), xe_param(x, "to"));
 *	}
 *
 * For that to be true a handler decides only by its parameters and by what effects returned. Rows of
 * the database change between its runs: they are read through effects, or where no effect follows.
 * A command for many objects (vm-start --multiple) is a run each, some at the same time; their output
 * comes in the objects' order.
 */
#ifndef XE_COMMAND_H
#define XE_COMMAND_H

#include "core/error.h"
#include "core/schema/schema.h"
#include "core/value.h"
#include "modules/db/db.h"
#include "rpc/xe/arguments.h"

struct xe; /* one run */
struct xe_kind; /* rpc/xe/record/record.h: "vm", "vif": records as the command line shows them */

typedef void xe_handler(struct xe *x);
/* A handler that commands.txt names: of the command NAME with _ for -. */
#define XE_COMMAND(name)                                                                            \
	xe_handler xe_cmd_##name;                                                                   \
	void xe_cmd_##name(struct xe *x)

/* ---- the command line ---- */

/* The value of a parameter, its first occurrence; NULL: absent. Valid for the command. */
const char *xe_param(struct xe *x, const char *name);
/* As xe_param(), but @otherwise where it is absent. */
const char *xe_param_or(struct xe *x, const char *name, const char *otherwise);
/* Booleans (true t yes y 1 ...), sizes (10GiB, in bytes), numbers. Absent: @otherwise. False: what was
 * given is none, and the command fails with a sentence. */
bool xe_param_bool(struct xe *x, const char *name, bool otherwise, bool *out) XN_MUST_CHECK;
bool xe_param_size(struct xe *x, const char *name, int64_t otherwise, int64_t *out) XN_MUST_CHECK;
bool xe_param_int(struct xe *x, const char *name, int64_t otherwise, int64_t *out) XN_MUST_CHECK;
/* All NAME:key=value (and the older NAME-key=value) as a map of strings; the run's. */
const struct xn_value *xe_param_map(struct xe *x, const char *name);
/* The items of a comma separated parameter, as a set of strings; empty when absent; the run's. */
const struct xn_value *xe_param_list(struct xe *x, const char *name);
const struct xe_arguments *xe_arguments(struct xe *x); /* all, in order */
bool xe_is_minimal(const struct xe *x);
bool xe_is_json(const struct xe *x);
/* The part of a generated command: "vm" for vm-list; NULL for commands of the table. */
const struct xe_kind *xe_kind(const struct xe *x);
const char *xe_command_name(const struct xe *x);

/* ---- objects ---- */

/* The reference of the object this run is for; of commands with selectors. */
const char *xe_object(const struct xe *x);
/* Which one it is of the line's objects, from 0. */
unsigned xe_object_index(const struct xe *x);
/* The same of a command whose one run is for all of them (`together`). */
unsigned xe_n_objects(const struct xe *x);
const char *xe_object_at(const struct xe *x, unsigned index);
/* The reference that goes with a uuid, remembered. Nobody has it: UUID_INVALID. */
bool xe_by_uuid(struct xe *x, int class_id, const char *uuid, const char **ref_out) XN_MUST_CHECK;
/* By uuid or name-label; fails with a sentence where there are none or several. */
bool xe_by_name(struct xe *x, int class_id, const char *name, const char **ref_out) XN_MUST_CHECK;
/* The only host, the only pool. */
const char *xe_host(struct xe *x);
const char *xe_pool(struct xe *x);
/* A look at the database as it is now: for effects' arguments computed once, see above; and for rows
 * that cannot change. NULL: it is gone. */
struct xn_row *xe_row(struct xe *x, int class_id, const char *ref);
struct xn_db *xe_db(struct xe *x);
struct xn_core *xe_core(struct xe *x);
const struct xn_caller *xe_caller(struct xe *x); /* who is logged in */
const char *xe_session(struct xe *x);		 /* the session's secret, for urls */

/* ---- effects ---- */

/*
 * xe_call - an API call, with the command's session
 * @result: borrowed, as long as the command lives; may be NULL
 * @types: a letter an argument behind the session: s string, reference or enum; i int64_t; b bool
 *	   (int); d double; v struct xn_value * (taken); m const struct xn_value * (borrowed)
 * Where it fails the command does, with the API's error.
 */
bool xe_call(struct xe *x, const struct xn_value **result, const char *method, const char *types,
	     ...) XN_MUST_CHECK;
/* The same, but a failure of the call is the handler's to look at: *err is NULL on success. */
bool xe_try(struct xe *x, const struct xn_value **result, const struct xn_error **err,
	    const char *method, const char *types, ...) XN_MUST_CHECK;

/* xe_call() with the arguments behind the session as a set; taken. */
bool xe_call_with(struct xe *x, const struct xn_value **result, const char *method,
		  struct xn_value *params) XN_MUST_CHECK;
/* A call's result, as values: of references the uuids, a line a member of a set or a map. */
void xe_print_result(struct xe *x, const struct xn_type *type, const struct xn_value *result);

/* A line of text; nothing with --minimal. */
void xe_print(struct xe *x, const char *fmt, ...) XN_PRINTF(2, 3);
/* A value that the command is for (a uuid after a create): a line each, joined with --minimal, a member
 * of an array with --json. */
void xe_value(struct xe *x, const char *text);
/* The uuid of the row behind a reference, as xe_value(). */
void xe_value_uuid(struct xe *x, int class_id, const char *ref);
/* On stderr, with its newline. */
void xe_warn(struct xe *x, const char *fmt, ...) XN_PRINTF(2, 3);
/* Bytes that go out as they are, with a newline: output made elsewhere (JSON, a table). With --minimal
 * too. */
void xe_raw(struct xe *x, const char *text, size_t len);

/* "Type 'yes' to continue": false also when the user says no; the command then ends well. */
bool xe_confirm(struct xe *x) XN_MUST_CHECK;
/* A file of the client's, whole. */
bool xe_load(struct xe *x, const char *filename, struct xn_buf const **bytes_out) XN_MUST_CHECK;
/*
 * A file over HTTP under a task of its own (transfer.c). @path: "/export?ref=..."; session_id and
 * task_id are added. @result: the task's, as text; may be NULL. @label: the task's name. Of several runs
 * at a time each waits for its turn to ask the client.
 */
bool xe_get(struct xe *x, const char *filename, const char *path, const char *label,
	    const char **result) XN_MUST_CHECK;
bool xe_put(struct xe *x, const char *filename, const char *path, const char *label,
	    const char **result) XN_MUST_CHECK;
/* For such paths: a value with its odd characters as %XX; and the address, without a port, by which the
 * client has reached us, for a whole url. Both live as long as this run of the handler. */
const char *xe_escaped(struct xe *x, const char *text);
const char *xe_own_address(struct xe *x);
/* The client's terminal and a byte stream; until one of the two ends it. */
bool xe_connect(struct xe *x, const char *url) XN_MUST_CHECK;

/*
 * For handlers that go on for long: lists, watching. xe_state() is the handler's own memory, zero at
 * first, kept between its runs (@clear, may be NULL, is called before it is freed). What is done after
 * it is of a round: the three functions below end the round, all that was done in it is forgotten, and
 * the handler starts a new one from its place in that memory. A run that comes back for another reason
 * (a call's answer) is still in its round.
 */
void *xe_state(struct xe *x, size_t size, void (*clear)(void *state));
/* Lets others have the loop. Always false: run again soon. */
bool xe_yield(struct xe *x) XN_MUST_CHECK;
/* Whether output may be added now: it is this run's turn to speak and the client reads. False: run
 * again when that is so. */
bool xe_room(struct xe *x) XN_MUST_CHECK;
/* Always false: run again when the database has changed. */
bool xe_wait_change(struct xe *x) XN_MUST_CHECK;
/* It prints records as they were, which counts against old-records while the client does not read. */
void xe_holds_records(struct xe *x);

/* ---- ends ---- */

/* "Error: ..." and exit 1. */
void xe_fail(struct xe *x, const char *fmt, ...) XN_PRINTF(2, 3);
/* An API error, as a failed call's. @err is taken. */
void xe_fail_api(struct xe *x, struct xn_error *err);
/* A code with its parameters where the model may not know it: the Error command of the protocol. */
void xe_fail_code(struct xe *x, const char *code, const char *param);
/* What is left to do next, for people: a line behind an error, for our own client only. */
void xe_hint(struct xe *x, const char *fmt, ...) XN_PRINTF(2, 3);
/* The same: an object of the kind ("vm", "template") whose name is near the one that was meant. */
void xe_hint_nearest(struct xe *x, const char *prefix, const char *name);
/* Ends well here. */
void xe_done(struct xe *x);
/* Another exit code than 0 or 1. */
void xe_exit(struct xe *x, int code);

/* Text that lives as long as this run of the handler. */
const char *xe_text(struct xe *x, const char *fmt, ...) XN_PRINTF(2, 3);

/* What the terminal of our own client can show; columns 0: plain. */
struct xe_screen { unsigned columns; bool colour; bool is_ours; };
struct xe_screen xe_screen(const struct xe *x);

#endif
