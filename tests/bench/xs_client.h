/* The raw xenstore client of the benchmarks: frames over a Unix socket, as cheap as it gets, for
 * any xenstored. */
#ifndef XN_BENCH_XS_CLIENT_H
#define XN_BENCH_XS_CLIENT_H

#include "core/buf.h"
#include "client.h" /* bench_now_us(), bench_fail() */
#include "modules/xenstore/wire.h"

struct xs_conn {
	int fd;
	struct xn_xs_reader in;
};

/* All of these fail the program. */
void xs_connect(struct xs_conn *conn, const char *socket_path);
struct xs_conn *xs_connect_many(const char *socket_path, unsigned n);
void xs_close_many(struct xs_conn *conns, unsigned n);
void xs_send(struct xs_conn *conn, const void *bytes, size_t len);
void xs_receive(struct xs_conn *conn); /* waits for some bytes */
/* The next reply that is there whole, borrowed until the next call; false: none. */
bool xs_next(struct xs_conn *conn, struct xn_xs_frame *reply);
bool xs_is_error(const struct xn_xs_frame *reply, const char *name); /* name NULL: any */
/* For a reply that must not be an error. */
void xs_expect(const struct xn_xs_frame *reply, const char *doing);

/* Appends a request: @path, its NUL if @type has one, and @len bytes of @value behind it. */
void xs_add(struct xn_buf *out, uint32_t type, uint32_t transaction, const char *path,
	    const void *value, size_t len);
/* The next reply, waited for; watch events before it are passed over. */
struct xn_xs_frame xs_answer(struct xs_conn *conn);
/* One request and its reply, waited for; *rc_out: 0 or the error. */
struct xn_xs_frame xs_call(struct xs_conn *conn, uint32_t type, const char *path, const char *value,
			   int *rc_out);

/* A descriptor that tells which of them have something to read: .data.ptr. */
int xs_poll_all(struct xs_conn *conns, unsigned n);

/* The programs: argc and argv behind their name. */
int xs_rate(int argc, char **argv);
int xs_transactions(int argc, char **argv);
int xs_storm(int argc, char **argv);
int xs_watchers(int argc, char **argv);
int xs_fill(int argc, char **argv);
int xs_count(int argc, char **argv);
int xs_first(int argc, char **argv);
int xs_siege(int argc, char **argv);
int xs_latency(int argc, char **argv);

#endif
