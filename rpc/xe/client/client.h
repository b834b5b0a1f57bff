/*
 * The client's side of a conversation: the request, the handshake, then one command of the daemon
 * after the other until its Exit. Its streams, files and clock are given to it, so that tests and a
 * fuzz target can play the world. transfer.c and console.c have the commands that take long.
 */
#ifndef XE_CLIENT_H
#define XE_CLIENT_H

#include "core/buf.h"
#include "rpc/xe/client/progress.h"
#include "rpc/xe/client/settings.h"
#include "rpc/xe/client/stream.h"
#include "rpc/xe/protocol.h"

/* What the client reaches outside of itself. */
struct xe_outside {
	/* A connection for a file or console; @host NULL: the server's. NULL: @complaint says why. */
	struct xe_stream *(*dial)(void *arg, const char *host, struct xn_buf *complaint);
	/* As open(2): a descriptor, or -errno. */
	int (*open)(void *arg, const char *path, int flags);
	int64_t (*now_ms)(void *arg);
	int in, out, err;
	void *arg;
};

struct xe_client {
	const struct xe_settings *settings;
	const struct xe_outside *outside;
	const char *server; /* for sentences */
	struct xe_stream *control;
	int minor;	   /* of the server's version */
	struct xn_buf in;  /* read and not yet understood, behind in_done */
	size_t in_done;
	struct xn_buf out; /* for stdout, not written yet */
	struct xn_buf log; /* for --debug-on-fail */
	struct xe_progress progress;
	struct xn_buf question; /* before Ctrl-C cancels */
	bool is_cancellable, is_cancelled;
	bool is_quiet;	 /* a connection that cannot be made is no news */
	bool is_writing; /* a message to the daemon is half written */
	int64_t next_wait_ms; /* the next heartbeat; 0: none is due */
	struct xe_stream **lingering; /* whose file was sent: their end is the program's */
	size_t n_lingering;
	struct xn_buf last_download; /* the newest one's name, until something says that it is good */
	bool is_over;
	int exit_code;
};

/*
 * xe_client_run - one whole conversation on @client->control
 * @client: settings, outside, server, control are set, all else is zero
 *
 * Return: the exit code. xe_client_clear() follows.
 */
int xe_client_run(struct xe_client *client);
void xe_client_clear(struct xe_client *client);

/* ---- for transfer.c and console.c ---- */

enum xe_ready {
	XE_READY_STREAM = 1,
	XE_READY_FD = 2,
	XE_HUNG_UP = 4, /* the control connection: what it said last should be read now */
	XE_TIMED_OUT = 8,
};

/*
 * Waits for @stream (as its wants says; NULL: none), for @fd (-1: none), for the user's Ctrl-C and the
 * next heartbeat, which it sees to itself. 0: look again. @timeout_ms -1: no time-out.
 */
unsigned xe_client_wait(struct xe_client *client, struct xe_stream *stream, int fd, short events,
			int timeout_ms);
/* All of it. -errno; -ECANCELED: the control connection hung up meanwhile. */
int xe_client_write(struct xe_client *client, struct xe_stream *stream, const void *data, size_t len);
/* As xe_stream_read(), and waits. */
ssize_t xe_client_read(struct xe_client *client, struct xe_stream *stream, void *to, size_t len);
int xe_client_answer(struct xe_client *client, enum xe_message_kind kind, enum xe_tag tag, int32_t number);
/* To stdout, or what stands for it. */
int xe_client_write_out(struct xe_client *client, int fd, const void *data, size_t len);
void xe_client_flush(struct xe_client *client);

void xe_client_complain(struct xe_client *client, const char *format, ...) XN_PRINTF(2, 3);
void xe_client_debug(struct xe_client *client, const char *format, ...) XN_PRINTF(2, 3);
/* The end, with exit code 1 and a sentence. */
void xe_client_fail(struct xe_client *client, const char *format, ...) XN_PRINTF(2, 3);

/* Whether the daemon may have @path; else it is the end, and @what ("upload") was blocked. */
bool xe_client_permits(struct xe_client *client, const char *path, const char *what);
/* Answers Failed and ends: the file @path cannot be used. */
void xe_client_fail_file(struct xe_client *client, const char *path, int error);

void xe_transfer_get(struct xe_client *client, const char *path, struct xe_bytes url);
void xe_transfer_put(struct xe_client *client, const char *path, struct xe_bytes url);
/* Sends "VERB path" and reads the head; what came behind it is left in @rest. NULL: no. */
struct xe_stream *xe_transfer_open(struct xe_client *client, const char *verb, struct xe_bytes url,
				   const char *headers, int *status_out, int64_t *length_out,
				   struct xn_buf *rest);
void xe_console(struct xe_client *client, struct xe_bytes url);

#endif
