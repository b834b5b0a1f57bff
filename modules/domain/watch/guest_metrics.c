/*
 * What a guest's agent says about itself in xenstore, turned into its VM_guest_metrics row.
 * Everything here was written by the guest: it is bounded by the snapshot's limit and already valid
 * text.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain_internal.h"

struct guest {
	const struct xn_xs_snapshot *snap;
	uint32_t domid;
	struct xn_value *drivers, *os, *netbios, *networks, *other, *services;
	const char *hotplug_vbd, *hotplug_vif;
};

enum { PATH_MAX_LEN = 256 };

static const char *path_of(const struct guest *g, char out[PATH_MAX_LEN], const char *fmt, ...)
	XN_PRINTF(3, 4);

/* NULL when it would not fit: no key of ours is that long. */
static const char *path_of(const struct guest *g, char out[PATH_MAX_LEN], const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(out, PATH_MAX_LEN, "/local/domain/%u/", g->domid);
	int more;

	va_start(ap, fmt);
	more = vsnprintf(out + n, (size_t)(PATH_MAX_LEN - n), fmt, ap);
	va_end(ap);
	return more < PATH_MAX_LEN - n ? out : NULL;
}

static const char *get(const struct guest *g, const char *key)
{
	char path[PATH_MAX_LEN];
	const char *whole = path_of(g, path, "%s", key);

	return whole ? xn_xs_get(g->snap, whole) : NULL;
}

static const char *const *children(const struct guest *g, const char *key, size_t *n_out)
{
	char path[PATH_MAX_LEN];
	const char *whole = path_of(g, path, "%s", key);

	*n_out = 0;
	return whole ? xn_xs_list(g->snap, whole, n_out) : NULL;
}

struct key_pair {
	const char *path, *key;
};

static void put_pairs(const struct guest *g, struct xn_value **map, const struct key_pair *pairs,
		      size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *value = get(g, pairs[i].path);

		if (value)
			xn_map_put_string(map, pairs[i].key, value);
	}
}

/* ---- drivers ---- */

/* "VENDOR NAME VERSION ATTR" -> key lower(NAME), value "VENDOR VERSION ATTR". */
static void put_driver(struct guest *g, const char *line)
{
	char vendor[64], name[64], version[64], attr[64], value[200];
	int n = sscanf(line, "%63s %63s %63s %63s", vendor, name, version, attr);

	if (n < 3)
		return;
	for (char *c = name; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	snprintf(value, sizeof(value), "%s %s%s%s", vendor, version, n == 4 ? " " : "",
		 n == 4 ? attr : "");
	/* Cut in the middle of a character it would be no text any more. */
	if (xn_text_is_valid(name, strlen(name)) && xn_text_is_valid(value, strlen(value)))
		xn_map_put_string(&g->drivers, name, value);
}

static void read_drivers(struct guest *g)
{
	static const struct key_pair versions[] = {
		{"attr/PVAddons/MajorVersion", "major"},
		{"attr/PVAddons/MinorVersion", "minor"},
		{"attr/PVAddons/MicroVersion", "micro"},
		{"attr/PVAddons/BuildVersion", "build"},
		{"attr/PVAddons/Application", "application"},
	};
	size_t n;
	const char *const *names = children(g, "drivers", &n);

	put_pairs(g, &g->drivers, versions, XN_ARRAY_SIZE(versions));
	if (xn_map_len(g->drivers) > 0 && !xn_map_get(g->drivers, "micro"))
		xn_map_put_string(&g->drivers, "micro", "-1");
	for (size_t i = 0; i < n; i++) {
		char path[PATH_MAX_LEN];
		const char *whole = path_of(g, path, "drivers/%s", names[i]);
		const char *line = whole ? xn_xs_get(g->snap, whole) : NULL;

		if (line)
			put_driver(g, line);
	}
}

/* ---- system, name ---- */

static void read_system(struct guest *g)
{
	static const struct key_pair os[] = {
		{"data/os_name", "name"},       {"data/os_uname", "uname"},
		{"data/os_distro", "distro"},   {"data/os_majorver", "major"},
		{"data/os_minorver", "minor"},  {"attr/os/spmajor", "spmajor"},
		{"attr/os/spminor", "spminor"},
	};
	const char *name = get(g, "data/host_name_dns"), *domain = get(g, "data/domain");

	put_pairs(g, &g->os, os, XN_ARRAY_SIZE(os));
	if (name && domain && *domain)
		xn_map_put(&g->netbios, "host_name", xn_stringf("%s.%s", name, domain));
	else if (name)
		xn_map_put_string(&g->netbios, "host_name", name);
}

/* ---- networks ---- */

static void put_network(struct guest *g, const char *key_a, const char *key_b, const char *key_c,
			const char *value)
{
	char key[PATH_MAX_LEN];

	if (value && snprintf(key, sizeof(key), "%s/%s%s%s", key_a, key_b, *key_c ? "/" : "",
			      key_c) < (int)sizeof(key))
		xn_map_put_string(&g->networks, key, value);
}

/* attr/vif/N/ipv4/I -> N/ipv4/I, the first one also N/ip. */
static void read_addresses(struct guest *g, const char *base, const char *nic, const char *family)
{
	char path[PATH_MAX_LEN];
	size_t n = 0;
	const char *dir = path_of(g, path, "%s/%s/%s", base, nic, family);
	const char *const *ids = dir ? xn_xs_list(g->snap, dir, &n) : NULL;

	for (size_t i = 0; i < n; i++) {
		char leaf[PATH_MAX_LEN];
		const char *whole = path_of(g, leaf, "%s/%s/%s/%s", base, nic, family, ids[i]);
		const char *address = whole ? xn_xs_get(g->snap, whole) : NULL;

		put_network(g, nic, family, ids[i], address);
		if (i == 0 && strcmp(family, "ipv4") == 0)
			put_network(g, nic, "ip", "", address);
	}
}

/* Agents of long ago: attr/ethN/ip, attr/ethN/ipv6/I/addr, under several names of interfaces. */
static void read_old_networks(struct guest *g)
{
	static const char *const prefixes[] = {"eth", "xenbr", "eno", "ens", "emp", "enx"};
	size_t n;
	const char *const *names = children(g, "attr", &n);

	for (size_t i = 0; i < n; i++) {
		const char *nic = NULL;
		char path[PATH_MAX_LEN];
		const char *whole;
		size_t n_v6 = 0;
		const char *const *v6;

		for (size_t p = 0; p < XN_ARRAY_SIZE(prefixes); p++)
			if (strncmp(names[i], prefixes[p], strlen(prefixes[p])) == 0)
				nic = names[i] + strlen(prefixes[p]);
		if (!nic || !isdigit((unsigned char)*nic))
			continue;
		whole = path_of(g, path, "attr/%s/ip", names[i]);
		put_network(g, nic, "ip", "", whole ? xn_xs_get(g->snap, whole) : NULL);
		put_network(g, nic, "ipv4/0", "", whole ? xn_xs_get(g->snap, whole) : NULL);
		whole = path_of(g, path, "attr/%s/ipv6", names[i]);
		v6 = whole ? xn_xs_list(g->snap, whole, &n_v6) : NULL;
		for (size_t j = 0; j < n_v6; j++) {
			whole = path_of(g, path, "attr/%s/ipv6/%s/addr", names[i], v6[j]);
			put_network(g, nic, "ipv6", v6[j],
				    whole ? xn_xs_get(g->snap, whole) : NULL);
		}
	}
}

static void read_networks(struct guest *g)
{
	static const char *const bases[] = {"attr/vif", "xenserver/attr/net-sriov-vf"};
	size_t n_new;

	children(g, "attr/vif", &n_new);
	for (size_t b = 0; b < XN_ARRAY_SIZE(bases); b++) {
		size_t n;
		const char *const *nics = children(g, bases[b], &n);

		for (size_t i = 0; i < n; i++) {
			read_addresses(g, bases[b], nics[i], "ipv4");
			read_addresses(g, bases[b], nics[i], "ipv6");
		}
	}
	if (n_new == 0)
		read_old_networks(g);
}

/* ---- the rest ---- */

static void read_other(struct guest *g)
{
	const char *cannot = get(g, "data/cant_suspend_reason"), *ts = get(g, "data/ts");
	size_t n;
	const char *const *names = children(g, "control", &n);

	for (size_t i = 0; i < n; i++) {
		char path[PATH_MAX_LEN];
		const char *whole = path_of(g, path, "control/%s", names[i]);
		const char *value = whole ? xn_xs_get(g->snap, whole) : NULL;

		/* Our own request is no news about the guest, nor is a node that libxl makes for
		 * the guest to fill. */
		if (value && strcmp(names[i], "shutdown") != 0 &&
		    (*value || strncmp(names[i], "feature-", 8) != 0))
			xn_map_put_string(&g->other, names[i], value);
	}
	if (ts)
		xn_map_put_string(&g->other, "data-ts", ts);
	if (cannot) {
		xn_map_remove(&g->other, "feature-suspend");
		xn_map_put_string(&g->other, "data-cant-suspend-reason", cannot);
	}
}

static void read_services(struct guest *g)
{
	size_t n;
	const char *const *names = children(g, "data/service", &n);

	for (size_t i = 0; i < n; i++) {
		char path[PATH_MAX_LEN], key[PATH_MAX_LEN];
		const char *dir = path_of(g, path, "data/service/%s", names[i]);
		size_t n_keys = 0;
		const char *const *keys = dir ? xn_xs_list(g->snap, dir, &n_keys) : NULL;

		for (size_t j = 0; j < n_keys; j++) {
			const char *whole =
				path_of(g, path, "data/service/%s/%s", names[i], keys[j]);
			const char *value = whole ? xn_xs_get(g->snap, whole) : NULL;

			if (value && snprintf(key, sizeof(key), "%s/%s", names[i], keys[j]) <
					     (int)sizeof(key))
				xn_map_put_string(&g->services, key, value);
		}
	}
}

static const char *tristate(const struct guest *g, const char *key)
{
	const char *value = get(g, key);

	if (value && strcmp(value, "1") == 0)
		return "yes";
	return value && strcmp(value, "0") == 0 ? "no" : "unspecified";
}

static bool says_something(const struct guest *g)
{
	return xn_map_len(g->drivers) || xn_map_len(g->os) ||
	       xn_map_len(g->netbios) || xn_map_len(g->networks) || xn_map_len(g->other) ||
	       xn_map_len(g->services) || strcmp(g->hotplug_vbd, "unspecified") != 0 ||
	       strcmp(g->hotplug_vif, "unspecified") != 0;
}

/* ---- the row ---- */

static bool note_change(struct xn_domains *d, struct xn_row *row, bool changed)
{
	if (changed)
		xn_db_set(d->db, row, XN_VM_guest_metrics_last_updated,
			  xn_datetime(xn_wall_s(d->core->loop)));
	return changed;
}

/* Takes the maps of @g. */
static bool write_row(struct xn_domains *d, struct xn_row *row, struct guest *g)
{
	bool changed = false;

	changed |= xn_db_set(d->db, row, XN_VM_guest_metrics_PV_drivers_version, g->drivers);
	changed |= xn_db_set(d->db, row, XN_VM_guest_metrics_os_version, g->os);
	changed |= xn_db_set(d->db, row, XN_VM_guest_metrics_netbios_name, g->netbios);
	changed |= xn_db_set(d->db, row, XN_VM_guest_metrics_networks, g->networks);
	changed |= xn_db_set(d->db, row, XN_VM_guest_metrics_other, g->other);
	changed |= xn_db_set(d->db, row, XN_VM_guest_metrics_services, g->services);
	changed |= xn_db_set_string(d->db, row, XN_VM_guest_metrics_can_use_hotplug_vbd,
				    g->hotplug_vbd);
	changed |= xn_db_set_string(d->db, row, XN_VM_guest_metrics_can_use_hotplug_vif,
				    g->hotplug_vif);
	return note_change(d, row, changed);
}

static struct xn_row *new_row(struct xn_domains *d, struct xn_row *vm)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = xn_map_new();
	struct xn_row *row;

	xn_map_put(&fields, "live", xn_bool(true));
	row = xn_db_create(d->db, XN_CLASS_VM_guest_metrics, NULL, fields);
	xn_db_set_string(d->db, vm, XN_VM_guest_metrics, xn_row_ref(row));
	return row;
}

/* Platform keys that depend on what runs in the VM. */
static void write_platform(struct xn_domains *d, struct xn_row *vm, const struct guest *g)
{
	const char *id = get(g, "data/device_id"), *os = xn_map_get_string(g->os, "name");
	const char *had = xn_row_map_string(vm, XN_VM_platform, "device_id");
	bool new_id = id && *id && strlen(id) <= 16 && (!had || strcmp(had, id) != 0);
	bool new_viridian = xn_map_get(g->drivers, "build") && os && strstr(os, "Windows") &&
			    !xn_row_map_string(vm, XN_VM_platform, "viridian");
	struct xn_value *platform;

	if (!new_id && !new_viridian)
		return;
	platform = xn_value_ref(xn_row_get(vm, XN_VM_platform));
	if (new_id)
		xn_map_put_string(&platform, "device_id", id);
	if (new_viridian)
		xn_map_put_string(&platform, "viridian", "true");
	xn_db_set(d->db, vm, XN_VM_platform, platform);
}

bool xn_guest_metrics_write_drivers(struct xn_domains *d, struct xn_row *vm, bool connected)
{
	struct xn_row *row = xn_row_follow(d->db, vm, XN_VM_guest_metrics);
	bool changed;

	if (!row && !connected)
		return false;
	if (!row)
		row = new_row(d, vm);
	changed = xn_db_set_bool(d->db, row, XN_VM_guest_metrics_PV_drivers_detected, connected);
	changed |= xn_db_set_bool(d->db, row, XN_VM_guest_metrics_PV_drivers_up_to_date, connected);
	return note_change(d, row, changed);
}

bool xn_guest_metrics_write(struct xn_domains *d, struct xn_row *vm, uint32_t domid,
			    const struct xn_xs_snapshot *snap, bool is_cut)
{
	struct xn_row *row = xn_row_follow(d->db, vm, XN_VM_guest_metrics);
	struct guest g = {
		.snap = snap,
		.domid = domid,
		.drivers = xn_map_new(),
		.os = xn_map_new(),
		.netbios = xn_map_new(),
		.networks = xn_map_new(),
		.other = xn_map_new(),
		.services = xn_map_new(),
	};

	read_drivers(&g);
	read_system(&g);
	read_networks(&g);
	read_other(&g);
	read_services(&g);
	if (is_cut)
		xn_map_put_string(&g.other, "guest_agent_quota_reached", "t");
	g.hotplug_vbd = tristate(&g, "feature/hotplug/vbd");
	g.hotplug_vif = tristate(&g, "feature/hotplug/vif");
	if (!row && !says_something(&g)) {
		struct xn_value *maps[] = {g.drivers,  g.os,    g.netbios,
					   g.networks, g.other, g.services};

		for (size_t i = 0; i < XN_ARRAY_SIZE(maps); i++)
			xn_value_unref(maps[i]);
		return false;
	}
	write_platform(d, vm, &g);
	return write_row(d, row ? row : new_row(d, vm), &g);
}
