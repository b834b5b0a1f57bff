/* Who may use an HTTP handler that is no API call: over real sockets, with a handler of the test's. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/turn_until.h"

#include "modules/audit/audit_internal.h"
#include "modules/auth/auth.h"
#include "modules/db/db.h"
#include "modules/operation/operation.h"
#include "modules/task/task.h"
#include "rpc/rpc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct fixture {
	char dir[40];
	struct xn_core core;
	struct xn_db *db;
	struct xn_buf got;
	struct xn_rpc_visit *visit; /* that /slow has not answered */
	struct xn_http_conn *conn;
	char seen[48]; /* session of the last visit */
	char task[48];
	struct xn_buf lines; /* of the audit log */
};

static void run_report(const struct xn_http_request *req, struct xn_rpc_visit *visit, void *arg)
{
	struct fixture *f = arg;
	const char *since = xn_http_query(req, "since");
	char *text = xn_asprintf("%s %s %s", visit->caller.user,
				 xn_role_names[visit->caller.role], since ? since : "-");

	snprintf(f->seen, sizeof(f->seen), "%s", visit->caller.session);
	snprintf(f->task, sizeof(f->task), "%s", visit->task);
	xn_http_reply(req->conn, 200, "text/plain", NULL, text, strlen(text));
	xn_rpc_leave(visit, NULL);
	free(text);
}

static const struct xn_rpc_door report = {
	.name = "get_report", .role = XN_ROLE_POOL_OPERATOR, .run = run_report};
static const struct xn_rpc_door tasked = {.name = "get_tasked",
					  .role = XN_ROLE_VM_OPERATOR,
					  .task_label = "Some work",
					  .run = run_report};

static void on_report(const struct xn_http_request *req, void *arg)
{
	struct fixture *f = arg;

	xn_rpc_admit(&f->core, req, &report, f);
}

static void on_tasked(const struct xn_http_request *req, void *arg)
{
	struct fixture *f = arg;

	xn_rpc_admit(&f->core, req, &tasked, f);
}

static void run_slow(const struct xn_http_request *req, struct xn_rpc_visit *visit, void *arg)
{
	struct fixture *f = arg;

	f->visit = visit;
	f->conn = req->conn;
}

static const struct xn_rpc_door slow = {
	.name = "get_slow", .role = XN_ROLE_VM_OPERATOR, .run = run_slow};

static void on_slow(const struct xn_http_request *req, void *arg)
{
	struct fixture *f = arg;

	xn_rpc_admit(&f->core, req, &slow, f);
}

/* ---- a handler that changes something ---- */

static struct xn_audit *audit_of(struct fixture *f)
{
	return xn_audit_of(&f->core);
}

/* All lines that are in the log's files now. */
static const char *lines_of(struct fixture *f)
{
	int rc = 0;
	struct xn_audit_reader *reader = xn_audit_read(f->dir, "", &rc);

	assert_non_null(reader);
	f->lines.len = 0;
	while (xn_audit_read_next(reader, 4096, &f->lines) > 0)
		;
	xn_audit_read_end(reader);
	return xn_buf_cstr(&f->lines);
}

static void run_change(const struct xn_http_request *req, struct xn_rpc_visit *visit, void *arg)
{
	assert_non_null(strstr(lines_of(arg), "\"begun\",\"method\":\"http/put_change\""));
	run_report(req, visit, arg);
}

static const struct xn_rpc_door change = {.name = "put_change",
					  .role = XN_ROLE_VM_OPERATOR,
					  .task_label = "A change",
					  .changes = true,
					  .objects = {{"about", XN_CLASS_task}},
					  .run = run_change};

static void on_change(const struct xn_http_request *req, void *arg)
{
	struct fixture *f = arg;

	xn_rpc_admit(&f->core, req, &change, f);
}

static const struct xn_http_route routes[] = {
	{.method = "GET", .path = "/change", .run = on_change},
	{.method = "GET", .path = "/slow", .run = on_slow},
	{.method = "GET", .path = "/report", .run = on_report},
	{.method = "GET", .path = "/tasked", .run = on_tasked},
};

static const struct xn_module *const modules[] = {
	&xn_audit_module,     &xn_db_module,  &xn_auth_module, &xn_task_module,
	&xn_operation_module, &xn_rpc_module, NULL,
};

static void write_password(struct fixture *f, const char *path)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs("secret\n", file);
	fclose(file);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct xn_config *config = xn_config_new();
	struct xn_error err = {0};
	char path[64];

	strcpy(f->dir, "/tmp/xn-test-visit-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(path, sizeof(path), "%s/password", f->dir);
	write_password(f, path);
	xn_config_decide(config, "password-file", path);
	xn_config_decide(config, "state-dir", f->dir);
	xn_config_decide(config, "http", "127.0.0.1:0");
	snprintf(path, sizeof(path), "%s/socket", f->dir);
	xn_config_decide(config, "socket", path);
	xn_core_init(&f->core, xn_loop_new(), xn_log_new(XN_LOG_ERROR, false, 2), config);
	if (!xn_modules_start(&f->core, modules, &err))
		fail_msg("%s %s", err.code, err.params[0]);
	f->db = xn_db_of(&f->core);
	for (size_t i = 0; i < XN_ARRAY_SIZE(routes); i++)
		xn_rpc_add_route(&f->core, &routes[i], f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	struct xn_loop *loop = f->core.loop;
	struct xn_log *log = f->core.log;
	struct xn_config *config = f->core.config;
	char *command = xn_asprintf("rm -rf '%s'", f->dir);
	int rc;

	xn_rpc_remove_routes(&f->core, f);
	xn_modules_stop(f->core.modules);
	xn_core_clear(&f->core);
	xn_config_free(config);
	xn_log_free(log);
	xn_loop_free(loop);
	xn_buf_clear(&f->got);
	xn_buf_clear(&f->lines);
	rc = system(command);
	free(command);
	free(f);
	return rc;
}

/* ---- a client on the same thread ---- */

static int connect_tcp(struct fixture *f)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const char *address = xn_buf_cstr(&f->core.addresses);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	addr.sin_port = htons((uint16_t)atoi(strrchr(strtok(strdupa(address), " "), ':') + 1));
	assert_int_equal(connect(fd, (void *)&addr, sizeof(addr)), 0);
	return fd;
}

static int connect_unix(struct fixture *f)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", f->dir);
	assert_int_equal(connect(fd, (void *)&addr, sizeof(addr)), 0);
	return fd;
}

/* The whole answer to one request. */
static const char *ask(struct fixture *f, int fd, const char *target, const char *headers)
{
	char *text = xn_asprintf("GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n%s\r\n", target,
				 headers);
	char bytes[4096];
	ssize_t n;

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	free(text);
	f->got.len = 0;
	for (;;) {
		xn_loop_turn(f->core.loop, 1000);
		n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n > 0)
			xn_buf_add(&f->got, bytes, (size_t)n);
		else if (n == 0 || errno != EAGAIN)
			break;
	}
	close(fd);
	return xn_buf_cstr(&f->got);
}

static void expect(struct fixture *f, const char *target, const char *headers, const char *start,
		   const char *part)
{
	const char *reply = ask(f, connect_tcp(f), target, headers);

	if (strncmp(reply, start, strlen(start)) != 0 || !strstr(reply, part))
		fail_msg("%s %s: %s", target, headers, reply);
}

static void log_in(struct fixture *f, enum xn_role role, char secret[48])
{
	xn_auth_login_as(xn_module_state(&f->core, "auth"), "alice", role, false, "test", secret);
	xn_loop_turn(f->core.loop, 0);
}

/* ---- cases ---- */

static void nobody_gets_in_without_a_login(void **state)
{
	expect(*state, "/report", "", "HTTP/1.1 401 ",
	       "WWW-Authenticate: Basic realm=\"get_report\"\r\n");
}

static void the_trusted_socket_is_root(void **state)
{
	struct fixture *f = *state;

	assert_non_null(strstr(ask(f, connect_unix(f), "/report?since=x%20y", ""),
			       "\r\n\r\nroot pool-admin x y"));
}

static void a_session_opens_by_cookie_first_then_by_query(void **state)
{
	struct fixture *f = *state;
	char secret[48], headers[128], target[128];

	log_in(f, XN_ROLE_POOL_OPERATOR, secret);
	snprintf(headers, sizeof(headers), "Cookie: a=b; session_id=%s\r\n", secret);
	expect(f, "/report?session_id=OpaqueRef:wrong", headers, "HTTP/1.1 200 ",
	       "alice pool-operator -");
	snprintf(target, sizeof(target), "/report?session_id=%s&since=now", secret);
	expect(f, target, "", "HTTP/1.1 200 ", "alice pool-operator now");
	expect(f, target, "Cookie: session_id=OpaqueRef:wrong\r\n", "HTTP/1.1 401 ", "");
}

static void a_lesser_role_is_told_403(void **state)
{
	struct fixture *f = *state;
	char secret[48], headers[128];

	log_in(f, XN_ROLE_VM_POWER_ADMIN, secret);
	snprintf(headers, sizeof(headers), "Cookie: session_id=%s\r\n", secret);
	expect(f, "/report", headers, "HTTP/1.1 403 ", "RBAC_PERMISSION_DENIED");
	assert_string_equal(f->seen, "");
}

static void a_name_and_password_open_a_session_for_one_request(void **state)
{
	struct fixture *f = *state;

	/* root:secret */
	expect(f, "/report?since=later", "Authorization: Basic cm9vdDpzZWNyZXQ=\r\n",
	       "HTTP/1.1 200 ", "root pool-admin later");
	assert_string_not_equal(f->seen, "");
	assert_int_equal(xn_db_count(f->db, XN_CLASS_session), 0);
}

static void a_wrong_password_or_scheme_does_not(void **state)
{
	struct fixture *f = *state;

	/* root:Secret */
	expect(f, "/report", "Authorization: Basic cm9vdDpTZWNyZXQ=\r\n", "HTTP/1.1 401 ", "realm=");
	expect(f, "/report", "Authorization: Bearer cm9vdDpzZWNyZXQ=\r\n", "HTTP/1.1 401 ", "realm=");
	expect(f, "/report", "Authorization: Basic !!\r\n", "HTTP/1.1 401 ", "realm=");
	assert_string_equal(f->seen, "");
}

static void whoever_hangs_up_before_the_password_is_checked_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	static const char text[] = "GET /report HTTP/1.1\r\nHost: h\r\n"
				   "Authorization: Basic cm9vdDpzZWNyZXQ=\r\n\r\n";
	int fd = connect_tcp(f);

	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	close(fd);
	for (int i = 0; i < 50; i++)
		xn_loop_turn(f->core.loop, 1000);
	assert_int_equal(xn_db_count(f->db, XN_CLASS_session), 0);
}

/* ---- tasks ---- */

static const char *shown_status(struct fixture *f, const char *task)
{
	return xn_row_string(xn_db_get(f->db, XN_CLASS_task, task), XN_task_status);
}

/* A task's end is shown once it is durable. */
static const char *end_of(struct fixture *f, const char *task)
{
	TURN_UNTIL(f->core.loop, strcmp(shown_status(f, task), "pending") != 0);
	return shown_status(f, task);
}

static void give_task(struct fixture *f, const char *secret, char ref[48])
{
	struct xn_value *fields = xn_map_new();

	xn_map_put_string(&fields, "session",
			  xn_auth_session_ref(xn_module_state(&f->core, "auth"), secret));
	xn_map_put_string(&fields, "status", "pending");
	xn_map_put(&fields, "xn_made_by_client", xn_bool(true));
	snprintf(ref, 48, "%s", xn_row_ref(xn_db_create(f->db, XN_CLASS_task, NULL, fields)));
	xn_value_unref(fields);
	xn_loop_turn(f->core.loop, 0);
}

static void a_request_gets_a_task_of_its_own(void **state)
{
	struct fixture *f = *state;
	char secret[48], parent[48], target[200];

	log_in(f, XN_ROLE_VM_OPERATOR, secret);
	give_task(f, secret, parent);
	snprintf(target, sizeof(target), "/tasked?session_id=%s&subtask_of=%s", secret, parent);
	expect(f, target, "", "HTTP/1.1 200 ", "alice");
	assert_string_equal(end_of(f, f->task), "success");
	assert_string_equal(xn_row_string(xn_db_get(f->db, XN_CLASS_task, f->task),
					  XN_task_subtask_of),
			    parent);
}

static void a_request_ends_the_task_that_it_names(void **state)
{
	struct fixture *f = *state;
	char secret[48], task[48], target[200];

	log_in(f, XN_ROLE_VM_OPERATOR, secret);
	give_task(f, secret, task);
	snprintf(target, sizeof(target), "/tasked?session_id=%s&task_id=%s", secret, task);
	expect(f, target, "", "HTTP/1.1 200 ", "alice");
	assert_string_equal(f->task, task);
	assert_string_equal(end_of(f, task), "success");
	expect(f, target, "", "HTTP/1.1 400 ", "OPERATION_NOT_ALLOWED"); /* it is over */
}

static void a_stranger_does_not_fail_the_task_of_a_request_under_way(void **state)
{
	struct fixture *f = *state;
	char secret[48], task[48], target[200];
	int fd = connect_tcp(f);

	log_in(f, XN_ROLE_VM_OPERATOR, secret);
	give_task(f, secret, task);
	dprintf(fd, "GET /slow?session_id=%s&task_id=%s HTTP/1.1\r\nHost: h\r\n\r\n", secret, task);
	TURN_UNTIL(f->core.loop, f->visit);
	snprintf(target, sizeof(target), "/tasked?task_id=%s", task);
	expect(f, target, "", "HTTP/1.1 401 ", "");
	xn_http_reply(f->conn, 200, "text/plain", NULL, "", 0);
	xn_rpc_leave(f->visit, NULL);
	assert_string_equal(end_of(f, task), "success");
	close(fd);
}

static void a_refused_request_fails_the_task_that_it_names(void **state)
{
	struct fixture *f = *state;
	char secret[48], task[48], target[200];

	log_in(f, XN_ROLE_VM_OPERATOR, secret);
	give_task(f, secret, task);
	snprintf(target, sizeof(target), "/report?session_id=%s&task_id=%s", secret, task);
	expect(f, target, "", "HTTP/1.1 403 ", "");
	assert_string_equal(end_of(f, task), "failure");
}

static void a_stranger_fails_no_task(void **state)
{
	struct fixture *f = *state;
	char secret[48], task[48], target[200];

	log_in(f, XN_ROLE_VM_OPERATOR, secret);
	give_task(f, secret, task);
	snprintf(target, sizeof(target), "/tasked?task_id=%s", task);
	expect(f, target, "", "HTTP/1.1 401 ", "");
	snprintf(target, sizeof(target), "/tasked?session_id=OpaqueRef:wrong&task_id=%s", task);
	expect(f, target, "", "HTTP/1.1 401 ", "");
	/* An end would be shown by now, as this one is. */
	snprintf(target, sizeof(target), "/tasked?session_id=%s&task_id=%s", secret, task);
	expect(f, target, "", "HTTP/1.1 200 ", "alice");
	assert_string_equal(end_of(f, task), "success");
}

static void nobody_ends_the_task_of_somebody_else(void **state)
{
	struct fixture *f = *state;
	char secret[48], root[48], task[48], target[200];

	log_in(f, XN_ROLE_VM_OPERATOR, secret);
	xn_auth_login_as(xn_module_state(&f->core, "auth"), "root", XN_ROLE_POOL_ADMIN, true, "",
			 root);
	give_task(f, root, task);
	snprintf(target, sizeof(target), "/tasked?session_id=%s&task_id=%s", secret, task);
	expect(f, target, "", "HTTP/1.1 403 ", "");
	snprintf(target, sizeof(target), "/report?session_id=%s&task_id=%s", secret, task);
	expect(f, target, "", "HTTP/1.1 403 ", "");
	assert_true(xn_task_is_clients(xn_tasks_of(&f->core), task));
}

/* ---- the audit log ---- */

/* As a call's end: the next turn writes what is there. */
static void written(struct fixture *f)
{
	TURN_UNTIL(f->core.loop, xn_audit_is_written(audit_of(f), audit_of(f)->last));
}

static void assert_lines(struct fixture *f, unsigned n, const char *part)
{
	unsigned found = 0;

	written(f);
	for (const char *at = lines_of(f); (at = strstr(at, part)); at++)
		found++;
	if (found != n)
		fail_msg("%u times %s in\n%s", found, part, xn_buf_cstr(&f->lines));
}

static void a_change_has_a_line_before_it_begins_and_one_at_its_end_with_its_object(void **state)
{
	struct fixture *f = *state;
	char secret[48], about[48], target[200];
	char *object XN_CLEANUP(xn_free_p) = NULL;

	log_in(f, XN_ROLE_VM_OPERATOR, secret);
	give_task(f, secret, about);
	snprintf(target, sizeof(target), "/change?session_id=%s&about=%s", secret, about);
	expect(f, target, "", "HTTP/1.1 200 ", "alice"); /* see run_change() */
	object = xn_asprintf("\"objects\":[{\"class\":\"task\",\"ref\":\"%s\"", about);
	assert_lines(f, 2, "http/put_change");
	assert_lines(f, 2, object);
	assert_lines(f, 2, f->task);
	assert_lines(f, 1, "\"result\":\"Success\",\"task\":");
	assert_string_equal(end_of(f, f->task), "success");
}

static void a_request_that_fails_says_how(void **state)
{
	struct fixture *f = *state;
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	char secret[48];
	int fd = connect_tcp(f);

	log_in(f, XN_ROLE_VM_OPERATOR, secret);
	dprintf(fd, "GET /slow?session_id=%s HTTP/1.1\r\nHost: h\r\n\r\n", secret);
	TURN_UNTIL(f->core.loop, f->visit);
	assert_lines(f, 1, "http/get_slow");
	xn_error_set(&err, XN_ERR_VDI_READONLY, "OpaqueRef:x");
	xn_http_reply(f->conn, 409, "text/plain", NULL, "", 0);
	xn_rpc_leave(f->visit, &err);
	xn_loop_turn(f->core.loop, 0);
	assert_lines(f, 2, "http/get_slow");
	assert_lines(f, 1, "\"result\":\"VDI_READONLY\"");
	close(fd);
}

static void a_login_for_one_request_has_a_line(void **state)
{
	struct fixture *f = *state;
	char *session XN_CLEANUP(xn_free_p) = NULL;

	expect(f, "/report", "Authorization: Basic cm9vdDpzZWNyZXQ=\r\nUser-Agent: a program\r\n",
	       "HTTP/1.1 200 ", "root");
	session = xn_asprintf("\"method\":\"session.login_with_password\",\"session\":\"%s\","
			      "\"user\":\"root\"",
			      f->seen);
	assert_lines(f, 1, session);
	assert_lines(f, 1, "\"agent\":\"a program\"");
}

static void while_no_line_can_be_written_no_change_begins(void **state)
{
	struct fixture *f = *state;
	struct xn_audit *audit = audit_of(f);
	int file;
	char secret[48], target[200];

	log_in(f, XN_ROLE_VM_OPERATOR, secret);
	written(f);
	snprintf(target, sizeof(target), "/change?session_id=%s", secret);
	file = audit->writer.fd;
	audit->writer.fd = open("/dev/null", O_RDONLY);
	for (int i = 0; i < 2; i++) /* found out by the first, known to the second */
		expect(f, target, "", "HTTP/1.1 503 ", "INTERNAL_ERROR: the audit log refuses lines");
	assert_string_equal(f->seen, "");
	snprintf(target, sizeof(target), "/tasked?session_id=%s", secret);
	expect(f, target, "", "HTTP/1.1 200 ", "alice"); /* that is none */
	close(audit->writer.fd);
	audit->writer.fd = file;
	assert_lines(f, 2, "http/put_change");
	assert_lines(f, 1, "\"result\":\"INTERNAL_ERROR\"");
}

/* As after a write that failed: no line is written until pass_lines(). */
static void hold_lines(struct fixture *f)
{
	audit_of(f)->batch_pending = true;
	xn_timer_arm(f->core.loop, &audit_of(f)->retry, 3600 * INT64_C(1000000), NULL);
}

static void pass_lines(struct fixture *f)
{
	xn_timer_cancel(&audit_of(f)->retry);
	audit_of(f)->batch_pending = false;
	audit_submit(audit_of(f));
}

/* Sends a change whose line is not written yet; its connection. */
static int given_waiting_change(struct fixture *f, char task[48])
{
	char secret[48];
	int fd = connect_tcp(f);

	log_in(f, XN_ROLE_VM_OPERATOR, secret);
	give_task(f, secret, task);
	written(f);
	hold_lines(f);
	dprintf(fd, "GET /change?session_id=%s&task_id=%s HTTP/1.1\r\nHost: h\r\n\r\n", secret, task);
	TURN_UNTIL(f->core.loop, !xn_list_empty(&audit_of(f)->waits));
	assert_string_equal(f->seen, "");
	return fd;
}

static void whoever_hangs_up_before_the_line_is_written_changes_nothing(void **state)
{
	struct fixture *f = *state;
	static const struct linger at_once = {.l_onoff = 1};
	char task[48];
	int fd = given_waiting_change(f, task);

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
	close(fd);
	assert_string_equal(end_of(f, task), "failure");
	pass_lines(f);
	assert_lines(f, 2, "http/put_change");
	assert_lines(f, 1, "\"result\":\"CLIENT_ERROR\"");
	assert_string_equal(f->seen, "");
}

static void a_change_that_waits_does_not_run_once_its_handler_is_gone(void **state)
{
	struct fixture *f = *state;
	char task[48];
	int fd = given_waiting_change(f, task);

	xn_rpc_remove_routes(&f->core, f);
	assert_string_equal(end_of(f, task), "failure");
	pass_lines(f);
	written(f);
	assert_string_equal(f->seen, "");
	close(fd);
}

static void requests_leave_logins_the_room_for_lines(void **state)
{
	static const struct xn_audit_entry entry = {.event = XN_AUDIT_CALL, .method = "VM.start"};
	struct fixture *f = *state;
	struct xn_audit *audit = audit_of(f);
	char secret[48], target[200];

	log_in(f, XN_ROLE_POOL_OPERATOR, secret);
	written(f);
	hold_lines(f);
	while (xn_audit_has_room(audit, XN_AUDIT_WORK) == 0)
		xn_audit_add(audit, &entry);
	snprintf(target, sizeof(target), "/report?session_id=%s", secret);
	expect(f, target, "", "HTTP/1.1 503 ", "INTERNAL_ERROR: the audit log refuses lines");
	assert_string_equal(f->seen, "");
	assert_int_equal(xn_audit_has_room(audit, XN_AUDIT_LOGINS), 0);
	pass_lines(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(nobody_gets_in_without_a_login),
		TEST(the_trusted_socket_is_root),
		TEST(a_session_opens_by_cookie_first_then_by_query),
		TEST(a_lesser_role_is_told_403),
		TEST(a_name_and_password_open_a_session_for_one_request),
		TEST(a_wrong_password_or_scheme_does_not),
		TEST(whoever_hangs_up_before_the_password_is_checked_leaves_nothing),
		TEST(a_request_gets_a_task_of_its_own),
		TEST(a_request_ends_the_task_that_it_names),
		TEST(a_stranger_does_not_fail_the_task_of_a_request_under_way),
		TEST(a_refused_request_fails_the_task_that_it_names),
		TEST(a_stranger_fails_no_task),
		TEST(nobody_ends_the_task_of_somebody_else),
		TEST(a_change_has_a_line_before_it_begins_and_one_at_its_end_with_its_object),
		TEST(a_request_that_fails_says_how),
		TEST(a_login_for_one_request_has_a_line),
		TEST(while_no_line_can_be_written_no_change_begins),
		TEST(whoever_hangs_up_before_the_line_is_written_changes_nothing),
		TEST(a_change_that_waits_does_not_run_once_its_handler_is_gone),
		TEST(requests_leave_logins_the_room_for_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
