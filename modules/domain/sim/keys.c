/*
 * What the toolstack writes to xenstore for a simulated domain: the layout of libxl and xenopsd, so
 * that whoever reads a domain's keys cannot tell the simulator from Xen.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "modules/domain/sim/sim_internal.h"

enum { MAX_PATH = 512 };

/* ---- one transaction of writes ---- */

void xn_sim_keys_begin(struct xn_sim_keys *keys, struct xn_xs_conn *conn)
{
	*keys = (struct xn_sim_keys){.conn = conn};
	keys->rc = xn_xs_conn_begin(conn, &keys->tx);
}

void xn_sim_keys_base(struct xn_sim_keys *keys, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(keys->base, sizeof(keys->base), fmt, ap);
	va_end(ap);
}

/* False when key and base make no path: a name that came from a VM record. */
static bool path_of(const struct xn_sim_keys *keys, const char *key, char out[MAX_PATH])
{
	size_t base = strlen(keys->base), len = strlen(key);

	if (base + len + 2 > MAX_PATH)
		return false;
	memcpy(out, keys->base, base);
	if (len) {
		if (base)
			out[base++] = '/';
		memcpy(out + base, key, len);
	}
	out[base + len] = '\0';
	return true;
}

static void note(struct xn_sim_keys *keys, int rc)
{
	/* Values and names from records may be none that xenstore takes: those are left out. */
	if (rc < 0 && rc != -EINVAL && rc != -E2BIG && !keys->rc)
		keys->rc = rc;
}

void xn_sim_put(struct xn_sim_keys *keys, const char *key, const char *value)
{
	char path[MAX_PATH];

	if (path_of(keys, key, path))
		note(keys, xn_xs_conn_write(keys->conn, keys->tx, path, value, strlen(value)));
}

void xn_sim_putf(struct xn_sim_keys *keys, const char *key, const char *fmt, ...)
{
	char value[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	xn_sim_put(keys, key, value);
}

void xn_sim_allow(struct xn_sim_keys *keys, const char *key, const char *fmt, ...)
{
	char path[MAX_PATH], perms[64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(perms, sizeof(perms), fmt, ap);
	va_end(ap);
	if (!path_of(keys, key, path))
		return;
	note(keys, xn_xs_conn_mkdir(keys->conn, keys->tx, path));
	note(keys, xn_xs_conn_set_perms(keys->conn, keys->tx, path, perms, strlen(perms)));
}

int xn_sim_keys_end(struct xn_sim_keys *keys)
{
	int rc = xn_xs_conn_end(keys->conn, keys->tx, keys->rc == 0);

	return keys->rc ? keys->rc : rc;
}

/* ---- a domain's own keys ---- */

static const char *const guest_may_write[] = {
	"attr",  "control", "data",      "device",   "device/vbd", "device/vif", "drivers",
	"error", "feature", "hvmloader", "messages", "rrd",        "vm-data",    "xenserver/attr",
};
static const char *const guest_may_read[] = {"cpu", "memory"};

static const char *text_of(const struct xn_value *config, const char *key, const char *otherwise)
{
	const char *text = xn_map_get_string(config, key);

	return text ? text : otherwise;
}

static void put_map(struct xn_sim_keys *keys, const char *dir, const struct xn_value *map)
{
	for (size_t i = 0; map && i < xn_map_len(map); i++) {
		char key[MAX_PATH];

		snprintf(key, sizeof(key), "%s/%s", dir, xn_map_key_at(map, i));
		xn_sim_put(keys, key, xn_value_string(xn_map_at(map, i)));
	}
}

/* A VM's xenstore_data may only go where it cannot pass for something else. */
static void put_xenstore_data(struct xn_sim_keys *keys, const struct xn_value *map)
{
	for (size_t i = 0; map && i < xn_map_len(map); i++) {
		const char *key = xn_map_key_at(map, i);

		if (!strncmp(key, "vm-data/", 8) || !strncmp(key, "FIST/", 5))
			xn_sim_put(keys, key, xn_value_string(xn_map_at(map, i)));
	}
}

static void put_dirs(struct xn_sim_keys *keys, uint32_t domid)
{
	xn_sim_allow(keys, "", "n0 r%u", domid);
	for (size_t i = 0; i < XN_ARRAY_SIZE(guest_may_read); i++)
		xn_sim_allow(keys, guest_may_read[i], "n0 r%u", domid);
	for (size_t i = 0; i < XN_ARRAY_SIZE(guest_may_write); i++)
		xn_sim_allow(keys, guest_may_write[i], "n%u", domid);
}

int xn_sim_keys_create(struct xn_sim_domain *domain, const struct xn_value *config)
{
	uint32_t domid = domain->info.domid;
	const char *uuid = domain->info.uuid;
	struct xn_sim_keys keys;

	xn_sim_keys_begin(&keys, domain->sim->dom0);
	xn_sim_keys_base(&keys, "/vm/%s", uuid);
	xn_sim_put(&keys, "uuid", uuid);
	xn_sim_put(&keys, "name", text_of(config, "name", ""));
	xn_sim_putf(&keys, "rtc/timeoffset", "%lld",
		    (long long)xn_map_get_int(config, "rtc_offset", 0));
	xn_sim_putf(&keys, "start_time", "%lld", (long long)xn_wall_s(xn_sim_loop(domain->sim)));
	xn_sim_keys_base(&keys, "/vm/%s/domains/%u", uuid, domid);
	xn_sim_putf(&keys, "", "/local/domain/%u", domid);
	xn_sim_putf(&keys, "create-time", "%lld",
		    (long long)xn_now_us(xn_sim_loop(domain->sim)) * 1000);

	xn_sim_keys_base(&keys, "/local/domain/%u", domid);
	put_dirs(&keys, domid);
	xn_sim_putf(&keys, "vm", "/vm/%s", uuid);
	xn_sim_put(&keys, "name", text_of(config, "name", ""));
	xn_sim_putf(&keys, "domid", "%u", domid);
	xn_sim_put(&keys, "action-request", "poweroff"); /* until it is built */
	xn_sim_put(&keys, "control/platform-feature-multiprocessor-suspend", "1");
	xn_sim_put(&keys, "control/platform-feature-xs_reset_watches", "1");
	put_map(&keys, "platform", xn_map_get(config, "platform"));
	put_map(&keys, "bios-strings", xn_map_get(config, "bios_strings"));
	put_xenstore_data(&keys, xn_map_get(config, "xenstore_data"));

	xn_sim_keys_base(&keys, "/libxl/%u", domid);
	xn_sim_put(&keys, "type", domain->info.type);
	xn_sim_put(&keys, "dm-version", "qemu_xen");
	return xn_sim_keys_end(&keys);
}

static void put_console(struct xn_sim_keys *keys, const struct xn_sim_domain *domain)
{
	xn_sim_putf(keys, "console/backend", "/local/domain/0/backend/console/%u/0",
		    domain->info.domid);
	xn_sim_put(keys, "console/backend-id", "0");
	xn_sim_put(keys, "console/limit", "65536");
	xn_sim_put(keys, "console/type", "xenconsoled");
	xn_sim_put(keys, "console/output", "pty");
	xn_sim_put(keys, "console/port", "2");
	xn_sim_putf(keys, "console/ring-ref", "%u", 1048576 + domain->info.domid);
	xn_sim_put(keys, "console/tty", "");
	if (!strcmp(domain->info.type, "hvm"))
		xn_sim_putf(keys, "console/vnc-port", "%u", 5900 + domain->info.domid);
}

/* The other end of the console, in the control domain. */
static void put_console_backend(struct xn_sim_keys *keys, uint32_t domid)
{
	xn_sim_keys_base(keys, "/local/domain/0/backend/console/%u/0", domid);
	xn_sim_allow(keys, "", "n0 r%u", domid);
	xn_sim_putf(keys, "frontend", "/local/domain/%u/console", domid);
	xn_sim_putf(keys, "frontend-id", "%u", domid);
	xn_sim_put(keys, "online", "1");
	xn_sim_put(keys, "state", "1");
	xn_sim_put(keys, "protocol", "vt100");
	xn_sim_keys_base(keys, "/libxl/%u/device/console/0", domid);
	xn_sim_putf(keys, "frontend", "/local/domain/%u/console", domid);
	xn_sim_putf(keys, "backend", "/local/domain/0/backend/console/%u/0", domid);
}

int xn_sim_keys_built(struct xn_sim_domain *domain)
{
	struct xn_sim_keys keys;
	char path[64];

	xn_sim_keys_begin(&keys, domain->sim->dom0);
	xn_sim_keys_base(&keys, "/local/domain/%u", domain->info.domid);
	xn_sim_putf(&keys, "memory/static-max", "%llu",
		    (unsigned long long)domain->info.max_memory_bytes / 1024);
	xn_sim_putf(&keys, "memory/target", "%llu",
		    (unsigned long long)domain->target_bytes / 1024);
	xn_sim_put(&keys, "memory/videoram", "0");
	xn_sim_put(&keys, "store/port", "1");
	xn_sim_putf(&keys, "store/ring-ref", "%u", 1048832 + domain->info.domid);
	put_console(&keys, domain);
	for (unsigned i = 0; i < domain->max_vcpus; i++) {
		snprintf(path, sizeof(path), "cpu/%u/availability", i);
		xn_sim_put(&keys, path, i < domain->wanted_vcpus ? "online" : "offline");
	}
	snprintf(path, sizeof(path), "/local/domain/%u/action-request", domain->info.domid);
	note(&keys, xn_xs_conn_rm(keys.conn, keys.tx, path));
	put_console_backend(&keys, domain->info.domid);
	return xn_sim_keys_end(&keys);
}

static void remove_path(struct xn_xs_conn *conn, const char *fmt, ...) XN_PRINTF(2, 3);

static void remove_path(struct xn_xs_conn *conn, const char *fmt, ...)
{
	char path[MAX_PATH];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	(void)xn_xs_conn_rm(conn, 0, path); /* as domain 0: fails only when it is not there */
}

void xn_sim_keys_destroy(struct xn_sim *sim, uint32_t domid, const char *uuid)
{
	static const char *const backends[] = {"vbd", "qdisk", "vif", "pci", "console"};
	struct xn_xs_conn *conn = sim->dom0;
	struct xn_buf others = {0};
	char path[MAX_PATH];

	for (size_t i = 0; i < XN_ARRAY_SIZE(backends); i++)
		remove_path(conn, "/local/domain/0/backend/%s/%u", backends[i], domid);
	remove_path(conn, "/local/domain/%u", domid);
	remove_path(conn, "/libxl/%u", domid);
	remove_path(conn, "/vm/%s/domains/%u", uuid, domid);
	snprintf(path, sizeof(path), "/vm/%s/domains", uuid);
	if (xn_xs_conn_directory(conn, 0, path, &others) < 0 || !others.len)
		remove_path(conn, "/vm/%s", uuid);
	xn_buf_clear(&others);
}
