/*
 * The limits of the HTTP server, from the rows of core/config.c, and what the server tells at
 * /metrics beside them.
 */
#include <sys/resource.h>

#include "rpc/http_internal.h"

/* ---- configuration ---- */

enum kind { SECONDS, COUNT, SIZE };

#define ROW(key, kind, member) {key, kind, offsetof(struct xn_http_limits, member)}
static const struct {
	const char *key;
	enum kind kind;
	size_t offset;
} rows[] = {
	ROW("http-header-idle", SECONDS, head_idle_us),
	ROW("http-header-time", SECONDS, head_total_us),
	ROW("http-body-idle", SECONDS, body_idle_us),
	ROW("http-body-time", SECONDS, body_total_us),
	ROW("http-handshake-time", SECONDS, handshake_us),
	ROW("http-kept-idle", SECONDS, kept_us),
	ROW("http-write-idle", SECONDS, write_us),
	ROW("http-linger", SECONDS, linger_us),
	ROW("http-header-size", SIZE, max_head),
	ROW("http-strangers-memory", SIZE, max_strangers_bytes),
	ROW("http-connections", COUNT, max_open),
	ROW("http-connections-tcp", COUNT, max_door[XN_DOOR_TCP]),
	ROW("http-connections-tls", COUNT, max_door[XN_DOOR_TLS]),
	ROW("http-connections-unix", COUNT, max_door[XN_DOOR_UNIX]),
	ROW("http-strangers-tcp", COUNT, max_strangers[XN_DOOR_TCP]),
	ROW("http-strangers-tls", COUNT, max_strangers[XN_DOOR_TLS]),
	ROW("http-strangers-unix", COUNT, max_strangers[XN_DOOR_UNIX]),
};

static void set(struct xn_http_limits *limits, size_t row, int64_t value)
{
	char *at = (char *)limits + rows[row].offset;

	switch (rows[row].kind) {
	case SECONDS:
		*(int64_t *)at = value * 1000000;
		break;
	case COUNT:
		*(unsigned *)at = (unsigned)value;
		break;
	case SIZE:
		*(size_t *)at = (size_t)value;
		break;
	}
}

void xn_http_limits_read(struct xn_http_limits *limits, const struct xn_config *config)
{
	struct xn_config *defaults = config ? NULL : xn_config_new();

	*limits = (struct xn_http_limits){
		.grace_us = 1000000, .drain_us = 500000, .sweep_us = 1000000};
	for (size_t i = 0; i < XN_ARRAY_SIZE(rows); i++)
		set(limits, i, xn_config_int(config ? config : defaults, rows[i].key));
	xn_config_free(defaults);
}

bool xn_http_limits_fit(struct xn_http_limits *limits)
{
	struct rlimit files;
	rlim_t own;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur == RLIM_INFINITY)
		return true;
	/* The database, disks, workers and children are not to go without. */
	own = 64 + files.rlim_cur / 8;
	if (files.rlim_cur >= own + limits->max_open)
		return true;
	limits->max_open = files.rlim_cur > own + 16 ? (unsigned)(files.rlim_cur - own) : 16;
	return false;
}

/* ---- numbers ---- */

static const char *const door_names[XN_N_DOORS] = {
	[XN_DOOR_TCP] = "tcp", [XN_DOOR_TLS] = "tls", [XN_DOOR_UNIX] = "unix"};

static void write_doors(struct xn_metrics_page *page, const char *name, const char *help,
			const unsigned *counts)
{
	xn_metrics_family(page, XN_METRIC_GAUGE, name, "", help);
	for (int i = 0; i < XN_N_DOORS; i++)
		xn_metrics_int(page, counts[i], "by", door_names[i]);
}

static void write_connections(struct xn_metrics_page *page, const struct xn_http *http)
{
	write_doors(page, "xenolith_http_connections", "Connections that are open.", http->n_door);
	write_doors(page, "xenolith_http_strangers", "Of these, those that showed no session yet.",
		    http->n_strangers);
	xn_metrics_gauge(page, "xenolith_http_kept", "",
			 "Connections between two requests.", http->n_kept);
	xn_metrics_gauge(page, "xenolith_http_connections_most", "",
			 "Connections that may be open, as the limit of open files allows.",
			 http->limits.max_open);
	xn_metrics_gauge(page, "xenolith_http_buffered_bytes", "bytes",
			 "Bytes waiting in connections' own buffers.",
			 (int64_t)http->stats.buffered);
	xn_metrics_gauge(page, "xenolith_http_strangers_memory_bytes", "bytes",
			 "Of these, those of strangers.", (int64_t)http->strangers_bytes);
}

static void write_counters(struct xn_metrics_page *page, const struct xn_http_stats *stats)
{
	xn_metrics_counter(page, "xenolith_http_accepted", "", "Connections taken.",
			   stats->accepted);
	xn_metrics_counter(page, "xenolith_http_refused", "",
			   "Connections refused at a limit, or out of descriptors.", stats->refused);
	xn_metrics_counter(page, "xenolith_http_evicted", "",
			   "Idle connections closed to make room.", stats->evicted);
	xn_metrics_counter(page, "xenolith_http_timed_out", "",
			   "Connections too slow to send or to read.", stats->timed_out);
	xn_metrics_counter(page, "xenolith_http_requests", "", "Requests.", stats->requests);
	xn_metrics_counter(page, "xenolith_http_bad_requests", "", "Requests that were none.",
			   stats->bad_requests);
	xn_metrics_family(page, XN_METRIC_COUNTER, "xenolith_http_replies", "",
			  "Replies by the hundreds of their status.");
	for (int i = 1; i < 6; i++)
		xn_metrics_int(page, (int64_t)stats->replies[i], "status",
			       (const char *const[]){"", "1xx", "2xx", "3xx", "4xx", "5xx"}[i]);
	xn_metrics_counter(page, "xenolith_http_read_bytes", "bytes", "Bytes of requests.",
			   stats->bytes_in);
	xn_metrics_counter(page, "xenolith_http_written_bytes", "bytes", "Bytes of replies.",
			   stats->bytes_out);
}

static void write_tls(struct xn_metrics_page *page, const struct xn_tls *tls)
{
	const struct xn_tls_identity *identity = xn_tls_identity(tls);
	struct xn_tls_stats stats;

	xn_tls_stats(tls, &stats);
	xn_metrics_counter(page, "xenolith_tls_handshakes", "", "TLS handshakes that succeeded.",
			   stats.handshakes);
	xn_metrics_counter(page, "xenolith_tls_failed_handshakes", "", "TLS handshakes that failed.",
			   stats.handshakes_failed);
	if (identity)
		xn_metrics_gauge(page, "xenolith_tls_certificate_expiry_seconds", "seconds",
				 "When the certificate ends, since the epoch.",
				 xn_tls_identity_facts(identity)->not_after_s);
}

static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
			    size_t from)
{
	const struct xn_http *http = xn_container_of(source, struct xn_http, metrics);

	write_connections(page, http);
	write_counters(page, &http->stats);
	if (http->tls)
		write_tls(page, http->tls);
	return 0;
}

void xn_http_add_metrics(struct xn_http *http)
{
	http->metrics.write = write_metrics;
	if (http->core->metrics)
		xn_metrics_add(http->core->metrics, &http->metrics);
}
