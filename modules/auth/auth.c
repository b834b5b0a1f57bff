/* The module auth: see auth.h. */
#include "modules/auth/auth_internal.h"

#include <stdlib.h>

enum { WORKERS = 2 }; /* for the password file */

static int add_methods(struct xn_auth *auth, struct xn_error *err)
{
	static const struct xn_method_impl *const more[] = {auth_subject_methods, auth_role_methods};

	for (size_t i = 0; i < XN_ARRAY_SIZE(more); i++)
		for (const struct xn_method_impl *impl = more[i]; impl->name; impl++)
			if (xn_methods_add(auth->core->methods, impl, auth, err) < 0)
				return -1;
	return 0;
}

static void on_db_failed(const struct xn_ev_db_failed *ev, void *arg)
{
	if (!ev->error) /* it works again */
		auth_sessions_catch_up(arg);
}

static int auth_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_auth *auth = xn_calloc(1, sizeof(*auth));

	auth->core = core;
	xn_list_init(&auth->local);
	xn_list_init(&auth->late);
	xn_list_init(&auth->claims);
	if (add_methods(auth, err) < 0) {
		free(auth);
		return -1;
	}
	auth->metrics.write = auth_metrics_write;
	xn_metrics_add(core->metrics, &auth->metrics);
	*state_out = auth;
	return 0;
}

static int auth_start(void *state, struct xn_error *err)
{
	struct xn_auth *auth = state;
	struct xn_config *config = auth->core->config;
	const char *path = xn_config_string(config, "password-file");

	auth->db = xn_db_of(auth->core);
	auth->password_path = path ? xn_strdup(path) : NULL;
	auth->max_claims = (unsigned)xn_config_int(config, "login-queue");
	auth->workers = xn_pool_new(auth->core->loop, "auth", WORKERS);
	auth_failures_start(auth);
	auth_report_start(auth);
	auth_gc_read_limits(auth);
	if (auth_pam_start(auth, err) < 0)
		return -1;
	auth_roles_create(auth);
	auth->on_db_failed = xn_subscribe_db_failed(auth->core->bus, "auth", on_db_failed, auth);
	auth_gc_start(auth);
	auth_password_announce(auth);
	return 0;
}

static void auth_stop(void *state)
{
	struct xn_auth *auth = state;

	xn_bus_unsubscribe(auth->on_db_failed);
	xn_db_wait_cancel(&auth->rows_made);
	xn_metrics_remove(&auth->metrics);
	xn_timer_cancel(&auth->gc_timer);
	xn_job_cancel(&auth->gc_job);
	auth_claims_end(auth);
	auth_pam_stop(auth);
	xn_pool_free(auth->workers);
	auth_failures_stop(auth);
	auth_report_stop(auth);
	auth_sessions_clear(auth);
	auth_permissions_clear(auth);
	free(auth->password_path);
	free(auth);
}

static const char *const auth_needs[] = {"db", NULL};
static const enum xn_event_id auth_publishes[] = {XN_EVENT_session_ended, XN_EVENT_logins_failed,
						  XN_EVENT_COUNT};

const struct xn_module xn_auth_module = {
	.name = "auth",
	.needs = auth_needs,
	.publishes = auth_publishes,
	.methods = auth_methods,
	.init = auth_init,
	.start = auth_start,
	.stop = auth_stop,
};
