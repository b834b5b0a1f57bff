/* One blocking call of an SR type on its way to a worker and back; where an SR is on this host. */
#include "modules/storage/storage_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- where an SR is ---- */

void xn_sr_binding_clear(struct xn_sr_binding *binding)
{
	free(binding->folder);
	*binding = (struct xn_sr_binding){0};
}

/* "." or ".." as a part of @path would leave the state folder or hide where it leads. */
static bool has_dots(const char *path)
{
	for (const char *part = path; part; part = strchr(part, '/')) {
		size_t len;

		part += *part == '/';
		len = strcspn(part, "/");
		if ((len == 1 || len == 2) && strncmp(part, "..", len) == 0)
			return true;
	}
	return false;
}

/*
 * A location that does not begin at the root is below the state folder: the daemon's own SRs are
 * named so, and a state folder that was moved or copied never reaches for the disks of the old one.
 */
int xn_sr_folder(struct xn_storage *st, const struct xn_value *device_config, char **folder_out,
		 struct xn_error *err)
{
	const char *location = xn_map_get_string(device_config, "location");

	if (!location || !location[0])
		return xn_error_set(err, XN_ERR_SR_BACKEND_FAILURE, "EINVAL", "",
				    "device_config:location is missing");
	if (strlen(location) > 1024 || has_dots(location) || strcmp(location, "/") == 0)
		return xn_error_set(err, XN_ERR_SR_BACKEND_FAILURE, "EINVAL", "",
				    "device_config:location is no folder");
	*folder_out = location[0] == '/' ? xn_strdup(location)
					 : xn_asprintf("%s/%s", st->state_dir, location);
	return 0;
}

static struct xn_row *attached_pbd(struct xn_storage *st, const struct xn_row *sr)
{
	const struct xn_value *pbds = xn_row_get(sr, XN_SR_PBDs);

	for (size_t i = 0; i < xn_set_len(pbds); i++) {
		struct xn_row *pbd =
			xn_db_get(st->db, XN_CLASS_PBD, xn_value_string(xn_set_at(pbds, i)));

		if (pbd && xn_row_bool(pbd, XN_PBD_currently_attached) &&
		    strcmp(xn_row_string(pbd, XN_PBD_host), xn_host_ref(st->host)) == 0)
			return pbd;
	}
	return NULL;
}

int xn_sr_bind(struct xn_storage *st, const struct xn_row *sr, struct xn_sr_binding *out,
	       struct xn_error *err)
{
	struct xn_row *pbd = attached_pbd(st, sr);

	*out = (struct xn_sr_binding){.pbd = pbd};
	if (!pbd)
		return xn_error_set(err, XN_ERR_SR_HAS_NO_PBDS, xn_row_ref(sr));
	out->ops = xn_sr_type_find(xn_row_string(sr, XN_SR_type));
	if (!out->ops)
		return xn_error_set(err, XN_ERR_SR_UNKNOWN_DRIVER, xn_row_string(sr, XN_SR_type));
	return xn_sr_folder(st, xn_row_get(pbd, XN_PBD_device_config), &out->folder, err);
}

/* ---- requests ---- */

struct xn_sr_request *xn_sr_request_new(struct xn_storage *st, const char *folder,
					const char *location)
{
	struct xn_sr_request *rq = xn_calloc(1, sizeof(*rq));

	rq->folder = xn_strdup(folder);
	rq->location = location ? xn_strdup(location) : NULL;
	rq->fixed_facts = xn_loop_is_virtual(st->core->loop);
	return rq;
}

void xn_sr_found_free(struct xn_sr_found *found, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(found[i].location);
	free(found);
}

static void free_request(struct xn_sr_request *rq)
{
	free(rq->folder);
	free(rq->location);
	free(rq->source);
	free(rq->path);
	xn_sr_found_free(rq->found, rq->n_found);
	free(rq);
}

static int run_request(struct xn_work *work)
{
	struct xn_sr_request *rq = xn_container_of(work, struct xn_sr_request, work);

	if (atomic_load(&rq->progress.stop)) /* before it began */
		return -ECANCELED;
	return rq->call(rq);
}

static void on_request_done(struct xn_work *work, int rc)
{
	struct xn_sr_request *rq = xn_container_of(work, struct xn_sr_request, work);

	xn_list_remove(&rq->link);
	xn_db_say_origin(rq->db, &rq->origin);
	if (rq->done)
		rq->done(rq, rc);
	free_request(rq);
}

static struct xn_pool *pool_of(const struct xn_storage *st, const struct xn_sr_request *rq)
{
	return rq->source ? st->copies : st->quick;
}

void xn_sr_request_submit(struct xn_storage *st, struct xn_sr_request *rq,
			  int (*call)(struct xn_sr_request *rq),
			  void (*done)(struct xn_sr_request *rq, int rc), void *arg)
{
	rq->call = call;
	rq->done = done;
	rq->arg = arg;
	rq->work.run = run_request;
	rq->work.done = on_request_done;
	rq->db = st->db;
	xn_db_keep_origin(st->db, &rq->origin);
	xn_list_push(&st->requests, &rq->link);
	xn_pool_submit(pool_of(st, rq), &rq->work);
}

static void on_withdrawn(struct xn_job *job)
{
	on_request_done(&xn_container_of(job, struct xn_sr_request, withdrawn)->work, -ECANCELED);
}

void xn_sr_request_stop(struct xn_storage *st, struct xn_sr_request *rq)
{
	atomic_store(&rq->progress.stop, true);
	if (xn_pool_withdraw(pool_of(st, rq), &rq->work))
		xn_loop_defer(st->core->loop, &rq->withdrawn, XN_PRIO_OPERATION, on_withdrawn);
}

void xn_sr_requests_abandon(struct xn_storage *st)
{
	xn_list_each_safe(node, &st->requests) {
		struct xn_sr_request *rq = xn_list_entry(node, struct xn_sr_request, link);

		xn_job_cancel(&rq->withdrawn);
		xn_list_remove(&rq->link);
		free_request(rq);
	}
}

int xn_sr_request_error(const struct xn_sr_request *rq, int rc, const char *sr, const char *vdi,
			struct xn_error *err)
{
	char wanted[32], status[16];

	snprintf(wanted, sizeof(wanted), "%lld", (long long)rq->size);
	snprintf(status, sizeof(status), "%d", -rc);
	switch (-rc) {
	case ENOSPC:
	case EDQUOT:
		return xn_error_set(err, XN_ERR_SR_FULL, wanted, "0");
	case EFBIG:
		return xn_error_set(err, XN_ERR_VDI_TOO_LARGE, vdi, wanted);
	case ENOENT:
		if (vdi[0])
			return xn_error_set(err, XN_ERR_VDI_MISSING, sr, vdi);
		break;
	case ECANCELED:
		return xn_error_set(err, XN_ERR_TASK_CANCELLED, "");
	}
	return xn_error_set(err, XN_ERR_SR_BACKEND_FAILURE, status, "", strerror(-rc));
}

/* ---- what requests tell about the SR ---- */

void xn_sr_note(struct xn_storage *st, const char *sr, const struct xn_sr_space *space,
		int64_t delta)
{
	struct xn_row *row = xn_db_get(st->db, XN_CLASS_SR, sr);

	if (!row)
		return;
	if (delta)
		xn_db_set_int(st->db, row, XN_SR_virtual_allocation,
			      xn_row_int(row, XN_SR_virtual_allocation) + delta);
	if (space && space->total > 0) {
		/* Whole MiB: else each log line written anywhere on the disk would be an event. */
		int64_t used = (space->total - space->free) & ~(((int64_t)1 << 20) - 1);

		xn_db_set_int(st->db, row, XN_SR_physical_size, space->total);
		xn_db_set_int(st->db, row, XN_SR_physical_utilisation, used);
	}
	xn_operation_refresh(st->operations, row);
}
