/*
 * The simulated guest: a paravirtual kernel that boots, connects its devices, follows its memory
 * target and processors, and obeys control/shutdown; and an agent that reports what guest tools
 * report. It acts through a xenstore connection of its own, with the rights of its domain.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/sim/sim_internal.h"

/* ---- the guest's clock and plans ---- */

void xn_sim_guest_init(struct xn_sim_domain *domain)
{
	xn_list_init(&domain->guest.plans);
	domain->guest.going = XN_SHUTDOWN_NONE;
}

int64_t xn_sim_guest_clock_us(const struct xn_sim_domain *domain)
{
	const struct xn_sim_guest *guest = &domain->guest;

	if (!guest->is_running)
		return guest->clock_us;
	return guest->clock_us + xn_now_us(xn_sim_loop(domain->sim)) - guest->since_us;
}

static void on_due(struct xn_timer *timer);

static void arm(struct xn_sim_domain *domain)
{
	struct xn_sim_guest *guest = &domain->guest;
	int64_t left;

	if (!guest->is_running || xn_list_empty(&guest->plans)) {
		xn_timer_cancel(&guest->timer);
		return;
	}
	left = xn_list_entry(guest->plans.next, struct xn_sim_plan, link)->due_us -
	       xn_sim_guest_clock_us(domain);
	xn_timer_arm(xn_sim_loop(domain->sim), &guest->timer, left > 0 ? left : 0, on_due);
}

void xn_sim_guest_freeze(struct xn_sim_domain *domain)
{
	struct xn_sim_guest *guest = &domain->guest;

	guest->clock_us = xn_sim_guest_clock_us(domain);
	guest->is_running = false;
	xn_timer_cancel(&guest->timer);
}

void xn_sim_guest_add_plan(struct xn_sim_domain *domain, const struct xn_sim_plan *plan)
{
	struct xn_sim_plan *mine = xn_malloc(sizeof(*mine));
	struct xn_list *at = domain->guest.plans.prev;

	*mine = *plan;
	while (at != &domain->guest.plans &&
	       xn_list_entry(at, struct xn_sim_plan, link)->due_us > mine->due_us)
		at = at->prev;
	xn_list_insert(at->next, &mine->link);
	arm(domain);
	xn_sim_changed(domain);
}

static struct xn_sim_plan *find_plan(struct xn_sim_domain *domain, enum xn_sim_plan_kind kind,
				     const struct xn_sim_device *device)
{
	xn_list_each(link, &domain->guest.plans)
	{
		struct xn_sim_plan *plan = xn_list_entry(link, struct xn_sim_plan, link);

		if (plan->kind == kind && (!device || (plan->device_kind == device->kind &&
						       plan->devid == device->devid)))
			return plan;
	}
	return NULL;
}

/* What is planned already stays as it is. */
void xn_sim_guest_plan_device(struct xn_sim_domain *domain, enum xn_sim_plan_kind kind, uint32_t ms,
			      const struct xn_sim_device *device)
{
	struct xn_sim_plan plan = {.kind = kind,
				   .due_us = xn_sim_guest_clock_us(domain) +
					     xn_sim_delay_us(domain, ms)};

	if (find_plan(domain, kind, device))
		return;
	if (device) {
		plan.device_kind = device->kind;
		plan.devid = device->devid;
	}
	xn_sim_guest_add_plan(domain, &plan);
}

void xn_sim_guest_plan(struct xn_sim_domain *domain, enum xn_sim_plan_kind kind, uint32_t ms)
{
	xn_sim_guest_plan_device(domain, kind, ms, NULL);
}

static bool is_of_device(const struct xn_sim_plan *plan, const struct xn_sim_device *device)
{
	return (plan->kind == XN_SIM_PLAN_CONNECT || plan->kind == XN_SIM_PLAN_LET_GO) &&
	       plan->device_kind == device->kind && plan->devid == device->devid;
}

void xn_sim_guest_drop_plans(struct xn_sim_domain *domain, const struct xn_sim_device *only_of)
{
	xn_list_each_safe(link, &domain->guest.plans)
	{
		struct xn_sim_plan *plan = xn_list_entry(link, struct xn_sim_plan, link);

		if (only_of && !is_of_device(plan, only_of))
			continue;
		xn_list_remove(link);
		free(plan);
	}
	arm(domain);
}

static const char *const kernel_features[] = {
	"control/feature-poweroff",
	"control/feature-reboot",
	"control/feature-suspend",
	"control/feature-vcpu-hotplug",
};
static const char *const agent_features[] = {
	"feature/hotplug/vbd",
	"feature/hotplug/vif",
};

static void announce_features(struct xn_sim_domain *domain)
{
	struct xn_sim_keys keys;

	if (!domain->conn)
		domain->conn = xn_xs_conn_new(domain->identity);
	xn_sim_keys_begin(&keys, domain->conn);
	for (size_t i = 0; i < XN_ARRAY_SIZE(kernel_features); i++)
		xn_sim_put(&keys, kernel_features[i], "1");
	for (size_t i = 0; i < XN_ARRAY_SIZE(agent_features); i++)
		if (domain->options.agent != XN_SIM_NONE)
			xn_sim_put(&keys, agent_features[i], "1");
	(void)xn_sim_keys_end(&keys);
}

void xn_sim_guest_run(struct xn_sim_domain *domain)
{
	struct xn_sim_guest *guest = &domain->guest;

	if (guest->is_running)
		return;
	guest->is_running = true;
	guest->since_us = xn_now_us(xn_sim_loop(domain->sim));
	if (guest->phase == XN_SIM_OFF) {
		guest->phase = XN_SIM_BOOTING;
		/* First of all, so that a script that starts a VM may shut it down or plug a disk
		 * with its next call; the kernel looks for such wishes when it is up. */
		if (domain->options.boot == XN_SIM_OK)
			announce_features(domain);
		xn_sim_guest_plan(domain, XN_SIM_PLAN_BOOTED, domain->options.boot_ms);
	} else if (guest->phase == XN_SIM_RESUMING) {
		xn_sim_guest_plan(domain, XN_SIM_PLAN_RESUMED, domain->options.suspend_ms);
	}
	arm(domain);
}

/* ---- what it sees ---- */

static void on_fired(const char *path, const char *token, void *arg)
{
	struct xn_sim_domain *domain = arg;

	if (!strcmp(token, "shutdown"))
		xn_sim_guest_plan(domain, XN_SIM_PLAN_LOOK, 0);
	else if (domain->target_bytes != domain->info.memory_bytes)
		xn_sim_guest_plan(domain, XN_SIM_PLAN_BALLOON, domain->options.balloon_ms);
}

void xn_sim_guest_listen(struct xn_sim_domain *domain)
{
	int rc;

	if (!domain->conn)
		domain->conn = xn_xs_conn_new(domain->identity);
	xn_xs_conn_reset(domain->conn);
	rc = xn_xs_conn_watch(domain->conn, "control/shutdown", "shutdown", 0, on_fired, domain,
			      NULL);
	if (!rc)
		rc = xn_xs_conn_watch(domain->conn, "memory/target", "memory", 0, on_fired, domain,
				      NULL);
	if (rc < 0) /* quota: it will not hear of it, as on Xen */
		xn_xs_conn_reset(domain->conn);
}

static bool is_up(const struct xn_sim_domain *domain)
{
	return domain->guest.phase == XN_SIM_UP && domain->conn;
}

void xn_sim_guest_sees_device(struct xn_sim_device *device)
{
	struct xn_sim_domain *domain = device->domain;
	const struct xn_sim_options *o = &domain->options;

	if (!is_up(domain))
		return;
	if (device->phase == XN_SIM_WAITING && o->connect != XN_SIM_NEVER)
		xn_sim_guest_plan_device(domain, XN_SIM_PLAN_CONNECT, o->connect_ms, device);
	else if (device->phase == XN_SIM_CLOSING && o->unplug != XN_SIM_HANG)
		xn_sim_guest_plan_device(domain, XN_SIM_PLAN_LET_GO, o->unplug_ms, device);
}

void xn_sim_guest_reminded(struct xn_sim_device *device)
{
	xn_list_each(link, &device->domain->guest.plans)
	{
		const struct xn_sim_plan *plan = xn_list_entry(link, struct xn_sim_plan, link);

		if ((plan->kind == XN_SIM_PLAN_CONNECT || plan->kind == XN_SIM_PLAN_LET_GO) &&
		    plan->device_kind == device->kind && plan->devid == device->devid)
			return;
	}
	xn_sim_guest_sees_device(device);
}

void xn_sim_guest_sees_vcpus(struct xn_sim_domain *domain)
{
	if (is_up(domain))
		xn_sim_guest_plan(domain, XN_SIM_PLAN_VCPUS, domain->options.vcpus_ms);
	else
		domain->info.vcpus = domain->wanted_vcpus; /* it will boot with them */
}

/* ---- what it writes ---- */

static void put_nics(struct xn_sim_keys *keys, struct xn_sim_domain *domain)
{
	char key[64];

	xn_list_each(link, &domain->devices)
	{
		struct xn_sim_device *device = xn_list_entry(link, struct xn_sim_device, link);
		unsigned n = (unsigned)device->devid, d = domain->info.domid;

		if (device->kind != XN_SIM_VIF || device->phase != XN_SIM_CONNECTED)
			continue;
		snprintf(key, sizeof(key), "attr/vif/%u/ipv4/0", n);
		xn_sim_putf(keys, key, "10.%u.%u.%u", d >> 8 & 0xff, d & 0xff, 2 + n % 250);
		snprintf(key, sizeof(key), "attr/vif/%u/ipv6/0", n);
		xn_sim_putf(keys, key, "fd00::%x:%x", d, 2 + n);
	}
}

static void put_stamp(struct xn_sim_keys *keys, struct xn_sim_domain *domain)
{
	uint64_t kib = domain->info.memory_bytes / 1024;

	xn_sim_putf(keys, "data/meminfo_total", "%llu", (unsigned long long)kib);
	xn_sim_putf(keys, "data/meminfo_free", "%llu", (unsigned long long)(kib - kib / 4));
	xn_sim_put(keys, "data/updated", "1");
	/* Last, and watched: that there is something new to read. */
	xn_sim_putf(keys, "data/ts", "%lld", (long long)xn_wall_s(xn_sim_loop(domain->sim)));
}

static const struct {
	const char *key, *value;
} agent_facts[] = {
	{"attr/PVAddons/Installed", "1"},
	{"attr/PVAddons/MajorVersion", "8"},
	{"attr/PVAddons/MinorVersion", "4"},
	{"attr/PVAddons/MicroVersion", "0"},
	{"attr/PVAddons/BuildVersion", "1"},
	{"attr/os/class", "Linux"},
	{"data/os_name", "Xenolith simulated guest 1"},
	{"data/os_uname", "6.1.0-sim"},
	{"data/os_distro", "xenolith"},
	{"data/os_majorver", "1"},
	{"data/os_minorver", "0"},
	{"control/feature-balloon", "1"},
	{"control/feature-shutdown", "1"},
};

static void report_all(struct xn_sim_domain *domain)
{
	struct xn_sim_keys keys;

	xn_sim_keys_begin(&keys, domain->conn);
	for (size_t i = 0; i < XN_ARRAY_SIZE(agent_facts); i++)
		xn_sim_put(&keys, agent_facts[i].key, agent_facts[i].value);
	xn_sim_putf(&keys, "data/host_name", "sim-%u", domain->info.domid);
	xn_sim_putf(&keys, "data/host_name_dns", "sim-%u", domain->info.domid);
	put_nics(&keys, domain);
	put_stamp(&keys, domain);
	(void)xn_sim_keys_end(&keys); /* beyond its quota a guest simply has no report */
}

static bool has_reported(const struct xn_sim_domain *domain)
{
	return is_up(domain) && domain->options.agent != XN_SIM_NONE &&
	       !find_plan((struct xn_sim_domain *)domain, XN_SIM_PLAN_AGENT, NULL);
}

void xn_sim_guest_report_nics(struct xn_sim_domain *domain)
{
	struct xn_sim_keys keys;

	if (!has_reported(domain))
		return; /* the first report will have them */
	xn_sim_keys_begin(&keys, domain->conn);
	put_nics(&keys, domain);
	put_stamp(&keys, domain);
	(void)xn_sim_keys_end(&keys);
}

static void write_counter(struct xn_sim_domain *domain)
{
	(void)xn_xs_conn_writef(domain->conn, 0, "data/sim/counter", "%lld",
				(long long)xn_sim_guest_clock_us(domain) / 1000);
}

/* ---- what it does ---- */

static void comes_up(struct xn_sim_domain *domain)
{
	domain->guest.phase = XN_SIM_UP;
	domain->guest.going = XN_SHUTDOWN_NONE;
	xn_sim_guest_listen(domain);
	announce_features(domain);
	xn_list_each(link, &domain->devices)
		xn_sim_guest_sees_device(xn_list_entry(link, struct xn_sim_device, link));
	if (domain->options.agent != XN_SIM_NONE)
		xn_sim_guest_plan(domain, XN_SIM_PLAN_AGENT, domain->options.agent_ms);
	write_counter(domain);
}

/* What the options want it to do by itself some time after its boot. */
static void plan_habits(struct xn_sim_domain *domain)
{
	const struct xn_sim_options *o = &domain->options;

	if (o->crash_after_ms)
		xn_sim_guest_plan(domain, XN_SIM_PLAN_CRASH, o->crash_after_ms);
	if (o->reboot_after_ms)
		xn_sim_guest_plan(domain, XN_SIM_PLAN_REBOOT, o->reboot_after_ms);
	if (o->poweroff_after_ms)
		xn_sim_guest_plan(domain, XN_SIM_PLAN_POWEROFF, o->poweroff_after_ms);
	if (o->write_rate)
		xn_sim_guest_plan(domain, XN_SIM_PLAN_FLOOD, 0);
	if (o->tick_ms)
		xn_sim_guest_plan(domain, XN_SIM_PLAN_TICK, o->tick_ms);
}

static void booted(struct xn_sim_domain *domain)
{
	if (domain->options.boot == XN_SIM_BOOT_HANG)
		return;
	if (domain->options.boot == XN_SIM_BOOT_CRASH) {
		xn_sim_domain_stops(domain, XN_SHUTDOWN_CRASH);
		return;
	}
	comes_up(domain);
	plan_habits(domain);
}

static enum xn_domain_shutdown asked_for(struct xn_sim_domain *domain)
{
	static const struct {
		const char *word;
		enum xn_domain_shutdown reason;
	} words[] = {
		{"poweroff", XN_SHUTDOWN_POWEROFF}, {"halt", XN_SHUTDOWN_POWEROFF},
		{"reboot", XN_SHUTDOWN_REBOOT},     {"suspend", XN_SHUTDOWN_SUSPEND},
		{"crash", XN_SHUTDOWN_CRASH},
	};
	const char *value;
	size_t len;

	if (xn_xs_conn_read(domain->conn, 0, "control/shutdown", &value, &len) < 0)
		return XN_SHUTDOWN_NONE;
	for (size_t i = 0; i < XN_ARRAY_SIZE(words); i++)
		if (len == strlen(words[i].word) && !memcmp(value, words[i].word, len))
			return words[i].reason;
	return XN_SHUTDOWN_NONE;
}

static void look(struct xn_sim_domain *domain)
{
	if (asked_for(domain) != XN_SHUTDOWN_NONE && domain->options.shutdown != XN_SIM_REFUSE)
		xn_sim_guest_plan(domain, XN_SIM_PLAN_ACK, domain->options.ack_ms);
}

static void acknowledge(struct xn_sim_domain *domain)
{
	enum xn_domain_shutdown reason = asked_for(domain);

	if (reason == XN_SHUTDOWN_NONE)
		return;
	domain->guest.going = reason;
	(void)xn_xs_conn_write_string(domain->conn, 0, "control/shutdown", "");
	if (domain->options.shutdown == XN_SIM_CRASH || reason == XN_SHUTDOWN_CRASH)
		xn_sim_domain_stops(domain, XN_SHUTDOWN_CRASH);
	else if (domain->options.shutdown != XN_SIM_HANG)
		xn_sim_guest_plan(domain, XN_SIM_PLAN_GO_DOWN,
				  reason == XN_SHUTDOWN_SUSPEND ? domain->options.suspend_ms
								: domain->options.shutdown_ms);
}

static void goes_down(struct xn_sim_domain *domain)
{
	if (domain->guest.going == XN_SHUTDOWN_SUSPEND)
		write_counter(domain);
	xn_sim_domain_stops(domain, domain->guest.going);
}

void xn_sim_guest_stays(struct xn_sim_domain *domain)
{
	struct xn_sim_plan *plan = find_plan(domain, XN_SIM_PLAN_GO_DOWN, NULL);
	char path[64];

	if (domain->conn && asked_for(domain) == XN_SHUTDOWN_SUSPEND) {
		snprintf(path, sizeof(path), "/local/domain/%u/control/shutdown",
			 domain->info.domid);
		(void)xn_xs_conn_write_string(domain->sim->dom0, 0, path, "");
	}
	if (domain->guest.going != XN_SHUTDOWN_SUSPEND)
		return;
	domain->guest.going = XN_SHUTDOWN_NONE;
	if (plan) {
		xn_list_remove(&plan->link);
		free(plan);
		arm(domain);
		xn_sim_changed(domain);
	}
}

static void balloons(struct xn_sim_domain *domain)
{
	if (domain->options.balloon == XN_SIM_REFUSE)
		return;
	xn_sim_memory_reached(domain);
	if (has_reported(domain))
		xn_sim_guest_report_nics(domain);
}

/* A tenth of a second's keys at a time would be a burst: every 10 ms, or one by one when fewer. */
static void flood(struct xn_sim_domain *domain)
{
	const struct xn_sim_options *o = &domain->options;
	uint32_t n = o->write_rate >= 100 ? o->write_rate / 100 : 1;
	uint32_t keys = o->write_keys ? o->write_keys : 1;
	char path[64];

	for (uint32_t i = 0; i < n; i++) {
		uint32_t nth = domain->guest.floods++;

		snprintf(path, sizeof(path), "attr/sim/%u", nth % keys);
		(void)xn_xs_conn_writef(domain->conn, 0, path, "%u", nth);
	}
	xn_sim_guest_plan(domain, XN_SIM_PLAN_FLOOD,
			  o->write_rate >= 100 ? 10 : 1000 / o->write_rate);
}

static void tick(struct xn_sim_domain *domain)
{
	write_counter(domain);
	xn_sim_guest_plan(domain, XN_SIM_PLAN_TICK, domain->options.tick_ms);
}

static void crashes(struct xn_sim_domain *domain)
{
	xn_sim_domain_stops(domain, XN_SHUTDOWN_CRASH);
}

static void reboots(struct xn_sim_domain *domain)
{
	xn_sim_domain_stops(domain, XN_SHUTDOWN_REBOOT);
}

static void powers_off(struct xn_sim_domain *domain)
{
	xn_sim_domain_stops(domain, XN_SHUTDOWN_POWEROFF);
}

static void follows_vcpus(struct xn_sim_domain *domain)
{
	domain->info.vcpus = domain->wanted_vcpus;
	xn_sim_changed(domain);
	if (has_reported(domain))
		xn_sim_guest_report_nics(domain);
}

static void (*const deeds[XN_SIM_PLANS])(struct xn_sim_domain *domain) = {
	[XN_SIM_PLAN_BOOTED] = booted,       [XN_SIM_PLAN_RESUMED] = comes_up,
	[XN_SIM_PLAN_AGENT] = report_all,    [XN_SIM_PLAN_LOOK] = look,
	[XN_SIM_PLAN_ACK] = acknowledge,     [XN_SIM_PLAN_GO_DOWN] = goes_down,
	[XN_SIM_PLAN_BALLOON] = balloons,    [XN_SIM_PLAN_VCPUS] = follows_vcpus,
	[XN_SIM_PLAN_CRASH] = crashes,       [XN_SIM_PLAN_REBOOT] = reboots,
	[XN_SIM_PLAN_POWEROFF] = powers_off, [XN_SIM_PLAN_FLOOD] = flood,
	[XN_SIM_PLAN_TICK] = tick,
};

static void on_due(struct xn_timer *timer)
{
	struct xn_sim_guest *guest = xn_container_of(timer, struct xn_sim_guest, timer);
	struct xn_sim_domain *domain = xn_container_of(guest, struct xn_sim_domain, guest);
	struct xn_sim_plan *first = xn_list_entry(guest->plans.next, struct xn_sim_plan, link);
	struct xn_sim_plan plan = *first;
	struct xn_sim_device *device;

	xn_list_remove(&first->link);
	free(first);
	xn_sim_changed(domain);
	if (deeds[plan.kind]) {
		/* Only one that comes up may do so without a connection: it makes it. */
		if (domain->conn || plan.kind <= XN_SIM_PLAN_RESUMED)
			deeds[plan.kind](domain);
	} else if (domain->conn) {
		device = xn_sim_device_find(domain, plan.device_kind, plan.devid);
		if (device && plan.kind == XN_SIM_PLAN_CONNECT)
			xn_sim_device_connect(device);
		else if (device)
			xn_sim_device_let_go(device);
	}
	arm(domain);
}
