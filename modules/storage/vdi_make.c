/*
 * Making a disk, as a chain of callbacks that no crash can break in the wrong place:
 *
 *	image under its provisional name -> row -> row survives power loss -> image gets its name
 *
 * A crash before the row leaves a file that is removed at the next start; one behind it, a disk
 * whose image is renamed by whoever touches it next (image.h). Failures undo what was done.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modules/storage/storage_internal.h"

enum { PROGRESS_US = 250 * 1000 };

struct xn_vdi_make {
	struct xn_list link; /* st->makes */
	struct xn_storage *st;
	char ref[XN_REF_LEN], uuid[XN_UUID_LEN], sr[XN_REF_LEN], source[XN_REF_LEN];
	struct xn_value *fields; /* of the row to be */
	int64_t size;
	enum xn_image_format format; /* of a blank one; a copy's is its source's */
	bool snapshot, has_row;
	struct xn_sr_binding binding;
	struct xn_sr_request *request; /* under way, or NULL */
	struct xn_db_wait durable;
	struct xn_kept_origin origin;
	struct xn_timer tick;
	struct xn_job fail_later;
	struct xn_error error;
	void (*progress)(double fraction, void *arg);
	void (*content)(void *arg);
	xn_storage_made *done;
	void *arg;
};

int64_t xn_vdi_round_size(int64_t size)
{
	if (size < XN_IMAGE_BLOCK)
		return XN_IMAGE_BLOCK;
	if (size > INT64_MAX - XN_IMAGE_BLOCK)
		return INT64_MAX / XN_IMAGE_BLOCK * XN_IMAGE_BLOCK;
	return (size + XN_IMAGE_BLOCK - 1) / XN_IMAGE_BLOCK * XN_IMAGE_BLOCK;
}

bool xn_sr_is_making(const struct xn_storage *st, const char *sr)
{
	xn_list_each(node, &st->makes)
		if (strcmp(xn_list_entry(node, struct xn_vdi_make, link)->sr, sr) == 0)
			return true;
	return false;
}

bool xn_vdi_is_being_made(const struct xn_storage *st, const char *uuid)
{
	xn_list_each(node, &st->makes)
		if (strcmp(xn_list_entry(node, struct xn_vdi_make, link)->uuid, uuid) == 0)
			return true;
	return false;
}

static void free_make(struct xn_vdi_make *m)
{
	xn_list_remove(&m->link);
	xn_timer_cancel(&m->tick);
	xn_job_cancel(&m->fail_later);
	xn_sr_binding_clear(&m->binding);
	xn_value_unref(m->fields);
	xn_error_clear(&m->error);
	free(m);
}

static void finish(struct xn_vdi_make *m)
{
	bool failed = xn_error_is_set(&m->error);

	/* Off the list first: the receiver may look at what is being made. */
	xn_list_remove(&m->link);
	xn_timer_cancel(&m->tick);
	m->done(failed ? &m->error : NULL, failed ? "" : m->ref, m->arg);
	free_make(m);
}

static void finish_later(struct xn_job *job)
{
	finish(xn_container_of(job, struct xn_vdi_make, fail_later));
}

/* ---- the chain, in order of time ---- */

static void on_made(struct xn_sr_request *rq, int rc);
static void make_row(struct xn_vdi_make *m, const struct xn_sr_request *rq);
static void on_durable(struct xn_db_wait *wait, int rc);
static void on_settled(struct xn_sr_request *rq, int rc);
static void undo(struct xn_vdi_make *m);

static void on_tick(struct xn_timer *timer)
{
	struct xn_vdi_make *m = xn_container_of(timer, struct xn_vdi_make, tick);
	int64_t total;

	if (!m->request)
		return;
	total = atomic_load(&m->request->progress.total);
	if (total > 0)
		m->progress((double)atomic_load(&m->request->progress.done) / (double)total,
			    m->arg);
	xn_timer_arm(m->st->core->loop, &m->tick, PROGRESS_US, on_tick);
}

static void make_image(struct xn_vdi_make *m, char *source_path)
{
	struct xn_sr_request *rq = xn_sr_request_new(m->st, m->binding.folder, m->uuid);

	rq->size = m->size;
	rq->format = m->format;
	rq->source = source_path;
	m->request = rq;
	if (m->progress)
		xn_timer_arm(m->st->core->loop, &m->tick, PROGRESS_US, on_tick);
	xn_sr_request_submit(m->st, rq, source_path ? m->binding.ops->copy : m->binding.ops->make,
			     on_made, m);
}

static void on_made(struct xn_sr_request *rq, int rc)
{
	struct xn_vdi_make *m = rq->arg;

	m->request = NULL;
	xn_timer_cancel(&m->tick);
	if (rc == 0 && atomic_load(&rq->progress.stop))
		rc = xn_error_set(&m->error, XN_ERR_TASK_CANCELLED, "");
	else if (rc < 0)
		xn_sr_request_error(rq, rc, m->sr, m->source, &m->error);
	/* The SR may have been taken away meanwhile, with all that is known about it. */
	if (rc == 0 && !xn_db_need(m->st->db, XN_CLASS_SR, m->sr, &m->error))
		rc = -1;
	if (rc < 0) {
		undo(m);
		return;
	}
	if (m->content)
		m->content(m->arg);
	make_row(m, rq);
}

static void put_format(struct xn_vdi_make *m, enum xn_image_format format)
{
	const struct xn_value *given = xn_map_get(m->fields, "sm_config");
	struct xn_value *sm_config = given ? xn_value_ref(given) : xn_map_new();

	xn_map_put_string(&sm_config, "image-format", xn_image_format_name(format));
	xn_map_put(&m->fields, "sm_config", sm_config);
}

static void make_row(struct xn_vdi_make *m, const struct xn_sr_request *rq)
{
	struct xn_storage *st = m->st;

	if (xn_db_check_writable(st->db, &m->error) < 0) {
		undo(m);
		return;
	}
	xn_map_put(&m->fields, "physical_utilisation", xn_int(rq->info.physical_size));
	put_format(m, rq->info.format);
	if (m->snapshot && xn_db_get(st->db, XN_CLASS_VDI, m->source)) {
		xn_map_put_string(&m->fields, "snapshot_of", m->source);
		xn_map_put(&m->fields, "snapshot_time", xn_datetime(xn_wall_s(st->core->loop)));
	}
	xn_operation_refresh(st->operations, xn_db_create(st->db, XN_CLASS_VDI, m->ref, m->fields));
	m->has_row = true;
	xn_sr_note(st, m->sr, &rq->space, m->size);
	xn_db_keep_origin(st->db, &m->origin);
	xn_db_when_durable(st->db, &m->durable, on_durable);
}

static void on_durable(struct xn_db_wait *wait, int rc)
{
	struct xn_vdi_make *m = xn_container_of(wait, struct xn_vdi_make, durable);
	struct xn_sr_request *rq;

	xn_db_say_origin(m->st->db, &m->origin);
	if (rc < 0) {
		/* The row cannot be taken back either; what the disk says decides at the next
		 * start. */
		xn_db_error(rc, &m->error);
		finish(m);
		return;
	}
	rq = xn_sr_request_new(m->st, m->binding.folder, m->uuid);
	xn_sr_request_submit(m->st, rq, m->binding.ops->settle, on_settled, m);
}

static void on_settled(struct xn_sr_request *rq, int rc)
{
	struct xn_vdi_make *m = rq->arg;

	if (rc < 0 && xn_db_get(m->st->db, XN_CLASS_VDI, m->ref)) {
		xn_sr_request_error(rq, rc, m->sr, m->ref, &m->error);
		undo(m);
		return;
	}
	finish(m);
}

/* ---- undo: the row first, so that nobody finds a disk whose image goes ---- */

static void on_removed(struct xn_sr_request *rq, int rc)
{
	finish(rq->arg); /* what could not be removed goes at the next start */
}

static void undo(struct xn_vdi_make *m)
{
	struct xn_row *row = m->has_row ? xn_db_get(m->st->db, XN_CLASS_VDI, m->ref) : NULL;

	if (row) {
		xn_vdi_delete_rows(m->st, row);
		xn_sr_note(m->st, m->sr, NULL, -m->size);
	}
	xn_sr_request_submit(m->st, xn_sr_request_new(m->st, m->binding.folder, m->uuid),
			     m->binding.ops->remove, on_removed, m);
}

/* ---- beginning ---- */

/* What a copy has from its source. */
static const int copied_fields[] = {
	XN_VDI_name_label,    XN_VDI_name_description, XN_VDI_type,          XN_VDI_other_config,
	XN_VDI_xenstore_data, XN_VDI_on_boot,          XN_VDI_allow_caching, XN_VDI_tags,
	XN_VDI_sm_config,
};

static void take_fields(struct xn_vdi_make *m, const struct xn_row *source,
			const struct xn_value *record)
{
	const struct xn_class *cls = &xn_classes[XN_CLASS_VDI];

	for (unsigned i = 0; source && i < XN_ARRAY_SIZE(copied_fields); i++)
		xn_map_put(&m->fields, cls->fields[copied_fields[i]].name,
			   xn_value_ref(xn_row_get(source, copied_fields[i])));
	for (size_t i = 0; record && i < xn_map_len(record); i++)
		xn_map_put(&m->fields, xn_map_key_at(record, i),
			   xn_value_ref(xn_map_at(record, i)));
}

/* What the storage decides, whatever a client asked for. */
static void settle_fields(struct xn_vdi_make *m)
{
	const struct xn_value *sm_config = xn_map_get(m->fields, "sm_config");
	const char *format = sm_config ? xn_map_get_string(sm_config, "image-format") : NULL;

	if (!format || !xn_image_format_find(format, &m->format))
		m->format = XN_IMAGE_RAW;
	xn_map_put_string(&m->fields, "uuid", m->uuid);
	xn_map_put_string(&m->fields, "location", m->uuid);
	xn_map_put_string(&m->fields, "SR", m->sr);
	xn_map_put(&m->fields, "virtual_size", xn_int(m->size));
	xn_map_put(&m->fields, "managed", xn_bool(true));
	xn_map_put(&m->fields, "missing", xn_bool(false));
	xn_map_put_string(&m->fields, "parent", XN_NULL_REF);
	xn_map_put(&m->fields, "is_a_snapshot", xn_bool(m->snapshot));
	xn_map_remove(&m->fields, "snapshot_of");
	xn_map_remove(&m->fields, "snapshot_time");
}

static const char *sr_of_plan(const struct xn_vdi_plan *plan, const struct xn_row *source)
{
	const char *sr = plan->sr;

	if (!sr && source)
		sr = xn_row_string(source, XN_VDI_SR);
	if (!sr && plan->record)
		sr = xn_map_get_string(plan->record, "SR");
	return sr ? sr : XN_NULL_REF;
}

static int64_t size_of_plan(const struct xn_vdi_plan *plan, const struct xn_row *source)
{
	int64_t size = source ? xn_row_int(source, XN_VDI_virtual_size) : 0;

	int64_t wanted = plan->record ? xn_map_get_int(plan->record, "virtual_size", 0) : 0;

	return wanted > size ? wanted
			     : size; /* a copy may be larger than its source, never shorter */
}

/* The path of the image to copy, through the SR that holds it. */
static void on_source(struct xn_sr_request *rq, int rc)
{
	struct xn_vdi_make *m = rq->arg;
	char *path = rq->path;

	m->request = NULL;
	if (rc == 0 && atomic_load(&rq->progress.stop))
		xn_error_set(&m->error, XN_ERR_TASK_CANCELLED, "");
	else if (rc < 0)
		xn_sr_request_error(rq, rc, m->sr, m->source, &m->error);
	if (xn_error_is_set(&m->error)) {
		finish(m);
		return;
	}
	rq->path = NULL;
	make_image(m, path);
}

static int begin_with_source(struct xn_vdi_make *m, const struct xn_row *source)
{
	struct xn_storage *st = m->st;
	struct xn_sr_binding from;
	struct xn_row *sr = xn_row_follow(st->db, source, XN_VDI_SR);

	if (!sr)
		return xn_error_set(&m->error, XN_ERR_HANDLE_INVALID, "SR",
				    xn_row_string(source, XN_VDI_SR));
	if (xn_sr_bind(st, sr, &from, &m->error) < 0)
		return -1;
	m->request = xn_sr_request_new(st, from.folder, xn_row_string(source, XN_VDI_location));
	xn_sr_request_submit(st, m->request, from.ops->stat, on_source, m);
	xn_sr_binding_clear(&from);
	return 0;
}

static int begin(struct xn_vdi_make *m, const struct xn_vdi_plan *plan)
{
	struct xn_storage *st = m->st;
	const struct xn_row *source = NULL;
	const struct xn_row *sr;
	const char *uuid = plan->record ? xn_map_get_string(plan->record, "uuid") : NULL;

	if (plan->source) {
		snprintf(m->source, sizeof(m->source), "%s", plan->source);
		source = xn_db_need(st->db, XN_CLASS_VDI, plan->source, &m->error);
		if (!source)
			return -1;
	}
	snprintf(m->sr, sizeof(m->sr), "%s", sr_of_plan(plan, source));
	sr = xn_db_need(st->db, XN_CLASS_SR, m->sr, &m->error);
	if (!sr || xn_sr_bind(st, sr, &m->binding, &m->error) < 0)
		return -1;
	if (!m->binding.ops->make)
		return xn_error_set(&m->error, XN_ERR_SR_OPERATION_NOT_SUPPORTED, m->sr);
	if (plan->ref)
		snprintf(m->ref, sizeof(m->ref), "%s", plan->ref);
	else
		xn_ref_new(st->core->loop, m->ref);
	if (uuid && xn_image_uuid_is_valid(uuid))
		snprintf(m->uuid, sizeof(m->uuid), "%s", uuid);
	else
		xn_uuid_new(st->core->loop, m->uuid);
	m->size = xn_vdi_round_size(size_of_plan(plan, source));
	m->snapshot = plan->snapshot && source;
	take_fields(m, source, plan->record);
	settle_fields(m);
	if (source)
		return begin_with_source(m, source);
	make_image(m, NULL);
	return 0;
}

struct xn_vdi_make *xn_storage_make_vdi(struct xn_storage *st, const struct xn_vdi_plan *plan,
					xn_storage_made *done, void *arg)
{
	struct xn_vdi_make *m = xn_calloc(1, sizeof(*m));

	m->st = st;
	m->fields = xn_map_new();
	m->progress = plan->progress;
	m->content = plan->content;
	m->done = done;
	m->arg = arg;
	xn_list_push(&st->makes, &m->link);
	if (begin(m, plan) < 0)
		xn_loop_defer(st->core->loop, &m->fail_later, XN_PRIO_OPERATION, finish_later);
	return m;
}

void xn_storage_cancel_make(struct xn_vdi_make *make)
{
	if (make->request)
		xn_sr_request_stop(make->st, make->request);
}

/* ---- the usual plans ---- */

void xn_storage_clone_vdi(struct xn_storage *st, const char *vdi, const char *name, bool snapshot,
			  xn_storage_made *done, void *arg)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *record = xn_map_new();
	const struct xn_vdi_plan plan = {.source = vdi, .record = record, .snapshot = snapshot};

	if (name)
		xn_map_put_string(&record, "name_label", name);
	xn_storage_make_vdi(st, &plan, done, arg);
}

void xn_storage_copy_vdi(struct xn_storage *st, const char *vdi, const char *sr,
			 void (*progress)(double fraction, void *arg), xn_storage_made *done,
			 void *arg)
{
	const struct xn_vdi_plan plan = {.source = vdi, .sr = sr, .progress = progress};

	xn_storage_make_vdi(st, &plan, done, arg);
}

void xn_storage_create_vdi(struct xn_storage *st, const struct xn_value *record,
			   xn_storage_made *done, void *arg)
{
	const struct xn_vdi_plan plan = {.record = record};

	xn_storage_make_vdi(st, &plan, done, arg);
}

void xn_vdi_make_abandon(struct xn_storage *st)
{
	xn_list_each_safe(node, &st->makes) {
		struct xn_vdi_make *m = xn_list_entry(node, struct xn_vdi_make, link);

		xn_db_wait_cancel(&m->durable);
		free_make(m);
	}
}
