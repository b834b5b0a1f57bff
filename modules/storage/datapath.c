/*
 * Which domains use which disk: pairs of VDI and datapath, in memory. After a restart the domain
 * module tells again what its domains have. An image is looked for before a domain gets it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modules/storage/storage_internal.h"

struct datapath {
	struct xn_hnode node; /* in st->datapaths, by VDI and datapath */
	char vdi[XN_REF_LEN], dp[96];
	bool writable;
};

/* One activate or deactivate under way. */
struct use_change {
	struct xn_list link; /* st->use_changes */
	struct xn_storage *st;
	struct xn_job later;
	struct xn_error error;
	char vdi[XN_REF_LEN], sr[XN_REF_LEN], dp[96];
	bool writable;
	bool dropped; /* deactivated before it was active */
	void (*activated)(const struct xn_error *err, const char *path, const char *format,
			  void *arg);
	xn_storage_done *deactivated;
	void *arg;
};

static struct use_change *new_change(struct xn_storage *st, const char *vdi, const char *dp,
				     void *arg)
{
	struct use_change *c = xn_calloc(1, sizeof(*c));

	c->st = st;
	c->arg = arg;
	snprintf(c->vdi, sizeof(c->vdi), "%s", vdi);
	snprintf(c->dp, sizeof(c->dp), "%s", dp);
	xn_list_push(&st->use_changes, &c->link);
	return c;
}

static void free_change(struct use_change *c)
{
	xn_list_remove(&c->link);
	xn_job_cancel(&c->later);
	xn_error_clear(&c->error);
	free(c);
}

static uint64_t hash_of(const char *vdi, const char *dp)
{
	return xn_hash_string(vdi) ^ xn_hash_string(dp);
}

static struct datapath *find(struct xn_storage *st, const char *vdi, const char *dp)
{
	struct xn_hnode *node = xn_hmap_first_same(&st->datapaths, hash_of(vdi, dp));

	for (; node; node = xn_hmap_next_same(node)) {
		struct datapath *path = xn_container_of(node, struct datapath, node);

		if (strcmp(path->vdi, vdi) == 0 && strcmp(path->dp, dp) == 0)
			return path;
	}
	return NULL;
}

static void forget(struct xn_storage *st, struct datapath *path)
{
	xn_hmap_remove(&st->datapaths, &path->node);
	free(path);
}

void xn_storage_adopt(struct xn_storage *st, const char *vdi, const char *dp, bool writable)
{
	struct datapath *path = find(st, vdi, dp);

	if (!path) {
		path = xn_calloc(1, sizeof(*path));
		snprintf(path->vdi, sizeof(path->vdi), "%s", vdi);
		snprintf(path->dp, sizeof(path->dp), "%s", dp);
		xn_hmap_insert(&st->datapaths, &path->node, hash_of(vdi, dp));
	}
	path->writable |= writable;
}

static void end_activate(struct use_change *c, const char *path, enum xn_image_format format)
{
	if (xn_error_is_set(&c->error))
		c->activated(&c->error, NULL, NULL, c->arg);
	else
		c->activated(NULL, path, xn_image_format_name(format), c->arg);
	free_change(c);
}

static void fail_later(struct xn_job *job)
{
	end_activate(xn_container_of(job, struct use_change, later), NULL, XN_IMAGE_RAW);
}

static void on_found(struct xn_sr_request *rq, int rc)
{
	struct use_change *a = rq->arg;
	struct xn_row *vdi = xn_db_get(a->st->db, XN_CLASS_VDI, a->vdi);

	if (rc < 0)
		xn_sr_request_error(rq, rc, a->sr, a->vdi, &a->error);
	else if (!vdi)
		xn_error_set(&a->error, XN_ERR_HANDLE_INVALID, "VDI", a->vdi);
	else if (!a->dropped)
		xn_storage_adopt(a->st, a->vdi, a->dp, a->writable);
	if (vdi)
		xn_db_set_bool(a->st->db, vdi, XN_VDI_missing, rc < 0);
	end_activate(a, rq->path, rq->info.format);
}

static int begin(struct use_change *a)
{
	struct xn_storage *st = a->st;
	struct xn_row *vdi = xn_db_need(st->db, XN_CLASS_VDI, a->vdi, &a->error);
	struct xn_row *sr = vdi ? xn_row_follow(st->db, vdi, XN_VDI_SR) : NULL;
	struct xn_sr_binding binding;

	if (!vdi)
		return -1;
	if (!sr)
		return xn_error_set(&a->error, XN_ERR_HANDLE_INVALID, "SR",
				    xn_row_string(vdi, XN_VDI_SR));
	if (xn_sr_bind(st, sr, &binding, &a->error) < 0)
		return -1;
	if (a->writable && (binding.ops->read_only || xn_row_bool(vdi, XN_VDI_read_only))) {
		xn_sr_binding_clear(&binding);
		return xn_error_set(&a->error, XN_ERR_VDI_READONLY, a->vdi);
	}
	snprintf(a->sr, sizeof(a->sr), "%s", xn_row_ref(sr));
	xn_sr_request_submit(
		st, xn_sr_request_new(st, binding.folder, xn_row_string(vdi, XN_VDI_location)),
		binding.ops->stat, on_found, a);
	xn_sr_binding_clear(&binding);
	return 0;
}

void xn_storage_activate(struct xn_storage *st, const char *vdi, const char *dp, bool writable,
			 void (*done)(const struct xn_error *err, const char *path,
				      const char *format, void *arg),
			 void *arg)
{
	struct use_change *a = new_change(st, vdi, dp, arg);

	a->writable = writable;
	a->activated = done;
	if (begin(a) < 0)
		xn_loop_defer(st->core->loop, &a->later, XN_PRIO_OPERATION, fail_later);
}

/* ---- deactivate ---- */

static void on_deactivated(struct xn_job *job)
{
	struct use_change *c = xn_container_of(job, struct use_change, later);

	c->deactivated(NULL, c->arg);
	free_change(c);
}

/* What the domain has written shows in the row. */
static void on_seen(struct xn_sr_request *rq, int rc)
{
	struct xn_storage *st = rq->arg;
	struct xn_row *vdi = rc == 0 ? xn_db_by_uuid(st->db, XN_CLASS_VDI, rq->location) : NULL;

	if (vdi && xn_db_writable(st->db) == 0)
		xn_db_set_int(st->db, vdi, XN_VDI_physical_utilisation, rq->info.physical_size);
}

static void look_again(struct xn_storage *st, const char *vdi)
{
	struct xn_row *row = xn_db_get(st->db, XN_CLASS_VDI, vdi);
	struct xn_row *sr = row ? xn_row_follow(st->db, row, XN_VDI_SR) : NULL;
	struct xn_sr_binding binding;
	struct xn_error ignored = {0};
	struct xn_sr_request *rq;

	if (sr && xn_sr_bind(st, sr, &binding, &ignored) == 0) {
		if (!binding.ops->read_only) {
			rq = xn_sr_request_new(st, binding.folder, xn_row_uuid(row));
			rq->only_look = true; /* the disk may be on its way out by then */
			xn_sr_request_submit(st, rq, binding.ops->stat, on_seen, st);
		}
		xn_sr_binding_clear(&binding);
	}
	xn_error_clear(&ignored);
}

/* Somebody gave up before it was active: nobody will deactivate it again. */
static void drop_under_way(struct xn_storage *st, const char *vdi, const char *dp)
{
	xn_list_each(node, &st->use_changes) {
		struct use_change *c = xn_list_entry(node, struct use_change, link);

		if (c->activated && strcmp(c->vdi, vdi) == 0 && strcmp(c->dp, dp) == 0)
			c->dropped = true;
	}
}

void xn_storage_deactivate(struct xn_storage *st, const char *vdi, const char *dp,
			   xn_storage_done *done, void *arg)
{
	struct datapath *path = find(st, vdi, dp);
	struct use_change *c;

	drop_under_way(st, vdi, dp);
	c = new_change(st, vdi, dp, arg);
	if (path) {
		bool writable = path->writable;

		forget(st, path);
		if (writable)
			look_again(st, vdi);
	}
	c->deactivated = done;
	xn_loop_defer(st->core->loop, &c->later, XN_PRIO_OPERATION, on_deactivated);
}

void xn_datapath_abandon(struct xn_storage *st)
{
	struct xn_hnode *node;

	while ((node = xn_hmap_first(&st->datapaths)))
		forget(st, xn_container_of(node, struct datapath, node));
	xn_hmap_clear(&st->datapaths);
	xn_list_each_safe(change, &st->use_changes)
		free_change(xn_list_entry(change, struct use_change, link));
}
