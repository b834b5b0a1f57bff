/*
 * Talks to a worker child of the real back end as the daemon does, from the command line: for
 * trying its calls one by one inside a Xen host.
 *
 *	worker XENOLITHD < SCRIPT
 *
 * Each line of the script is a call, its arguments as JSON and perhaps a file, written (>) or read
 * (<) through a descriptor that goes along:
 *
 *	create {"config": {...}}
 *	save {"domid": 1} >/tmp/image
 *
 * An answer is one line: "ok" or "error -N", the result, what libxl said about a failure. In the
 * arguments, $_ stands for the result of the last call that had one (create: the domid).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/json.h"
#include "modules/domain/domain.h"
#include "modules/domain/libxl/calls.h"

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(2);
}

static int start(const char *daemon)
{
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		die("socketpair");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		setpgid(0, 0);
		close(ends[0]);
		if (ends[1] != XN_LIBXL_WORKER_FD)
			dup2(ends[1], XN_LIBXL_WORKER_FD);
		execl(daemon, daemon, XN_LIBXL_WORKER_ARG, (char *)NULL);
		die(daemon);
	}
	close(ends[1]);
	fcntl(ends[0], F_SETFD, FD_CLOEXEC);
	return ends[0];
}

static void send_call(int socket, const struct xn_value *call, int fd)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov;
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	size_t at = 0;

	xn_libxl_frame_add(&out, call);
	if (fd >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	}
	while (at < out.len) {
		iov = (struct iovec){.iov_base = out.data + at, .iov_len = out.len - at};
		ssize_t n = sendmsg(socket, &message, 0);

		if (n < 0)
			die("sendmsg");
		at += n;
		message.msg_controllen = 0;
	}
}

static struct xn_value *read_frame(int socket, struct xn_buf *in)
{
	struct xn_value *frame;
	int rc;

	while ((rc = xn_libxl_frame_take(in, &frame)) == 0) {
		ssize_t n = read(socket, xn_buf_reserve(in, 4096), 4096);

		if (n <= 0) {
			fputs("the worker is gone\n", stderr);
			exit(3);
		}
		in->len += n;
	}
	if (rc < 0) {
		fputs("no frame\n", stderr);
		exit(3);
	}
	return frame;
}

/* Tells what comes until the answer; returns that. */
static struct xn_value *await(int socket)
{
	struct xn_buf in XN_CLEANUP(xn_buf_clear_p) = {0};

	for (;;) {
		struct xn_value *frame = read_frame(socket, &in);
		struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

		if (xn_map_get(frame, "rc"))
			return frame;
		xn_json_write(frame, &text);
		fprintf(stderr, "  %s\n", xn_buf_cstr(&text));
		xn_value_unref(frame);
	}
}

static char *substituted(const char *text, const char *last)
{
	struct xn_buf out = {0};
	const char *at;

	while ((at = strstr(text, "$_"))) {
		xn_buf_add(&out, text, at - text);
		xn_buf_add_string(&out, last);
		text = at + 2;
	}
	xn_buf_add_string(&out, text);
	return xn_buf_steal(&out);
}

static void run_line(int socket, char *line, struct xn_buf *last)
{
	char *name = strsep(&line, " "), *brace = line ? strrchr(line, '}') : NULL;
	char *file = brace ? strpbrk(brace, "<>") : NULL;
	char *text XN_CLEANUP(xn_free_p) = NULL;
	struct xn_value *args, *call = xn_map_new(), *answer;
	struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0}, out XN_CLEANUP(xn_buf_clear_p) = {0};
	struct timespec from, to;
	int fd = -1;

	if (file)
		fd = *file == '>' ? open(file + 1, O_WRONLY | O_CREAT | O_TRUNC, 0600)
				  : open(file + 1, O_RDONLY);
	if (file && fd < 0)
		die(file + 1);
	text = xn_strndup(line ? line : "{}", brace ? brace + 1 - line : 2);
	char *whole XN_CLEANUP(xn_free_p) = substituted(text, xn_buf_cstr(last));
	if (xn_json_parse(whole, strlen(whole), &args, &why) < 0) {
		fprintf(stderr, "%s: %s\n", whole, xn_buf_cstr(&why));
		exit(2);
	}
	xn_map_put_string(&call, "call", name);
	xn_map_put(&call, "args", args);
	clock_gettime(CLOCK_MONOTONIC, &from);
	send_call(socket, call, fd);
	answer = await(socket);
	clock_gettime(CLOCK_MONOTONIC, &to);
	if (xn_map_get(answer, "result")) {
		xn_json_write(xn_map_get(answer, "result"), &out);
		xn_buf_clear(last);
		xn_buf_add(last, out.data, out.len);
	}
	printf("%s: ", name);
	if (xn_map_get_int(answer, "rc", 0))
		printf("error %d ", (int)xn_map_get_int(answer, "rc", 0));
	else
		printf("ok ");
	printf("%s %s (%.2f s)\n", xn_buf_cstr(&out), xn_map_get_string(answer, "message"),
	       to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9);
	fflush(stdout);
	if (fd >= 0)
		close(fd);
	xn_value_unref(call);
	xn_value_unref(answer);
}

int main(int argc, char **argv)
{
	struct xn_buf last XN_CLEANUP(xn_buf_clear_p) = {0};
	char *line = NULL;
	size_t size = 0;
	int socket;

	if (argc != 2) {
		fputs("usage: worker XENOLITHD < SCRIPT\n", stderr);
		return 2;
	}
	socket = start(argv[1]);
	while (getline(&line, &size, stdin) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (*line && *line != '#')
			run_line(socket, line, &last);
	}
	free(line);
	close(socket);
	wait(NULL);
	return 0;
}
