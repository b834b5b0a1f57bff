/* A child that one talks with: bytes both ways, descriptors, lines of standard error, its end. */
#include "tests/unit/turn_until.h"

#include "core/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct fixture {
	struct xn_loop *loop;
	struct xn_peer *peer;
	struct xn_buf received, lines;
	bool gone;
	int exit_status, signal;
};

static void on_received(struct xn_peer *peer, struct xn_buf *in, void *arg)
{
	struct fixture *f = arg;

	xn_buf_add(&f->received, in->data, in->len);
	xn_buf_drop(in, in->len);
}

static void on_said(struct xn_peer *peer, const char *line, void *arg)
{
	struct fixture *f = arg;

	xn_buf_printf(&f->lines, "[%s]", line);
}

static void on_gone(struct xn_peer *peer, int exit_status, int signo, void *arg)
{
	struct fixture *f = arg;

	assert_false(f->gone);
	f->gone = true;
	f->peer = NULL;
	f->exit_status = exit_status;
	f->signal = signo;
}

static const struct xn_peer_ops peer_ops = {on_received, on_said, on_gone};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->loop = xn_loop_new();
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_peer_abandon(f->peer);
	xn_loop_free(f->loop);
	xn_buf_clear(&f->received);
	xn_buf_clear(&f->lines);
	free(f);
	return 0;
}

static void start(struct fixture *f, const char *script)
{
	const char *const argv[] = {"/bin/sh", "-c", script, NULL};

	assert_int_equal(xn_peer_start(f->loop, argv, NULL, &peer_ops, f, &f->peer), 0);
}

static void what_is_sent_comes_back(void **state)
{
	struct fixture *f = *state;

	start(f, "exec cat <&3 >&3");
	xn_peer_send(f->peer, "hello ", 6, -1);
	xn_peer_send(f->peer, "there", 5, -1);
	TURN_UNTIL(f->loop, f->received.len == 11);
	assert_string_equal(xn_buf_cstr(&f->received), "hello there");
	assert_false(f->gone);
}

static void more_than_the_socket_takes_goes_through(void **state)
{
	struct fixture *f = *state;
	size_t len = 3 << 20;
	char *large = malloc(len);

	memset(large, 'x', len);
	start(f, "head -c 3145728 <&3 >&3");
	xn_peer_send(f->peer, large, len, -1);
	TURN_UNTIL(f->loop, f->gone);
	assert_int_equal(f->received.len, len);
	assert_memory_equal(f->received.data, large, len);
	free(large);
}

static void standard_error_comes_in_lines(void **state)
{
	struct fixture *f = *state;

	start(f, "printf 'one\\ntw' >&2; echo o >&2; echo out; printf last >&2");
	TURN_UNTIL(f->loop, f->gone);
	assert_string_equal(xn_buf_cstr(&f->lines), "[one][two][out][last]");
}

static void a_line_without_end_comes_in_parts(void **state)
{
	struct fixture *f = *state;

	start(f, "head -c 5000 /dev/zero | tr '\\0' x >&2");
	TURN_UNTIL(f->loop, f->gone);
	assert_int_equal(f->lines.len, 5000 + 3 * 2);
}

static void its_end_is_told(void **state)
{
	struct fixture *f = *state;

	start(f, "echo bye >&3; exit 3");
	TURN_UNTIL(f->loop, f->gone);
	assert_int_equal(f->exit_status, 3);
	assert_int_equal(f->signal, 0);
	assert_string_equal(xn_buf_cstr(&f->received), "bye\n");
}

/* Not there, or waiting for init to reap it. */
static bool is_dead(int pid)
{
	char path[32], text[256] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return strstr(text, ") Z ") != NULL;
}

static void a_kill_takes_its_group_along(void **state)
{
	struct fixture *f = *state;
	int helper;

	start(f, "sleep 1000 & echo $! >&3; wait");
	TURN_UNTIL(f->loop, f->received.len > 0 && memchr(f->received.data, '\n', f->received.len));
	helper = atoi(xn_buf_cstr(&f->received));
	assert_true(helper > 1);
	xn_peer_kill(f->peer);
	TURN_UNTIL(f->loop, f->gone);
	assert_int_equal(f->signal, SIGKILL);
	TURN_UNTIL(f->loop, is_dead(helper));
}

static void it_gets_none_of_our_descriptors(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(dup2(STDERR_FILENO, 50), 50); /* not close-on-exec */
	start(f, "for fd in 1 2 3 50; do test -e /proc/$$/fd/$fd && echo -n $fd >&3; done");
	TURN_UNTIL(f->loop, f->gone);
	close(50);
	assert_string_equal(xn_buf_cstr(&f->received), "123");
}

static void one_that_cannot_be_started_is_an_error(void **state)
{
	struct fixture *f = *state;
	const char *const argv[] = {"/nowhere/at/all", NULL};

	assert_int_equal(xn_peer_start(f->loop, argv, NULL, &peer_ops, f, &f->peer), -ENOENT);
	f->peer = NULL;
}

static void a_virtual_loop_has_no_processes(void **state)
{
	struct fixture *f = *state;
	const char *const argv[] = {"/bin/true", NULL};
	struct xn_loop *loop = xn_loop_new_virtual(1);

	assert_int_equal(xn_peer_start(loop, argv, NULL, &peer_ops, f, &f->peer), -ENOTSUP);
	xn_loop_free(loop);
	f->peer = NULL;
}

static void sending_to_one_that_hung_up_is_harmless(void **state)
{
	struct fixture *f = *state;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	start(f, "exec 3>&-; read x < /dev/zero");
	TURN_UNTIL(f->loop, !xn_loop_turn(f->loop, 200000));
	xn_peer_send(f->peer, "x", 1, fd);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* taken all the same */
}

/* ---- descriptors: this program is the child, too ---- */

static int receive_one(char *byte)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr head;
	} control;
	struct iovec bytes = {.iov_base = byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &bytes,
				 .msg_iovlen = 1,
				 .msg_control = control.space,
				 .msg_controllen = sizeof(control.space)};
	struct cmsghdr *head;
	int fd = -1;

	if (recvmsg(XN_PEER_FD, &message, 0) <= 0)
		return -2;
	head = CMSG_FIRSTHDR(&message);
	if (head)
		memcpy(&fd, CMSG_DATA(head), sizeof(fd));
	return fd;
}

/* Writes each byte that it gets into the file that came with it, or back when none did. */
static int child_main(void)
{
	char byte;
	int fd;

	while ((fd = receive_one(&byte)) > -2)
		if (write(fd >= 0 ? fd : XN_PEER_FD, &byte, 1) != 1 || (fd >= 0 && close(fd) < 0))
			return EXIT_FAILURE;
	return EXIT_SUCCESS;
}

static void descriptors_go_with_the_byte_they_were_sent_with(void **state)
{
	const char *const argv[] = {"/proc/self/exe", "child", NULL};
	struct fixture *f = *state;
	int files[2];
	char text[8];

	for (int i = 0; i < 2; i++)
		files[i] = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(xn_peer_start(f->loop, argv, NULL, &peer_ops, f, &f->peer), 0);
	xn_peer_send(f->peer, "ab", 2, -1);
	xn_peer_send(f->peer, "1x", 2, dup(files[0]));
	xn_peer_send(f->peer, "2yz", 3, dup(files[1]));
	TURN_UNTIL(f->loop, f->received.len == 5);
	assert_string_equal(xn_buf_cstr(&f->received), "abxyz");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pread(files[i], text, sizeof(text), 0), 1);
		assert_int_equal(text[0], '1' + i);
		close(files[i]);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(what_is_sent_comes_back),
		TEST(more_than_the_socket_takes_goes_through),
		TEST(standard_error_comes_in_lines),
		TEST(a_line_without_end_comes_in_parts),
		TEST(its_end_is_told),
		TEST(a_kill_takes_its_group_along),
		TEST(it_gets_none_of_our_descriptors),
		TEST(one_that_cannot_be_started_is_an_error),
		TEST(a_virtual_loop_has_no_processes),
		TEST(sending_to_one_that_hung_up_is_harmless),
		TEST(descriptors_go_with_the_byte_they_were_sent_with),
#undef TEST
	};

	if (argc == 2 && strcmp(argv[1], "child") == 0)
		return child_main();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
