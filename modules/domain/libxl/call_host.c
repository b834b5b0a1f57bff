/* What the hypervisor tells about this host. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/libxl/child.h"

static void put_text(struct xn_value **map, const char *key, const char *text)
{
	struct xn_buf clean XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_text_recode(text ? text : "", text ? strlen(text) : 0, &clean);
	xn_map_put_string(map, key, xn_buf_cstr(&clean));
}

static void put_version(struct xn_value **map, const libxl_version_info *v)
{
	char number[64];

	snprintf(number, sizeof(number), "%d.%d%s", v->xen_version_major, v->xen_version_minor,
		 v->xen_version_extra ? v->xen_version_extra : "");
	put_text(map, "xen_version", number);
	put_text(map, "capabilities", v->capabilities);
	put_text(map, "commandline", v->commandline);
	put_text(map, "changeset", v->changeset);
	put_text(map, "compiler", v->compiler);
	put_text(map, "compile_date", v->compile_date);
}

static void put_physinfo(struct xn_value **map, const libxl_physinfo *p, int page_bytes)
{
	xn_map_put(map, "memory_total", xn_int((int64_t)p->total_pages * page_bytes));
	/* Pages being scrubbed are nobody's, and are handed out when they are clean. */
	xn_map_put(map, "memory_free",
		   xn_int((int64_t)(p->free_pages + p->scrub_pages) * page_bytes));
	xn_map_put(map, "cpus", xn_int(p->nr_cpus));
	xn_map_put(map, "cores_per_socket", xn_int(p->cores_per_socket));
	xn_map_put(map, "threads_per_core", xn_int(p->threads_per_core));
	xn_map_put(map, "nodes", xn_int(p->nr_nodes));
	xn_map_put(map, "cpu_khz", xn_int(p->cpu_khz));
	xn_map_put(map, "hvm", xn_bool(p->cap_hvm));
	xn_map_put(map, "pv", xn_bool(p->cap_pv));
	xn_map_put(map, "hap", xn_bool(p->cap_hap));
	xn_map_put(map, "shadow", xn_bool(p->cap_shadow));
	xn_map_put(map, "iommu", xn_bool(p->cap_hvm_directio));
}

/* Each CPU that there is; sockets are counted from what they say, for an empty one has none. */
static int put_cpus(struct xn_libxl_child *child, struct xn_value **map)
{
	struct xn_value *cpus = xn_set_new();
	unsigned sockets = 0;
	int n = 0;
	libxl_cputopology *list = libxl_get_cpu_topology(child->ctx, &n);

	for (int i = 0; i < n; i++) {
		struct xn_value *cpu = xn_map_new();
		bool seen = false;

		if (list[i].core == LIBXL_CPUTOPOLOGY_INVALID_ENTRY) {
			xn_value_unref(cpu);
			continue;
		}
		for (int k = 0; k < i && !seen; k++)
			seen = list[k].socket == list[i].socket;
		sockets += !seen;
		xn_map_put(&cpu, "number", xn_int(i));
		xn_map_put(&cpu, "core", xn_int(list[i].core));
		xn_map_put(&cpu, "socket", xn_int(list[i].socket));
		xn_map_put(&cpu, "node", xn_int(list[i].node));
		xn_set_append(&cpus, cpu);
	}
	xn_map_put(map, "cpu_list", cpus);
	xn_map_put(map, "sockets", xn_int(sockets));
	if (list)
		libxl_cputopology_list_free(list, n);
	return list ? 0 : -EIO;
}

static void put_nodes(struct xn_libxl_child *child, struct xn_value **map)
{
	struct xn_value *nodes = xn_set_new();
	int n = 0;
	libxl_numainfo *list = libxl_get_numainfo(child->ctx, &n);

	for (int i = 0; i < n; i++) {
		struct xn_value *node = xn_map_new();

		if (list[i].size != LIBXL_NUMAINFO_INVALID_ENTRY) {
			xn_map_put(&node, "number", xn_int(i));
			xn_map_put(&node, "memory_total", xn_int(list[i].size));
			xn_map_put(&node, "memory_free", xn_int(list[i].free));
			xn_set_append(&nodes, node);
			continue;
		}
		xn_value_unref(node);
	}
	xn_map_put(map, "node_list", nodes);
	if (list)
		libxl_numainfo_list_free(list, n);
}

/*
 * host_info {}: a map of struct xn_host_info's fields and cpu_khz, hvm, pv, hap, shadow, iommu
 * (bools), commandline, changeset, compiler, compile_date; cpu_list: {number, core, socket, node};
 * node_list: {number, memory_total, memory_free}.
 */
int xn_libxl_host_info(struct xn_libxl_child *child, const struct xn_value *args, int fd,
		       struct xn_libxl_answer *answer)
{
	const libxl_version_info *version = libxl_get_version_info(child->ctx);
	libxl_physinfo physinfo;
	int rc;

	answer->result = xn_map_new();
	libxl_physinfo_init(&physinfo);
	rc = xn_libxl_rc(child, libxl_get_physinfo(child->ctx, &physinfo));
	if (rc == 0 && !version)
		rc = -EIO;
	if (rc == 0) {
		put_version(&answer->result, version);
		put_physinfo(&answer->result, &physinfo, version->pagesize);
		rc = put_cpus(child, &answer->result);
		put_nodes(child, &answer->result);
	}
	libxl_physinfo_dispose(&physinfo);
	return rc;
}
