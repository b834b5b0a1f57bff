/* Client side and fixture of the HTTP server's tests; see http_client.h. */
#include "tests/unit/http_client.h"
#include "tests/unit/turn_until.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ll + ts.tv_nsec / 1000;
}

static int64_t wall_clock(void *arg)
{
	return xn_wall_us(arg);
}

int http_setup(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));
	char folder[] = "/tmp/xn-http-XXXXXX";

	f->core.loop = xn_loop_new();
	f->core.log = xn_log_new(XN_LOG_ERROR, false, 2);
	xn_log_set_clock(f->core.log, wall_clock, f->core.loop);
	f->http = xn_http_new(&f->core);
	f->folder = xn_strdup(mkdtemp(folder));
	*state = f;
	return 0;
}

int http_teardown(void **state)
{
	struct fixture *f = *state;

	xn_http_free(f->http);
	xn_loop_free(f->core.loop);
	xn_log_free(f->core.log);
	xn_buf_clear(&f->got);
	rmdir(f->folder);
	free(f->folder);
	free(f);
	return 0;
}

int connect_tcp(struct fixture *f)
{
	const char *address = xn_http_addresses(f->http)[0];
	struct sockaddr_in addr = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	addr.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

int connect_pair(struct fixture *f)
{
	int fds[2];

	if (f->connect)
		return f->connect(f);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	xn_http_conn_new(f->http, fds[1], XN_DOOR_UNIX, true, "unix");
	return fds[0];
}

void send_text(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

void send_bytes(struct fixture *f, int fd, const char *data, size_t len)
{
	int64_t until = clock_us() + TURN_PATIENCE_US;

	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		assert_true(n >= 0 || errno == EAGAIN);
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
		xn_loop_turn(f->core.loop, 1000);
		assert_true(clock_us() < until);
	}
}

const char *read_until(struct fixture *f, int fd, const char *end)
{
	int64_t until = clock_us() + TURN_PATIENCE_US;
	char chunk[65536];

	f->got.len = 0;
	for (;;) {
		ssize_t n = recv(fd, chunk, sizeof(chunk), 0);

		if (n > 0) {
			xn_buf_add(&f->got, chunk, (size_t)n);
			if (end && memmem(f->got.data, f->got.len, end, strlen(end)))
				break;
			continue;
		}
		if (n == 0 || errno != EAGAIN) {
			if (end)
				fail_msg("closed before \"%s\"; got \"%s\"", end,
					 xn_buf_cstr(&f->got));
			break;
		}
		xn_loop_turn(f->core.loop, 10000);
		if (clock_us() > until)
			fail_msg("no \"%s\" came; got \"%s\"", end ? end : "end of file",
				 xn_buf_cstr(&f->got));
	}
	return xn_buf_cstr(&f->got);
}

const char *read_to_eof(struct fixture *f, int fd)
{
	return read_until(f, fd, NULL);
}

bool is_closed_by_peer(struct fixture *f, int fd)
{
	read_until(f, fd, NULL);
	return f->got.len == 0;
}

void turn_until(struct fixture *f, bool (*done)(struct fixture *f))
{
	TURN_UNTIL(f->core.loop, done(f));
}

void settle_loop(struct fixture *f)
{
	/* Bytes on a pair are there at once; through TCP they may take a moment. */
	const int64_t quiet_us = f->connect ? 20000 : 2000;
	int64_t began;
	int quiet = 0;

	while (quiet < 2) { /* an alarm set for somebody who has gone ends one wait early */
		began = clock_us();
		if (xn_loop_turn(f->core.loop, quiet_us))
			quiet = 0;
		else if (clock_us() - began >= quiet_us)
			quiet++;
	}
}
