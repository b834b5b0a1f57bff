/* The HTTP client of the benchmarks: keep-alive connections to one server, as cheap as it gets, so
 * that on a shared core what is measured is the server. */
#ifndef XN_BENCH_CLIENT_H
#define XN_BENCH_CLIENT_H

#include "core/buf.h"

struct bench_conn {
	int fd;
	struct xn_buf in;
	size_t head_len, body_len; /* of the reply that is complete in `in` */
	int64_t sent_us;
};

int64_t bench_now_us(void);
XN_NORETURN void bench_fail(const char *doing);

/* Both fail the program. @address: "127.0.0.1:8080". */
void bench_connect(struct bench_conn *conn, const char *address);
void bench_send(struct bench_conn *conn, const char *request, size_t len); /* notes the time */
/* Reads what is there; true when a whole reply is. Then bench_body() until the next send. */
bool bench_receive(struct bench_conn *conn);
const char *bench_body(struct bench_conn *conn); /* terminated */
void bench_close(struct bench_conn *conn);
/* One request and its reply, waited for. */
const char *bench_call(struct bench_conn *conn, const struct xn_buf *request);

/* The whole POST of a body, in place of what was in @request. */
void bench_post(struct xn_buf *request, const char *path, const char *body, size_t len);
/* The file's content, the caller's. */
char *bench_read_file(const char *path);

/* Quantiles of @n samples; sorts them. */
struct bench_quantiles {
	int64_t p50, p99, max;
};
struct bench_quantiles bench_quantiles(int64_t *samples, size_t n);

/* The programs: argc and argv behind their name. */
int bench_rate(int argc, char **argv);
int bench_events(int argc, char **argv);
int bench_disk(int argc, char **argv);
int bench_fanout(int argc, char **argv);
int bench_idle(int argc, char **argv);
int bench_xe(int argc, char **argv);

#endif
