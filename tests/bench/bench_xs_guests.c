/*
 * bench_xs_guests SOCKET GUESTS: the embedded xenstore alone, served on SOCKET to the control domain
 * and on SOCKET.1, SOCKET.2 ... to guests, as if each connection there came from that domain. So a
 * hostile guest can be another process. Says what all quotas of a guest come to in bytes, and serves
 * until it is killed.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/unix_listener.h"
#include "modules/xenstore/server/server.h"

struct guest {
	struct xn_xs_server *server;
	struct xn_xs_domain *domain;
	struct xn_unix_listener listener;
};

struct host {
	struct xn_core core;
	struct xn_xs_store *store;
	struct xn_job deliver;
};

static void deliver(struct xn_job *job)
{
	struct host *host = xn_container_of(job, struct host, deliver);

	if (xn_xs_store_deliver(host->store, 16))
		xn_loop_defer(host->core.loop, &host->deliver, XN_PRIO_EVENT, deliver);
}

static void on_events_wait(void *arg)
{
	struct host *host = arg;

	xn_loop_defer(host->core.loop, &host->deliver, XN_PRIO_EVENT, deliver);
}

static void on_connection(int listening_fd, int events, void *arg)
{
	struct guest *guest = arg;
	int fd;

	while ((fd = accept4(listening_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		xn_xs_server_add_socket(guest->server, guest->domain, fd);
}

static void add_guest(struct host *host, struct xn_xs_server *server, uint32_t domid,
		      const char *socket_path)
{
	struct guest *guest = xn_calloc(1, sizeof(*guest));
	struct xn_xs_conn *dom0 = xn_xs_conn_new(xn_xs_domain_find(host->store, 0));
	char path[128], perms[16];
	struct xn_error err = {0};

	guest->server = server;
	guest->domain = xn_xs_domain_add(host->store, domid);
	xn_xs_domain_introduce(guest->domain);
	snprintf(path, sizeof(path), "/local/domain/%u", domid);
	snprintf(perms, sizeof(perms), "n%u", domid);
	if (xn_xs_conn_mkdir(dom0, 0, path) < 0 ||
	    xn_xs_conn_set_perms(dom0, 0, path, perms, strlen(perms)) < 0)
		abort();
	xn_xs_conn_free(dom0);
	snprintf(path, sizeof(path), "%s.%u", socket_path, domid);
	if (xn_unix_listen(&guest->listener, path, &err) < 0) {
		fprintf(stderr, "%s: %s\n", path, err.params[0]);
		exit(1);
	}
	xn_io_new(host->core.loop, guest->listener.fd, XN_IO_READ | XN_IO_CLIENT, on_connection,
		  guest);
}

/* All bytes that a guest may have here, by its hard quotas. */
static uint64_t quota_bytes(void)
{
	static const enum xn_xs_quota in_bytes[] = {XN_XS_QUOTA_MEMORY, XN_XS_QUOTA_EVENT_BYTES,
						    XN_XS_QUOTA_BUFFERS};
	uint64_t sum = 0;

	for (size_t i = 0; i < XN_ARRAY_SIZE(in_bytes); i++)
		sum += xn_xs_quotas[in_bytes[i]].limit.hard;
	return sum;
}

int main(int argc, char **argv)
{
	struct host host = {0};
	struct xn_xs_server *server;
	struct xn_error err = {0};

	if (argc != 3) {
		fputs("usage: bench_xs_guests SOCKET GUESTS\n", stderr);
		return 2;
	}
	host.core = (struct xn_core){.loop = xn_loop_new(),
				     .log = xn_log_new(XN_LOG_ERROR, false, -1),
				     .config = xn_config_new(),
				     .metrics = xn_metrics_new()};
	host.store = xn_xs_store_new(on_events_wait, &host);
	server = xn_xs_server_new(&host.core, host.store, NULL);
	if (xn_xs_server_listen(server, argv[1], &err) < 0)
		return 1;
	for (int i = 1; i <= atoi(argv[2]); i++)
		add_guest(&host, server, (uint32_t)i, argv[1]);
	printf("{\"quota_bytes\": %" PRIu64 "}\n", quota_bytes());
	fflush(stdout);
	xn_loop_run(host.core.loop);
	return 0;
}
