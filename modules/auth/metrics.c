/* Numbers about logins and sessions, for core/metrics.h. */
#include "modules/auth/auth_internal.h"

static void write_logins(const struct xn_auth *auth, struct xn_metrics_page *page)
{
	const struct auth_counters *c = &auth->counters;

	xn_metrics_family(page, XN_METRIC_COUNTER, "xenolith_logins", "",
			  "Logins since the start, by how they ended.");
	xn_metrics_int(page, (int64_t)c->logins, "result", "ok");
	xn_metrics_int(page, (int64_t)c->logins_trusted, "result", "trusted_socket");
	xn_metrics_int(page, (int64_t)c->failed, "result", "failed");
	xn_metrics_int(page, (int64_t)c->put_off, "result", "put_off");
	xn_metrics_int(page, (int64_t)c->too_many, "result", "too_many");
	xn_metrics_int(page, (int64_t)c->denied, "result", "no_role");
	xn_metrics_gauge(page, "xenolith_logins_checked", "",
			 "Logins that are being checked or wait for that.", auth->n_claims);
	xn_metrics_gauge(page, "xenolith_login_backoff_entries", "",
			 "Accounts and addresses with failed logins.", auth_failures_count(auth));
}

static void write_pam(const struct xn_auth *auth, struct xn_metrics_page *page)
{
	const struct auth_counters *c = &auth->counters;
	struct pam_numbers pam;

	auth_pam_numbers(auth, &pam);
	xn_metrics_gauge(page, "xenolith_pam_running", "", "Processes that ask PAM.", pam.running);
	xn_metrics_gauge(page, "xenolith_pam_waiting", "", "Questions that wait for one of them.",
			 pam.waiting);
	xn_metrics_counter(page, "xenolith_pam_questions", "", "Questions to PAM since the start.",
			   c->pam_runs);
	xn_metrics_family(page, XN_METRIC_COUNTER, "xenolith_pam_unanswered", "",
			  "Questions that PAM gave no answer to.");
	xn_metrics_int(page, (int64_t)c->pam_timeouts, "reason", "timeout");
	xn_metrics_int(page, (int64_t)c->pam_broken, "reason", "broken");
}

static void write_sessions(const struct xn_auth *auth, struct xn_metrics_page *page)
{
	xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_sessions", "", "Sessions that are open.");
	xn_metrics_int(page, (int64_t)auth_sessions_count(auth), "kind", "ordinary");
	xn_metrics_int(page, auth->n_local, "kind", "local");
	xn_metrics_counter(page, "xenolith_sessions_collected", "",
			   "Sessions ended for their age or number.", auth->counters.collected);
}

size_t auth_metrics_write(struct xn_metrics_source *source, struct xn_metrics_page *page,
			  size_t from)
{
	const struct xn_auth *auth = xn_container_of(source, struct xn_auth, metrics);

	write_logins(auth, page);
	write_pam(auth, page);
	write_sessions(auth, page);
	return 0;
}
