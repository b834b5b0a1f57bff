/*
 * What the files of the engine share: a command line under way (struct xe_line), its runs (struct xe),
 * and what a run remembers (struct xe_effect). Handlers see command.h only.
 */
#ifndef XE_ENGINE_INTERNAL_H
#define XE_ENGINE_INTERNAL_H

#include "core/loop.h"
#include "rpc/rpc_internal.h"
#include "rpc/xe/command.h"
#include "rpc/xe/commands.h"
#include "rpc/xe/talk.h"

struct xe_engine {
	struct xn_core *core;
	struct xn_rpc *rpc;
	struct xe_talks *talks;
	struct xn_list lines;	/* struct xe_line, by link */
	struct xn_list waiters; /* struct xe, by wait: xe_wait_change() */
	struct xn_subscription *on_committed;
	struct xn_job wake_job;
};

enum xe_effect_kind {
	XE_DID_OUTPUT,
	XE_DID_CALL,
	XE_DID_FIND,
	XE_DID_CONFIRM,
	XE_DID_LOAD,
	XE_DID_TRANSFER,
	XE_DID_CONNECT,
};

struct xe_effect {
	enum xe_effect_kind kind;
	bool is_done;
	struct xn_value *result; /* of a call, a find, a transfer; or NULL */
	struct xn_error error;	 /* why it failed; code NULL: it did not */
	struct xn_buf bytes;	 /* a file's; of a transfer its task */
	enum xe_answer answer;	 /* the client's */
};

struct xe_line;
struct xe_output { /* of a run whose turn to speak has not come */
	struct xe_output *next;
	void (*say)(struct xe_line *line, const char *text, size_t len);
	size_t len;
	char text[];
};

enum xe_run_state { XE_TO_RUN, XE_WAITS, XE_ENDED };

/* One run of a command's handler: for one object, or for none. */
struct xe {
	struct xe_line *line;
	unsigned index; /* among the line's runs */
	char object[48]; /* its reference, or "" */
	enum xe_run_state state;
	bool failed;	       /* ended, and not well */
	bool stopped;	       /* by itself, in the middle: xe_done(), or "no" to a question */
	struct xn_error error; /* why, where it was an API error */
	char *sentence;	       /* or else this: "Error: " is put before it; NULL: all is said */

	struct xe_effect **effects;
	unsigned n_effects, at; /* which one the handler meets next */
	struct xe_effect astray; /* it did not meet what it met before */
	unsigned mark;		/* what lies behind is of a round: see xe_state() */
	struct xe_effect *awaited;
	bool asks;		  /* awaited is the client's answer */
	struct xn_rpc_call *call; /* awaited is this call's reply */
	struct xn_timer progress; /* tells our own client about it */
	int told_progress;
	uint64_t began;		  /* the database's next stamp when it did */
	void *place;		  /* xe_state() */
	void (*clear_place)(void *place);
	char **texts; /* of this time that the handler runs */
	unsigned n_texts;
	struct xn_value **values; /* the same */
	unsigned n_values;

	struct xn_list wait; /* engine->waiters */
	bool wants_room;
	struct xn_job job;
	struct xe_output *first, **last; /* queued output */
};

/* A command line from its request to its exit code. */
struct xe_line {
	struct xn_list link;
	struct xe_engine *engine;
	struct xe_talk *talk; /* NULL: the client is gone, the runs go on to their ends */
	struct xe_arguments arguments;
	struct xn_caller from; /* as the conversation came */
	char user_agent[64];
	bool is_ours, stderr_is_terminal;
	struct xe_screen screen;
	char *local_host;

	const char *name; /* the command's */
	const struct xe_command_row *row; /* NULL: of the record tables */
	const struct xe_kind *kind;	  /* NULL: of the table of commands */
	xe_handler *run;
	bool minimal, json, trace;

	char session[64]; /* the secret */
	bool own_session;
	struct xn_caller caller;
	struct xn_rpc_call *login;
	uint64_t turn; /* the number of the loop's caller that its work is for */

	struct xe **runs; /* one an object */
	unsigned n_runs, n_started, n_ended, speaker;
	char (*objects)[48]; /* of a command with one run for all of them */
	unsigned n_objects;
	struct xn_value *values; /* --minimal, --json: what was collected, if it is not too much */
	size_t values_bytes;
	bool has_raw;
	bool is_over;	  /* Exit was said */
	int code;
	char *hint;
};

/* engine.c */
void xe_line_go_on(struct xe_line *line); /* a run has ended */
void xe_line_exit(struct xe_line *line, int code);

/* select.c: a run for each object that the line is for. False: it has failed. */
bool xe_line_select(struct xe_line *line);
/* hints.c: what to do next about an API error, as the line's hint where it has none. */
void xe_hint_error(struct xe_line *line, const struct xn_error *err);
/* guess.c: what people meant, as the line's hint: our own client is told. */
void xe_guess_command(struct xe_line *line);
void xe_guess_object(struct xe_line *line, const struct xe_kind *kind, const char *name);
void xe_guess_field(struct xe_line *line, const struct xe_kind *kind, const char *name);

/* messages.c: what the daemon told about the run's VM while it went on, on stderr. */
void xe_tell_messages(struct xe *x);

/* run.c */
struct xe *xe_run_new(struct xe_line *line, const char *object);
void xe_run_free(struct xe *x);
void xe_run_later(struct xe *x);
/* The client's answer, its end, room for output. */
void xe_run_answered(struct xe *x, enum xe_answer answer, const char *data, size_t len);
void xe_run_gone(struct xe *x);
/* The effect that the handler meets now: one that it met before, or a new one. */
struct xe_effect *xe_effect_next(struct xe *x, enum xe_effect_kind kind, bool *is_new);
/* A new effect is begun and its answer will come: xe_effect_done() then. */
void xe_effect_await(struct xe *x, struct xe_effect *effect);
void xe_effect_done(struct xe *x, struct xe_effect *effect);
/* What the handler's function returns for an effect that it met: true: done well; false: not yet, or it
 * failed, and the run with it. */
bool xe_effect_result(struct xe *x, const struct xe_effect *effect);
/* Nothing can be asked of the client any more. */
bool xe_is_alone(const struct xe *x);
/* Kept until the handler returns. */
struct xn_value *xe_keep_value(struct xe *x, struct xn_value *value);

/* Its handler runs again when the database has changed. */
void xe_wake_on_change(struct xe *x);

/* effect.c */
bool xe_may_ask(struct xe *x); /* the client is there, and it is this run's turn; false: return */
void xe_run_interrupt(struct xe *x); /* Ctrl-C */
/* Shows how far the task is that the run waits for. */
void xe_progress_begin(struct xe *x);
void xe_progress_end(struct xe *x);

/* transfer.c: the client's OK or Failed, its end, Ctrl-C. */
void xe_transfer_answered(struct xe *x, struct xe_effect *effect);
void xe_transfer_interrupt(struct xe *x, struct xe_effect *effect);

/* output.c. Through say() what a run says comes in its turn. */
void xe_say(struct xe *x, void (*say)(struct xe_line *line, const char *text, size_t len),
	    const char *text, size_t len);
void xe_say_print(struct xe_line *line, const char *text, size_t len);
void xe_say_stderr(struct xe_line *line, const char *text, size_t len);
void xe_say_queued(struct xe *x); /* it is the speaker now */
bool xe_say_collected(struct xe_line *line); /* false: they are too many */

/* complain.c: what a failure is to people, ended by newlines. */
void xe_complaint_print(struct xe_line *line, const struct xn_error *err, struct xn_buf *out);
/* Says it on stderr, as the protocol says: text, or the Error command. */
void xe_complain(struct xe_line *line, const struct xe *x);
/* The same of a line that fails before its runs; these end it with exit code 1. */
void xe_complain_error(struct xe_line *line, const struct xn_error *err);
void xe_complain_sentence(struct xe_line *line, const char *fmt, ...) XN_PRINTF(2, 3);
/* A sentence, then where to find the usage. */
void xe_complain_usage(struct xe_line *line, const char *fmt, ...) XN_PRINTF(2, 3);

#endif
