/* What must hold, in between and when nothing runs any more; see sim.h. */
#include <dirent.h>
#include <stdio.h>

#include "modules/domain/domain.h"
#include "modules/domain/sim/sim_internal.h"
#include "sim.h"

static void check_rows(struct sim_world *w)
{
	struct xn_buf report XN_CLEANUP(xn_buf_clear_p) = {0};

	if (xn_db_check(sim_db(w), &report))
		sim_fail(w, "the database is inconsistent: %s", xn_buf_cstr(&report));
}

/* What is promised to guests is there. */
static void check_memory(struct sim_world *w)
{
	struct xn_backend *b = xn_domains_backend(xn_domains_of(&w->core));
	const struct xn_sim *sim = xn_container_of(b, struct xn_sim, backend);
	uint64_t held = 0;

	xn_list_each(link, &sim->domains)
		held += xn_list_entry(link, struct xn_sim_domain, link)->held_bytes;
	if (held != sim->used_memory)
		sim_fail(w, "guests hold %llu bytes, the host counts %llu",
			 (unsigned long long)held, (unsigned long long)sim->used_memory);
	if (sim->dom0_memory + held > sim->total_memory)
		sim_fail(w, "guests were promised more memory than the host has");
}

void sim_check_any_time(struct sim_world *w, bool after_start)
{
	check_rows(w);
	check_memory(w);
	sim_facts_check(w, after_start);
}

/* ---- at rest ---- */

/* No operation without an owner: nothing runs, so nothing may be under way. */
static void check_operations(struct sim_world *w)
{
	struct xn_db *db = sim_db(w);

	for (int c = 0; c < XN_CLASS_COUNT; c++) {
		int field = xn_field_find(&xn_classes[c], "current_operations");

		if (c == XN_CLASS_task) /* see check_tasks() */
			continue;
		for (struct xn_row *row = field < 0 ? NULL : xn_db_first(db, c); row;
		     row = xn_db_next(db, row))
			if (xn_map_len(xn_row_get(row, field)))
				sim_fail(w, "%s %s has an operation that nobody runs: %s",
					 xn_classes[c].name, xn_row_ref(row),
					 xn_value_string(xn_map_at(xn_row_get(row, field), 0)));
	}
	if (xn_db_count(db, XN_CLASS_xn_operation))
		sim_fail(w, "%zu operations are journaled that nobody runs",
			 xn_db_count(db, XN_CLASS_xn_operation));
}

static void count_one(const struct xn_op *op, void *arg)
{
	++*(unsigned *)arg;
}

/* A guest that crashes and is started again, for ever, rests in between only. */
bool sim_is_busy(struct sim_world *w)
{
	struct xn_backend *b = xn_domains_backend(xn_domains_of(&w->core));
	const struct xn_domain_info *domains;
	size_t n;

	domains = b->ops->list(b, &n);
	for (size_t i = 0; i < n; i++)
		if (domains[i].shut_down || domains[i].dying)
			return true;
	return xn_db_count(sim_db(w), XN_CLASS_xn_operation) > 0;
}

static void check_engine(struct sim_world *w)
{
	unsigned n = 0;

	xn_op_each(&w->core, count_one, &n);
	if (n)
		sim_fail(w, "%u operations are still at work", n);
}

/* A mark that it shall go may still wait for the collector. */
static bool is_being_cancelled(const struct xn_row *task)
{
	const struct xn_value *current = xn_row_get(task, XN_task_current_operations);

	for (size_t i = 0; i < xn_map_len(current); i++)
		if (strcmp(xn_value_string(xn_map_at(current, i)), "cancel") == 0)
			return true;
	return false;
}

static void check_tasks(struct sim_world *w)
{
	struct xn_db *db = sim_db(w);

	for (struct xn_row *row = xn_db_first(db, XN_CLASS_task); row; row = xn_db_next(db, row)) {
		if (is_being_cancelled(row))
			sim_fail(w, "task %s is being cancelled for ever", xn_row_ref(row));
		if (strcmp(xn_row_string(row, XN_task_status), "pending") == 0 &&
		    !xn_row_bool(row, XN_task_xn_made_by_client))
			sim_fail(w, "task %s (%s) is pending for ever", xn_row_ref(row),
				 xn_row_string(row, XN_task_name_label));
	}
}

/* ---- the hypervisor and the rows tell the same ---- */

static const char *state_of(const struct xn_domain_info *info)
{
	return !info || info->dying || info->shut_down ? "Halted"
	       : info->paused			       ? "Paused"
						       : "Running";
}

static void check_vm(struct sim_world *w, const struct xn_row *vm)
{
	struct xn_backend *b = xn_domains_backend(xn_domains_of(&w->core));
	const struct xn_domain_info *info = b->ops->find(b, xn_row_uuid(vm));
	const char *state = xn_row_string(vm, XN_VM_power_state);

	if (xn_row_bool(vm, XN_VM_is_control_domain) || xn_row_bool(vm, XN_VM_is_a_template))
		return;
	if (strcmp(state, "Suspended") == 0) {
		const char *image = xn_row_string(vm, XN_VM_suspend_VDI);

		if (info)
			sim_fail(w, "VM %s is suspended and has a domain", xn_row_ref(vm));
		if (!xn_db_get(sim_db(w), XN_CLASS_VDI, image))
			sim_fail(w, "VM %s is suspended to nothing", xn_row_ref(vm));
	} else if (strcmp(state, state_of(info)) != 0) {
		sim_fail(w, "VM %s is %s, its domain is %s", xn_row_ref(vm), state, state_of(info));
	}
	if (info && xn_row_int(vm, XN_VM_domid) != (int64_t)info->domid)
		sim_fail(w, "VM %s has domain %u, it says %lld", xn_row_ref(vm), info->domid,
			 (long long)xn_row_int(vm, XN_VM_domid));
}

static void check_device(struct sim_world *w, const struct xn_row *row, int vm_field,
			 int attached_field)
{
	const struct xn_row *vm =
		xn_db_get(sim_db(w), XN_CLASS_VM, xn_row_string(row, vm_field));
	const char *state = vm ? xn_row_string(vm, XN_VM_power_state) : "";

	if (!vm)
		sim_fail(w, "%s %s is of no VM", xn_classes[xn_row_class(row)].name,
			 xn_row_ref(row));
	if (strcmp(state, "Halted") == 0 && xn_row_bool(row, attached_field))
		sim_fail(w, "%s %s is attached to a halted VM", xn_classes[xn_row_class(row)].name,
			 xn_row_ref(row));
}

static void check_vms(struct sim_world *w)
{
	struct xn_db *db = sim_db(w);
	struct xn_backend *b = xn_domains_backend(xn_domains_of(&w->core));
	const struct xn_domain_info *domains;
	size_t n;

	for (struct xn_row *row = xn_db_first(db, XN_CLASS_VM); row; row = xn_db_next(db, row))
		check_vm(w, row);
	for (struct xn_row *row = xn_db_first(db, XN_CLASS_VBD); row; row = xn_db_next(db, row))
		check_device(w, row, XN_VBD_VM, XN_VBD_currently_attached);
	for (struct xn_row *row = xn_db_first(db, XN_CLASS_VIF); row; row = xn_db_next(db, row))
		check_device(w, row, XN_VIF_VM, XN_VIF_currently_attached);
	domains = b->ops->list(b, &n);
	for (size_t i = 0; i < n; i++)
		if (!xn_db_by_uuid(db, XN_CLASS_VM, domains[i].uuid))
			sim_fail(w, "domain %u is of no VM", domains[i].domid);
}

/* ---- disks have images, and images disks ---- */

static const char *folder_of(struct sim_world *w)
{
	struct xn_db *db = sim_db(w);

	for (struct xn_row *pbd = xn_db_first(db, XN_CLASS_PBD); pbd; pbd = xn_db_next(db, pbd))
		if (strcmp(xn_row_string(pbd, XN_PBD_SR), w->sr) == 0)
			return xn_map_get_string(xn_row_get(pbd, XN_PBD_device_config), "location");
	return NULL;
}

/* What cannot be taken back while the database refuses changes. */
static bool goes_at_next_start(const struct sim_world *w, const char *name)
{
	return (w->plan.disk.append_failures || w->plan.disk.sync_failures) &&
	       (strstr(name, ".new") || strstr(name, ".gone"));
}

static void check_images(struct sim_world *w)
{
	const char *place = folder_of(w);
	char *path XN_CLEANUP(xn_free_p) =
		!place		? NULL
		: *place == '/' ? xn_strdup(place)
				: xn_asprintf("%s/%s", w->dir, place);
	DIR *dir = path ? opendir(path) : NULL;
	struct dirent *entry;
	size_t images = 0, disks = 0;

	if (!dir)
		sim_fail(w, "the repository has no folder");
	while ((entry = readdir(dir))) {
		char uuid[37];

		if (entry->d_name[0] == '.' || goes_at_next_start(w, entry->d_name))
			continue;
		snprintf(uuid, sizeof(uuid), "%.36s", entry->d_name);
		if (!xn_db_by_uuid(sim_db(w), XN_CLASS_VDI, uuid))
			sim_fail(w, "the image %s is of no disk", entry->d_name);
		images++;
	}
	closedir(dir);
	for (struct xn_row *vdi = xn_db_first(sim_db(w), XN_CLASS_VDI); vdi;
	     vdi = xn_db_next(sim_db(w), vdi))
		disks += strcmp(xn_row_string(vdi, XN_VDI_SR), w->sr) == 0;
	if (images != disks)
		sim_fail(w, "there are %zu disks and %zu images", disks, images);
}

/* A guest that reboots all the time may never be found at rest. A VM whose state its client is not
 * sure of may have moods in any world. */
static bool is_restless(struct sim_world *w)
{
	struct xn_db *db = sim_db(w);

	if (w->plan.moody_guests)
		return true;
	for (struct xn_row *row = xn_db_first(db, XN_CLASS_VM); row; row = xn_db_next(db, row))
		if (xn_row_map_string(row, XN_VM_other_config, "sim-reboot-after-ms"))
			return true;
	return false;
}

void sim_check_rest(struct sim_world *w)
{
	if (!sim_is_busy(w) || !is_restless(w)) {
		check_operations(w);
		check_engine(w);
		check_tasks(w);
		check_vms(w);
	}
	check_images(w);
	sim_check_any_time(w, false);
}

uint64_t sim_state_hash(struct sim_world *w)
{
	return xn_db_state_hash(sim_db(w));
}
