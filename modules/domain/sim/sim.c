/*
 * The simulated hypervisor: domains that cost no memory and run no code, but are created, paused,
 * shut down and destroyed like real ones, at the speed and with the faults that their VM's
 * other_config asks for (sim.h). A product feature: clients are tested against it without Xen.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "modules/domain/sim/sim_internal.h"
#include "modules/xenstore/xenstore.h"

#define MIB (1ull << 20)

/* ---- callbacks ---- */

struct xn_sim_call *xn_sim_call_new(struct xn_sim *sim, xn_backend_done *done, void *arg)
{
	struct xn_sim_call *call = xn_calloc(1, sizeof(*call));

	call->sim = sim;
	call->done = done;
	call->arg = arg;
	xn_list_init(&call->link);
	return call;
}

static void on_answer(struct xn_job *job)
{
	struct xn_sim_call *call = xn_container_of(job, struct xn_sim_call, job);

	xn_list_remove(&call->link);
	(void)xn_sim_world_flush(call->sim); /* what the caller will rely on outlives the daemon */
	if (call->created)
		call->created(call->rc, call->domid, call->arg);
	else if (call->done)
		call->done(call->rc, call->arg);
	free(call);
}

void xn_sim_answer(struct xn_sim_call *call, int rc)
{
	call->rc = rc;
	xn_list_remove(&call->link);
	xn_list_push(&call->sim->answers, &call->link);
	xn_loop_defer(xn_sim_loop(call->sim), &call->job, XN_PRIO_REPLY, on_answer);
}

void xn_sim_answer_all(struct xn_list *calls, int rc)
{
	while (!xn_list_empty(calls))
		xn_sim_answer(xn_list_entry(calls->next, struct xn_sim_call, link), rc);
}

static int answer_soon(struct xn_sim *sim, xn_backend_done *done, void *arg, int rc)
{
	xn_sim_answer(xn_sim_call_new(sim, done, arg), rc);
	return 0;
}

int64_t xn_sim_delay_us(struct xn_sim_domain *domain, uint32_t ms)
{
	int64_t us = (int64_t)ms * 1000;
	int64_t more = us * domain->options.jitter_percent / 100;

	if (more > 0)
		us += (int64_t)(xn_random_u64(xn_sim_loop(domain->sim)) % (uint64_t)(more + 1));
	return us;
}

/* ---- the table of domains ---- */

struct xn_sim_domain *xn_sim_domain(struct xn_sim *sim, uint32_t domid)
{
	struct xn_hnode *at = xn_hmap_first_same(&sim->by_domid, domid);

	return at ? xn_container_of(at, struct xn_sim_domain, by_domid) : NULL;
}

/* One that is not on its way out, if there is one. */
static struct xn_sim_domain *find_uuid(struct xn_sim *sim, const char *uuid)
{
	struct xn_hnode *at = xn_hmap_first_same(&sim->by_uuid, xn_hash_string(uuid));
	struct xn_sim_domain *found = NULL;

	for (; at; at = xn_hmap_next_same(at)) {
		struct xn_sim_domain *domain = xn_container_of(at, struct xn_sim_domain, by_uuid);

		if (!strcmp(domain->info.uuid, uuid) && (!found || found->info.dying))
			found = domain;
	}
	return found;
}

struct xn_sim_domain *xn_sim_domain_new(struct xn_sim *sim, uint32_t domid, const char *uuid,
					struct xn_xs_domain *identity)
{
	struct xn_sim_domain *domain = xn_calloc(1, sizeof(*domain));

	domain->sim = sim;
	domain->identity = identity;
	if (identity) {
		domain->birth = identity->birth;
		identity->is_played = true;
	}
	domain->info.domid = domid;
	domain->info.shutdown_code = XN_SHUTDOWN_NONE;
	snprintf(domain->info.uuid, sizeof(domain->info.uuid), "%s", uuid);
	xn_list_init(&domain->devices);
	xn_list_init(&domain->calls);
	xn_list_init(&domain->changed);
	xn_list_init(&domain->unwritten);
	xn_sim_guest_init(domain);
	xn_list_push(&sim->domains, &domain->link);
	xn_hmap_insert(&sim->by_domid, &domain->by_domid, domid);
	xn_hmap_insert(&sim->by_uuid, &domain->by_uuid, xn_hash_string(domain->info.uuid));
	sim->n_domains++;
	return domain;
}

void xn_sim_domain_free(struct xn_sim_domain *domain)
{
	struct xn_sim *sim = domain->sim;

	while (!xn_list_empty(&domain->devices))
		xn_sim_device_free(xn_list_entry(domain->devices.next, struct xn_sim_device, link));
	xn_sim_guest_freeze(domain);
	xn_sim_guest_drop_plans(domain, NULL);
	xn_timer_cancel(&domain->timer);
	xn_xs_conn_free(domain->conn);
	xn_list_remove(&domain->link);
	xn_list_remove(&domain->changed);
	xn_list_remove(&domain->unwritten);
	xn_hmap_remove(&sim->by_domid, &domain->by_domid);
	xn_hmap_remove(&sim->by_uuid, &domain->by_uuid);
	sim->n_domains--;
	free(domain);
}

static uint64_t free_memory(const struct xn_sim *sim)
{
	uint64_t used = sim->dom0_memory + sim->used_memory;

	return used < sim->total_memory ? sim->total_memory - used : 0;
}

static void note_promise(struct xn_sim_domain *domain)
{
	struct xn_sim *sim = domain->sim;
	uint64_t taken = domain->info.memory_bytes + domain->overhead_bytes;

	sim->promised_memory -= domain->promised_bytes;
	domain->promised_bytes = domain->held_bytes > taken ? domain->held_bytes - taken : 0;
	sim->promised_memory += domain->promised_bytes;
}

/* The domain's share of the host becomes @bytes. */
static int hold_memory(struct xn_sim_domain *domain, uint64_t bytes)
{
	struct xn_sim *sim = domain->sim;

	if (bytes > domain->held_bytes && bytes - domain->held_bytes > free_memory(sim))
		return -ENOMEM;
	sim->used_memory = sim->used_memory - domain->held_bytes + bytes;
	domain->held_bytes = bytes;
	note_promise(domain);
	return 0;
}

/* ---- create ---- */

static uint32_t next_domid(struct xn_sim *sim)
{
	do
		sim->last_domid = sim->last_domid + 1 < XN_XS_DOMID_END ? sim->last_domid + 1 : 1;
	while (xn_sim_domain(sim, sim->last_domid) ||
	       xn_xs_domain_find(sim->store, sim->last_domid)); /* a client's own, introduced */
	return sim->last_domid;
}

static void take_down(struct xn_sim_domain *domain);

static void on_built(struct xn_timer *timer)
{
	struct xn_sim_domain *domain = xn_container_of(timer, struct xn_sim_domain, timer);
	struct xn_sim_call *call = domain->creation;
	int failure = domain->guest.phase == XN_SIM_RESUMING ? -EIO : -ENOEXEC;
	int rc = domain->options.build == XN_SIM_FAIL ? failure : xn_sim_keys_built(domain);

	if (rc == 0) {
		domain->is_building = false;
		xn_sim_changed(domain);
		rc = xn_sim_world_flush(domain->sim); /* else the next daemon had no such domain */
	}
	if (call) {
		domain->creation = NULL;
		call->domid = domain->info.domid;
		xn_sim_answer(call, rc);
	}
	if (rc < 0) {
		take_down(domain);
		return;
	}
	xn_xs_domain_introduce(domain->identity);
	xn_sim_changed(domain);
}

static uint64_t bytes_of(const struct xn_value *config, const char *key, uint64_t otherwise)
{
	int64_t n = xn_map_get_int(config, key, -1);

	return n < 0 ? otherwise : (uint64_t)n;
}

static unsigned count_of(const struct xn_value *config, const char *key, unsigned otherwise)
{
	int64_t n = xn_map_get_int(config, key, 0);

	return n < 1 || n > 4096 ? otherwise : (unsigned)n;
}

static void read_config(struct xn_sim_domain *domain, const struct xn_value *config)
{
	const char *type = xn_map_get_string(config, "type");

	snprintf(domain->info.type, sizeof(domain->info.type), "%s", type ? type : "pv");
	domain->info.memory_bytes = bytes_of(config, "memory", 128 * MIB);
	domain->info.max_memory_bytes = bytes_of(config, "max_memory", domain->info.memory_bytes);
	domain->target_bytes = domain->info.memory_bytes;
	domain->overhead_bytes = bytes_of(config, "shadow_memory", 0);
	domain->wanted_vcpus = count_of(config, "vcpus", 1);
	domain->max_vcpus = count_of(config, "max_vcpus", domain->wanted_vcpus);
	if (domain->wanted_vcpus > domain->max_vcpus)
		domain->wanted_vcpus = domain->max_vcpus;
	domain->info.vcpus = domain->wanted_vcpus;
	xn_sim_options_read(&domain->options, xn_map_get(config, "other_config"));
}

int xn_sim_domain_build(struct xn_sim *sim, const struct xn_value *config, int64_t image_clock_us,
			struct xn_sim_call *call)
{
	const char *uuid = xn_map_get_string(config, "uuid");
	struct xn_xs_domain *identity;
	struct xn_sim_domain *domain;
	uint32_t domid;
	int rc;

	if (!uuid || strlen(uuid) != 36)
		return -EINVAL;
	if (sim->n_domains >= XN_XS_DOMID_END - 1)
		return -ENOSPC;
	domid = next_domid(sim);
	identity = xn_xs_domain_add(sim->store, domid);
	if (!identity)
		return -EEXIST; /* somebody else has made it known to xenstore */
	domain = xn_sim_domain_new(sim, domid, uuid, identity);
	xn_sim_added(domain);
	read_config(domain, config);
	domain->info.paused = true;
	domain->is_building = true;
	if (image_clock_us >= 0) {
		domain->guest.phase = XN_SIM_RESUMING;
		domain->guest.clock_us = image_clock_us;
	}
	rc = hold_memory(domain, domain->info.memory_bytes + domain->overhead_bytes);
	if (!rc)
		rc = xn_sim_keys_create(domain, config);
	if (!rc)
		rc = xn_sim_pci_create(domain, xn_map_get(config, "pci"));
	if (rc < 0) {
		take_down(domain);
		return rc;
	}
	domain->creation = call;
	if (domain->options.build != XN_SIM_HANG)
		xn_timer_arm(xn_sim_loop(sim), &domain->timer,
			     xn_sim_delay_us(domain, domain->options.build_ms), on_built);
	xn_sim_changed(domain);
	return 0;
}

static int sim_create(struct xn_backend *b, const struct xn_value *config,
		      void (*done)(int rc, uint32_t domid, void *arg), void *arg)
{
	struct xn_sim_call *call = xn_sim_call_new(xn_sim_of(b), NULL, arg);
	int rc;

	call->created = done;
	rc = xn_sim_domain_build(call->sim, config, -1, call);
	if (rc < 0)
		free(call);
	return rc;
}

/* ---- destroy ---- */

/* Everything of it goes now. */
static void take_down(struct xn_sim_domain *domain)
{
	struct xn_xs_domain *identity = domain->identity;
	struct xn_list calls;

	xn_list_init(&calls);
	while (!xn_list_empty(&domain->calls)) {
		struct xn_list *link = xn_list_pop(&domain->calls);

		xn_list_push(&calls, link);
	}
	xn_sim_keys_destroy(domain->sim, domain->info.domid, domain->info.uuid);
	(void)hold_memory(domain, 0);
	xn_sim_gone(domain);
	xn_sim_domain_free(domain);
	xn_xs_domain_release(identity);
	xn_sim_answer_all(&calls, 0);
}

static void on_destroyed(struct xn_timer *timer)
{
	take_down(xn_container_of(timer, struct xn_sim_domain, timer));
}

static int sim_destroy(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);
	struct xn_sim_call *call;

	if (!domain)
		return answer_soon(sim, done, arg, 0);
	if (domain->creation) {
		xn_sim_answer(domain->creation, -ECANCELED);
		domain->creation = NULL;
	}
	call = xn_sim_call_new(sim, done, arg);
	xn_list_push(&domain->calls, &call->link);
	if (domain->info.dying)
		return 0;
	domain->info.dying = true;
	xn_sim_guest_freeze(domain);
	xn_sim_guest_drop_plans(domain, NULL);
	xn_sim_save_look(domain);
	xn_timer_arm(xn_sim_loop(sim), &domain->timer,
		     xn_sim_delay_us(domain, domain->options.destroy_ms), on_destroyed);
	xn_sim_changed(domain);
	return 0;
}

/*
 * A half-made one has lost its builder and stays as it is until somebody destroys it; the others go
 * on where they were.
 */
void xn_sim_domain_reopened(struct xn_sim_domain *domain)
{
	domain->sim->used_memory += domain->held_bytes;
	note_promise(domain);
	if (domain->info.dying) {
		xn_timer_arm(xn_sim_loop(domain->sim), &domain->timer, 0, on_destroyed);
		return;
	}
	if (domain->is_building)
		return;
	if ((domain->guest.phase == XN_SIM_UP || domain->guest.phase == XN_SIM_RESUMING) &&
	    !domain->info.shut_down)
		xn_sim_guest_listen(domain);
	xn_list_each(link, &domain->devices)
		xn_sim_device_reopened(xn_list_entry(link, struct xn_sim_device, link));
	if (!domain->identity->introduced)
		xn_xs_domain_introduce(domain->identity);
	/* The two journals may end at different moments. */
	if (domain->info.shut_down)
		xn_xs_domain_stopped(domain->identity);
	else
		xn_xs_domain_resume(domain->identity);
	if (xn_sim_may_run(domain))
		xn_sim_guest_run(domain);
}

/* ---- running and stopping ---- */

bool xn_sim_may_run(const struct xn_sim_domain *domain)
{
	return !domain->info.paused && !domain->info.dying && !domain->info.shut_down &&
	       !domain->is_building;
}

static int sim_pause(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);

	if (!domain)
		return -ENOENT;
	domain->info.paused = true;
	xn_sim_guest_freeze(domain);
	xn_sim_changed(domain);
	return answer_soon(sim, done, arg, 0);
}

static int sim_unpause(struct xn_backend *b, uint32_t domid, xn_backend_done *done, void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);
	bool was_paused = domain && domain->info.paused;
	int rc;

	if (!domain)
		return -ENOENT;
	domain->info.paused = false;
	xn_sim_changed(domain);
	rc = xn_sim_world_flush(sim);
	if (rc < 0) { /* the next daemon would find it paused */
		domain->info.paused = was_paused;
		xn_sim_changed(domain);
		return rc;
	}
	if (xn_sim_may_run(domain))
		xn_sim_guest_run(domain);
	xn_sim_changed(domain);
	return answer_soon(sim, done, arg, 0);
}

void xn_sim_domain_stops(struct xn_sim_domain *domain, enum xn_domain_shutdown reason)
{
	if (domain->info.shut_down || domain->info.dying)
		return;
	domain->info.shut_down = true;
	domain->info.shutdown_code = reason;
	xn_sim_guest_freeze(domain);
	if (reason != XN_SHUTDOWN_SUSPEND) {
		domain->guest.phase = XN_SIM_DOWN;
		xn_sim_guest_drop_plans(domain, NULL);
		xn_xs_conn_free(domain->conn);
		domain->conn = NULL;
		xn_sim_devices_abandoned(domain);
	}
	xn_sim_changed(domain);
	xn_xs_domain_stopped(domain->identity);
	xn_sim_save_look(domain);
}

static const char *const requests[] = {
	[XN_SHUTDOWN_POWEROFF] = "poweroff",
	[XN_SHUTDOWN_REBOOT] = "reboot",
	[XN_SHUTDOWN_SUSPEND] = "suspend",
	[XN_SHUTDOWN_CRASH] = "crash",
};

static int sim_shutdown(struct xn_backend *b, uint32_t domid, enum xn_domain_shutdown reason,
			xn_backend_done *done, void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);
	char path[64];
	int rc;

	if (!domain || domain->info.dying)
		return -ENOENT;
	if (reason < 0 || reason >= (int)XN_ARRAY_SIZE(requests))
		return -EOPNOTSUPP;
	if (!strcmp(domain->info.type, "hvm") && domain->options.agent == XN_SIM_NONE) {
		xn_sim_domain_stops(domain, reason); /* no drivers: the hypervisor does it */
		return answer_soon(sim, done, arg, 0);
	}
	snprintf(path, sizeof(path), "/local/domain/%u/control/shutdown", domid);
	rc = xn_xs_conn_write_string(sim->dom0, 0, path, requests[reason]);
	return rc < 0 ? rc : answer_soon(sim, done, arg, 0);
}

static int sim_trigger(struct xn_backend *b, uint32_t domid, const char *trigger,
		       xn_backend_done *done, void *arg)
{
	static const struct {
		const char *name;
		enum xn_domain_shutdown effect;
	} known[] = {
		{"power", XN_SHUTDOWN_POWEROFF}, {"reset", XN_SHUTDOWN_REBOOT},
		{"sysrq:b", XN_SHUTDOWN_REBOOT}, {"sysrq:o", XN_SHUTDOWN_POWEROFF},
		{"sysrq:c", XN_SHUTDOWN_CRASH},  {"sysrq:s", XN_SHUTDOWN_NONE},
		{"sleep", XN_SHUTDOWN_NONE},     {"s3resume", XN_SHUTDOWN_NONE},
		{"nmi", XN_SHUTDOWN_NONE},       {"init", XN_SHUTDOWN_NONE},
	};
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);

	if (!domain)
		return -ENOENT;
	for (size_t i = 0; i < XN_ARRAY_SIZE(known); i++) {
		if (strcmp(known[i].name, trigger))
			continue;
		if (known[i].effect != XN_SHUTDOWN_NONE && xn_sim_may_run(domain))
			xn_sim_domain_stops(domain, known[i].effect);
		return answer_soon(sim, done, arg, 0);
	}
	/* Most keys only make a kernel print something. */
	return strncmp(trigger, "sysrq:", 6) == 0 ? answer_soon(sim, done, arg, 0) : -EOPNOTSUPP;
}

/* ---- memory and processors ---- */

static int sim_set_memory(struct xn_backend *b, uint32_t domid, uint64_t bytes,
			  xn_backend_done *done, void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);
	uint64_t most;
	char path[64];
	int rc;

	if (!domain || domain->info.dying)
		return -ENOENT;
	if (bytes > domain->info.max_memory_bytes)
		return -EINVAL;
	most = bytes > domain->info.memory_bytes ? bytes : domain->info.memory_bytes;
	rc = hold_memory(domain, most + domain->overhead_bytes);
	if (rc < 0)
		return rc;
	domain->target_bytes = bytes;
	xn_sim_changed(domain);
	snprintf(path, sizeof(path), "/local/domain/%u/memory/target", domid);
	rc = xn_xs_conn_writef(sim->dom0, 0, path, "%llu", (unsigned long long)bytes / 1024);
	return rc < 0 ? rc : answer_soon(sim, done, arg, 0);
}

static int sim_set_shadow(struct xn_backend *b, uint32_t domid, uint64_t bytes,
			  xn_backend_done *done, void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);
	uint64_t held;
	int rc;

	if (!domain || domain->info.dying)
		return -ENOENT;
	held = domain->held_bytes - domain->overhead_bytes + bytes;
	rc = hold_memory(domain, held);
	if (rc < 0)
		return rc;
	domain->overhead_bytes = bytes;
	note_promise(domain);
	xn_sim_changed(domain);
	return answer_soon(sim, done, arg, 0);
}

static int sim_set_vcpus(struct xn_backend *b, uint32_t domid, unsigned vcpus,
			 xn_backend_done *done, void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);
	struct xn_sim_keys keys;
	int rc;

	if (!domain || domain->info.dying)
		return -ENOENT;
	if (vcpus < 1 || vcpus > domain->max_vcpus)
		return -EINVAL;
	domain->wanted_vcpus = vcpus;
	xn_sim_keys_begin(&keys, sim->dom0);
	xn_sim_keys_base(&keys, "/local/domain/%u/cpu", domid);
	for (unsigned i = 0; i < domain->max_vcpus; i++) {
		char key[32];

		snprintf(key, sizeof(key), "%u/availability", i);
		xn_sim_put(&keys, key, i < vcpus ? "online" : "offline");
	}
	rc = xn_sim_keys_end(&keys);
	if (rc < 0)
		return rc;
	xn_sim_guest_sees_vcpus(domain);
	xn_sim_changed(domain);
	return answer_soon(sim, done, arg, 0);
}

/* Simulated guests use no CPU that could be shared out. */
static int sim_set_vcpu_params(struct xn_backend *b, uint32_t domid, const struct xn_value *params,
			       xn_backend_done *done, void *arg)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_sim_domain *domain = xn_sim_domain(sim, domid);

	return domain && !domain->info.dying ? answer_soon(sim, done, arg, 0) : -ENOENT;
}

void xn_sim_memory_reached(struct xn_sim_domain *domain)
{
	domain->info.memory_bytes = domain->target_bytes;
	(void)hold_memory(domain, domain->target_bytes + domain->overhead_bytes); /* never more */
	xn_sim_changed(domain);
}

/* ---- what there is ---- */

static int sim_host_info(struct xn_backend *b, struct xn_host_info *out)
{
	const struct xn_sim *sim = xn_sim_of(b);
	long cpus = xn_loop_is_virtual(xn_sim_loop(sim)) ? 8 : sysconf(_SC_NPROCESSORS_ONLN);

	*out = (struct xn_host_info){
		.memory_total = sim->total_memory,
		.memory_free = free_memory(sim) + sim->promised_memory,
		.cpus = cpus > 0 ? (unsigned)cpus : 1,
		.sockets = 1,
		.threads_per_core = 1,
		.nodes = 1,
		.hvm = true,
		.iommu = true,
		.xen_version = "4.17.0-sim",
		.capabilities = "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64",
	};
	out->cores_per_socket = out->cpus;
	return 0;
}

static void bring_up_to_date(struct xn_sim_domain *domain)
{
	domain->info.cpu_ns = (uint64_t)xn_sim_guest_clock_us(domain) * 20; /* 2% of one */
}

static const struct xn_domain_info *sim_list(struct xn_backend *b, size_t *n_out)
{
	struct xn_sim *sim = xn_sim_of(b);
	size_t n = 0;

	if (sim->n_domains > sim->cap_infos) {
		sim->cap_infos = sim->n_domains * 2;
		free(sim->infos);
		sim->infos = xn_malloc(sim->cap_infos * sizeof(sim->infos[0]));
	}
	xn_list_each(link, &sim->domains)
	{
		struct xn_sim_domain *domain = xn_list_entry(link, struct xn_sim_domain, link);

		bring_up_to_date(domain);
		sim->infos[n++] = domain->info;
	}
	*n_out = n;
	return sim->infos;
}

static const struct xn_domain_info *sim_find(struct xn_backend *b, const char *vm_uuid)
{
	struct xn_sim_domain *domain = find_uuid(xn_sim_of(b), vm_uuid);

	if (!domain)
		return NULL;
	bring_up_to_date(domain);
	return &domain->info;
}

static int sim_refresh(struct xn_backend *b, xn_backend_done *done, void *arg)
{
	return answer_soon(xn_sim_of(b), done, arg, 0); /* the lists are the truth */
}

int xn_sim_guest_stops(struct xn_backend *b, uint32_t domid, enum xn_domain_shutdown reason)
{
	struct xn_sim_domain *domain = xn_sim_domain(xn_sim_of(b), domid);

	if (!domain)
		return -ENOENT;
	xn_sim_domain_stops(domain, reason);
	return 0;
}

int64_t xn_sim_guest_counter(struct xn_backend *b, uint32_t domid)
{
	struct xn_sim_domain *domain = xn_sim_domain(xn_sim_of(b), domid);

	return domain ? xn_sim_guest_clock_us(domain) / 1000 : -1;
}

/* ---- open and close ---- */

static uint64_t machine_memory(struct xn_core *core)
{
	struct sysinfo info;

	if (core->config && xn_config_is_set(core->config, "sim-memory"))
		return (uint64_t)xn_config_int(core->config, "sim-memory");
	if (xn_loop_is_virtual(core->loop) || sysinfo(&info) < 0)
		return 64ull << 30;
	return (uint64_t)info.totalram * info.mem_unit;
}

/* A simulated daemon keeps its world in memory, unless it was given a folder. */
static bool has_folder(const struct xn_core *core)
{
	return core->config &&
	       (xn_config_is_set(core->config, "state-dir") || !xn_loop_is_virtual(core->loop));
}

static int sim_open(struct xn_backend *b, struct xn_error *err)
{
	struct xn_sim *sim = xn_sim_of(b);
	char *path;
	int rc = 0;

	sim->store = xn_xenstore_embedded(xn_module_state(b->core, "xenstore"));
	sim->dom0 = xn_xs_conn_new(xn_xs_domain_find(sim->store, 0));
	sim->total_memory = machine_memory(b->core);
	sim->dom0_memory = sim->total_memory / 8 / MIB * MIB;
	sim->is_open = true;
	if (has_folder(b->core)) {
		path = xn_asprintf("%s/sim.world", xn_config_string(b->core->config, "state-dir"));
		rc = xn_sim_world_open(sim, path, err);
		free(path);
	}
	return rc;
}

static void sim_close(struct xn_backend *b)
{
	struct xn_sim *sim = xn_sim_of(b);

	if (!sim->is_open)
		return;
	sim->is_open = false;
	xn_sim_save_drop(sim);
	xn_sim_world_close(sim);
	while (!xn_list_empty(&sim->domains)) {
		struct xn_sim_domain *domain =
			xn_list_entry(sim->domains.next, struct xn_sim_domain, link);

		if (domain->creation)
			xn_sim_answer(domain->creation, -ECANCELED);
		xn_sim_answer_all(&domain->calls, -ECANCELED);
		xn_sim_domain_free(domain);
	}
	while (!xn_list_empty(&sim->answers)) { /* what waits for them can be freed */
		struct xn_sim_call *call =
			xn_list_entry(sim->answers.next, struct xn_sim_call, link);

		xn_job_cancel(&call->job);
		call->rc = -ECANCELED;
		on_answer(&call->job);
	}
	xn_xs_conn_free(sim->dom0);
	sim->dom0 = NULL;
	sim->used_memory = sim->promised_memory = 0;
}

static void sim_free(struct xn_backend *b)
{
	struct xn_sim *sim = xn_sim_of(b);

	sim_close(b);
	xn_hmap_clear(&sim->by_domid);
	xn_hmap_clear(&sim->by_uuid);
	free(sim->infos);
	free(sim);
}

/* Domains that are being built or taken down. */
static struct xn_value *sim_describe(struct xn_backend *b)
{
	struct xn_sim *sim = xn_sim_of(b);
	struct xn_value *map = xn_map_new(), *busy = xn_set_new();

	xn_list_each(link, &sim->domains) {
		const struct xn_sim_domain *domain =
			xn_list_entry(link, struct xn_sim_domain, link);
		struct xn_value *one;

		if (!domain->is_building && !domain->info.dying)
			continue;
		one = xn_map_new();
		xn_map_put(&one, "domid", xn_int(domain->info.domid));
		xn_map_put_string(&one, "vm", domain->info.uuid);
		xn_map_put_string(&one, "call", domain->is_building ? "create" : "destroy");
		xn_map_put(&one, "ends_in_s",
			   xn_float((double)(domain->timer.due_us - xn_now_us(b->core->loop)) /
				    1000000));
		xn_set_append(&busy, one);
	}
	xn_map_put(&map, "busy", busy);
	return map;
}

static const struct xn_backend_ops sim_ops = {
	.name = "sim",
	.open = sim_open,
	.close = sim_close,
	.host_info = sim_host_info,
	.list = sim_list,
	.find = sim_find,
	.refresh = sim_refresh,
	.create = sim_create,
	.destroy = sim_destroy,
	.pause = sim_pause,
	.unpause = sim_unpause,
	.shutdown = sim_shutdown,
	.plug_disk = xn_sim_plug_disk,
	.unplug_disk = xn_sim_unplug_disk,
	.change_media = xn_sim_change_media,
	.plug_nic = xn_sim_plug_nic,
	.unplug_nic = xn_sim_unplug_nic,
	.plug_pci = xn_sim_plug_pci,
	.unplug_pci = xn_sim_unplug_pci,
	.set_memory = sim_set_memory,
	.set_shadow = sim_set_shadow,
	.set_vcpu_params = sim_set_vcpu_params,
	.set_vcpus = sim_set_vcpus,
	.trigger = sim_trigger,
	.save = xn_sim_save,
	.resume = xn_sim_resume,
	.restore = xn_sim_restore,
	.core_dump = xn_sim_core_dump,
	.describe = sim_describe,
	.free = sim_free,
};

struct xn_backend *xn_backend_sim_new(struct xn_core *core)
{
	struct xn_sim *sim = xn_calloc(1, sizeof(*sim));

	sim->backend = (struct xn_backend){.ops = &sim_ops, .core = core};
	xn_list_init(&sim->domains);
	xn_list_init(&sim->answers);
	xn_list_init(&sim->transfers);
	return &sim->backend;
}
