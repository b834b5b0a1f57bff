/*
 * Who sends an HTTP request that is no API call: an export, the audit log, metrics. rpc/ tells what
 * the request shows; nothing here knows HTTP but the header's basic scheme.
 */
#include "modules/auth/auth_internal.h"

#include <stdio.h>
#include <stdlib.h>

static int refuse(struct xn_error *err, const char *user, const char *why)
{
	return xn_error_set(err, XN_ERR_SESSION_AUTHENTICATION_FAILED, user, why);
}

/* Sessions of this host alone have no row, and open no handler. */
static int admit_session(struct xn_auth_visit *visit, const char *secret, struct xn_error *err)
{
	if (xn_auth_session(visit->auth, secret, &visit->caller, err) < 0)
		return -1;
	if (!auth_session_by_ref(visit->auth, visit->caller.session)->local)
		return 1;
	return xn_error_set(err, XN_ERR_SESSION_INVALID, secret);
}

static void open_session(struct xn_auth_visit *visit, const struct login *login)
{
	auth_session_begin(visit->auth, login, visit->own_session);
	/* Just made: it is there. */
	(void)!xn_auth_session(visit->auth, visit->own_session, &visit->caller, NULL);
}

static void on_decided(const struct login *login, struct xn_error *err, void *arg)
{
	struct xn_auth_visit *visit = arg;

	visit->claim = NULL;
	if (!xn_error_is_set(err))
		open_session(visit, login);
	visit->decided(visit, xn_error_is_set(err) ? err : NULL);
}

static int begin_basic(struct xn_auth_visit *visit, const struct xn_auth_shown *shown,
		       struct xn_error *err)
{
	struct auth_claim_spec spec = {
		.origin = shown->origin,
		.user_agent = shown->user_agent,
		.decided = on_decided,
		.arg = visit,
	};
	const char *program = shown->user_agent ? shown->user_agent : "a program";
	char *user, *password, *originator;

	if (xn_auth_basic(shown->authorization, &user, &password) < 0)
		return refuse(err, "", "this kind of authorization is not understood");
	spec.originator = originator =
		xn_asprintf("%.*s using Basic auth", (int)xn_text_fit(program, 40), program);
	spec.user = user;
	spec.password = password;
	visit->claim = auth_claim_begin(visit->auth, &spec);
	free(originator);
	free(user);
	xn_auth_wipe(password);
	return 0;
}

int xn_auth_admit(struct xn_auth *auth, struct xn_auth_visit *visit,
		  const struct xn_auth_shown *shown,
		  void (*decided)(struct xn_auth_visit *visit, const struct xn_error *err),
		  struct xn_error *err)
{
	const char *secret = shown->session_cookie ? shown->session_cookie : shown->session_query;

	*visit = (struct xn_auth_visit){.auth = auth, .decided = decided};
	snprintf(visit->caller.origin, sizeof(visit->caller.origin), "%s", shown->origin);
	if (shown->is_trusted_socket) {
		snprintf(visit->caller.user, sizeof(visit->caller.user), "root");
		visit->caller.role = XN_ROLE_POOL_ADMIN;
		visit->caller.is_superuser = visit->caller.is_trusted_socket = true;
		return 1;
	}
	if (secret)
		return admit_session(visit, secret, err);
	if (shown->authorization)
		return begin_basic(visit, shown, err);
	return refuse(err, "", "this needs a login");
}

void xn_auth_leave(struct xn_auth_visit *visit)
{
	if (!visit->auth)
		return;
	auth_claim_drop(visit->claim);
	if (visit->own_session[0])
		auth_session_end(visit->auth, visit->caller.session);
	explicit_bzero(visit->own_session, sizeof(visit->own_session));
	visit->auth = NULL;
}
