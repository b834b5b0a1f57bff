/*
 * A worker child on a machine without Xen: it reads calls, answers each, says why it cannot, and
 * ends with its socket. (What its calls do is tested in a real dom0: tests/xen/calls.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/json.h"
#include "modules/domain/domain.h"
#include "modules/domain/libxl/calls.h"

struct fixture {
	int socket;
	pid_t pid;
	struct xn_buf in;
};

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));
	int ends[2];

	*state = f;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	f->pid = fork();
	if (f->pid == 0) {
		close(ends[0]);
		_exit(xn_libxl_worker_main(ends[1]));
	}
	close(ends[1]);
	f->socket = ends[0];
	return f->pid < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	close(f->socket);
	if (f->pid > 0)
		waitpid(f->pid, NULL, 0);
	xn_buf_clear(&f->in);
	free(f);
	return 0;
}

static void send_text(struct fixture *f, const char *json)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_value *v XN_CLEANUP(xn_value_unref_p) = NULL;

	assert_int_equal(xn_json_parse(json, strlen(json), &v, NULL), 0);
	xn_libxl_frame_add(&out, v);
	/* In two parts, as a full socket would cut it. */
	assert_int_equal(write(f->socket, out.data, 3), 3);
	assert_int_equal(write(f->socket, out.data + 3, out.len - 3), (ssize_t)out.len - 3);
}

static struct xn_value *next_frame(struct fixture *f)
{
	struct xn_value *v = NULL;
	int rc;

	while ((rc = xn_libxl_frame_take(&f->in, &v)) == 0) {
		ssize_t n = read(f->socket, xn_buf_reserve(&f->in, 4096), 4096);

		assert_true(n > 0);
		f->in.len += n;
	}
	assert_int_equal(rc, 1);
	return v;
}

static int answer_to(struct fixture *f, const char *json, bool *has_message)
{
	send_text(f, json);
	for (;;) {
		struct xn_value *v XN_CLEANUP(xn_value_unref_p) = next_frame(f);

		if (!xn_map_get(v, "rc"))
			continue; /* it says something meanwhile */
		*has_message = *xn_map_get_string(v, "message");
		return xn_map_get_int(v, "rc", 1);
	}
}

static int exit_status(struct fixture *f)
{
	int status;

	assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
	f->pid = -1;
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void a_call_without_xen_fails_and_the_next_one_is_answered_too(void **state)
{
	bool has_message;

	if (access("/proc/xen/capabilities", F_OK) == 0)
		skip();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(answer_to(*state, "{\"call\":\"list\",\"args\":{}}", &has_message),
				 -ENODEV);
		assert_true(has_message);
	}
}

static void what_is_no_call_is_told_so(void **state)
{
	bool has_message;

	assert_int_equal(answer_to(*state, "{\"call\":\"dance\",\"args\":{}}", &has_message),
			 -EPROTO);
	assert_int_equal(answer_to(*state, "{\"call\":\"list\"}", &has_message), -EPROTO);
	assert_int_equal(answer_to(*state, "{}", &has_message), -EPROTO);
}

static void it_ends_when_its_socket_ends(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(shutdown(f->socket, SHUT_WR), 0);
	assert_int_equal(exit_status(f), EXIT_SUCCESS);
}

static void it_ends_when_a_frame_is_too_long(void **state)
{
	struct fixture *f = *state;
	uint32_t len = XN_LIBXL_FRAME_MAX + 1;

	assert_int_equal(write(f->socket, &len, sizeof(len)), sizeof(len));
	assert_int_equal(exit_status(f), EXIT_SUCCESS);
}

static void a_frame_is_taken_only_when_it_is_whole(void **state)
{
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0}, in XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_value *v = xn_int(7), *taken = NULL;

	xn_libxl_frame_add(&out, v);
	xn_libxl_frame_add(&out, v);
	for (size_t i = 0; i < out.len / 2; i++) {
		assert_int_equal(xn_libxl_frame_take(&in, &taken), 0);
		xn_buf_add(&in, out.data + i, 1);
	}
	assert_int_equal(xn_libxl_frame_take(&in, &taken), 1);
	assert_int_equal(xn_value_int(taken), 7);
	assert_int_equal(in.len, 0);
	xn_value_unref(taken);
	xn_value_unref(v);
}

static void a_frame_of_no_json_is_refused(void **state)
{
	struct xn_buf in XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_value *taken;
	uint32_t len = 3;

	xn_buf_add(&in, &len, sizeof(len));
	xn_buf_add(&in, "{x}", 3);
	assert_int_equal(xn_libxl_frame_take(&in, &taken), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_call_without_xen_fails_and_the_next_one_is_answered_too, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(what_is_no_call_is_told_so, set_up, tear_down),
		cmocka_unit_test_setup_teardown(it_ends_when_its_socket_ends, set_up, tear_down),
		cmocka_unit_test_setup_teardown(it_ends_when_a_frame_is_too_long, set_up,
						tear_down),
		cmocka_unit_test(a_frame_is_taken_only_when_it_is_whole),
		cmocka_unit_test(a_frame_of_no_json_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
