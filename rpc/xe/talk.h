/*
 * One client's conversation in the thin CLI protocol: POST /cli on any listener, the handshake, then
 * the daemon's commands and the client's responses. Knows bytes, not commands: those stand behind
 * struct xe_talk_ops. Loop thread only.
 */
#ifndef XE_TALK_H
#define XE_TALK_H

#include "core/call.h"
#include "rpc/http.h"
#include "rpc/xe/protocol.h"

struct xe_talk;	 /* one conversation */
struct xe_talks; /* all of them */

/* What came with the request. Good until the talk ends. */
struct xe_request {
	const char *body; /* the arguments, one a line; terminated */
	size_t len;
	struct xn_caller caller; /* only origin and is_trusted_socket are filled */
	char user_agent[64];
	char trace[33];
	/* "127.0.0.1:8080": where the client reached us and can do it again; "" by the Unix socket */
	const char *local_host;
	/* Of our own xe, from its header "xe-terminal: columns=120 colour stdin stderr json"; else 0 */
	bool is_ours;
	unsigned columns;	  /* stdout is a terminal so wide; 0: it is none */
	bool colour;		  /* it wants colour */
	bool stdin_is_terminal, stderr_is_terminal;
};

/* What the client answered. */
enum xe_answer {
	XE_ANSWER_OK,	  /* HttpGet, HttpPut, HttpConnect, or Load with the file's bytes */
	/* The same. @data: why, when the daemon is the one that refuses (too large), else "" */
	XE_ANSWER_FAILED,
	XE_ANSWER_LINE,	  /* Prompt: the line */
};

struct xe_talk_ops {
	/* The handshake is over: the command may run. Its pointer, given to all below, which come from
	 * the loop and never from inside a function of this file. NULL: all was said, with
	 * xe_talk_exit() as the last word, and nobody needs to hear of the end. */
	void *(*begin)(struct xe_talk *talk, const struct xe_request *request, void *arg);
	/* There is room for output again, after xe_talk_is_full() said true. */
	void (*room)(void *command);
	/* To the last xe_talk_load/prompt/get/put/connect; @data is borrowed. */
	void (*answer)(void *command, enum xe_answer answer, const char *data, size_t len);
	/* Ctrl-C of our own client. */
	void (*interrupt)(void *command);
	/* The client is gone, broke the protocol, or has read Exit; nothing may be sent any more and
	 * @talk is no more after this. Comes once, also after xe_talk_exit(). */
	void (*end)(void *command);
};

/* Opens /cli. In the rpc module's start; @arg goes to begin(). @http must outlive it. */
struct xe_talks *xe_talk_open(struct xn_core *core, struct xn_http *http,
			      const struct xe_talk_ops *ops, void *arg);
/* Ends every conversation (the clients find their connections closed) and closes /cli; in its stop,
 * before the server's end. NULL is fine. */
void xe_talk_close(struct xe_talks *talks);

/* Somebody has logged in: the conversation leaves the caps and time limits for strangers. */
void xe_talk_set_authenticated(struct xe_talk *talk);

/* ---- the daemon's commands; queued, and sent as the client reads. After xe_talk_exit(): nothing ---- */
void xe_talk_print(struct xe_talk *talk, const char *text, size_t len); /* the client adds a newline */
void xe_talk_print_stderr(struct xe_talk *talk, const char *text, size_t len);
void xe_talk_debug(struct xe_talk *talk, const char *text);
void xe_talk_error(struct xe_talk *talk, const char *code, const char *const *params, unsigned n);
/* These wait for ops.answer(); one at a time. A file is at most xe-load bytes of the configuration. */
void xe_talk_load(struct xe_talk *talk, const char *filename);
void xe_talk_prompt(struct xe_talk *talk);
void xe_talk_get(struct xe_talk *talk, const char *filename, const char *url);
void xe_talk_put(struct xe_talk *talk, const char *filename, const char *url);
void xe_talk_connect(struct xe_talk *talk, const char *url);
/* Only when request->is_ours. */
void xe_talk_progress(struct xe_talk *talk, int thousandths, const char *text);
void xe_talk_interruptible(struct xe_talk *talk, const char *question);
/* What is printed from here on comes from records as they were: they count against old-records. */
void xe_talk_holds_records(struct xe_talk *talk);
/* The last word: sent, then the peer's close is awaited. ops.end() follows. */
void xe_talk_exit(struct xe_talk *talk, int code);
/* So much waits to be read that a source of long output should wait for ops.room(). */
bool xe_talk_is_full(struct xe_talk *talk);

#endif
