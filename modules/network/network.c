/* The network module: first rows, the kernel's notices, reading interfaces off the loop. */
#include "modules/network/network_internal.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SETTLE_US = 200 * 1000 };

/* ---- reading in a worker ---- */

struct reading {
	struct xn_work work;
	struct xn_list link;
	struct xn_interfaces found;
	struct xn_network *network; /* NULL: the module stopped meanwhile */
	void (*done)(struct xn_network *network, const struct xn_interfaces *found, void *arg);
	void *arg;
};

static int read_in_worker(struct xn_work *work)
{
	return xn_interfaces_read(&xn_container_of(work, struct reading, work)->found);
}

static int read_fixed(struct xn_work *work)
{
	xn_interfaces_fixed(&xn_container_of(work, struct reading, work)->found);
	return 0;
}

static void on_read(struct xn_work *work, int rc)
{
	struct reading *r = xn_container_of(work, struct reading, work);

	xn_list_remove(&r->link);
	if (r->network && rc != -ECANCELED)
		r->done(r->network, &r->found, r->arg);
	xn_interfaces_clear(&r->found);
	free(r);
}

void xn_network_read(struct xn_network *network,
		     void (*done)(struct xn_network *network, const struct xn_interfaces *found,
				  void *arg),
		     void *arg)
{
	struct reading *r = xn_calloc(1, sizeof(*r));

	xn_list_push(&network->readings, &r->link);
	r->network = network;
	r->done = done;
	r->arg = arg;
	r->work.run = xn_loop_is_virtual(network->core->loop) ? read_fixed : read_in_worker;
	r->work.done = on_read;
	xn_pool_submit(network->core->workers, &r->work);
}

/* ---- the kernel's notices ---- */

static void on_settled(struct xn_timer *timer);

static void on_refreshed(struct xn_network *network, const struct xn_interfaces *found, void *arg)
{
	network->reading = false;
	if (xn_db_writable(network->db) == 0)
		xn_pifs_apply(network, found, false);
	if (network->again)
		xn_timer_arm(network->core->loop, &network->settle, SETTLE_US, on_settled);
}

static void on_settled(struct xn_timer *timer)
{
	struct xn_network *network = xn_container_of(timer, struct xn_network, settle);

	network->again = network->reading;
	if (network->reading)
		return;
	network->reading = true;
	xn_network_read(network, on_refreshed, NULL);
}

/* What they say does not matter, only that something changed: all is read anew, once a burst. */
static void on_notices(int fd, int events, void *arg)
{
	struct xn_network *network = arg;
	char drop[4096];

	for (int i = 0; i < 64 && recv(fd, drop, sizeof(drop), MSG_DONTWAIT) > 0; i++)
		;
	if (!xn_timer_is_armed(&network->settle))
		xn_timer_arm(network->core->loop, &network->settle, SETTLE_US, on_settled);
}

/* Not being told is no reason not to start: PIF.scan reads as well. */
static void open_notices(struct xn_network *network)
{
	struct sockaddr_nl address = {
		.nl_family = AF_NETLINK,
		.nl_groups =
			RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE,
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		xn_log_warn(network->core->log, "network",
			    "changes of network interfaces will not be noticed: %s",
			    strerror(errno));
		if (fd >= 0)
			close(fd);
		return;
	}
	network->notices = fd;
	network->notices_io = xn_io_new(network->core->loop, fd, XN_IO_READ, on_notices, network);
}

/* ---- first start ---- */

/* Where the guest installers of old find their host; clients hide it by these keys. */
static void make_internal_network(struct xn_network *network)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *v = xn_map_new();
	struct xn_value *config = xn_map_new();

	xn_map_put_string(&config, "is_guest_installer_network", "true");
	xn_map_put_string(&config, "is_host_internal_management_network", "true");
	xn_map_put_string(&config, "ip_begin", "169.254.0.1");
	xn_map_put_string(&config, "ip_end", "169.254.255.254");
	xn_map_put_string(&config, "netmask", "255.255.0.0");
	xn_map_put(&v, "other_config", config);
	xn_map_put_string(&v, "name_label", "Host internal management network");
	xn_map_put_string(&v, "name_description",
			  "Guests and host reach each other here, and nobody else");
	xn_map_put_string(&v, "bridge", "xenapi");
	xn_db_create(network->db, XN_CLASS_network, NULL, v);
}

static int network_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	struct xn_network *network = xn_calloc(1, sizeof(*network));

	network->core = core;
	network->notices = -1;
	xn_list_init(&network->readings);
	*state_out = network;
	return 0;
}

static int network_start(void *state, struct xn_error *err)
{
	struct xn_network *network = state;
	bool is_virtual = xn_loop_is_virtual(network->core->loop);
	struct xn_interfaces found;
	int rc = 0;

	network->db = xn_db_of(network->core);
	network->host = xn_host_of(network->core);
	if (is_virtual)
		xn_interfaces_fixed(&found);
	else
		rc = xn_interfaces_read(&found);
	if (rc < 0)
		xn_log_warn(network->core->log, "network", "cannot read network interfaces: %s",
			    strerror(-rc));
	if (xn_host_is_first_start(network->host))
		make_internal_network(network);
	xn_pifs_apply(network, &found, xn_host_is_first_start(network->host));
	xn_interfaces_clear(&found);
	if (!is_virtual)
		open_notices(network);
	return 0;
}

static void network_stop(void *state)
{
	struct xn_network *network = state;

	xn_list_each_safe(node, &network->readings)
	{
		xn_list_entry(node, struct reading, link)->network = NULL;
		xn_list_remove(node);
	}
	xn_timer_cancel(&network->settle);
	xn_io_free(network->notices_io);
	if (network->notices >= 0)
		close(network->notices);
	free(network);
}

static const char *const network_needs[] = {"db", "host", "records", NULL};

const struct xn_module xn_network_module = {
	.name = "network",
	.needs = network_needs,
	.methods = xn_network_methods,
	.init = network_init,
	.start = network_start,
	.stop = network_stop,
};
