/*
 * The file by which the simulated domains outlive the daemon, as real ones would: an append-only log
 * of what came, changed and went. Written with plain write() before anybody is told, so it survives
 * the daemon's end by any signal; never synced, because a simulated world need not survive the
 * machine's. What is in xenstore outlives the daemon by xenstore's own journal; where the two were
 * cut short at different moments, a start makes them fit (reconcile).
 *
 * When much of it is history, a shorter one is written beside it, in slices while the world goes
 * on: all domains as they are at that moment, and all records of meanwhile, which go to both files.
 * Then it takes the old one's place.
 *
 * A record: length of what follows (4 bytes), checksum (4), type (1), then its fields; integers are
 * little-endian, texts have their length (4) before them. A record that is not whole ends the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/write.h"
#include "modules/domain/sim/sim_internal.h"

enum record_type {
	RECORD_VERSION = 1,
	RECORD_ADDED,
	RECORD_STATE,
	RECORD_GONE,
};
enum {
	VERSION = 2, /* 1 had the changes of xenstore, too */
	FRAME = 8,
	MAX_WAITING = 64 << 20,
	SLICE_DOMAINS = 50,
	MIN_HISTORY = 4 << 20, /* bytes, that a start reads in a twentieth of a second */
};

struct xn_sim_world {
	struct xn_sim *sim;
	char *path, *fresh_path;
	int fd;
	uint64_t size;       /* of the file: all whole records */
	uint64_t shorten_at; /* size at which a shorter one is begun */
	struct xn_buf out;
	size_t record_at;
	struct xn_list changed;
	struct xn_job flush;
	bool has_complained;
	/* The shorter file; fd -1: none is being written. */
	int fresh_fd;
	uint64_t fresh_size;
	struct xn_job shorten;
	struct xn_list unwritten; /* domains */
	bool is_new;		  /* its host has just booted */
};

/* ---- fields ---- */

static void put_bytes(struct xn_buf *out, const char *bytes, size_t len)
{
	xn_put_u32(out, (uint32_t)len);
	xn_buf_add(out, bytes, len);
}

static const char *get_bytes(struct xn_reader *in, size_t *len_out)
{
	const char *at;

	*len_out = xn_take_u32(in);
	at = xn_take(in, *len_out);
	if (!at)
		*len_out = 0;
	return at ? at : "";
}

/* So much that shortening is a small share of the work, but not the most of what a start reads. */
static uint64_t history_allowed(uint64_t needed)
{
	return needed / 2 > MIN_HISTORY ? needed / 2 : MIN_HISTORY;
}

/* Against torn writes and stray edits, not against anybody's intent. */
static uint32_t checksum(const char *bytes, size_t len)
{
	uint64_t h = len * 0x9e3779b97f4a7c15u;

	for (; len >= 8; bytes += 8, len -= 8) {
		uint64_t word;

		memcpy(&word, bytes, sizeof(word));
		h = (h ^ le64toh(word)) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
	}
	for (; len; bytes++, len--)
		h = (h ^ (unsigned char)*bytes) * 0x100000001b3u;
	return (uint32_t)(h ^ h >> 32);
}

static void begin_record(struct xn_sim_world *world, enum record_type type)
{
	world->record_at = world->out.len;
	xn_put_u64(&world->out, 0);
	xn_buf_add_char(&world->out, (char)type);
}

static void end_record(struct xn_sim_world *world)
{
	size_t len = world->out.len - world->record_at - FRAME;
	struct xn_buf frame = {.data = world->out.data + world->record_at, .cap = FRAME};

	xn_put_u32(&frame, (uint32_t)len);
	xn_put_u32(&frame, checksum(world->out.data + world->record_at + FRAME, len));
}

/* ---- a domain ---- */

static void put_guest(struct xn_buf *out, const struct xn_sim_domain *domain)
{
	uint32_t n = 0;

	xn_put_u32(out, domain->guest.phase);
	xn_put_u64(out, (uint64_t)xn_sim_guest_clock_us(domain));
	xn_put_u32(out, (uint32_t)domain->guest.going);
	xn_list_each(link, &domain->guest.plans) n++;
	xn_put_u32(out, n);
	xn_list_each(link, &domain->guest.plans)
	{
		const struct xn_sim_plan *plan = xn_list_entry(link, struct xn_sim_plan, link);

		xn_put_u32(out, plan->kind);
		xn_put_u64(out, (uint64_t)plan->due_us);
		xn_put_u32(out, plan->device_kind);
		xn_put_u32(out, (uint32_t)plan->devid);
	}
}

static void put_devices(struct xn_buf *out, const struct xn_sim_domain *domain)
{
	uint32_t n = 0;

	xn_list_each(link, &domain->devices) n++;
	xn_put_u32(out, n);
	xn_list_each(link, &domain->devices)
	{
		const struct xn_sim_device *device =
			xn_list_entry(link, struct xn_sim_device, link);

		xn_put_u32(out, device->kind);
		xn_put_u32(out, (uint32_t)device->devid);
		xn_put_u32(out, device->phase);
	}
}

enum { IS_PAUSED = 1, IS_DYING = 2, IS_SHUT_DOWN = 4, IS_BUILDING = 8 };

static void put_domain(struct xn_sim_world *world, const struct xn_sim_domain *domain)
{
	const struct xn_domain_info *info = &domain->info;
	struct xn_buf *out = &world->out;

	begin_record(world, RECORD_STATE);
	xn_put_u32(out, info->domid);
	xn_put_u64(out, (uint64_t)xn_wall_us(xn_sim_loop(domain->sim)));
	put_bytes(out, info->type, strlen(info->type));
	xn_put_u32(out, (info->paused ? IS_PAUSED : 0) | (info->dying ? IS_DYING : 0) |
			     (info->shut_down ? IS_SHUT_DOWN : 0) |
			     (domain->is_building ? IS_BUILDING : 0));
	xn_put_u32(out, (uint32_t)info->shutdown_code);
	xn_put_u64(out, info->memory_bytes);
	xn_put_u64(out, info->max_memory_bytes);
	xn_put_u64(out, domain->target_bytes);
	xn_put_u64(out, domain->overhead_bytes);
	xn_put_u64(out, domain->held_bytes);
	xn_put_u32(out, info->vcpus);
	xn_put_u32(out, domain->wanted_vcpus);
	xn_put_u32(out, domain->max_vcpus);
	xn_put_u32(out, sizeof(domain->options) / sizeof(uint32_t));
	for (size_t i = 0; i < sizeof(domain->options) / sizeof(uint32_t); i++)
		xn_put_u32(out, ((const uint32_t *)&domain->options)[i]);
	put_guest(out, domain);
	put_devices(out, domain);
	end_record(world);
}

static void get_guest(struct xn_reader *in, struct xn_sim_domain *domain)
{
	uint32_t n;

	domain->guest.phase = xn_take_u32(in) % (XN_SIM_DOWN + 1);
	domain->guest.clock_us = (int64_t)xn_take_u64(in);
	domain->guest.going = (enum xn_domain_shutdown)(int32_t)xn_take_u32(in);
	xn_sim_guest_drop_plans(domain, NULL);
	n = xn_take_u32(in);
	while (n-- && !in->is_short) {
		struct xn_sim_plan plan = {.kind = xn_take_u32(in) % XN_SIM_PLANS};

		plan.due_us = (int64_t)xn_take_u64(in);
		plan.device_kind = xn_take_u32(in) % XN_SIM_KINDS;
		plan.devid = (int)xn_take_u32(in);
		if (!in->is_short)
			xn_sim_guest_add_plan(domain, &plan);
	}
}

static void get_devices(struct xn_reader *in, struct xn_sim_domain *domain)
{
	uint32_t n = xn_take_u32(in);

	while (!xn_list_empty(&domain->devices))
		free(xn_list_entry(xn_list_pop(&domain->devices), struct xn_sim_device, link));
	while (n-- && !in->is_short) {
		enum xn_sim_kind kind = xn_take_u32(in) % XN_SIM_KINDS;
		int devid = (int)xn_take_u32(in);
		enum xn_sim_device_phase phase = xn_take_u32(in) % (XN_SIM_CLOSING + 1);

		if (!in->is_short)
			xn_sim_device_new(domain, kind, devid)->phase = phase;
	}
}

static void get_options(struct xn_reader *in, struct xn_sim_domain *domain)
{
	uint32_t n = xn_take_u32(in);

	xn_sim_options_read(&domain->options, NULL);
	for (uint32_t i = 0; i < n && !in->is_short; i++) {
		uint32_t value = xn_take_u32(in);

		if (i < sizeof(domain->options) / sizeof(uint32_t))
			((uint32_t *)&domain->options)[i] = value;
	}
}

static void get_state(struct xn_sim *sim, struct xn_reader *in)
{
	struct xn_sim_domain *domain = xn_sim_domain(sim, xn_take_u32(in));
	int64_t slept_us = xn_wall_us(xn_sim_loop(sim)) - (int64_t)xn_take_u64(in);
	uint32_t flags;
	const char *type;
	size_t len;

	if (!domain)
		return;
	type = get_bytes(in, &len);
	snprintf(domain->info.type, sizeof(domain->info.type), "%.*s", (int)len, type);
	flags = xn_take_u32(in);
	domain->info.paused = flags & IS_PAUSED;
	domain->info.dying = flags & IS_DYING;
	domain->info.shut_down = flags & IS_SHUT_DOWN;
	domain->is_building = flags & IS_BUILDING;
	domain->info.shutdown_code = (enum xn_domain_shutdown)(int32_t)xn_take_u32(in);
	domain->info.memory_bytes = xn_take_u64(in);
	domain->info.max_memory_bytes = xn_take_u64(in);
	domain->target_bytes = xn_take_u64(in);
	domain->overhead_bytes = xn_take_u64(in);
	domain->held_bytes = xn_take_u64(in);
	domain->info.vcpus = xn_take_u32(in);
	domain->wanted_vcpus = xn_take_u32(in);
	domain->max_vcpus = xn_take_u32(in);
	get_options(in, domain);
	get_guest(in, domain);
	get_devices(in, domain);
	if (xn_sim_may_run(domain) && slept_us > 0)
		domain->guest.clock_us += slept_us; /* it ran while the daemon did not */
}

/* ---- the file ---- */

static void complain(struct xn_sim_world *world, int error, const char *doing)
{
	struct xn_core *core = world->sim->backend.core;

	if (!world->has_complained && core->log)
		xn_log_warn(core->log, "domain",
			    "%s the simulated world: %s; it will not survive a restart", doing,
			    strerror(error));
	world->has_complained = true;
}

static void give_up_shortening(struct xn_sim_world *world)
{
	if (world->fresh_fd < 0)
		return;
	xn_job_cancel(&world->shorten);
	close(world->fresh_fd);
	unlink(world->fresh_path);
	world->fresh_fd = -1;
	world->shorten_at = world->size * 2; /* not at once again */
}

/* Appends to the shorter file only. */
static int write_fresh(struct xn_sim_world *world)
{
	int rc = xn_write_all(world->fresh_fd, world->out.data, world->out.len);

	if (rc < 0)
		give_up_shortening(world);
	else
		world->fresh_size += world->out.len;
	world->out.len = 0;
	return rc;
}

static void start_shortening(struct xn_sim_world *world);

int xn_sim_world_flush(struct xn_sim *sim)
{
	struct xn_sim_world *world = sim->world;
	int rc;

	if (!world)
		return 0;
	while (!xn_list_empty(&world->changed))
		put_domain(world, xn_list_entry(xn_list_pop(&world->changed), struct xn_sim_domain,
						changed));
	if (!world->out.len)
		return 0;
	rc = xn_write_all(world->fd, world->out.data, world->out.len);
	if (rc < 0) { /* no half records: what comes after would be lost with them */
		complain(world, -rc, "writing");
		give_up_shortening(world);
		if (ftruncate(world->fd, (off_t)world->size) < 0 || world->out.len > MAX_WAITING)
			world->out.len = 0;
		return rc;
	}
	world->has_complained = false;
	world->size += world->out.len;
	if (world->fresh_fd >= 0)
		(void)write_fresh(world);
	else if (world->size > world->shorten_at)
		start_shortening(world);
	world->out.len = 0;
	if (world->out.cap > 1 << 20)
		xn_buf_clear(&world->out);
	return 0;
}

static void on_flush(struct xn_job *job)
{
	(void)xn_sim_world_flush(xn_container_of(job, struct xn_sim_world, flush)->sim);
}

static void put_added(struct xn_sim_world *world, const struct xn_sim_domain *domain)
{
	begin_record(world, RECORD_ADDED);
	xn_put_u32(&world->out, domain->info.domid);
	put_bytes(&world->out, domain->info.uuid, strlen(domain->info.uuid));
	xn_put_u64(&world->out, domain->birth);
	end_record(world);
}

void xn_sim_added(struct xn_sim_domain *domain)
{
	struct xn_sim_world *world = domain->sim->world;

	if (!world)
		return;
	put_added(world, domain);
	xn_sim_changed(domain);
}

void xn_sim_changed(struct xn_sim_domain *domain)
{
	struct xn_sim_world *world = domain->sim->world;

	if (!world || !xn_list_empty(&domain->changed))
		return;
	xn_list_push(&world->changed, &domain->changed);
	xn_loop_defer(xn_sim_loop(domain->sim), &world->flush, XN_PRIO_REPLY, on_flush);
}

void xn_sim_gone(struct xn_sim_domain *domain)
{
	struct xn_sim_world *world = domain->sim->world;

	if (!world)
		return;
	xn_list_remove(&domain->changed);
	begin_record(world, RECORD_GONE);
	xn_put_u32(&world->out, domain->info.domid);
	end_record(world);
	xn_loop_defer(xn_sim_loop(domain->sim), &world->flush, XN_PRIO_REPLY, on_flush);
}

/* ---- reading it again ---- */

static void get_added(struct xn_sim *sim, struct xn_reader *in)
{
	uint32_t domid = xn_take_u32(in);
	char uuid[37];
	const char *text;
	uint64_t birth;
	size_t len;

	text = get_bytes(in, &len);
	snprintf(uuid, sizeof(uuid), "%.*s", (int)(len < sizeof(uuid) ? len : 36), text);
	birth = xn_take_u64(in);
	if (in->is_short || domid >= XN_XS_DOMID_END || xn_sim_domain(sim, domid))
		return;
	xn_sim_domain_new(sim, domid, uuid, NULL)->birth = birth;
	sim->last_domid = domid;
}

static void get_gone(struct xn_sim *sim, struct xn_reader *in)
{
	struct xn_sim_domain *domain = xn_sim_domain(sim, xn_take_u32(in));

	if (domain)
		xn_sim_domain_free(domain);
}

/* 0; -EPROTO for a version that is not known here; -ESTALE for an old one. */
static int get_record(struct xn_sim *sim, const char *bytes, size_t len)
{
	struct xn_reader in = {.at = bytes + 1, .left = len - 1};
	uint32_t version;

	switch ((enum record_type)bytes[0]) {
	case RECORD_VERSION:
		sim->last_domid = 0;
		version = xn_take_u32(&in);
		if (version != VERSION)
			return version < VERSION ? -ESTALE : -EPROTO;
		sim->last_domid = xn_take_u32(&in);
		break;
	case RECORD_ADDED:
		get_added(sim, &in);
		break;
	case RECORD_STATE:
		get_state(sim, &in);
		break;
	case RECORD_GONE:
		get_gone(sim, &in);
		break;
	}
	return 0;
}

/* world->size is then where the whole records end. */
static int get_records(struct xn_sim_world *world, const char *bytes, size_t len)
{
	struct xn_reader in = {.at = bytes, .left = len};
	int rc = 0;

	while (in.left >= FRAME + 1 && !rc) {
		uint32_t size = xn_take_u32(&in), sum = xn_take_u32(&in);
		const char *record = size ? xn_take(&in, size) : NULL;

		if (!record || checksum(record, size) != sum)
			break; /* the write that was under way when the daemon died */
		rc = get_record(world->sim, record, size);
		world->size = (uint64_t)(in.at - bytes);
	}
	world->shorten_at = history_allowed(0);
	return rc;
}

static int read_file(const char *path, struct xn_buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t n = 1;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &st) < 0 || st.st_size < 0) {
		close(fd);
		return -EIO;
	}
	while (n > 0) {
		xn_buf_reserve(out, (size_t)st.st_size - out->len + 4096);
		n = read(fd, out->data + out->len, out->cap - out->len);
		if (n > 0)
			out->len += (size_t)n;
		if (out->len > (size_t)st.st_size)
			st.st_size = (off_t)out->len;
	}
	close(fd);
	return n < 0 ? -errno : 0;
}

/* ---- the shorter file ---- */

static void put_version(struct xn_sim_world *world)
{
	begin_record(world, RECORD_VERSION);
	xn_put_u32(&world->out, VERSION);
	xn_put_u32(&world->out, world->sim->last_domid);
	end_record(world);
}

static void on_shorten(struct xn_job *job);

static void start_shortening(struct xn_sim_world *world)
{
	world->fresh_fd =
		open(world->fresh_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (world->fresh_fd < 0) {
		world->shorten_at = world->size * 2;
		return;
	}
	world->out.len = 0;
	world->fresh_size = 0;
	put_version(world);
	while (!xn_list_empty(&world->unwritten))
		xn_list_pop(&world->unwritten);
	xn_list_each(link, &world->sim->domains)
		xn_list_push(&world->unwritten,
			     &xn_list_entry(link, struct xn_sim_domain, link)->unwritten);
	if (!write_fresh(world))
		xn_loop_defer(xn_sim_loop(world->sim), &world->shorten, XN_PRIO_IDLE, on_shorten);
}

static void end_shortening(struct xn_sim_world *world)
{
	put_version(world); /* the domid that was used last */
	if (write_fresh(world) < 0)
		return;
	if (rename(world->fresh_path, world->path) < 0) {
		give_up_shortening(world);
		return;
	}
	close(world->fd);
	world->fd = world->fresh_fd;
	world->fresh_fd = -1;
	world->size = world->fresh_size;
	world->shorten_at = world->size + history_allowed(world->size);
}

static void on_shorten(struct xn_job *job)
{
	struct xn_sim_world *world = xn_container_of(job, struct xn_sim_world, shorten);

	(void)xn_sim_world_flush(world->sim); /* before what the slice shows already */
	if (world->fresh_fd < 0 || world->out.len)
		return;
	for (int i = 0; i < SLICE_DOMAINS && !xn_list_empty(&world->unwritten); i++) {
		struct xn_sim_domain *domain = xn_list_entry(xn_list_pop(&world->unwritten),
							     struct xn_sim_domain, unwritten);

		put_added(world, domain);
		put_domain(world, domain);
	}
	if (write_fresh(world) < 0)
		return;
	if (!xn_list_empty(&world->unwritten))
		xn_loop_defer(xn_sim_loop(world->sim), &world->shorten, XN_PRIO_IDLE, on_shorten);
	else
		end_shortening(world);
}

/* ---- the world and xenstore ---- */

/* The VM that xenstore says a domain is of. */
static void read_uuid(struct xn_sim *sim, uint32_t domid, char out[37])
{
	char path[48];
	const char *value;
	size_t len;

	snprintf(path, sizeof(path), "/local/domain/%u/vm", domid);
	out[0] = '\0';
	if (!xn_xs_conn_read(sim->dom0, 0, path, &value, &len) && len == 40)
		snprintf(out, 37, "%.*s", 36, value + 4);
}

/* Domains that only xenstore knows: their making was not told to anybody yet, or their host is
 * another by now. */
static void release_unknown(struct xn_sim *sim)
{
	for (uint32_t domid = 1; domid < XN_XS_DOMID_END; domid++) {
		struct xn_xs_domain *identity = xn_xs_domain_find(sim->store, domid);
		struct xn_sim_domain *domain = identity ? xn_sim_domain(sim, domid) : NULL;
		char uuid[37];

		if (!identity || identity->has_ring ||
		    (domain && domain->birth == identity->birth))
			continue;
		read_uuid(sim, domid, uuid);
		xn_sim_keys_destroy(sim, domid, *uuid ? uuid : "-");
		xn_xs_domain_release(identity);
	}
}

/* A host that booted has an empty xenstore. */
static void empty_store(struct xn_sim *sim)
{
	struct xn_buf names = {0};

	(void)xn_xs_conn_directory(sim->dom0, 0, "/", &names);
	for (size_t at = 0; at < names.len; at += strlen(names.data + at) + 1) {
		char *path = xn_asprintf("/%s", names.data + at);

		(void)xn_xs_conn_rm(sim->dom0, 0, path);
		free(path);
	}
	xn_buf_clear(&names);
}

/* After a crash the one may be a moment ahead of the other. */
static void reconcile(struct xn_sim *sim)
{
	release_unknown(sim);
	if (sim->world->is_new)
		empty_store(sim);
	xn_list_each_safe(link, &sim->domains)
	{
		struct xn_sim_domain *domain = xn_list_entry(link, struct xn_sim_domain, link);

		domain->identity = xn_xs_domain_find(sim->store, domain->info.domid);
		if (domain->identity) {
			domain->identity->is_played = true;
			xn_sim_devices_match(domain);
			continue;
		}
		xn_sim_keys_destroy(sim, domain->info.domid, domain->info.uuid);
		xn_sim_gone(domain);
		xn_sim_domain_free(domain); /* it was gone from xenstore already */
	}
}

/* ---- open and close ---- */

static int read_world(struct xn_sim_world *world)
{
	struct xn_buf file = {0};
	int rc = read_file(world->path, &file);

	if (!rc)
		rc = get_records(world, file.data, file.len);
	xn_buf_clear(&file);
	if (rc == -ESTALE) { /* its guests are gone, as if their host had booted */
		world->size = 0;
		rc = 0;
	}
	if (rc < 0)
		return rc;
	world->fd = open(world->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (world->fd < 0 || ftruncate(world->fd, (off_t)world->size) < 0)
		return -errno;
	if (world->size)
		return 0;
	world->is_new = true;
	put_version(world); /* written when xenstore is that of the new world */
	return 0;
}

static void world_free(struct xn_sim_world *world)
{
	xn_job_cancel(&world->flush);
	give_up_shortening(world);
	if (world->fd >= 0)
		close(world->fd);
	xn_buf_clear(&world->out);
	free(world->path);
	free(world->fresh_path);
	free(world);
}

int xn_sim_world_open(struct xn_sim *sim, const char *path, struct xn_error *err)
{
	struct xn_sim_world *world = xn_calloc(1, sizeof(*world));
	int rc;

	world->sim = sim;
	world->path = xn_strdup(path);
	world->fresh_path = xn_asprintf("%s.new", path);
	world->fd = world->fresh_fd = -1;
	world->flush.run = on_flush;
	xn_list_init(&world->changed);
	xn_list_init(&world->unwritten);
	rc = read_world(world);
	if (rc < 0) {
		world_free(world);
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "%s: %s", path,
				     rc == -EPROTO ? "made by another version" : strerror(-rc));
	}
	sim->world = world;
	reconcile(sim);
	(void)xn_sim_world_flush(sim);
	if (!world->size) {
		xn_sim_world_close(sim);
		return xn_error_setf(err, XN_ERR_INTERNAL_ERROR, "%s: cannot be written", path);
	}
	xn_list_each(link, &sim->domains)
		xn_sim_domain_reopened(xn_list_entry(link, struct xn_sim_domain, link));
	return 0;
}

void xn_sim_world_close(struct xn_sim *sim)
{
	struct xn_sim_world *world = sim->world;

	if (!world)
		return;
	(void)xn_sim_world_flush(sim);
	sim->world = NULL;
	while (!xn_list_empty(&world->changed))
		xn_list_pop(&world->changed);
	while (!xn_list_empty(&world->unwritten))
		xn_list_pop(&world->unwritten);
	world_free(world);
}
