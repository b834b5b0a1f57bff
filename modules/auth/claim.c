/*
 * A claim: somebody says a name and a password. Decides whether that is right and what it gives.
 * Used by logins (session_api.c) and by requests of HTTP handlers (visit.c).
 */
#include "modules/auth/auth_internal.h"

#include <stdlib.h>

static void claim_free(struct auth_claim *claim)
{
	xn_job_cancel(&claim->told);
	xn_list_remove(&claim->link);
	xn_auth_wipe(claim->password);
	xn_error_clear(&claim->err);
	free(claim->user);
	free(claim->origin);
	free(claim);
}

static void on_told(struct xn_job *job)
{
	struct auth_claim *claim = xn_container_of(job, struct auth_claim, told);

	claim->decided(claim, claim->arg);
	claim_free(claim);
}

struct auth_claim *auth_claim_begin(struct xn_auth *auth, const char *user, const char *password,
				    const char *origin,
				    void (*decided)(struct auth_claim *claim, void *arg), void *arg)
{
	struct auth_claim *claim = xn_calloc(1, sizeof(*claim));

	claim->auth = auth;
	claim->user = xn_strdup(user);
	claim->password = xn_strdup(password);
	claim->origin = xn_strdup(origin);
	claim->decided = decided;
	claim->arg = arg;
	claim->login = (struct login){.user = claim->user, .originator = ""};
	xn_list_push(&auth->claims, &claim->link);
	if (auth_password_check(auth, user, password, &claim->err) == 0) {
		claim->login.role = XN_ROLE_POOL_ADMIN;
		claim->login.superuser = true;
	}
	xn_loop_defer(auth->core->loop, &claim->told, XN_PRIO_EVENT, on_told);
	return claim;
}

void auth_claim_drop(struct auth_claim *claim)
{
	if (claim)
		claim_free(claim);
}
