/*
 * A worker child: the daemon's binary again, started with XN_LIBXL_WORKER_ARG and a socket. Reads a
 * call, runs it, answers, until the socket ends. Single-threaded, so libxl may reap all children of
 * this process (its default); what it leaves running, as device models, has a session of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "modules/domain/domain.h"
#include "modules/domain/libxl/child.h"

bool xn_backend_has_libxl(void)
{
	return true;
}

/* ---- frames ---- */

static void send_frame(struct xn_libxl_child *child, struct xn_value *frame)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};
	size_t at = 0;

	xn_libxl_frame_add(&out, frame);
	xn_value_unref(frame);
	while (at < out.len) {
		ssize_t n = send(child->socket, out.data + at, out.len - at, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			_exit(EXIT_FAILURE); /* nobody listens any more */
		if (n > 0)
			at += n;
	}
}

/* Bytes, and the descriptor that may come along. 0 at the end. */
static ssize_t receive(struct xn_libxl_child *child, void *data, size_t len, int *fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = data, .iov_len = len};
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	ssize_t n;

	do
		n = recvmsg(child->socket, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	c = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && *fd < 0)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return n;
}

/* False at the end of the socket, and when what comes is not a frame. */
static bool read_request(struct xn_libxl_child *child, struct xn_value **request_out, int *fd)
{
	struct xn_buf in XN_CLEANUP(xn_buf_clear_p) = {0};
	uint32_t len;
	int rc = 0;

	while (rc == 0) {
		size_t want = sizeof(len);
		ssize_t n;

		if (in.len >= sizeof(len)) {
			memcpy(&len, in.data, sizeof(len));
			want += len;
		}
		n = receive(child, xn_buf_reserve(&in, want - in.len), want - in.len, fd);
		if (n <= 0)
			return false;
		in.len += n;
		rc = xn_libxl_frame_take(&in, request_out);
	}
	return rc > 0;
}

static void answer(struct xn_libxl_child *child, int rc, struct xn_libxl_answer *what)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_value *frame = xn_map_new();

	xn_text_recode(what->message, strlen(what->message), &text);
	xn_map_put(&frame, "rc", xn_int(rc));
	if (what->result)
		xn_map_put(&frame, "result", what->result);
	xn_map_put_string(&frame, "message", xn_buf_cstr(&text));
	send_frame(child, frame);
}

/* ---- what libxl says ---- */

void xn_libxl_say(struct xn_libxl_child *child, const char *level, const char *text)
{
	struct xn_buf clean XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_value *frame = xn_map_new();

	xn_text_recode(text, strlen(text), &clean);
	xn_map_put_string(&frame, "says", xn_buf_cstr(&clean));
	xn_map_put_string(&frame, "level", level);
	send_frame(child, frame);
}

/* libxl has one code for most failures; these words in its log tell what it was. */
static const struct {
	const char *words;
	int rc;
} meanings[] = {
	{"xc_dom_kernel_file failed", -ENOEXEC}, {"xc_dom_kernel_mem failed", -ENOEXEC},
	{"xc_dom_module_file failed", -ENOEXEC}, {"xc_dom_parse_image failed", -ENOEXEC},
	{"bootloader failed", -ENOEXEC},         {"Cannot allocate memory", -ENOMEM},
	{"No space left on device", -ENOSPC},
};

/* The first lines say most; later ones say only who passed the failure on. */
static void note_error(struct xn_libxl_child *child, const char *text, int errnoval)
{
	struct xn_libxl_answer *answer = child->answer;
	size_t len;

	for (size_t i = 0; i < XN_ARRAY_SIZE(meanings) && !child->why; i++)
		if (strstr(text, meanings[i].words))
			child->why = meanings[i].rc;
	if (errnoval == ENOMEM && !child->why)
		child->why = -ENOMEM;
	if (!answer)
		return;
	len = strlen(answer->message);
	snprintf(answer->message + len, sizeof(answer->message) - len, "%s%s", len ? "; " : "",
		 text);
}

int xn_libxl_fail(struct xn_libxl_child *child, int rc, const char *why)
{
	note_error(child, why, 0);
	return rc;
}

static void on_message(xentoollog_logger *logger, xentoollog_level level, int errnoval,
		       const char *context, const char *format, va_list args)
{
	struct xn_libxl_child *child = xn_container_of(logger, struct xn_libxl_child, logger);
	char text[XN_LIBXL_MESSAGE_MAX], line[XN_LIBXL_MESSAGE_MAX + 128];

	if (level < XTL_WARN)
		return;
	vsnprintf(text, sizeof(text), format, args);
	snprintf(line, sizeof(line), "%s%s%s%s%s", context ? context : "", context ? ": " : "",
		 text, errnoval > 0 ? ": " : "", errnoval > 0 ? strerror(errnoval) : "");
	if (level >= XTL_ERROR)
		note_error(child, line, errnoval);
	xn_libxl_say(child, level >= XTL_ERROR ? "error" : "warn", line);
}

void xn_libxl_progress(struct xn_libxl_child *child, const char *what, int percent)
{
	struct xn_value *frame;

	if (percent == child->percent)
		return;
	child->percent = percent;
	frame = xn_map_new();
	xn_map_put_string(&frame, "says", what);
	xn_map_put(&frame, "percent", xn_int(percent));
	send_frame(child, frame);
}

static void on_progress(xentoollog_logger *logger, const char *context, const char *doing,
			int percent, unsigned long done, unsigned long total)
{
	xn_libxl_progress(xn_container_of(logger, struct xn_libxl_child, logger), doing, percent);
}

int64_t xn_libxl_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* ---- libxl ---- */

/*
 * Each child of libxl's leads a session of its own. The daemon kills this process with its group
 * when a call outlives its deadline, and a hotplug script that is killed halfway leaves a loop
 * device that nobody knows of: left alone it finishes, and destroying the device undoes it. (A
 * group of its own would not do: it could not take the terminal that libxl gives a bootloader.)
 */
static pid_t fork_apart(void *user)
{
	pid_t pid = fork();

	if (pid == 0)
		setsid();
	return pid;
}

static const libxl_childproc_hooks children = {
	.chldowner = libxl_sigchld_owner_libxl,
	.fork_replacement = fork_apart,
};

static void close_xen(struct xn_libxl_child *child)
{
	libxl_ctx_free(child->ctx);
	xc_interface_close(child->xc);
	xs_close(child->xs);
	child->ctx = NULL;
	child->xc = NULL;
	child->xs = NULL;
}

static int open_xen(struct xn_libxl_child *child)
{
	if (child->ctx)
		return 0;
	child->xc = xc_interface_open(&child->logger, &child->logger, 0);
	child->xs = child->xc ? xs_open(0) : NULL;
	if (!child->xs || libxl_ctx_alloc(&child->ctx, LIBXL_VERSION, 0, &child->logger) != 0) {
		close_xen(child);
		return -ENODEV;
	}
	libxl_childproc_setmode(child->ctx, &children, NULL);
	return 0;
}

int xn_libxl_rc(const struct xn_libxl_child *child, int rc)
{
	static const struct {
		int rc, error;
	} codes[] = {
		{ERROR_NOMEM, -ENOMEM},           {ERROR_INVAL, -EINVAL},
		{ERROR_TIMEDOUT, -ETIMEDOUT},     {ERROR_GUEST_TIMEDOUT, -ETIMEDOUT},
		{ERROR_DOMAIN_NOTFOUND, -ENOENT}, {ERROR_DOMAIN_DESTROYED, -ENOENT},
		{ERROR_DEVICE_EXISTS, -EEXIST},   {ERROR_NOPARAVIRT, -EOPNOTSUPP},
		{ERROR_NI, -EOPNOTSUPP},          {ERROR_FEATURE_REMOVED, -EOPNOTSUPP},
		{ERROR_ABORTED, -ECANCELED},
	};

	if (rc >= 0)
		return 0;
	if (child->why)
		return child->why;
	for (size_t i = 0; i < XN_ARRAY_SIZE(codes); i++)
		if (codes[i].rc == rc)
			return codes[i].error;
	return -EIO;
}

/* ---- calls ---- */

static int run(struct xn_libxl_child *child, const struct xn_value *request, int fd,
	       struct xn_libxl_answer *what)
{
	const char *name = xn_map_get_string(request, "call");
	const struct xn_libxl_call *call = name ? xn_libxl_call_find(name) : NULL;
	const struct xn_value *args = xn_map_get(request, "args");
	int rc;

	if (!call || !args || args->kind != XN_MAP)
		return -EPROTO;
	child->answer = what;
	child->why = 0;
	child->percent = -1;
	rc = open_xen(child);
	if (rc == 0)
		rc = call->run(child, args, fd, what);
	child->answer = NULL;
	/* The next call shall not suffer from what this one met, a lost xenstore for example. */
	if (rc < 0)
		close_xen(child);
	return rc;
}

static bool serve_one(struct xn_libxl_child *child)
{
	struct xn_value *request XN_CLEANUP(xn_value_unref_p) = NULL;
	struct xn_libxl_answer what = {0};
	int fd = -1, rc;
	bool got = read_request(child, &request, &fd) && request->kind == XN_MAP;

	if (got) {
		rc = run(child, request, fd, &what);
		answer(child, rc, &what);
	}
	if (fd >= 0)
		close(fd);
	return got;
}

/* Bootloaders, where they are allowed, read what guests wrote: never as root. */
static void restrict_bootloaders(void)
{
	setenv("LIBXL_BOOTLOADER_RESTRICT", "1", 1);
}

/* No child of ours shall hold the socket. */
static void settle(int socket_fd)
{
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "xenolith-libxl");
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGCHLD, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	fcntl(socket_fd, F_SETFD, FD_CLOEXEC);
}

int xn_libxl_worker_main(int socket_fd)
{
	struct xn_libxl_child child = {
		.socket = socket_fd,
		.logger = {.vmessage = on_message, .progress = on_progress},
	};

	settle(socket_fd);
	restrict_bootloaders();
	(void)open_xen(&child); /* ahead of the first call, which tries again */
	while (serve_one(&child))
		;
	close_xen(&child);
	return EXIT_SUCCESS;
}
