/*
 * The rows of the pool, this host and its control domain: found by what they are (one pool, one
 * host of this state folder), made when the folder is new, and held against the machine's facts.
 */
#include "modules/host/host_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { API_MAJOR = 2, API_MINOR = 23 }; /* the data model that core/schema tells */

static const int64_t MIB = 1 << 20;

/* ---- small helpers ---- */

static void put_int(struct xn_value **map, const char *key, int64_t i)
{
	xn_map_put(map, key, xn_stringf("%lld", (long long)i));
}

static struct xn_value *string_set(const char *const *items, size_t n)
{
	struct xn_value *set = xn_set_new();

	for (size_t i = 0; i < n; i++)
		xn_set_append_string(&set, items[i]);
	return set;
}

static void copy_ref(char out[XN_REF_LEN], const struct xn_row *row)
{
	snprintf(out, XN_REF_LEN, "%s", xn_row_ref(row));
}

/* A secondary row that @field of @row names: found, or made and entered there. */
static struct xn_row *row_behind(struct xn_db *db, struct xn_row *row, int field, int class_id)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *empty = xn_map_new();
	struct xn_row *other = xn_row_follow(db, row, field);

	if (!other) {
		other = xn_db_create(db, class_id, NULL, empty);
		xn_db_set_string(db, row, field, xn_row_ref(other));
	}
	return other;
}

/* ---- host ---- */

static struct xn_value *software_version(const struct xn_host *host)
{
	struct xn_value *v = xn_map_new();
	const char *xen = xn_row_map_string(xn_db_get(host->db, XN_CLASS_host, host->ref),
					    XN_host_software_version, "xen");

	/*
	 * A brand of our own: clients offer update plugins and patch catalogues to the brands they
	 * know. The versions say which behaviour clients may expect, and are compared by them.
	 */
	xn_map_put_string(&v, "product_brand", "Xenolith");
	xn_map_put_string(&v, "product_version", "8.3.0");
	xn_map_put_string(&v, "product_version_text", "8.3");
	xn_map_put_string(&v, "product_version_text_short", "8.3");
	xn_map_put_string(&v, "platform_name", "Xenolith");
	xn_map_put_string(&v, "platform_version", "3.4.0");
	xn_map_put_string(&v, "build_number", XN_VERSION);
	xn_map_put_string(&v, "xapi", "26.17");
	xn_map_put_string(&v, "xapi_build", "26.17.0");
	xn_map_put_string(&v, "db_schema", "5.909");
	xn_map_put_string(&v, "hostname", host->facts.hostname);
	xn_map_put_string(&v, "linux", host->facts.kernel);
	xn_map_put_string(&v, "network_backend", "bridge");
	xn_map_put_string(&v, "xencenter_min", "2.21");
	xn_map_put_string(&v, "xencenter_max", "2.21");
	if (xen)
		xn_map_put_string(&v, "xen", xen);
	return v;
}

static struct xn_value *cpu_info(const struct xn_host_facts *f)
{
	struct xn_value *v = xn_map_new();

	put_int(&v, "cpu_count", f->n_cpus);
	put_int(&v, "socket_count", f->sockets);
	put_int(&v, "threads_per_core", f->threads_per_core);
	put_int(&v, "nr_nodes", f->nodes);
	put_int(&v, "speed", f->cpus[0].mhz);
	put_int(&v, "family", f->family);
	put_int(&v, "model", f->model);
	xn_map_put_string(&v, "vendor", f->vendor);
	xn_map_put_string(&v, "modelname", f->model_name);
	xn_map_put_string(&v, "stepping", f->stepping);
	xn_map_put_string(&v, "flags", f->flags);
	xn_map_put_string(&v, "features", f->features);
	xn_map_put_string(&v, "features_pv", f->features);
	xn_map_put_string(&v, "features_hvm", f->features);
	xn_map_put_string(&v, "features_pv_host", f->features);
	xn_map_put_string(&v, "features_hvm_host", f->features);
	return v;
}

/* Features that an edition could withhold; this one withholds none. */
static const char *const unrestricted[] = {
	"restrict_zstd_export",
	"restrict_vtpm",
	"restrict_pci_device_for_auto_update",
	"restrict_cbt",
	"restrict_storage_xen_motion",
	"restrict_pool_size",
	"restrict_ha",
	"restrict_vlan",
	"restrict_rbac",
	"restrict_nested_virt",
	"restrict_dmc",
	"restrict_checkpoint",
};

static struct xn_value *restrictions(void)
{
	struct xn_value *v = xn_map_new();

	for (unsigned i = 0; i < XN_ARRAY_SIZE(unrestricted); i++)
		xn_map_put_string(&v, unrestricted[i], "false");
	return v;
}

static struct xn_value *license_params(void)
{
	struct xn_value *v = restrictions();

	xn_map_put_string(&v, "expiry", "20991231T23:59:59Z"); /* clients parse it as a date */
	xn_map_put_string(&v, "sku_type", "free");
	xn_map_put_string(&v, "grace", "no");
	return v;
}

static struct xn_value *bios_strings(const struct xn_host_facts *f)
{
	struct xn_value *v = xn_map_new();

	for (unsigned i = 0; i < f->n_bios; i++)
		xn_map_put_string(&v, f->bios[i].key, f->bios[i].value);
	return v;
}

/* Before the hypervisor is known: what guests could be on this processor. */
static struct xn_value *usual_capabilities(const struct xn_host_facts *f)
{
	static const char *const all[] = {"xen-3.0-x86_64", "hvm-3.0-x86_32", "hvm-3.0-x86_32p",
					  "hvm-3.0-x86_64"};

	return string_set(all, f->virtualisation ? XN_ARRAY_SIZE(all) : 1);
}

static void make_host(struct xn_host *host)
{
	static const char *const bootloaders[] = {"pvgrub", "pygrub"};
	static const char *const editions[] = {"free"};
	XN_CLEANUP(xn_value_unref_p) struct xn_value *v = xn_map_new();
	struct xn_value *set = xn_set_new();
	char uuid[XN_UUID_LEN];
	struct xn_row *row;

	xn_uuid_new(host->core->loop, uuid);
	for (int i = 0; i <= 2; i++)
		xn_set_append(&set, xn_int(i));
	xn_map_put(&v, "virtual_hardware_platform_versions", set);
	xn_map_put_string(&v, "uuid", uuid);
	xn_map_put_string(&v, "name_label", host->facts.hostname);
	xn_map_put_string(&v, "name_description", "Default install");
	xn_map_put_string(&v, "address", "127.0.0.1"); /* the network module knows better */
	xn_map_put(&v, "enabled", xn_bool(true));
	xn_map_put(&v, "capabilities", usual_capabilities(&host->facts));
	xn_map_put_string(&v, "sched_policy", "credit2");
	xn_map_put(&v, "supported_bootloaders",
		   string_set(bootloaders, XN_ARRAY_SIZE(bootloaders)));
	xn_map_put_string(&v, "edition", "free");
	xn_map_put(&v, "editions", string_set(editions, XN_ARRAY_SIZE(editions)));
	xn_map_put(&v, "iscsi_iqn", xn_stringf("iqn.2026-01.org.xenolith:%.8s", uuid));
	xn_map_put(&v, "ssl_legacy", xn_bool(false));
	xn_map_put_string(&v, "numa_affinity_policy", "default_policy");
	row = xn_db_create(host->db, XN_CLASS_host, NULL, v);
	copy_ref(host->ref, row);
}

/* The kernel works the time of its boot out of two clocks, so it may differ by a little. */
static bool has_rebooted(const struct xn_host *host, const struct xn_row *row)
{
	const char *stored = xn_row_map_string(row, XN_host_other_config, "boot_time");
	long long before = stored ? strtoll(stored, NULL, 10) : 0;

	return stored && llabs(before - (long long)host->facts.boot_time) > 5;
}

/* Names that a client gave stay until the machine itself is called otherwise. */
static bool has_another_name(const struct xn_host *host, const struct xn_row *row)
{
	const char *before = xn_row_map_string(row, XN_host_software_version, "hostname");

	return !before || strcmp(before, host->facts.hostname) != 0;
}

/* What may differ from the last time the daemon ran. */
static void refresh_host(struct xn_host *host)
{
	const struct xn_host_facts *f = &host->facts;
	struct xn_db *db = host->db;
	struct xn_row *row = xn_db_get(db, XN_CLASS_host, host->ref);
	char seconds[32];

	host->rebooted = has_rebooted(host, row);
	host->renamed = has_another_name(host, row);
	xn_db_set_int(db, row, XN_host_API_version_major, API_MAJOR);
	xn_db_set_int(db, row, XN_host_API_version_minor, API_MINOR);
	xn_db_set_string(db, row, XN_host_API_version_vendor, "Xenolith");
	if (host->renamed)
		xn_db_set_string(db, row, XN_host_hostname, f->hostname);
	xn_db_set(db, row, XN_host_software_version, software_version(host));
	xn_db_set(db, row, XN_host_license_params, license_params());
	xn_db_set(db, row, XN_host_bios_strings, bios_strings(f));
	xn_db_set_string(db, row, XN_host_timezone, f->timezone);

	/* Seconds with a point at the end: clients parse it as a float. */
	snprintf(seconds, sizeof(seconds), "%lld.", (long long)f->boot_time);
	xn_db_map_put(db, row, XN_host_other_config, "boot_time", seconds);
	snprintf(seconds, sizeof(seconds), "%lld.", (long long)xn_wall_s(host->core->loop));
	xn_db_map_put(db, row, XN_host_other_config, "agent_start_time", seconds);

	/* Disabled by hand stays; the key is set by host.disable with auto_enable=false. */
	if (!xn_row_map_string(row, XN_host_other_config, XN_HOST_STAY_DISABLED))
		xn_db_set_bool(db, row, XN_host_enabled, true);
}

static struct xn_row *cpu_row(struct xn_host *host, int number)
{
	struct xn_db *db = host->db;
	XN_CLEANUP(xn_value_unref_p) struct xn_value *v = NULL;

	for (struct xn_row *row = xn_db_first(db, XN_CLASS_host_cpu); row;
	     row = xn_db_next(db, row))
		if (xn_row_int(row, XN_host_cpu_number) == number &&
		    strcmp(xn_row_string(row, XN_host_cpu_host), host->ref) == 0)
			return row;
	v = xn_map_new();
	xn_map_put_string(&v, "host", host->ref);
	xn_map_put(&v, "number", xn_int(number));
	return xn_db_create(db, XN_CLASS_host_cpu, NULL, v);
}

/* A processor that went away (another machine, fewer of them): any row of ours beyond the last. */
static struct xn_row *surplus_cpu_row(struct xn_host *host)
{
	struct xn_db *db = host->db;

	for (struct xn_row *row = xn_db_first(db, XN_CLASS_host_cpu); row;
	     row = xn_db_next(db, row))
		if (xn_row_int(row, XN_host_cpu_number) >= host->facts.n_cpus &&
		    strcmp(xn_row_string(row, XN_host_cpu_host), host->ref) == 0)
			return row;
	return NULL;
}

static void refresh_cpus(struct xn_host *host)
{
	const struct xn_host_facts *f = &host->facts;
	struct xn_db *db = host->db;
	struct xn_row *row;

	for (unsigned i = 0; i < f->n_cpus; i++) {
		row = cpu_row(host, (int)i);
		xn_db_set_string(db, row, XN_host_cpu_vendor, f->vendor);
		xn_db_set_string(db, row, XN_host_cpu_modelname, f->model_name);
		xn_db_set_string(db, row, XN_host_cpu_stepping, f->stepping);
		xn_db_set_string(db, row, XN_host_cpu_flags, f->flags);
		xn_db_set_string(db, row, XN_host_cpu_features, f->features);
		xn_db_set_int(db, row, XN_host_cpu_family, f->family);
		xn_db_set_int(db, row, XN_host_cpu_model, f->model);
		xn_db_set_int(db, row, XN_host_cpu_speed, f->cpus[i].mhz);
	}
}

static void drop_surplus_cpus(struct xn_host *host)
{
	struct xn_row *row;

	while ((row = surplus_cpu_row(host)))
		xn_db_delete(host->db, row);
}

/* ---- control domain ---- */

/* Where the kernel says nothing else: an eighth of the machine, between 512 MiB and 4 GiB. */
static int64_t control_domain_memory(const struct xn_host_facts *f)
{
	int64_t bytes = (int64_t)f->memory_total / 8 / MIB * MIB;

	if (bytes < 512 * MIB)
		return 512 * MIB;
	return bytes > 4096 * MIB ? 4096 * MIB : bytes;
}

static struct xn_value *control_domain_name(const struct xn_host *host)
{
	return xn_stringf("Control domain on host: %s", host->facts.hostname);
}

static void make_control_domain(struct xn_host *host)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *v = xn_map_new();
	struct xn_value *platform = xn_map_new();
	int64_t memory = control_domain_memory(&host->facts);
	static const char *const memory_fields[] = {"memory_static_min", "memory_dynamic_min",
						    "memory_dynamic_max", "memory_static_max",
						    "memory_target"};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(memory_fields); i++)
		xn_map_put(&v, memory_fields[i], xn_int(memory));
	xn_map_put(&v, "name_label", control_domain_name(host));
	xn_map_put_string(&v, "name_description", "The domain that runs the host's own software");
	xn_map_put(&v, "is_control_domain", xn_bool(true));
	xn_map_put(&v, "is_a_template", xn_bool(false));
	xn_map_put_string(&v, "power_state", "Running");
	xn_map_put_string(&v, "resident_on", host->ref);
	xn_map_put_string(&v, "affinity", host->ref);
	xn_map_put_string(&v, "domain_type", "pv");
	xn_map_put_string(&v, "domarch", "");
	xn_map_put_string(&v, "actions_after_shutdown", "destroy");
	xn_map_put_string(&v, "actions_after_reboot", "destroy");
	xn_map_put_string(&v, "actions_after_crash", "destroy");
	xn_map_put(&v, "has_vendor_device", xn_bool(false));
	xn_map_put_string(&platform, "cores-per-socket", "1");
	xn_map_put(&v, "platform", platform);
	copy_ref(host->control_domain, xn_db_create(host->db, XN_CLASS_VM, NULL, v));
}

static void refresh_control_domain(struct xn_host *host)
{
	const struct xn_host_facts *f = &host->facts;
	struct xn_db *db = host->db;
	struct xn_row *vm = xn_db_get(db, XN_CLASS_VM, host->control_domain);
	struct xn_row *metrics = row_behind(db, vm, XN_VM_metrics, XN_CLASS_VM_metrics);
	struct xn_value *state = xn_set_new();

	if (host->renamed)
		xn_db_set(db, vm, XN_VM_name_label, control_domain_name(host));
	xn_db_set_string(db, vm, XN_VM_power_state, "Running");
	xn_db_set_string(db, vm, XN_VM_resident_on, host->ref);
	xn_db_set_int(db, vm, XN_VM_domid, 0);
	xn_db_set_int(db, vm, XN_VM_VCPUs_max, f->n_cpus);
	xn_db_set_int(db, vm, XN_VM_VCPUs_at_startup, f->n_cpus);

	xn_set_append_string(&state, "running");
	xn_db_set(db, metrics, XN_VM_metrics_state, state);
	xn_db_set_int(db, metrics, XN_VM_metrics_VCPUs_number, f->n_cpus);
	xn_db_set_int(db, metrics, XN_VM_metrics_memory_actual,
		      xn_row_int(vm, XN_VM_memory_dynamic_max));
	xn_db_set_string(db, metrics, XN_VM_metrics_current_domain_type, "pv");
	xn_db_set(db, metrics, XN_VM_metrics_start_time, xn_datetime(f->boot_time));
	if (host->first_start) {
		xn_db_set(db, metrics, XN_VM_metrics_install_time,
			  xn_datetime(xn_wall_s(host->core->loop)));
		xn_db_set(db, metrics, XN_VM_metrics_last_updated,
			  xn_datetime(xn_wall_s(host->core->loop)));
	}
}

/* ---- pool ---- */

static void make_pool(struct xn_host *host)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *v = xn_map_new();

	xn_map_put_string(&v, "master", host->ref);
	xn_map_put(&v, "is_psr_pending", xn_bool(false));
	copy_ref(host->pool, xn_db_create(host->db, XN_CLASS_pool, NULL, v));
}

static void refresh_pool(struct xn_host *host)
{
	struct xn_db *db = host->db;
	struct xn_row *pool = xn_db_get(db, XN_CLASS_pool, host->pool);
	const struct xn_host_facts *f = &host->facts;
	struct xn_value *info = xn_map_new();

	put_int(&info, "cpu_count", f->n_cpus);
	put_int(&info, "socket_count", f->sockets);
	xn_map_put_string(&info, "vendor", f->vendor);
	xn_map_put_string(&info, "features_pv", f->features);
	xn_map_put_string(&info, "features_hvm", f->features);
	xn_map_put_string(&info, "features_pv_host", f->features);
	xn_map_put_string(&info, "features_hvm_host", f->features);
	xn_db_set(db, pool, XN_pool_cpu_info, info);
	xn_db_set(db, pool, XN_pool_restrictions, restrictions());
}

/* ---- all of it ---- */

static void tell_cpus(struct xn_host *host)
{
	const struct xn_host_facts *f = &host->facts;
	struct xn_row *row = xn_db_get(host->db, XN_CLASS_host, host->ref);
	struct xn_value *chipset = xn_map_new();

	xn_map_put_string(&chipset, "iommu", f->iommu ? "true" : "false");
	xn_db_set(host->db, row, XN_host_chipset_info, chipset);
	xn_db_set(host->db, row, XN_host_cpu_info, cpu_info(f));
	refresh_cpus(host);
	refresh_pool(host);
}

static void find_or_make(struct xn_host *host)
{
	struct xn_row *pool = xn_db_first(host->db, XN_CLASS_pool);
	struct xn_row *row;

	if (!pool) {
		host->first_start = true;
		make_host(host);
		make_pool(host);
		make_control_domain(host);
		row = xn_db_get(host->db, XN_CLASS_host, host->ref);
		xn_db_set_string(host->db, row, XN_host_control_domain, host->control_domain);
		return;
	}
	copy_ref(host->pool, pool);
	snprintf(host->ref, sizeof(host->ref), "%s", xn_row_string(pool, XN_pool_master));
	row = xn_db_get(host->db, XN_CLASS_host, host->ref);
	if (!row) { /* a state folder that somebody edited: a daemon without a host is no use */
		make_host(host);
		row = xn_db_get(host->db, XN_CLASS_host, host->ref);
		xn_db_set_string(host->db, pool, XN_pool_master, host->ref);
	}
	snprintf(host->control_domain, sizeof(host->control_domain), "%s",
		 xn_row_string(row, XN_host_control_domain));
	if (!xn_db_get(host->db, XN_CLASS_VM, host->control_domain)) {
		make_control_domain(host);
		xn_db_set_string(host->db, row, XN_host_control_domain, host->control_domain);
	}
}

void xn_host_rows_make(struct xn_host *host)
{
	const struct xn_config *config = host->core->config;

	find_or_make(host);
	refresh_host(host);
	tell_cpus(host);
	/* Under Xen the kernel sees fewer processors than there are; rows keep their references. */
	if (!config || strcmp(xn_config_string(config, "hypervisor"), "xen") != 0)
		drop_surplus_cpus(host);
	refresh_control_domain(host);
	xn_host_rows_refresh(host);
}

void xn_host_rows_tell_cpus(struct xn_host *host)
{
	tell_cpus(host);
	drop_surplus_cpus(host);
}

/* What a domain on this host keeps from others. */
static int64_t memory_held(struct xn_db *db, const struct xn_row *vm)
{
	const struct xn_row *metrics = xn_row_follow(db, vm, XN_VM_metrics);
	int64_t actual = metrics ? xn_row_int(metrics, XN_VM_metrics_memory_actual) : 0;

	if (actual <= 0)
		actual = xn_row_int(vm, XN_VM_memory_dynamic_max);
	return actual + xn_row_int(vm, XN_VM_memory_overhead);
}

static int64_t free_by_the_rows(struct xn_host *host)
{
	struct xn_db *db = host->db;
	const struct xn_row *row = xn_db_get(db, XN_CLASS_host, host->ref);
	const struct xn_value *vms = xn_row_get(row, XN_host_resident_VMs);
	int64_t left = (int64_t)host->facts.memory_total;

	for (size_t i = 0; i < xn_set_len(vms); i++) {
		const struct xn_row *vm =
			xn_db_get(db, XN_CLASS_VM, xn_value_string(xn_set_at(vms, i)));

		if (vm)
			left -= memory_held(db, vm);
	}
	return left > 0 ? left : 0;
}

static void ask_memory(struct xn_host *host, int64_t *free_out, int64_t *available_out)
{
	if (host->ask_memory)
		host->ask_memory(host->ask_memory_arg, free_out, available_out);
	else
		*free_out = *available_out = free_by_the_rows(host);
}

int64_t xn_host_free_memory(struct xn_host *host)
{
	int64_t now, available;

	ask_memory(host, &now, &available);
	return available;
}

void xn_host_rows_refresh(struct xn_host *host)
{
	struct xn_db *db = host->db;
	struct xn_row *row = xn_db_get(db, XN_CLASS_host, host->ref);
	struct xn_row *metrics = row_behind(db, row, XN_host_metrics, XN_CLASS_host_metrics);
	int64_t now, available;
	bool changed;

	ask_memory(host, &now, &available);
	changed = xn_db_set_bool(db, metrics, XN_host_metrics_live, true);
	changed |= xn_db_set_int(db, metrics, XN_host_metrics_memory_total,
				 (int64_t)host->facts.memory_total);
	changed |= xn_db_set_int(db, metrics, XN_host_metrics_memory_free, now);
	if (changed)
		xn_db_set(db, metrics, XN_host_metrics_last_updated,
			  xn_datetime(xn_wall_s(host->core->loop)));
}
