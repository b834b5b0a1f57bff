/*
 * Quotas as the server shows and sets them: from the configuration (xenstore-quota-...), by the
 * requests GET_QUOTA and SET_QUOTA, by control commands, in the log. The table of them is the
 * store's, where they hold.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/xenstore/server/server_internal.h"

#define SOFT "soft-"

/* ---- the configuration ---- */

static uint64_t configured(const struct xn_config *config, const char *prefix, const char *name)
{
	char key[64];

	snprintf(key, sizeof(key), "xenstore-quota-%s%s", prefix, name);
	return (uint64_t)xn_config_int(config, key);
}

static void log_quota(const struct xn_xs_domain *domain, enum xn_xs_quota quota, uint64_t value,
		      bool is_hard, void *arg)
{
	struct xn_xs_server *server = arg;
	int64_t now = xn_now_us(server->core->loop);

	if (!is_hard) {
		server->n_soft++;
		xn_log_warn(server->core->log, "xenstore",
			    "domain %u is above its soft quota of %s: %" PRIu64 " (%s)",
			    domain->domid, xn_xs_quotas[quota].name, value,
			    xn_xs_quotas[quota].text);
		return;
	}
	server->n_hard++;
	if (server->hard_told_us && now - server->hard_told_us < 10 * 1000000)
		return; /* a guest that tries and tries must not fill the log */
	server->hard_told_us = now;
	xn_log_warn(server->core->log, "xenstore",
		    "domain %u is refused more than its quota of %s: %" PRIu64 " (%s)",
		    domain->domid, xn_xs_quotas[quota].name, value, xn_xs_quotas[quota].text);
}

void xn_xs_quota_configure(struct xn_xs_server *server)
{
	const struct xn_config *config = server->core->config;

	xn_xs_store_set_quota_told(server->store, log_quota, server);
	for (int i = 0; config && i < XN_XS_QUOTAS; i++) {
		const struct xn_xs_quota_row *row = &xn_xs_quotas[i];
		struct xn_xs_limit limit = {.hard = configured(config, "", row->name)};

		if (row->limit.soft)
			limit.soft = configured(config, SOFT, row->name);
		xn_xs_store_set_limit(server->store, i, limit);
	}
}

/* ---- by name ---- */

/* "nodes" or "soft-nodes". -EINVAL: no such quota. */
static int find(const char *name, enum xn_xs_quota *quota_out, bool *is_soft_out)
{
	*quota_out = 0;
	*is_soft_out = strncmp(name, SOFT, strlen(SOFT)) == 0;
	if (*is_soft_out)
		name += strlen(SOFT);
	for (int i = 0; i < XN_XS_QUOTAS; i++)
		if (strcmp(xn_xs_quotas[i].name, name) == 0) {
			*quota_out = i;
			return 0;
		}
	return -EINVAL;
}

static int parse(const char *text, uint64_t *out)
{
	size_t len = strlen(text);

	if (!len || len > 9 || strspn(text, "0123456789") != len)
		return -EINVAL;
	*out = strtoull(text, NULL, 10);
	return 0;
}

int xn_xs_quota_domain(const struct xn_xs_server *server, const char *domid,
		       struct xn_xs_domain **out)
{
	uint64_t n;

	*out = NULL;
	if (parse(domid, &n) < 0 || n >= XN_XS_DOMID_END)
		return -EINVAL;
	*out = xn_xs_domain_find(server->store, (uint32_t)n);
	return *out ? 0 : -ENOENT;
}

static struct xn_xs_limit limit_of(const struct xn_xs_server *server,
				   const struct xn_xs_domain *domain, enum xn_xs_quota quota)
{
	return domain ? xn_xs_domain_limit(domain, quota)
		      : xn_xs_store_limit(server->store, quota);
}

int xn_xs_quota_set(struct xn_xs_server *server, struct xn_xs_domain *domain, const char *name,
		    const char *value)
{
	struct xn_xs_limit limit;
	enum xn_xs_quota quota;
	uint64_t number;
	bool is_soft;

	if (find(name, &quota, &is_soft) < 0 || parse(value, &number) < 0)
		return -EINVAL;
	limit = limit_of(server, domain, quota);
	if (is_soft)
		limit.soft = number;
	else
		limit.hard = number;
	if (domain)
		xn_xs_domain_set_limit(domain, quota, limit);
	else
		xn_xs_store_keep_limit(server->store, quota, limit);
	return 0;
}

/* ---- requests ---- */

static void add_names(const struct xn_xs_server *server, struct xn_buf *out)
{
	for (int i = 0; i < XN_XS_QUOTAS; i++)
		xn_buf_printf(out, "%s%s", i ? " " : "", xn_xs_quotas[i].name);
	for (int i = 0; i < XN_XS_QUOTAS; i++)
		if (xn_xs_store_limit(server->store, i).soft)
			xn_buf_printf(out, " " SOFT "%s", xn_xs_quotas[i].name);
}

int xn_xs_do_get_quota(struct xn_xs_call *call)
{
	const struct xn_xs_server *server = call->connection->server;
	struct xn_xs_domain *domain = NULL;
	const char *strings[3];
	size_t n = xn_xs_call_strings(call, strings, 3);
	struct xn_xs_limit limit;
	enum xn_xs_quota quota;
	bool is_soft = false;
	int rc = 0;

	if (n > 2)
		return -EINVAL;
	if (n == 2)
		rc = xn_xs_quota_domain(server, strings[0], &domain);
	if (!rc && n)
		rc = find(strings[n - 1], &quota, &is_soft);
	if (rc < 0)
		return rc;
	if (n) {
		limit = limit_of(server, domain, quota);
		xn_buf_add_int(call->reply, (int64_t)(is_soft ? limit.soft : limit.hard));
	} else {
		add_names(server, call->reply);
	}
	xn_buf_add_char(call->reply, '\0');
	return 0;
}

int xn_xs_do_set_quota(struct xn_xs_call *call)
{
	struct xn_xs_server *server = call->connection->server;
	struct xn_xs_domain *domain = NULL;
	const char *strings[4];
	size_t n = xn_xs_call_strings(call, strings, 4);
	int rc = 0;

	if (n < 2 || n > 3)
		return -EINVAL;
	if (n == 3)
		rc = xn_xs_quota_domain(server, strings[0], &domain);
	if (!rc)
		rc = xn_xs_quota_set(server, domain, strings[n - 2], strings[n - 1]);
	return rc < 0 ? rc : xn_xs_reply_ok(call);
}

/* ---- lists ---- */

void xn_xs_quota_list(const struct xn_xs_server *server, bool soft, struct xn_buf *out)
{
	xn_buf_add_string(out, "Quota settings:\n");
	for (int i = 0; i < XN_XS_QUOTAS; i++) {
		struct xn_xs_limit limit = xn_xs_store_limit(server->store, i);

		if (!soft || xn_xs_quotas[i].limit.soft)
			xn_buf_printf(out, "%-17s: %8" PRIu64 " %s\n", xn_xs_quotas[i].name,
				      soft ? limit.soft : limit.hard, xn_xs_quotas[i].text);
	}
}

void xn_xs_quota_list_domain(const struct xn_xs_domain *domain, struct xn_buf *out)
{
	xn_buf_printf(out, "Domain %u:\n", domain->domid);
	for (int i = 0; i < XN_XS_QUOTAS; i++) {
		struct xn_xs_limit limit = xn_xs_domain_limit(domain, i);

		xn_buf_printf(out, "%-17s: %8" PRIu64 " (soft %" PRIu64 ", hard %" PRIu64 ")\n",
			      xn_xs_quotas[i].name, xn_xs_domain_used(domain, i), limit.soft,
			      limit.hard);
	}
}
