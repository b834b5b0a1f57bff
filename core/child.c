/*
 * Child processes; see child.h. Output is read until the process has gone, not until its pipes end:
 * something that it left behind may hold them open.
 */
#include "core/child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/process.h"

enum { READ_BYTES = 16384 };

struct output {
	struct xn_child *child;
	struct xn_io *io;
	int fd;
	struct xn_buf bytes;
};

struct xn_child {
	struct xn_loop *loop;
	struct xn_process process;
	struct xn_io *exit_io;
	struct output out, err;
	int in_fd;
	struct xn_io *in_io;
	struct xn_buf input; /* not written yet */
	size_t max_output;
	struct xn_timer deadline;
	int killed_for; /* -errno, or 0 */
	void (*done)(const struct xn_child_result *result, void *arg);
	void *arg;
};

/* ---- end ---- */

static void close_fd(int *fd, struct xn_io **io)
{
	xn_io_free(*io);
	*io = NULL;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void free_child(struct xn_child *child)
{
	xn_timer_cancel(&child->deadline);
	close_fd(&child->in_fd, &child->in_io);
	close_fd(&child->out.fd, &child->out.io);
	close_fd(&child->err.fd, &child->err.io);
	close_fd(&child->process.pid_fd, &child->exit_io);
	xn_buf_clear(&child->input);
	xn_buf_clear(&child->out.bytes);
	xn_buf_clear(&child->err.bytes);
	free(child);
}

static void kill_for(struct xn_child *child, int why)
{
	if (!child->killed_for)
		child->killed_for = why;
	xn_process_kill(&child->process);
}

void xn_child_kill(struct xn_child *child)
{
	kill_for(child, -ECANCELED);
}

void xn_child_abandon(struct xn_child *child)
{
	if (!child)
		return;
	xn_io_free(child->exit_io);
	child->exit_io = NULL;
	xn_process_abandon(&child->process);
	free_child(child);
}

static void on_deadline(struct xn_timer *timer)
{
	kill_for(xn_container_of(timer, struct xn_child, deadline), -ETIMEDOUT);
}

/* ---- pipes ---- */

static void read_output(struct output *o)
{
	struct xn_child *child = o->child;
	ssize_t n;

	while (o->fd >= 0) {
		n = read(o->fd, xn_buf_reserve(&o->bytes, READ_BYTES), READ_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			close_fd(&o->fd, &o->io);
			return;
		}
		o->bytes.len += n;
		if (o->bytes.len > child->max_output) {
			o->bytes.len = child->max_output;
			close_fd(&o->fd, &o->io);
			kill_for(child, -EFBIG);
		}
	}
}

static void on_output(int fd, int events, void *arg)
{
	read_output(arg);
}

static void on_writable(int fd, int events, void *arg)
{
	struct xn_child *child = arg;
	ssize_t n = write(fd, child->input.data, child->input.len);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		xn_buf_drop(&child->input, n);
	if (n <= 0 || child->input.len == 0) /* all said, or it does not listen: its own business */
		close_fd(&child->in_fd, &child->in_io);
}

static void on_exit_seen(int fd, int events, void *arg)
{
	struct xn_child *child = arg;
	struct xn_child_result result = {0};
	struct xn_process_end end;

	if (!xn_process_reap(&child->process, &end))
		return;
	read_output(&child->out);
	read_output(&child->err);
	result.exit_status = end.exit_status;
	result.signal = end.signal;
	result.rc = child->killed_for	     ? child->killed_for
		    : result.exit_status == 0 ? 0
					      : -EIO;
	result.out = xn_buf_cstr(&child->out.bytes);
	result.out_len = child->out.bytes.len;
	result.err = xn_buf_cstr(&child->err.bytes);
	result.err_len = child->err.bytes.len;
	child->done(&result, child->arg);
	free_child(child);
}

/* ---- start ---- */

struct pipes {
	int in[2], out[2], err[2];
};

static void close_pipe(int fds[2])
{
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	fds[0] = fds[1] = -1;
}

static void close_pipes(struct pipes *p)
{
	close_pipe(p->in);
	close_pipe(p->out);
	close_pipe(p->err);
}

/* Only our ends do not block: the child expects ordinary pipes. */
static int open_pipes(struct pipes *p)
{
	int rc = 0;

	*p = (struct pipes){{-1, -1}, {-1, -1}, {-1, -1}};
	if (pipe2(p->in, O_CLOEXEC) < 0 || pipe2(p->out, O_CLOEXEC) < 0 ||
	    pipe2(p->err, O_CLOEXEC) < 0 || fcntl(p->in[1], F_SETFL, O_NONBLOCK) < 0 ||
	    fcntl(p->out[0], F_SETFL, O_NONBLOCK) < 0 || fcntl(p->err[0], F_SETFL, O_NONBLOCK) < 0)
		rc = -errno;
	if (rc < 0)
		close_pipes(p);
	return rc;
}

static void watch_output(struct xn_child *child, struct output *o, int *fd)
{
	o->child = child;
	o->fd = *fd;
	*fd = -1;
	o->io = xn_io_new(child->loop, o->fd, XN_IO_READ, on_output, o);
}

static void watch_input(struct xn_child *child, const struct xn_child_spec *spec, int *fd)
{
	child->in_fd = -1;
	if (!spec->input_len)
		return; /* the pipe is closed with the rest: it reads an end at once */
	xn_buf_add(&child->input, spec->input, spec->input_len);
	child->in_fd = *fd;
	*fd = -1;
	child->in_io = xn_io_new(child->loop, child->in_fd, XN_IO_WRITE, on_writable, child);
}

int xn_child_start(struct xn_loop *loop, const struct xn_child_spec *spec,
		   void (*done)(const struct xn_child_result *result, void *arg), void *arg,
		   struct xn_child **child_out)
{
	struct xn_child *child;
	struct xn_process process;
	struct pipes pipes;
	int rc;

	if (xn_loop_is_virtual(loop))
		return -ENOTSUP;
	rc = open_pipes(&pipes);
	if (rc < 0)
		return rc;
	rc = xn_process_start(spec->argv, spec->env,
			      (int[]){pipes.in[0], pipes.out[1], pipes.err[1]}, 3, &process);
	if (rc < 0) {
		close_pipes(&pipes);
		return rc;
	}
	child = xn_calloc(1, sizeof(*child));
	child->loop = loop;
	child->process = process;
	child->max_output = spec->max_output;
	child->done = done;
	child->arg = arg;
	child->exit_io = xn_io_new(loop, process.pid_fd, XN_IO_READ, on_exit_seen, child);
	watch_output(child, &child->out, &pipes.out[0]);
	watch_output(child, &child->err, &pipes.err[0]);
	watch_input(child, spec, &pipes.in[1]);
	close_pipes(&pipes);
	xn_timer_arm(loop, &child->deadline, spec->timeout_ms * INT64_C(1000), on_deadline);
	if (child_out)
		*child_out = child;
	return 0;
}
