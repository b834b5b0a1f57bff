/* What the rows say: how many there are of each class, VMs and tasks by state, storage by type. */
#include <stdlib.h>

#include "modules/db/db.h"
#include "modules/metrics/metrics_internal.h"

enum { MAX_STATES = 16 };

/* Rows of @class_id by the value of an enum field, named @label. */
static void write_by_enum(struct xn_db *db, struct xn_metrics_page *page, int class_id, int field,
			  const char *label)
{
	const struct xn_enum *e = xn_classes[class_id].fields[field].type->enumeration;
	int64_t counts[MAX_STATES] = {0};

	for (struct xn_row *row = xn_db_first(db, class_id); row; row = xn_db_next(db, row)) {
		const char *value = xn_row_string(row, field);

		for (unsigned i = 0; i < e->n_values && i < MAX_STATES; i++) {
			if (strcmp(value, e->values[i]) == 0) {
				counts[i]++;
				break;
			}
		}
	}
	for (unsigned i = 0; i < e->n_values && i < MAX_STATES; i++)
		xn_metrics_int(page, counts[i], label, e->values[i]);
}

struct sums {
	const char *type;
	int64_t srs, size, used, promised;
};

static struct sums *sums_of(struct sums *all, size_t *n, size_t max, const char *type)
{
	for (size_t i = 0; i < *n; i++)
		if (strcmp(all[i].type, type) == 0)
			return &all[i];
	if (*n == max)
		return NULL;
	all[*n].type = type;
	return &all[(*n)++];
}

static void write_storage(struct xn_db *db, struct xn_metrics_page *page)
{
	struct sums all[MAX_STATES] = {0};
	size_t n = 0;

	for (struct xn_row *row = xn_db_first(db, XN_CLASS_SR); row; row = xn_db_next(db, row)) {
		struct sums *s = sums_of(all, &n, MAX_STATES, xn_row_string(row, XN_SR_type));

		if (!s)
			continue;
		s->srs++;
		s->size += xn_row_int(row, XN_SR_physical_size);
		s->used += xn_row_int(row, XN_SR_physical_utilisation);
		s->promised += xn_row_int(row, XN_SR_virtual_allocation);
	}
	xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_storage_repositories", "",
			  "Storage repositories by type.");
	for (size_t i = 0; i < n; i++)
		xn_metrics_int(page, all[i].srs, "type", all[i].type);
	xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_storage_size_bytes", "bytes",
			  "Size of storage repositories by type.");
	for (size_t i = 0; i < n; i++)
		xn_metrics_int(page, all[i].size, "type", all[i].type);
	xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_storage_used_bytes", "bytes",
			  "What of it is used, as of the last look.");
	for (size_t i = 0; i < n; i++)
		xn_metrics_int(page, all[i].used, "type", all[i].type);
	xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_storage_promised_bytes", "bytes",
			  "Sizes of all disks in it.");
	for (size_t i = 0; i < n; i++)
		xn_metrics_int(page, all[i].promised, "type", all[i].type);
}

/* A part each turn: walking all VMs takes a while where there are many. */
size_t metrics_write_rows(struct xn_metrics_source *source, struct xn_metrics_page *page, size_t from)
{
	const struct metrics *m = xn_container_of(source, struct metrics, rows_source);
	struct xn_db *db = xn_db_of(m->core);

	switch (from) {
	case 0:
		xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_rows", "",
				  "Objects of the API by class; classes without any are left out.");
		for (int id = 0; id < XN_CLASS_COUNT; id++)
			if (xn_db_count(db, id))
				xn_metrics_int(page, (int64_t)xn_db_count(db, id), "class",
					       xn_classes[id].name);
		return 1;
	case 1:
		xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_vms", "",
				  "VMs, templates and snapshots too, by power state.");
		write_by_enum(db, page, XN_CLASS_VM, XN_VM_power_state, "state");
		return 2;
	case 2:
		xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_tasks", "", "Tasks by status.");
		write_by_enum(db, page, XN_CLASS_task, XN_task_status, "status");
		return 3;
	default:
		write_storage(db, page);
		return 0;
	}
}
