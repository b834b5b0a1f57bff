/*
 * The pool of worker children, with this program as a child that answers, hangs, crashes and talks
 * nonsense as it is told. Needs no Xen.
 */
#include "tests/unit/turn_until.h"

#include "modules/domain/libxl/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "modules/domain/libxl/calls.h"

enum { WIDTH = 3, SOCKET = 3, LONG_MS = 600000 };

/* ---- the child ---- */

static void put(struct xn_value *frame)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_libxl_frame_add(&out, frame);
	xn_value_unref(frame);
	if (write(SOCKET, out.data, out.len) != (ssize_t)out.len)
		_exit(1);
}

static void put_answer(int rc, struct xn_value *result)
{
	struct xn_value *frame = xn_map_new();

	xn_map_put(&frame, "rc", xn_int(rc));
	xn_map_put(&frame, "result", result);
	xn_map_put_string(&frame, "message", "");
	put(frame);
}

static void put_progress(int percent)
{
	struct xn_value *frame = xn_map_new();

	xn_map_put_string(&frame, "says", "saving");
	xn_map_put(&frame, "percent", xn_int(percent));
	put(frame);
}

static void put_bytes(const void *bytes, size_t len)
{
	if (write(SOCKET, bytes, len) != (ssize_t)len)
		_exit(1);
}

static void do_echo(const struct xn_value *args, int fd)
{
	struct xn_value *result = xn_map_new();

	xn_map_put(&result, "args", xn_value_ref(args));
	xn_map_put(&result, "pid", xn_int(getpid()));
	put_answer(0, result);
}

static void do_fail(const struct xn_value *args, int fd)
{
	put_answer((int)xn_map_get_int(args, "rc", -EIO), xn_nil());
}

/* Until the other end of the pipe that came along is closed. */
static void do_wait(const struct xn_value *args, int fd)
{
	char byte;

	(void)!read(fd, &byte, 1);
	do_echo(args, fd);
}

static void do_hang(const struct xn_value *args, int fd)
{
	for (;;)
		pause();
}

static void do_crash(const struct xn_value *args, int fd)
{
	raise(SIGKILL); /* leaves no core file behind */
}

static void do_exit(const struct xn_value *args, int fd)
{
	_exit(7);
}

static void do_garbage(const struct xn_value *args, int fd)
{
	put_bytes("\x09\0\0\0not json!", 13);
	do_hang(args, fd);
}

static void do_oversized(const struct xn_value *args, int fd)
{
	put_bytes("\xff\xff\xff\xff{}", 6);
	do_hang(args, fd);
}

static void do_half(const struct xn_value *args, int fd)
{
	put_bytes("\x40\0\0\0{\"rc\":", 10);
	_exit(0);
}

static void do_bits(const struct xn_value *args, int fd)
{
	static const char bytes[] = "\x08\0\0\0{\"rc\":0}";

	for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
		put_bytes(bytes + i, 1);
		usleep(1000); /* so that they do not come together */
	}
}

static void do_strange(const struct xn_value *args, int fd)
{
	struct xn_value *frame = xn_map_new();

	xn_map_put_string(&frame, "rc", "none");
	put(frame);
	do_hang(args, fd);
}

static void do_twice(const struct xn_value *args, int fd)
{
	put_bytes("\x08\0\0\0{\"rc\":0}\x08\0\0\0{\"rc\":0}", 24);
	do_hang(args, fd);
}

/* Goes on for longer than a deadline, but tells of it. */
static void do_slow(const struct xn_value *args, int fd)
{
	for (int i = 0; i < 10; i++) {
		usleep(300000);
		put_progress(i * 10);
	}
	put_answer(0, xn_nil());
}

static void do_read(const struct xn_value *args, int fd)
{
	char text[64] = "";
	ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);

	put_answer(n < 0 ? -EBADF : 0, xn_string(text));
}

static void do_write(const struct xn_value *args, int fd)
{
	put_answer(write(fd, "saved", 5) == 5 ? 0 : -EIO, xn_nil());
}

static void do_large(const struct xn_value *args, int fd)
{
	size_t len = 3 << 20;
	char *text = malloc(len + 1);

	memset(text, 'x', len);
	text[len] = '\0';
	put_answer(0, xn_string(text));
	free(text);
}

static const struct {
	const char *name;
	void (*run)(const struct xn_value *args, int fd);
} acts[] = {
	{"echo", do_echo},	   {"fail", do_fail},	{"wait", do_wait},
	{"hang", do_hang},	   {"crash", do_crash}, {"exit", do_exit},
	{"garbage", do_garbage},   {"half", do_half},	{"oversized", do_oversized},
	{"strange", do_strange},   {"twice", do_twice}, {"slow", do_slow},
	{"read", do_read},	   {"write", do_write}, {"large", do_large},
	{"bits", do_bits},
};

static ssize_t receive(struct xn_buf *in, int *fd)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr head;
	} control;
	struct iovec bytes = {.iov_base = xn_buf_reserve(in, 4096), .iov_len = 4096};
	struct msghdr message = {.msg_iov = &bytes,
				 .msg_iovlen = 1,
				 .msg_control = control.space,
				 .msg_controllen = sizeof(control.space)};
	ssize_t n = recvmsg(SOCKET, &message, 0);

	if (n > 0)
		in->len += (size_t)n;
	if (n > 0 && CMSG_FIRSTHDR(&message))
		memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(*fd));
	return n;
}

static int child_main(void)
{
	struct xn_value *request;
	struct xn_buf in = {0};
	int fd = -1;

	fputs("born\n", stderr);
	while (receive(&in, &fd) > 0)
		while (xn_libxl_frame_take(&in, &request) > 0) {
			for (size_t i = 0; i < XN_ARRAY_SIZE(acts); i++)
				if (!strcmp(acts[i].name, xn_map_get_string(request, "call")))
					acts[i].run(xn_map_get(request, "args"), fd);
			xn_value_unref(request);
			if (fd >= 0)
				close(fd);
			fd = -1;
		}
	xn_buf_clear(&in);
	return EXIT_SUCCESS;
}

/* ---- the fixture ---- */

struct fixture {
	struct xn_loop *loop;
	struct xn_log *log;
	struct xn_libxl_pool *pool;
	unsigned ended; /* of all asks */
};

struct ask {
	struct fixture *f;
	unsigned order; /* 1: the first one to end; 0: not ended */
	int rc;
	struct xn_value *result;
	unsigned progress;
	int percent;
	int pipe[2]; /* the write end of "wait" */
};

static const char *const child_argv[] = {"/proc/self/exe", "child", NULL};

static void start_pool(struct fixture *f, const char *const *argv, unsigned width)
{
	struct xn_libxl_pool_spec spec = {
		.loop = f->loop, .log = f->log, .argv = argv, .width = width};

	xn_libxl_pool_free(f->pool);
	f->pool = xn_libxl_pool_new(&spec);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->loop = xn_loop_new();
	f->log = xn_log_new(XN_LOG_ERROR, false, STDERR_FILENO);
	start_pool(f, child_argv, WIDTH);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_libxl_pool_free(f->pool);
	xn_log_free(f->log);
	xn_loop_free(f->loop);
	free(f);
	return 0;
}

static void on_done(const struct xn_libxl_end *end, void *arg)
{
	struct ask *ask = arg;

	assert_int_equal(ask->order, 0);
	ask->order = ++ask->f->ended;
	ask->rc = end->rc;
	ask->result = end->result ? xn_value_ref(end->result) : NULL;
}

static void on_progress(const char *what, int percent, void *arg)
{
	struct ask *ask = arg;

	ask->progress++;
	ask->percent = percent;
}

static void ask_with(struct fixture *f, struct ask *ask, const char *call, const char *domain,
		     unsigned flags, unsigned timeout_ms, struct xn_value *args, int fd)
{
	struct xn_libxl_request request = {
		.call = call,
		.args = args,
		.fd = fd,
		.domain = domain,
		.flags = flags,
		.timeout_ms = timeout_ms,
		.done = on_done,
		.progress = on_progress,
		.arg = ask,
	};

	*ask = (struct ask){.f = f, .pipe = {-1, -1}};
	assert_int_equal(xn_libxl_pool_call(f->pool, &request), 0);
	assert_int_equal(ask->order, 0); /* never from inside */
}

static void ask(struct fixture *f, struct ask *a, const char *call, const char *domain,
		unsigned flags)
{
	ask_with(f, a, call, domain, flags, LONG_MS, xn_map_new(), -1);
}

/* One that runs until let_go(). */
static void ask_wait(struct fixture *f, struct ask *a, const char *domain, unsigned flags)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	ask_with(f, a, "wait", domain, flags, LONG_MS, xn_map_new(), ends[0]);
	a->pipe[1] = ends[1];
}

static void let_go(struct ask *a)
{
	close(a->pipe[1]);
	a->pipe[1] = -1;
}

static void forget(struct ask *a)
{
	xn_value_unref(a->result);
	if (a->pipe[1] >= 0)
		close(a->pipe[1]);
}

/* The pid of the child that answered, of "echo" and "wait". */
static int64_t pid_of(const struct ask *a)
{
	assert_int_equal(a->rc, 0);
	return xn_map_get_int(a->result, "pid", 0);
}

static int64_t described(const struct fixture *f, const char *what)
{
	struct xn_value *map = xn_libxl_pool_describe(f->pool);
	int64_t n = (int64_t)xn_set_len(xn_map_get(map, what));

	xn_value_unref(map);
	return n;
}

/* ---- a call ---- */

static void a_call_is_answered_with_its_result(void **state)
{
	struct fixture *f = *state;
	struct xn_value *args = xn_map_new();
	struct ask a;

	xn_map_put_string(&args, "name", "x");
	ask_with(f, &a, "echo", "vm", 0, LONG_MS, args, -1);
	TURN_UNTIL(f->loop, a.order);
	assert_int_equal(a.rc, 0);
	assert_string_equal(xn_map_get_string(xn_map_get(a.result, "args"), "name"), "x");
	forget(&a);
}

static void an_error_comes_back_as_it_is(void **state)
{
	struct fixture *f = *state;
	struct xn_value *args = xn_map_new();
	struct ask a;

	xn_map_put(&args, "rc", xn_int(-ENOMEM));
	ask_with(f, &a, "fail", "vm", 0, LONG_MS, args, -1);
	TURN_UNTIL(f->loop, a.order);
	assert_int_equal(a.rc, -ENOMEM);
	forget(&a);
}

static void a_child_is_used_again(void **state)
{
	struct fixture *f = *state;
	struct ask a, b;

	start_pool(f, child_argv, 1);
	ask(f, &a, "echo", "vm", 0);
	TURN_UNTIL(f->loop, a.order);
	ask(f, &b, "echo", "vm", 0);
	TURN_UNTIL(f->loop, b.order);
	assert_int_equal(pid_of(&a), pid_of(&b));
	forget(&a);
	forget(&b);
}

static void a_descriptor_is_read_by_the_child(void **state)
{
	struct fixture *f = *state;
	char path[] = "/tmp/xn-test-XXXXXX";
	int fd = mkstemp(path);
	struct ask a;

	unlink(path);
	start_pool(f, child_argv, 1);
	xn_libxl_pool_warm(f->pool); /* so that nothing gets this descriptor's number meanwhile */
	assert_int_equal(write(fd, "restored", 8), 8);
	ask_with(f, &a, "read", "vm", 0, LONG_MS, xn_map_new(), fd);
	TURN_UNTIL(f->loop, a.order);
	assert_int_equal(a.rc, 0);
	assert_string_equal(xn_value_string(a.result), "restored");
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* taken */
	forget(&a);
}

static void a_descriptor_that_waits_reaches_its_own_call(void **state)
{
	struct fixture *f = *state;
	char path[] = "/tmp/xn-test-XXXXXX", text[8] = "";
	int fd = mkstemp(path);
	struct ask first, second, third;

	unlink(path);
	start_pool(f, child_argv, 1);
	ask_wait(f, &first, "vm", 0);
	ask(f, &second, "echo", "vm", 0);
	ask_with(f, &third, "write", "vm", 0, LONG_MS, xn_map_new(), dup(fd));
	let_go(&first);
	TURN_UNTIL(f->loop, third.order);
	assert_int_equal(third.rc, 0);
	assert_int_equal(pread(fd, text, sizeof(text), 0), 5);
	assert_string_equal(text, "saved");
	close(fd);
	forget(&first);
	forget(&second);
	forget(&third);
}

static void a_large_answer_comes_whole(void **state)
{
	struct fixture *f = *state;
	struct ask a;

	ask(f, &a, "large", "vm", 0);
	TURN_UNTIL(f->loop, a.order);
	assert_int_equal(a.rc, 0);
	assert_int_equal(xn_value_string_len(a.result), 3 << 20);
	forget(&a);
}

static void an_answer_byte_by_byte_is_understood(void **state)
{
	struct fixture *f = *state;
	struct ask a;

	ask(f, &a, "bits", "vm", 0);
	TURN_UNTIL(f->loop, a.order);
	assert_int_equal(a.rc, 0);
	forget(&a);
}

static void a_call_too_large_is_refused(void **state)
{
	struct fixture *f = *state;
	size_t len = XN_LIBXL_FRAME_MAX + 1;
	char *text = malloc(len + 1);
	struct xn_libxl_request request = {
		.call = "echo", .args = xn_map_new(), .fd = -1, .domain = "vm", .done = on_done};

	memset(text, 'x', len);
	text[len] = '\0';
	xn_map_put_string(&request.args, "text", text);
	free(text);
	assert_int_equal(xn_libxl_pool_call(f->pool, &request), -EMSGSIZE);
}

/* ---- children that misbehave ---- */

static void after(struct fixture *f, const char *call, unsigned timeout_ms, int rc)
{
	struct ask bad, next, other;

	ask_with(f, &bad, call, "vm", 0, timeout_ms, xn_map_new(), -1);
	ask(f, &next, "echo", "vm", 0);
	ask(f, &other, "echo", "another vm", 0);
	TURN_UNTIL(f->loop, bad.order && next.order && other.order);
	assert_int_equal(bad.rc, rc);
	assert_int_equal(next.rc, 0); /* it cost this one call only */
	assert_int_equal(other.rc, 0);
	forget(&bad);
	forget(&next);
	forget(&other);
}

static void a_crash_is_an_error_of_one_call(void **state)
{
	after(*state, "crash", LONG_MS, -EIO);
}

static void a_child_that_ends_is_an_error_of_one_call(void **state)
{
	after(*state, "exit", LONG_MS, -EIO);
}

static void garbage_is_an_error_of_one_call(void **state)
{
	after(*state, "garbage", LONG_MS, -EIO);
}

static void an_oversized_frame_is_an_error_of_one_call(void **state)
{
	after(*state, "oversized", LONG_MS, -EIO);
}

static void half_a_frame_is_an_error_of_one_call(void **state)
{
	after(*state, "half", LONG_MS, -EIO);
}

static void an_answer_of_other_types_is_an_error_of_one_call(void **state)
{
	after(*state, "strange", LONG_MS, -EIO);
}

static void a_call_that_hangs_ends_at_its_deadline(void **state)
{
	struct fixture *f = *state;
	int64_t start = xn_now_us(f->loop);

	after(f, "hang", 300, -ETIMEDOUT);
	assert_true(xn_now_us(f->loop) - start >= 300000);
}

static void progress_moves_the_deadline(void **state)
{
	struct fixture *f = *state;
	struct ask a;

	ask_with(f, &a, "slow", "vm", 0, 2000, xn_map_new(), -1); /* takes three seconds */
	TURN_UNTIL(f->loop, a.order);
	assert_int_equal(a.rc, 0);
	assert_true(a.progress >= 10);
	assert_int_equal(a.percent, 90);
	forget(&a);
}

static void a_second_answer_is_not_taken_for_the_next_call(void **state)
{
	struct fixture *f = *state;
	struct ask a, b;

	start_pool(f, child_argv, 1);
	ask(f, &a, "twice", "vm", 0);
	TURN_UNTIL(f->loop, a.order);
	ask(f, &b, "fail", "vm", 0);
	TURN_UNTIL(f->loop, b.order);
	assert_int_equal(a.rc, 0);
	assert_int_equal(b.rc, -EIO); /* its own */
	forget(&a);
	forget(&b);
}

static void a_program_that_is_not_there_fails_the_call(void **state)
{
	static const char *const argv[] = {"/nowhere/at/all", NULL};
	struct fixture *f = *state;
	struct ask a;

	start_pool(f, argv, 2);
	ask(f, &a, "echo", "vm", 0);
	TURN_UNTIL(f->loop, a.order);
	assert_int_equal(a.rc, -ENOENT);
	forget(&a);
}

/* ---- order ---- */

static void calls_for_one_domain_run_in_order(void **state)
{
	struct fixture *f = *state;
	struct ask first, second, third;

	ask_wait(f, &first, "vm", 0);
	ask_wait(f, &second, "vm", 0);
	ask(f, &third, "echo", "vm", 0);
	let_go(&second);
	TURN_UNTIL(f->loop, !xn_loop_turn(f->loop, 300000));
	assert_int_equal(f->ended, 0);
	assert_int_equal(described(f, "waiting"), 2);
	let_go(&first);
	TURN_UNTIL(f->loop, f->ended == 3);
	assert_int_equal(first.order, 1);
	assert_int_equal(second.order, 2);
	assert_int_equal(third.order, 3);
	forget(&first);
	forget(&second);
	forget(&third);
}

static void calls_for_different_domains_run_side_by_side(void **state)
{
	struct fixture *f = *state;
	struct ask first, second;

	ask_wait(f, &first, "one", 0);
	ask_wait(f, &second, "two", 0);
	let_go(&second);
	TURN_UNTIL(f->loop, second.order);
	assert_int_equal(first.order, 0);
	let_go(&first);
	TURN_UNTIL(f->loop, first.order);
	assert_int_not_equal(pid_of(&first), pid_of(&second));
	forget(&first);
	forget(&second);
}

static void slow_calls_leave_a_child_for_short_ones(void **state)
{
	static const char *const names[] = {"1", "2", "3", "4", "5"};
	struct ask slow[XN_ARRAY_SIZE(names)], quick;
	struct fixture *f = *state;

	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++)
		ask_wait(f, &slow[i], names[i], XN_LIBXL_SLOW);
	ask(f, &quick, "echo", "another", 0);
	TURN_UNTIL(f->loop, quick.order);
	assert_int_equal(f->ended, 1);
	assert_int_equal(described(f, "waiting"), (int64_t)XN_ARRAY_SIZE(names) - (WIDTH - 1));
	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++)
		let_go(&slow[i]);
	TURN_UNTIL(f->loop, f->ended == 1 + XN_ARRAY_SIZE(names));
	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++)
		forget(&slow[i]);
	forget(&quick);
}

static void quick_calls_wait_for_each_other_only(void **state)
{
	static const char *const names[] = {"1", "2", "3", "4"};
	struct ask busy[XN_ARRAY_SIZE(names)], quick, second;
	struct fixture *f = *state;

	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++)
		ask_wait(f, &busy[i], names[i], i % 2 ? XN_LIBXL_SLOW : 0);
	ask_wait(f, &quick, "another", XN_LIBXL_QUICK);
	ask(f, &second, "echo", "and another", XN_LIBXL_QUICK);
	TURN_UNTIL(f->loop, !xn_loop_turn(f->loop, 200000));
	assert_int_equal(described(f, "children"), WIDTH + 1);
	let_go(&quick);
	TURN_UNTIL(f->loop, quick.order && second.order);
	assert_int_equal(f->ended, 2);
	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++)
		let_go(&busy[i]);
	TURN_UNTIL(f->loop, f->ended == 2 + XN_ARRAY_SIZE(names));
	for (size_t i = 0; i < XN_ARRAY_SIZE(names); i++)
		forget(&busy[i]);
	forget(&quick);
	forget(&second);
}

static void a_busy_domain_does_not_starve_another(void **state)
{
	struct ask busy[20], other;
	struct fixture *f = *state;

	start_pool(f, child_argv, 1);
	ask_wait(f, &busy[0], "busy", 0);
	ask(f, &other, "echo", "other", 0);
	for (size_t i = 1; i < XN_ARRAY_SIZE(busy); i++)
		ask(f, &busy[i], "echo", "busy", 0);
	let_go(&busy[0]);
	TURN_UNTIL(f->loop, f->ended == XN_ARRAY_SIZE(busy) + 1);
	assert_int_equal(other.order, 2);
	for (size_t i = 0; i < XN_ARRAY_SIZE(busy); i++)
		forget(&busy[i]);
	forget(&other);
}

static void a_destroy_gives_up_the_creation_that_runs(void **state)
{
	struct fixture *f = *state;
	struct ask create, destroy, other;

	ask(f, &create, "hang", "vm", XN_LIBXL_SLOW | XN_LIBXL_YIELDS);
	ask_wait(f, &other, "other", XN_LIBXL_SLOW | XN_LIBXL_YIELDS);
	TURN_UNTIL(f->loop, !xn_loop_turn(f->loop, 200000));
	ask(f, &destroy, "echo", "vm", XN_LIBXL_OVERTAKES);
	TURN_UNTIL(f->loop, create.order && destroy.order);
	assert_int_equal(create.rc, -ECANCELED);
	assert_int_equal(destroy.rc, 0);
	assert_true(create.order < destroy.order);
	assert_int_equal(other.order, 0); /* another domain's is left alone */
	let_go(&other);
	TURN_UNTIL(f->loop, other.order);
	assert_int_equal(other.rc, 0);
	forget(&create);
	forget(&destroy);
	forget(&other);
}

static void a_destroy_overtakes_what_waits_and_gives_up_what_yields(void **state)
{
	struct fixture *f = *state;
	struct ask running, create, pause, destroy;

	ask_wait(f, &running, "vm", 0);
	ask(f, &create, "hang", "vm", XN_LIBXL_SLOW | XN_LIBXL_YIELDS);
	ask(f, &pause, "echo", "vm", 0);
	ask(f, &destroy, "echo", "vm", XN_LIBXL_OVERTAKES);
	TURN_UNTIL(f->loop, create.order);
	assert_int_equal(create.rc, -ECANCELED);
	assert_int_equal(f->ended, 1); /* what runs and does not yield is waited for */
	let_go(&running);
	TURN_UNTIL(f->loop, f->ended == 4);
	assert_int_equal(running.order, 2);
	assert_int_equal(destroy.order, 3);
	assert_int_equal(pause.order, 4);
	forget(&running);
	forget(&create);
	forget(&pause);
	forget(&destroy);
}

static void what_waits_too_long_while_nothing_moves_ends(void **state)
{
	struct fixture *f = *state;
	struct ask running, waiting;

	ask_wait(f, &running, "vm", 0);
	ask_with(f, &waiting, "echo", "vm", 0, 300, xn_map_new(), -1);
	TURN_UNTIL(f->loop, waiting.order);
	assert_int_equal(waiting.rc, -ETIMEDOUT);
	assert_int_equal(running.order, 0);
	assert_int_equal(described(f, "waiting"), 0);
	let_go(&running);
	TURN_UNTIL(f->loop, running.order);
	forget(&running);
	forget(&waiting);
}

static void waiting_does_not_count_while_others_end(void **state)
{
	struct fixture *f = *state;
	struct ask running[4], waiting;

	start_pool(f, child_argv, 1);
	for (size_t i = 0; i < XN_ARRAY_SIZE(running); i++)
		ask_wait(f, &running[i], "others", 0);
	ask_with(f, &waiting, "echo", "others", 0, 2000, xn_map_new(), -1);
	for (size_t i = 0; i < XN_ARRAY_SIZE(running); i++) {
		int64_t until = xn_now_us(f->loop) + 700000;

		while (xn_now_us(f->loop) < until)
			xn_loop_turn(f->loop, 100000);
		let_go(&running[i]);
	}
	TURN_UNTIL(f->loop, waiting.order);
	assert_int_equal(waiting.rc, 0); /* after 2.8 s */
	assert_true(waiting.progress >= 2);
	for (size_t i = 0; i < XN_ARRAY_SIZE(running); i++)
		forget(&running[i]);
	forget(&waiting);
}

static void a_full_queue_refuses(void **state)
{
	static struct ask asks[XN_LIBXL_QUEUE_MAX + 1];
	struct fixture *f = *state;
	struct xn_libxl_request request = {.call = "echo",
					   .args = xn_map_new(),
					   .fd = open("/dev/null", O_RDONLY | O_CLOEXEC),
					   .domain = "vm",
					   .timeout_ms = LONG_MS,
					   .done = on_done};
	struct ask last;

	ask_wait(f, &asks[0], "vm", 0);
	for (size_t i = 1; i < XN_ARRAY_SIZE(asks); i++)
		ask(f, &asks[i], "echo", "vm", 0);
	assert_int_equal(xn_libxl_pool_call(f->pool, &request), -ENOBUFS);
	assert_int_equal(fcntl(request.fd, F_GETFD), -1);
	assert_int_equal(described(f, "waiting"), 100); /* enough to read */
	let_go(&asks[0]);
	TURN_UNTIL(f->loop, f->ended == XN_ARRAY_SIZE(asks));
	for (size_t i = 0; i < XN_ARRAY_SIZE(asks); i++)
		assert_int_equal(asks[i].order, i + 1);
	ask(f, &last, "echo", "vm", 0);
	TURN_UNTIL(f->loop, last.order);
	for (size_t i = 0; i < XN_ARRAY_SIZE(asks); i++)
		forget(&asks[i]);
	forget(&last);
}

static void calls_about_no_domain_do_not_wait_for_each_other(void **state)
{
	struct fixture *f = *state;
	struct ask first, second;

	ask_wait(f, &first, "", 0);
	ask(f, &second, "echo", "", 0);
	TURN_UNTIL(f->loop, second.order);
	assert_int_equal(first.order, 0);
	let_go(&first);
	TURN_UNTIL(f->loop, first.order);
	forget(&first);
	forget(&second);
}

/* ---- what it tells of itself ---- */

static void it_tells_who_does_what_since_when(void **state)
{
	struct fixture *f = *state;
	const struct xn_value *child, *call;
	struct xn_value *map;
	struct ask running, waiting;

	start_pool(f, child_argv, 1);
	ask_wait(f, &running, "vm", 0);
	ask(f, &waiting, "echo", "vm", 0);
	map = xn_libxl_pool_describe(f->pool);
	child = xn_set_at(xn_map_get(map, "children"), 0);
	assert_string_equal(xn_map_get_string(child, "call"), "wait");
	assert_string_equal(xn_map_get_string(child, "domain"), "vm");
	assert_true(xn_map_get_int(child, "pid", 0) > 1);
	assert_true(xn_map_get_int(child, "left_ms", 0) > LONG_MS / 2);
	assert_true(xn_map_get_int(child, "for_ms", -1) >= 0);
	call = xn_set_at(xn_map_get(map, "waiting"), 0);
	assert_string_equal(xn_map_get_string(call, "call"), "echo");
	assert_int_equal(xn_map_get_int(map, "waiting_count", 0), 1);
	xn_value_unref(map);
	let_go(&running);
	TURN_UNTIL(f->loop, waiting.order);
	forget(&running);
	forget(&waiting);
}

static void a_spare_child_waits_for_the_next_call(void **state)
{
	struct fixture *f = *state;
	struct ask running;

	xn_libxl_pool_warm(f->pool);
	xn_libxl_pool_warm(f->pool);
	assert_int_equal(described(f, "children"), 1);
	ask_wait(f, &running, "vm", 0);
	assert_int_equal(described(f, "children"), 2);
	let_go(&running);
	TURN_UNTIL(f->loop, running.order);
	assert_int_equal(described(f, "children"), 2);
	forget(&running);
}

static void children_that_die_idle_are_not_replaced_for_ever(void **state)
{
	static const char *const argv[] = {"/bin/false", NULL};
	struct fixture *f = *state;

	start_pool(f, argv, WIDTH);
	xn_libxl_pool_warm(f->pool);
	TURN_UNTIL(f->loop, described(f, "children") == 0);
	assert_false(xn_loop_turn(f->loop, 100000));
}

static void a_pool_that_ends_takes_its_children_along(void **state)
{
	struct fixture *f = *state;
	struct ask running, waiting;
	struct xn_value *map;
	int pid;

	ask_wait(f, &running, "vm", 0);
	ask_wait(f, &waiting, "vm", 0);
	map = xn_libxl_pool_describe(f->pool);
	pid = (int)xn_map_get_int(xn_set_at(xn_map_get(map, "children"), 0), "pid", 0);
	xn_value_unref(map);
	assert_int_equal(kill(pid, 0), 0);
	xn_libxl_pool_free(f->pool);
	f->pool = NULL;
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(f->ended, 0);
	forget(&running);
	forget(&waiting);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(a_call_is_answered_with_its_result),
		TEST(an_error_comes_back_as_it_is),
		TEST(a_child_is_used_again),
		TEST(a_descriptor_is_read_by_the_child),
		TEST(a_descriptor_that_waits_reaches_its_own_call),
		TEST(a_large_answer_comes_whole),
		TEST(an_answer_byte_by_byte_is_understood),
		TEST(a_call_too_large_is_refused),
		TEST(a_crash_is_an_error_of_one_call),
		TEST(a_child_that_ends_is_an_error_of_one_call),
		TEST(garbage_is_an_error_of_one_call),
		TEST(an_oversized_frame_is_an_error_of_one_call),
		TEST(half_a_frame_is_an_error_of_one_call),
		TEST(an_answer_of_other_types_is_an_error_of_one_call),
		TEST(a_call_that_hangs_ends_at_its_deadline),
		TEST(progress_moves_the_deadline),
		TEST(a_second_answer_is_not_taken_for_the_next_call),
		TEST(a_program_that_is_not_there_fails_the_call),
		TEST(calls_for_one_domain_run_in_order),
		TEST(calls_for_different_domains_run_side_by_side),
		TEST(slow_calls_leave_a_child_for_short_ones),
		TEST(quick_calls_wait_for_each_other_only),
		TEST(a_busy_domain_does_not_starve_another),
		TEST(a_destroy_gives_up_the_creation_that_runs),
		TEST(a_destroy_overtakes_what_waits_and_gives_up_what_yields),
		TEST(what_waits_too_long_while_nothing_moves_ends),
		TEST(waiting_does_not_count_while_others_end),
		TEST(a_full_queue_refuses),
		TEST(calls_about_no_domain_do_not_wait_for_each_other),
		TEST(it_tells_who_does_what_since_when),
		TEST(a_spare_child_waits_for_the_next_call),
		TEST(children_that_die_idle_are_not_replaced_for_ever),
		TEST(a_pool_that_ends_takes_its_children_along),
#undef TEST
	};

	if (argc == 2 && strcmp(argv[1], "child") == 0)
		return child_main();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
