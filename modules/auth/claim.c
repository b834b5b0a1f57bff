/*
 * A claim: somebody says a name and a password. Asks the password file or PAM whether that is right,
 * and the configuration or a subject's row what it gives. Used by logins (session_api.c), by
 * requests of HTTP handlers (visit.c) and where an old password is asked for.
 */
#include "modules/auth/auth_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* A refusal by PAM comes no sooner than this, whatever its modules did for this name: the time an
 * answer takes must not tell which accounts there are. Nothing but the claim waits meanwhile. */
enum { PAM_REFUSAL_US = 1000000 };

struct auth_claim {
	struct xn_auth *auth;
	struct xn_list link; /* xn_auth.claims */
	struct auth_claim_spec spec; /* strings are the claim's */
	struct login login;
	struct xn_error err;
	struct xn_job tell;
	struct xn_timer tell_later;
	struct password_check *check;
	struct pam_ask *ask;
	int64_t began_us;
	char address[AUTH_ADDRESS_MAX];
	bool asks_pam;
};

const char auth_wrong_password[] = "wrong user name or password";

static void claim_free(struct auth_claim *claim)
{
	xn_job_cancel(&claim->tell);
	xn_timer_cancel(&claim->tell_later);
	auth_password_check_drop(claim->check);
	auth_pam_drop(claim->ask);
	xn_list_remove(&claim->link);
	claim->auth->n_claims--;
	free((char *)claim->spec.user);
	xn_auth_wipe((char *)claim->spec.password);
	free((char *)claim->spec.origin);
	free((char *)claim->spec.originator);
	free((char *)claim->spec.user_agent);
	free((char *)claim->login.user);
	xn_error_clear(&claim->err);
	free(claim);
}

void auth_claim_drop(struct auth_claim *claim)
{
	if (claim)
		claim_free(claim);
}

/* ---- the end ---- */

static void tell(struct auth_claim *claim)
{
	void (*decided)(const struct login *login, struct xn_error *err, void *arg) =
		claim->spec.decided;
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};

	xn_error_move(&err, &claim->err);
	decided(&claim->login, &err, claim->spec.arg);
	claim_free(claim);
}

static void on_tell(struct xn_job *job)
{
	tell(xn_container_of(job, struct auth_claim, tell));
}

static void on_tell_later(struct xn_timer *timer)
{
	tell(xn_container_of(timer, struct auth_claim, tell_later));
}

static void refuse(struct auth_claim *claim, const char *why)
{
	xn_error_set(&claim->err, XN_ERR_SESSION_AUTHENTICATION_FAILED, claim->spec.user, why);
}

/* Guesses that were sent at the same time do not all count as the first: one that is right behind
 * many that were wrong is put off like the next one would be. */
static bool is_put_off(const struct auth_claim *claim)
{
	return auth_failures_wait_us(claim->auth, claim->spec.user, claim->spec.origin) > 0;
}

static void forgive(const struct auth_claim *claim)
{
	auth_failures_forgive(claim->auth, claim->spec.user, claim->spec.origin);
}

static void fail(struct auth_claim *claim, const char *why)
{
	claim->auth->counters.failed++;
	xn_log_info(claim->auth->core->log, "auth", "failed login from %s", claim->spec.origin);
	auth_failures_add(claim->auth, claim->spec.user, claim->spec.origin);
	auth_report_add(claim->auth, &claim->spec);
	refuse(claim, why);
}

void auth_claims_end(struct xn_auth *auth)
{
	while (!xn_list_empty(&auth->claims)) {
		struct auth_claim *claim =
			xn_list_entry(auth->claims.next, struct auth_claim, link);

		if (!xn_error_is_set(&claim->err))
			refuse(claim, "the server stops");
		tell(claim);
	}
}

/* ---- the password file ---- */

static void give_everything(struct auth_claim *claim)
{
	claim->login.role = XN_ROLE_POOL_ADMIN;
	claim->login.superuser = true;
}

static bool is_root(const struct auth_claim *claim)
{
	return strcmp(claim->spec.user, "root") == 0;
}

static void on_file_checked(int rc, void *arg)
{
	struct auth_claim *claim = arg;

	claim->check = NULL;
	if (rc == 0 && is_root(claim) && is_put_off(claim)) {
		refuse(claim, auth_wrong_password);
	} else if (rc == 0 && is_root(claim)) {
		give_everything(claim);
		forgive(claim);
	} else if (rc == 0 || rc == -EACCES) {
		fail(claim, auth_wrong_password);
	} else {
		xn_log_warn(claim->auth->core->log, "auth",
			    "login refused: password file %s: %s", claim->auth->password_path,
			    strerror(-rc));
		refuse(claim, "no password is set up for this server");
	}
	tell(claim);
}

/* ---- PAM ---- */

static void take_account(struct auth_claim *claim, const struct pam_answer *answer)
{
	struct xn_auth *auth = claim->auth;

	free((char *)claim->login.user);
	claim->login.user = claim->login.sid = xn_strdup(answer->user);
	if (auth_pam_is_superuser(auth->pam, answer->user, answer->groups, answer->n_groups))
		give_everything(claim);
	else if (auth_subject_login(auth, answer, &claim->login, &claim->err) < 0)
		auth->counters.denied++;
	if (!xn_error_is_set(&claim->err))
		forgive(claim);
}

static void on_pam_answered(const struct pam_answer *answer, void *arg)
{
	struct auth_claim *claim = arg;
	struct xn_loop *loop = claim->auth->core->loop;
	int64_t left_us = claim->began_us + PAM_REFUSAL_US - xn_now_us(loop);
	bool is_right = answer->verdict == PAM_RIGHT || answer->verdict == PAM_REFUSED;

	claim->ask = NULL;
	if (is_right && !is_put_off(claim)) {
		if (answer->verdict == PAM_RIGHT)
			take_account(claim, answer);
		else
			refuse(claim, answer->text);
		tell(claim);
		return;
	}
	switch (answer->verdict) {
	case PAM_RIGHT:
	case PAM_REFUSED: /* looks like a wrong one, whatever the account may do */
		refuse(claim, auth_wrong_password);
		break;
	case PAM_WRONG:
		fail(claim, auth_wrong_password);
		break;
	case PAM_BROKEN:
	case PAM_LATE:
		fail(claim, "the password could not be checked");
		break;
	}
	xn_timer_arm(loop, &claim->tell_later, left_us > 0 ? left_us : 0, on_tell_later);
}

/* ---- begin ---- */

/*
 * PAM can be slow, and its claims many, so the file has places that they do not take; and of what is
 * free an address gets half, so that one that fills its part with guesses keeps nobody else out.
 */
static bool has_room(const struct auth_claim *claim)
{
	const struct xn_auth *auth = claim->auth;
	unsigned others = auth->n_claims - 1, own = 0;

	xn_list_each(link, &auth->claims) {
		const struct auth_claim *other = xn_list_entry(link, struct auth_claim, link);

		own += other != claim && strcmp(other->address, claim->address) == 0;
	}
	if (claim->asks_pam)
		return others + own < auth->max_claims - auth->max_claims / 8;
	return others < auth->max_claims;
}

/* False: decided at once. */
static bool may_be_checked(struct auth_claim *claim)
{
	struct xn_auth *auth = claim->auth;
	int64_t wait_us = auth_failures_wait_us(auth, claim->spec.user, claim->spec.origin);
	char text[80];

	if (wait_us > 0) {
		auth->counters.put_off++;
		auth_report_add(auth, &claim->spec);
		snprintf(text, sizeof(text), "too many failed logins; try again in %d seconds",
			 (int)(wait_us / 1000000) + 1);
		refuse(claim, text);
		return false;
	}
	if (!has_room(claim)) {
		auth->counters.too_many++;
		refuse(claim, "too many logins are being checked");
		return false;
	}
	if (strlen(claim->spec.user) > USER_MAX || strlen(claim->spec.password) > PASSWORD_MAX) {
		fail(claim, auth_wrong_password);
		return false;
	}
	if (!auth->password_path && !auth->pam) {
		refuse(claim, "no password is set up for this server");
		return false;
	}
	return true;
}

static void check(struct auth_claim *claim)
{
	struct xn_auth *auth = claim->auth;
	const struct pam_ask_spec spec = {
		.task = PAM_CHECK,
		.user = claim->spec.user,
		.password = claim->spec.password,
		.origin = claim->spec.origin,
		.answered = on_pam_answered,
		.arg = claim,
	};

	if (claim->asks_pam)
		claim->ask = auth_pam_ask(auth, &spec);
	else
		claim->check = auth_password_check(auth, claim->spec.password, on_file_checked,
						   claim);
}

static char *copy(const char *text)
{
	return xn_strdup(text ? text : "");
}

struct auth_claim *auth_claim_begin(struct xn_auth *auth, const struct auth_claim_spec *spec)
{
	struct auth_claim *claim = xn_calloc(1, sizeof(*claim));

	claim->auth = auth;
	claim->spec = *spec;
	claim->spec.user = copy(spec->user);
	claim->spec.password = copy(spec->password);
	claim->spec.origin = copy(spec->origin);
	claim->spec.originator = copy(spec->originator);
	claim->spec.user_agent = copy(spec->user_agent);
	claim->login.user = copy(spec->user);
	claim->login.originator = claim->spec.originator;
	claim->began_us = xn_now_us(auth->core->loop);
	/* The file knows one account. Where there is one it alone decides about it; without PAM all
	 * names take the same way, to the same refusal. */
	claim->asks_pam = auth->pam && !(auth->password_path && is_root(claim));
	auth_failures_address(claim->spec.origin, claim->address);
	xn_list_push(&auth->claims, &claim->link);
	auth->n_claims++;
	if (may_be_checked(claim))
		check(claim);
	else
		xn_loop_defer(auth->core->loop, &claim->tell, XN_PRIO_EVENT, on_tell);
	return claim;
}
