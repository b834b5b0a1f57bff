/* Automatic messages through dispatch, with the real database: roles, keys, references, sessions.
 */
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

#include "modules/audit/audit.h"
#include "modules/auth/auth.h"
#include "modules/db/db.h"
#include "modules/operation/operation.h"
#include "modules/records/records.h"
#include "modules/task/task.h"
#include "rpc/rpc.h"

struct fixture {
	char dir[40];
	struct xn_core core;
	struct xn_db *db;
	struct xn_job job; /* sends .request from inside a turn, as a connection would */
	char *request;
	struct xn_buf reply;
	bool replied;
};

static void start(struct fixture *f)
{
	static const struct xn_module *const modules[] = {
		&xn_audit_module, &xn_auth_module, &xn_db_module,   &xn_records_module,
		&xn_operation_module, &xn_rpc_module, &xn_task_module, NULL,
	};
	struct xn_config *config = xn_config_new();
	struct xn_error err = {0};

	xn_config_decide(config, "state-dir", f->dir);
	xn_core_init(&f->core, xn_loop_new(), xn_log_new(XN_LOG_ERROR, false, 2), config);
	if (!xn_modules_start(&f->core, modules, &err))
		fail_msg("%s %s", err.code, err.n_params ? err.params[0] : "");
	f->db = xn_db_of(&f->core);
}

static int setup(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/xn-test-records-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	start(f);
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

	xn_modules_stop(f->core.modules);
	xn_core_clear(&f->core);
	xn_config_free(config);
	xn_log_free(log);
	xn_loop_free(loop);
	rc = system(command);
	free(command);
	xn_buf_clear(&f->reply);
	free(f);
	return rc;
}

/* ---- calls ---- */

static const char *login(struct fixture *f, enum xn_role role, char secret[48])
{
	xn_auth_login_as(xn_module_state(&f->core, "auth"), "somebody", role, false, "test",
			 secret);
	return secret;
}

static void on_reply(const char *body, size_t len, void *arg)
{
	struct fixture *f = arg;

	f->reply.len = 0;
	xn_buf_add(&f->reply, body, len);
	f->replied = true;
}

static void send_request(struct xn_job *job)
{
	struct fixture *f = xn_container_of(job, struct fixture, job);
	const struct xn_caller from = {.origin = "test"};

	xn_rpc_call(xn_module_state(&f->core, "rpc"), f->request, strlen(f->request), &from,
		    on_reply, f);
}

/* @args: what follows the session, as JSON. */
static void begin_call(struct fixture *f, const char *secret, const char *method, const char *args)
{
	f->request = xn_asprintf(
		"{\"jsonrpc\":\"2.0\",\"method\":\"%s\",\"params\":[\"%s\"%s%s],\"id\":1}", method,
		secret, *args ? "," : "", args);
	f->replied = false;
	xn_loop_defer(f->core.loop, &f->job, XN_PRIO_REPLY, send_request);
}

/* The whole JSON reply. */
static const char *call(struct fixture *f, const char *secret, const char *method, const char *args)
{
	begin_call(f, secret, method, args);
	while (!f->replied)
		xn_loop_turn(f->core.loop, -1);
	free(f->request);
	return xn_buf_cstr(&f->reply);
}

static void assert_has(const char *reply, const char *part)
{
	if (!strstr(reply, part))
		fail_msg("%s is not in %s", part, reply);
}

static char *a_network(struct fixture *f, char quoted[64])
{
	struct xn_value *fields = xn_map_new();

	snprintf(quoted, 64, "\"%s\"",
		 xn_row_ref(xn_db_create(f->db, XN_CLASS_network, NULL, fields)));
	xn_value_unref(fields);
	return quoted;
}

static const char *call_about(struct fixture *f, const char *secret, const char *method,
			      const char *self, const char *more)
{
	char *args = xn_asprintf("%s%s%s", self, *more ? "," : "", more);
	const char *reply = call(f, secret, method, args);

	free(args);
	return reply;
}

/* ---- tests ---- */

static void a_key_may_need_a_lesser_role_than_its_map(void **state)
{
	struct fixture *f = *state;
	char secret[48], network[64];

	login(f, XN_ROLE_VM_OPERATOR, secret);
	a_network(f, network);
	assert_has(
		call_about(f, secret, "network.add_to_other_config", network, "\"folder\",\"/a\""),
		"\"result\":\"\"");
	assert_has(call_about(f, secret, "network.add_to_other_config", network,
			      "\"XenCenter.CustomFields.x\",\"1\""),
		   "\"result\":\"\"");
	assert_has(call_about(f, secret, "network.add_to_other_config", network, "\"k\",\"v\""),
		   "RBAC_PERMISSION_DENIED");
	assert_has(call_about(f, secret, "network.remove_from_other_config", network, "\"k\""),
		   "RBAC_PERMISSION_DENIED");
	assert_has(call_about(f, secret, "network.remove_from_other_config", network, "\"folder\""),
		   "\"result\":\"\"");
}

static void a_whole_map_needs_the_role_of_the_map(void **state)
{
	struct fixture *f = *state;
	char secret[48], network[64];

	a_network(f, network);
	login(f, XN_ROLE_VM_OPERATOR, secret);
	assert_has(call_about(f, secret, "network.set_other_config", network, "{\"folder\":\"/\"}"),
		   "RBAC_PERMISSION_DENIED");
	login(f, XN_ROLE_POOL_OPERATOR, secret);
	assert_has(call_about(f, secret, "network.set_other_config", network, "{\"k\":\"v\"}"),
		   "\"result\":\"\"");
}

static void readers_may_read_and_not_write(void **state)
{
	struct fixture *f = *state;
	char secret[48], network[64];

	login(f, XN_ROLE_READ_ONLY, secret);
	a_network(f, network);
	assert_has(call_about(f, secret, "network.get_record", network, ""), "\"result\":{");
	assert_has(call_about(f, secret, "network.set_name_label", network, "\"x\""),
		   "RBAC_PERMISSION_DENIED");
	assert_has(call_about(f, secret, "network.destroy", network, ""), "RBAC_PERMISSION_DENIED");
}

static void secrets_are_shown_to_operators_only(void **state)
{
	static const char *const methods[] = {
		"secret.get_record",
		"secret.get_value",
		"secret.get_uuid",
	};
	struct fixture *f = *state;
	struct xn_value *fields = xn_map_new();
	char reader[48], operator[48], self[64];

	xn_map_put_string(&fields, "value", "hush");
	snprintf(self, sizeof(self), "\"%s\"",
		 xn_row_ref(xn_db_create(f->db, XN_CLASS_secret, NULL, fields)));
	xn_value_unref(fields);
	login(f, XN_ROLE_VM_POWER_ADMIN, reader);
	login(f, XN_ROLE_POOL_OPERATOR, operator);
	for (size_t i = 0; i < XN_ARRAY_SIZE(methods); i++) {
		assert_has(call_about(f, reader, methods[i], self, ""), "RBAC_PERMISSION_DENIED");
		assert_has(call_about(f, operator, methods[i], self, ""), "\"result\":");
	}
	assert_has(call(f, reader, "secret.get_all_records", ""), "RBAC_PERMISSION_DENIED");
	assert_has(call(f, reader, "secret.get_all_where", "\"field 'value' = 'hush'\""),
		   "RBAC_PERMISSION_DENIED");
	assert_has(call(f, operator, "secret.get_all_records", ""), "hush");
}

static void a_session_is_named_by_its_secret_and_shown_without_it(void **state)
{
	struct fixture *f = *state;
	char secret[48], self[64];
	const char *reply;

	login(f, XN_ROLE_POOL_ADMIN, secret);
	snprintf(self, sizeof(self), "\"%s\"", secret);
	assert_has(call_about(f, secret, "session.get_auth_user_name", self, ""), "somebody");
	assert_has(call_about(f, secret, "session.add_to_other_config", self, "\"k\",\"v\""),
		   "\"result\":\"\"");
	reply = call_about(f, secret, "session.get_record", self, "");
	assert_has(reply, "\"other_config\":{\"k\":\"v\"}");
	assert_null(strstr(reply, secret));
}

static void the_null_reference_may_be_written_as_nothing(void **state)
{
	struct fixture *f = *state;
	struct xn_value *fields = xn_map_new();
	struct xn_row *pool = xn_db_create(f->db, XN_CLASS_pool, NULL, fields);
	char secret[48], self[64];

	xn_value_unref(fields);
	login(f, XN_ROLE_POOL_ADMIN, secret);
	snprintf(self, sizeof(self), "\"%s\"", xn_row_ref(pool));
	assert_has(call_about(f, secret, "pool.set_default_SR", self, "\"\""), "\"result\":\"\"");
	assert_string_equal(xn_row_string(pool, XN_pool_default_SR), XN_NULL_REF);
	assert_has(call_about(f, secret, "pool.set_default_SR", self, self),
		   "\"message\":\"HANDLE_INVALID\",\"data\":[\"SR\",");
}

static void a_dead_row_is_refused(void **state)
{
	struct fixture *f = *state;
	char secret[48], network[64], ref[48];

	login(f, XN_ROLE_POOL_ADMIN, secret);
	a_network(f, network);
	snprintf(ref, sizeof(ref), "%.*s", (int)strlen(network) - 2, network + 1);
	xn_db_delete(f->db, xn_db_get(f->db, XN_CLASS_network, ref));
	assert_has(call_about(f, secret, "network.get_record", network, ""),
		   "\"message\":\"HANDLE_INVALID\",\"data\":[\"network\",");
}

/* 500 comparisons for each of 2,000 rows are a million: many turns, and the same answer. */
static void a_long_expression_over_many_rows_gives_other_calls_their_turn(void **state)
{
	struct fixture *f = *state;
	struct xn_buf expr XN_CLEANUP(xn_buf_clear_p) = {0};
	char secret[48], network[64];
	struct xn_row *last;
	unsigned turns = 0;

	login(f, XN_ROLE_READ_ONLY, secret);
	for (int i = 0; i < 2000; i++)
		a_network(f, network);
	xn_buf_add_string(&expr, "\"");
	for (int i = 0; i < 499; i++)
		xn_buf_printf(&expr, "field 'name_label' = 'x%d' or ", i);
	network[47] = '\0'; /* without its quotes */
	last = xn_db_get(f->db, XN_CLASS_network, network + 1);
	xn_buf_printf(&expr, "field 'uuid' = '%s'\"", xn_row_uuid(last));
	begin_call(f, secret, "network.get_all_where", xn_buf_cstr(&expr));
	for (; !f->replied; turns++)
		xn_loop_turn(f->core.loop, 0);
	free(f->request);
	assert_true(turns > 1);
	expr.len = 0;
	xn_buf_printf(&expr, "\"result\":[\"%s\"]", xn_row_ref(last));
	assert_has(xn_buf_cstr(&f->reply), xn_buf_cstr(&expr));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_key_may_need_a_lesser_role_than_its_map, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_whole_map_needs_the_role_of_the_map, setup,
						teardown),
		cmocka_unit_test_setup_teardown(readers_may_read_and_not_write, setup, teardown),
		cmocka_unit_test_setup_teardown(secrets_are_shown_to_operators_only, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			a_session_is_named_by_its_secret_and_shown_without_it, setup, teardown),
		cmocka_unit_test_setup_teardown(the_null_reference_may_be_written_as_nothing, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_dead_row_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_long_expression_over_many_rows_gives_other_calls_their_turn, setup,
			teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
