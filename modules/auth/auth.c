/* The module auth: see auth.h. */
#include "modules/auth/auth_internal.h"

#include <stdlib.h>

static int auth_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_auth *auth = xn_calloc(1, sizeof(*auth));
	const char *path = core->config ? xn_config_string(core->config, "password-file") : NULL;

	auth->core = core;
	auth->password_file.path = path ? xn_strdup(path) : NULL;
	xn_list_init(&auth->local);
	xn_list_init(&auth->claims);
	*state_out = auth;
	return 0;
}

static int auth_start(void *state, struct xn_error *err)
{
	struct xn_auth *auth = state;

	auth->db = xn_db_of(auth->core);
	auth_roles_create(auth);
	auth_gc_start(auth);
	auth_password_announce(auth);
	return 0;
}

static void auth_stop(void *state)
{
	struct xn_auth *auth = state;

	xn_timer_cancel(&auth->gc_timer);
	xn_job_cancel(&auth->gc_job);
	while (!xn_list_empty(&auth->claims))
		auth_claim_drop(xn_list_entry(auth->claims.next, struct auth_claim, link));
	auth_sessions_clear(auth);
	auth_password_clear(auth);
	free(auth);
}

static const char *const auth_needs[] = {"db", NULL};
static const enum xn_event_id auth_publishes[] = {XN_EVENT_session_ended, XN_EVENT_COUNT};

const struct xn_module xn_auth_module = {
	.name = "auth",
	.needs = auth_needs,
	.publishes = auth_publishes,
	.methods = auth_methods,
	.init = auth_init,
	.start = auth_start,
	.stop = auth_stop,
};
