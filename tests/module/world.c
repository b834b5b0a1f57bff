/* See world.h. */
#include "tests/module/world.h"

#include "core/json.h"
#include "modules/domain/domain_internal.h"
#include "modules/storage/storage_internal.h"
#include "modules/xenstore/store/store.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct world {
	char **lines;
	size_t n;
};

static void add(struct world *w, const char *fmt, ...) XN_PRINTF(2, 3);
static void add(struct world *w, const char *fmt, ...)
{
	va_list ap;

	w->lines = xn_realloc(w->lines, (w->n + 1) * sizeof(*w->lines));
	va_start(ap, fmt);
	w->lines[w->n++] = xn_vasprintf(fmt, ap);
	va_end(ap);
}

/* ---- rows ---- */

/* What goes on by itself, or tells when something was looked at. */
static bool moves(const char *class_name, const char *field)
{
	static const char *const list[][2] = {
		{"VM_metrics", "last_updated"},
		{"VM_metrics", "start_time"},
		{"VM_metrics", "install_time"},
		{"VM_guest_metrics", "last_updated"},
		{"VM_guest_metrics", "other"}, /* with data/ts; the rest is in xenstore, too */
		{"SR", "physical_utilisation"},
		{"SR", "physical_size"},
		{"VDI", "physical_utilisation"},
		{"VM", "last_booted_record"}, /* what it was when it was last noted */
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(list); i++)
		if (strcmp(list[i][0], class_name) == 0 && strcmp(list[i][1], field) == 0)
			return true;
	return false;
}

static bool is_down(const struct xn_row *vm)
{
	const char *state = xn_row_string(vm, XN_VM_power_state);

	return strcmp(state, "Halted") == 0 || strcmp(state, "Suspended") == 0;
}

/* Of a VM that is down: what a guest said when it last ran. */
static bool is_of_the_past(struct xn_db *db, const struct xn_row *row)
{
	for (struct xn_row *vm = xn_db_first(db, XN_CLASS_VM); vm; vm = xn_db_next(db, vm))
		if (strcmp(xn_row_string(vm, XN_VM_guest_metrics), xn_row_ref(row)) == 0)
			return is_down(vm);
	return false;
}

static void add_row(struct world *w, struct xn_db *db, struct xn_row *row)
{
	const struct xn_class *cls = &xn_classes[xn_row_class(row)];
	bool halted = cls->id == XN_CLASS_VM && is_down(row);

	if (cls->id == XN_CLASS_VM_guest_metrics && is_of_the_past(db, row))
		return;

	for (unsigned f = 0; f < cls->n_fields; f++) {
		struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

		if (moves(cls->name, cls->fields[f].name) || (halted && f == XN_VM_guest_metrics))
			continue;
		xn_json_write(xn_row_get(row, (int)f), &text);
		add(w, "%s %s %s = %s", cls->name, xn_row_ref(row), cls->fields[f].name,
		    xn_buf_cstr(&text));
	}
}

static void add_rows(struct world *w, struct xn_db *db)
{
	static const int classes[] = {
		XN_CLASS_VM,           XN_CLASS_VM_metrics,  XN_CLASS_VM_guest_metrics,
		XN_CLASS_VBD,          XN_CLASS_VBD_metrics, XN_CLASS_VIF,
		XN_CLASS_VIF_metrics,  XN_CLASS_VDI,         XN_CLASS_SR,
		XN_CLASS_PBD,          XN_CLASS_console,     XN_CLASS_PCI,
		XN_CLASS_VM_appliance, XN_CLASS_xn_operation};

	for (size_t i = 0; i < XN_ARRAY_SIZE(classes); i++)
		for (struct xn_row *row = xn_db_first(db, classes[i]); row;
		     row = xn_db_next(db, row))
			add_row(w, db, row);
}

/* ---- xenstore ---- */

/* What a guest that lives writes, and how it says yes. */
static bool is_the_guests(const char *path)
{
	static const char *const ends[] = {"/data/ts", "/data/sim/counter", "/control/shutdown"};
	size_t len = strlen(path);

	for (size_t i = 0; i < XN_ARRAY_SIZE(ends); i++)
		if (len > strlen(ends[i]) && strcmp(path + len - strlen(ends[i]), ends[i]) == 0)
			return true;
	return false;
}

struct walk {
	struct world *world;
	char path[XN_XS_PATH_MAX + 1];
	size_t ends[64]; /* of the path at each level */
};

static int add_node(const char *name, size_t name_len, unsigned level, const char *value,
		    size_t value_len, void *arg)
{
	struct walk *walk = arg;
	size_t at = level ? walk->ends[level - 1] : 0;

	if (level >= XN_ARRAY_SIZE(walk->ends))
		return 1;
	walk->ends[level] = at + (size_t)snprintf(walk->path + at, sizeof(walk->path) - at, "/%.*s",
						  (int)name_len, name);
	if (!is_the_guests(walk->path))
		add(walk->world, "xenstore %s = %.*s", walk->path, (int)value_len, value);
	return 0;
}

static void add_xenstore(struct world *w, struct xn_core *core)
{
	struct xn_xs_store *store = xn_xenstore_embedded(xn_xenstore_of(core));
	struct xn_xs_conn *conn = xn_xs_conn_new(xn_xs_domain_find(store, 0));
	struct walk walk = {.world = w};

	xn_xs_conn_walk(conn, "/", 60, add_node, &walk);
	xn_xs_conn_free(conn);
}

/* ---- files ---- */

static void add_files(struct world *w, const char *folder, unsigned depth)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char *path;
		struct stat st;

		if (entry->d_name[0] == '.' && (!entry->d_name[1] || entry->d_name[1] == '.'))
			continue;
		if (depth == 0 && strcmp(entry->d_name, "xenstore") == 0)
			continue; /* its journal: what it holds is compared as nodes */
		path = xn_asprintf("%s/%s", folder, entry->d_name);
		if (lstat(path, &st) < 0) {
			free(path);
			continue;
		}
		/* The top is the daemon's own: its journals and the hypervisor's world. */
		if (depth > 0)
			add(w, "file %s, mode %o, %lld bytes", path, (unsigned)st.st_mode,
			    S_ISDIR(st.st_mode) ? 0 : (long long)st.st_size);
		if (S_ISDIR(st.st_mode) && depth < 8)
			add_files(w, path, depth + 1);
		free(path);
	}
	if (dir)
		closedir(dir);
}

/* ---- the daemon's memory ---- */

static void add_domains(struct world *w, struct xn_domains *d)
{
	struct xn_backend *b = d->backend;
	size_t n;
	const struct xn_domain_info *list = b->ops->list(b, &n);
	struct xn_host_info host;

	for (size_t i = 0; i < n; i++)
		add(w, "domain %u of %s:%s%s%s %d, %llu of %llu bytes, %u VCPUs, %s", list[i].domid,
		    list[i].uuid, list[i].paused ? " paused" : "", list[i].dying ? " dying" : "",
		    list[i].shut_down ? " down" : "", list[i].shutdown_code,
		    (unsigned long long)list[i].memory_bytes,
		    (unsigned long long)list[i].max_memory_bytes, list[i].vcpus, list[i].type);
	b->ops->host_info(b, &host);
	add(w, "free memory: %llu", (unsigned long long)host.memory_free);
	add(w, "reserved memory: %llu", (unsigned long long)d->reserved_memory);
	add(w, "VMs with rows held back: %zu", d->held.count);
	add(w, "operations that wait for a domain: %zu", d->waiters.count);
}

static void add_storage(struct world *w, struct xn_storage *st)
{
	add(w, "disks in use: %zu", st->datapaths.count);
}

/* ---- the whole ---- */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct world *world_take(struct api *api)
{
	struct world *w = xn_calloc(1, sizeof(*w));

	add_rows(w, api->db);
	add_xenstore(w, &api->core);
	add_files(w, api->dir, 0);
	add_domains(w, xn_domains_of(&api->core));
	add_storage(w, xn_storage_of(&api->core));
	qsort(w->lines, w->n, sizeof(*w->lines), by_text);
	return w;
}

void world_free(struct world *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->n; i++)
		free(w->lines[i]);
	free(w->lines);
	free(w);
}

unsigned world_diff(const struct world *before, const struct world *after, struct xn_buf *out)
{
	size_t b = 0, a = 0;
	unsigned n = 0;

	while (b < before->n || a < after->n) {
		int order = b == before->n  ? 1
			    : a == after->n ? -1
					    : strcmp(before->lines[b], after->lines[a]);

		if (order == 0) {
			b++;
			a++;
			continue;
		}
		n++;
		if (order < 0)
			xn_buf_printf(out, "- %s\n", before->lines[b++]);
		else
			xn_buf_printf(out, "+ %s\n", after->lines[a++]);
	}
	return n;
}
