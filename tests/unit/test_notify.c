/* Readiness told to a service manager's socket. */
#include "core/notify.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static int listen_at(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	strcpy(addr.sun_path, path);
	if (*path == '@')
		addr.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&addr,
			      offsetof(struct sockaddr_un, sun_path) + strlen(path)),
			 0);
	return fd;
}

static void assert_heard(int fd, const char *expected)
{
	char text[64];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	assert_true(n >= 0);
	text[n] = '\0';
	assert_string_equal(text, expected);
}

static void the_state_reaches_a_socket_file_or_an_abstract_name(void **state)
{
	char paths[2][64];

	snprintf(paths[0], sizeof(paths[0]), "/tmp/xn-notify-%d", getpid());
	snprintf(paths[1], sizeof(paths[1]), "@xn-notify-%d", getpid());
	for (int i = 0; i < 2; i++) {
		int fd = listen_at(paths[i]);

		setenv("NOTIFY_SOCKET", paths[i], 1);
		assert_int_equal(xn_notify("READY=1"), 0);
		assert_heard(fd, "READY=1");
		close(fd);
	}
	unlink(paths[0]);
}

static void without_a_manager_nothing_happens(void **state)
{
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(xn_notify("READY=1"), 0);
}

static void a_manager_that_is_gone_is_an_errno(void **state)
{
	setenv("NOTIFY_SOCKET", "/tmp/xn-notify-nobody", 1);
	assert_int_equal(xn_notify("READY=1"), -ENOENT);
	setenv("NOTIFY_SOCKET",
	       "/a/path/that/is/far/too/long/for/a/unix/socket/address/because/it/has/"
	       "more/than/one/hundred/and/eight/bytes/in/it",
	       1);
	assert_int_equal(xn_notify("READY=1"), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_state_reaches_a_socket_file_or_an_abstract_name),
		cmocka_unit_test(without_a_manager_nothing_happens),
		cmocka_unit_test(a_manager_that_is_gone_is_an_errno),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
