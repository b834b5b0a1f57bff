/*
 * Scanning an SR: a worker lists what is there, then the loop holds it against the rows, some at a
 * time. Disks are made and destroyed meanwhile, so each decision looks at the rows as they are
 * then, and what only the list knows (a file without a row) is believed only if no row went since
 * it was read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hmap.h"
#include "modules/storage/storage_internal.h"

enum { ITEMS_A_TURN = 200, MAX_ATTEMPTS = 10 };

/* What is on disk for one location; the states seen, as bits. */
struct seen {
	struct xn_hnode node;
	const struct xn_sr_found *ready, *any;
	unsigned states;
};

struct scan {
	struct xn_list link; /* st->scans */
	struct xn_storage *st;
	char sr[XN_REF_LEN];
	bool adopt;
	unsigned attempt;
	struct xn_sr_binding binding;
	struct xn_error error;
	xn_storage_done *done;
	void *arg;
	struct xn_job step;

	uint64_t generation, removed; /* when the list was read */
	struct xn_sr_found *found;    /* taken from the request */
	size_t n_found;
	struct xn_sr_space space;
	struct seen *seen; /* one a location */
	size_t n_seen;
	struct xn_hmap by_location;
	struct xn_value *rows; /* references of the SR's VDIs; set */
	size_t next_row, next_seen;
	int64_t allocation;
	bool lost_time; /* rows went while the list was read: adopt nothing, look again */
};

static void begin(struct scan *s);

/* ---- the end ---- */

static void forget_list(struct scan *s)
{
	xn_hmap_clear(&s->by_location);
	free(s->seen);
	xn_sr_found_free(s->found, s->n_found);
	xn_value_unref(s->rows);
	xn_sr_binding_clear(&s->binding);
	s->seen = NULL;
	s->found = NULL;
	s->rows = NULL;
	s->n_seen = s->n_found = s->next_row = s->next_seen = 0;
	s->allocation = 0;
	s->lost_time = false;
}

static void free_scan(struct scan *s)
{
	xn_list_remove(&s->link);
	xn_job_cancel(&s->step);
	forget_list(s);
	xn_error_clear(&s->error);
	free(s);
}

static void finish(struct scan *s)
{
	s->done(xn_error_is_set(&s->error) ? &s->error : NULL, s->arg);
	free_scan(s);
}

static void finish_later(struct xn_job *job)
{
	finish(xn_container_of(job, struct scan, step));
}

/* ---- one location ---- */

static struct seen *find_seen(struct scan *s, const char *location)
{
	struct xn_hnode *node = xn_hmap_first_same(&s->by_location, xn_hash_string(location));

	for (; node; node = xn_hmap_next_same(node)) {
		struct seen *seen = xn_container_of(node, struct seen, node);

		if (strcmp(seen->any->location, location) == 0)
			return seen;
	}
	return NULL;
}

static void index_found(struct scan *s)
{
	s->seen = xn_calloc(s->n_found, sizeof(*s->seen));
	for (size_t i = 0; i < s->n_found; i++) {
		const struct xn_sr_found *found = &s->found[i];
		struct seen *seen = find_seen(s, found->location);

		if (!seen) {
			seen = &s->seen[s->n_seen++];
			seen->any = found;
			xn_hmap_insert(&s->by_location, &seen->node,
				       xn_hash_string(found->location));
		}
		seen->states |= 1u << found->state;
		if (found->state == XN_IMAGE_READY)
			seen->ready = found;
	}
}

static struct xn_row *row_at(struct scan *s, const char *location)
{
	struct xn_db *db = s->st->db;

	if (!s->binding.ops->read_only)
		return xn_db_by_uuid(db, XN_CLASS_VDI, location);
	for (size_t i = 0; i < xn_set_len(s->rows); i++) {
		struct xn_row *row =
			xn_db_get(db, XN_CLASS_VDI, xn_value_string(xn_set_at(s->rows, i)));

		if (row && strcmp(xn_row_string(row, XN_VDI_location), location) == 0)
			return row;
	}
	return NULL;
}

/* Fire and forget: the next scan does what this one could not. */
static void tidy(struct scan *s, const char *location, int (*call)(struct xn_sr_request *rq))
{
	if (call)
		xn_sr_request_submit(s->st, xn_sr_request_new(s->st, s->binding.folder, location),
				     call, NULL, NULL);
}

static void apply_row(struct scan *s, struct xn_row *row)
{
	struct xn_db *db = s->st->db;
	const struct seen *seen = find_seen(s, xn_row_string(row, XN_VDI_location));
	bool busy = xn_map_len(xn_row_get(row, XN_VDI_current_operations)) > 0 ||
		    xn_vdi_is_being_removed(s->st, xn_row_ref(row)) ||
		    xn_vdi_is_being_made(s->st, xn_row_uuid(row));

	if (!busy && !seen && xn_row_created(row) < s->generation) {
		/* A library's file that is gone is no loss of ours, unless a drive still holds it.
		 */
		if (s->binding.ops->read_only && xn_set_len(xn_row_get(row, XN_VDI_VBDs)) == 0) {
			xn_vdi_delete_rows(s->st, row);
			return;
		}
		xn_db_set_bool(db, row, XN_VDI_missing, true);
	} else if (!busy && seen) {
		const struct xn_image_info *info = &(seen->ready ? seen->ready : seen->any)->info;

		xn_db_set_bool(db, row, XN_VDI_missing, false);
		xn_db_set_int(db, row, XN_VDI_virtual_size, info->virtual_size);
		xn_db_set_int(db, row, XN_VDI_physical_utilisation, info->physical_size);
		if (!seen->ready)
			tidy(s, seen->any->location, s->binding.ops->settle);
	}
	s->allocation += xn_row_int(row, XN_VDI_virtual_size);
}

/* Beyond all-rows nothing more is: the scan goes on with what is known, and says so at its end. */
static void adopt(struct scan *s, const struct xn_sr_found *found)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *v = xn_map_new(), *sm_config = xn_map_new();
	bool read_only = s->binding.ops->read_only;

	if (xn_error_is_set(&s->error) || xn_db_check_room(s->st->db, 1, &s->error) < 0)
		return;
	if (!read_only)
		xn_map_put_string(&v, "uuid", found->location);
	xn_map_put_string(&v, "SR", s->sr);
	xn_map_put_string(&v, "location", found->location);
	xn_map_put_string(&v, "name_label", read_only ? found->location : "");
	xn_map_put_string(&v, "name_description", read_only ? "" : "Found by a scan");
	xn_map_put_string(&v, "type", "user");
	xn_map_put(&v, "virtual_size", xn_int(found->info.virtual_size));
	xn_map_put(&v, "physical_utilisation", xn_int(found->info.physical_size));
	xn_map_put(&v, "read_only", xn_bool(read_only));
	xn_map_put(&v, "managed", xn_bool(true));
	xn_map_put_string(&v, "parent", XN_NULL_REF);
	xn_map_put_string(&sm_config, "image-format", xn_image_format_name(found->info.format));
	xn_map_put(&v, "sm_config", xn_value_ref(sm_config));
	xn_operation_refresh(s->st->operations, xn_db_create(s->st->db, XN_CLASS_VDI, NULL, v));
	s->allocation += found->info.virtual_size;
}

static void apply_seen(struct scan *s, const struct seen *seen)
{
	const char *location = seen->any->location;

	if (xn_vdi_is_being_made(s->st, location) || row_at(s, location))
		return;
	if (s->removed != s->st->removed)
		s->lost_time = true;
	else if (seen->ready && s->adopt)
		adopt(s, seen->ready);
	else if (!seen->ready)
		tidy(s, location, s->binding.ops->remove);
}

/* ---- all of them, in turns ---- */

static void end_pass(struct scan *s)
{
	struct xn_row *sr = xn_db_get(s->st->db, XN_CLASS_SR, s->sr);

	if (s->lost_time && ++s->attempt < MAX_ATTEMPTS) {
		forget_list(s);
		begin(s);
		return;
	}
	if (sr) {
		xn_db_set_int(s->st->db, sr, XN_SR_virtual_allocation, s->allocation);
		xn_db_map_remove(s->st->db, sr, XN_SR_other_config, "dirty");
		xn_sr_note(s->st, s->sr, &s->space, 0);
	}
	finish(s);
}

static void on_step(struct xn_job *job)
{
	struct scan *s = xn_container_of(job, struct scan, step);
	unsigned left = ITEMS_A_TURN;

	if (xn_db_check_writable(s->st->db, &s->error) < 0) {
		finish(s);
		return;
	}
	for (; left && s->next_row < xn_set_len(s->rows); left--) {
		const char *ref = xn_value_string(xn_set_at(s->rows, s->next_row++));
		struct xn_row *row = xn_db_get(s->st->db, XN_CLASS_VDI, ref);

		if (row)
			apply_row(s, row);
	}
	for (; left && s->next_seen < s->n_seen; left--)
		apply_seen(s, &s->seen[s->next_seen++]);
	if (left)
		end_pass(s);
	else
		xn_loop_defer(s->st->core->loop, &s->step, XN_PRIO_REFRESH, on_step);
}

static void on_listed(struct xn_sr_request *rq, int rc)
{
	struct scan *s = rq->arg;
	struct xn_row *sr = xn_db_get(s->st->db, XN_CLASS_SR, s->sr);

	if (rc < 0)
		xn_sr_request_error(rq, rc, s->sr, "", &s->error);
	else if (!sr)
		xn_error_set(&s->error, XN_ERR_HANDLE_INVALID, "SR", s->sr);
	if (xn_error_is_set(&s->error)) {
		finish(s);
		return;
	}
	s->found = rq->found;
	s->n_found = rq->n_found;
	s->space = rq->space;
	rq->found = NULL;
	rq->n_found = 0;
	s->rows = xn_value_ref(xn_row_get(sr, XN_SR_VDIs));
	index_found(s);
	on_step(&s->step);
}

static void begin(struct scan *s)
{
	struct xn_row *sr = xn_db_need(s->st->db, XN_CLASS_SR, s->sr, &s->error);

	if (!sr || xn_sr_bind(s->st, sr, &s->binding, &s->error) < 0) {
		xn_loop_defer(s->st->core->loop, &s->step, XN_PRIO_OPERATION, finish_later);
		return;
	}
	s->generation = xn_db_generation(s->st->db);
	s->removed = s->st->removed;
	xn_sr_request_submit(s->st, xn_sr_request_new(s->st, s->binding.folder, NULL),
			     s->binding.ops->list, on_listed, s);
}

void xn_sr_scan(struct xn_storage *st, const char *sr, bool adopt_new, xn_storage_done *done,
		void *arg)
{
	struct scan *s = xn_calloc(1, sizeof(*s));

	s->st = st;
	s->adopt = adopt_new;
	s->done = done;
	s->arg = arg;
	snprintf(s->sr, sizeof(s->sr), "%s", sr);
	xn_list_push(&st->scans, &s->link);
	begin(s);
}

void xn_sr_scan_abandon(struct xn_storage *st)
{
	xn_list_each_safe(node, &st->scans)
		free_scan(xn_list_entry(node, struct scan, link));
}
