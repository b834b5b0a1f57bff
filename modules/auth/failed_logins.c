/*
 * What people are told about failed logins: once an hour an alert, if there were any, with the clients
 * that failed most. Names appear only of accounts that may log in: people type passwords where the
 * name belongs. modules/message makes the message row.
 */
#include "modules/auth/auth_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { PERIOD_S = 3600, CLIENTS_MAX = 32, TOLD_MAX = 3 };

struct client {
	char user[USER_MAX + 1], originator[64], agent[64], address[64];
	unsigned count;
	int64_t last_s;
};

struct report {
	struct xn_auth *auth;
	struct xn_timer timer;
	unsigned total, n;
	struct client clients[CLIENTS_MAX];
};

bool auth_may_be_named(struct xn_auth *auth, const char *user)
{
	if (strcmp(user, "root") == 0 ||
	    (auth->pam && auth_pam_is_superuser(auth->pam, user, NULL, 0)))
		return true;
	for (struct xn_row *row = xn_db_first(auth->db, XN_CLASS_subject); row;
	     row = xn_db_next(auth->db, row))
		if (strcmp(xn_row_string(row, XN_subject_subject_identifier), user) == 0)
			return true;
	return false;
}

static void describe(const struct auth_claim_spec *claim, struct client *out)
{
	const char *colon = strrchr(claim->origin, ':');
	size_t len = colon ? (size_t)(colon - claim->origin) : strlen(claim->origin);

	*out = (struct client){0};
	xn_text_copy(out->user, sizeof(out->user), claim->user);
	xn_text_copy(out->originator, sizeof(out->originator), claim->originator);
	xn_text_copy(out->agent, sizeof(out->agent), claim->user_agent);
	snprintf(out->address, sizeof(out->address), "%.*s", (int)len, claim->origin);
}

static bool is_same(const struct client *a, const struct client *b)
{
	return strcmp(a->user, b->user) == 0 && strcmp(a->originator, b->originator) == 0 &&
	       strcmp(a->agent, b->agent) == 0 && strcmp(a->address, b->address) == 0;
}

void auth_report_add(struct xn_auth *auth, const struct auth_claim_spec *claim)
{
	struct report *report = auth->report;
	struct client client;
	unsigned i = 0;

	report->total++;
	if (!auth_may_be_named(auth, claim->user))
		return;
	describe(claim, &client);
	while (i < report->n && !is_same(&report->clients[i], &client))
		i++;
	if (i == CLIENTS_MAX)
		return;
	if (i == report->n)
		report->clients[report->n++] = client;
	report->clients[i].count++;
	report->clients[i].last_s = xn_wall_s(auth->core->loop);
}

/* ---- the alert ---- */

static int most_first(const void *pa, const void *pb)
{
	const struct client *a = pa, *b = pb;

	return a->count < b->count ? 1 : a->count > b->count ? -1 : 0;
}

static void add_element(struct xn_buf *out, const char *name, const char *text)
{
	if (!*text)
		return;
	xn_buf_printf(out, "<%s>", name);
	for (; *text; text++) {
		if (strchr("<>&", *text))
			xn_buf_printf(out, "&#%d;", *text);
		else
			xn_buf_add_char(out, *text);
	}
	xn_buf_printf(out, "</%s>", name);
}

static void add_client(struct xn_buf *out, const struct client *client)
{
	char date[19];

	xn_date_print(client->last_s, date);
	xn_buf_add_string(out, "<known>");
	add_element(out, "username", client->user);
	add_element(out, "originator", client->originator);
	add_element(out, "useragent", client->agent);
	add_element(out, "ip", client->address);
	xn_buf_printf(out, "<number>%u</number><date>%s</date></known>", client->count, date);
}

void xn_auth_failed_logins(struct xn_auth *auth, struct xn_buf *out)
{
	struct report *report = auth->report;
	unsigned known = 0;

	qsort(report->clients, report->n, sizeof(report->clients[0]), most_first);
	xn_buf_printf(out, "<body><total>%u</total>", report->total);
	for (unsigned i = 0; i < report->n && i < TOLD_MAX; i++) {
		add_client(out, &report->clients[i]);
		known += report->clients[i].count;
	}
	xn_buf_printf(out, "<unknown>%u</unknown></body>", report->total - known);
	report->total = report->n = 0;
}

static void on_hour(struct xn_timer *timer)
{
	struct report *report = xn_container_of(timer, struct report, timer);
	const struct xn_ev_logins_failed event = {report->total};

	if (report->total)
		xn_publish_logins_failed(report->auth->core->bus, &event);
	xn_timer_arm(report->auth->core->loop, timer, PERIOD_S * INT64_C(1000000), on_hour);
}

void auth_report_start(struct xn_auth *auth)
{
	auth->report = xn_calloc(1, sizeof(*auth->report));
	auth->report->auth = auth;
	xn_timer_arm(auth->core->loop, &auth->report->timer, PERIOD_S * INT64_C(1000000), on_hour);
}

void auth_report_stop(struct xn_auth *auth)
{
	if (auth->report)
		xn_timer_cancel(&auth->report->timer);
	free(auth->report);
	auth->report = NULL;
}
