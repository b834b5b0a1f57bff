/* Rows that the module makes by itself: SM records, and at the first start an SR for disks and one
 * for CD images. */
#include <stdlib.h>
#include <string.h>

#include "modules/storage/storage_internal.h"

/* ---- SM ---- */

struct xn_row *xn_sm_of_type(struct xn_db *db, const char *type)
{
	for (struct xn_row *row = xn_db_first(db, XN_CLASS_SM); row; row = xn_db_next(db, row))
		if (strcmp(xn_row_string(row, XN_SM_type), type) == 0)
			return row;
	return NULL;
}

static struct xn_row *make_sm(struct xn_db *db, const char *type)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *v = xn_map_new();

	xn_map_put_string(&v, "type", type);
	return xn_db_create(db, XN_CLASS_SM, NULL, v);
}

static void refresh_sm(struct xn_db *db, const struct xn_sr_ops *ops)
{
	struct xn_row *row = xn_sm_of_type(db, ops->type);
	struct xn_value *features = xn_map_new(), *names = xn_set_new(), *keys = xn_map_new();

	if (!row)
		row = make_sm(db, ops->type);
	for (const struct xn_sr_feature *f = ops->features; f->name; f++) {
		xn_map_put(&features, f->name, xn_int(f->version));
		xn_set_append_string(&names, f->name);
	}
	for (const struct xn_sr_key *key = ops->configuration; key->name; key++)
		xn_map_put_string(&keys, key->name, key->doc);
	xn_db_set(db, row, XN_SM_features, features);
	xn_db_set(db, row, XN_SM_capabilities, names);
	xn_db_set(db, row, XN_SM_configuration, keys);
	xn_db_set_string(db, row, XN_SM_name_label, ops->name);
	xn_db_set_string(db, row, XN_SM_name_description, ops->description);
	xn_db_set_string(db, row, XN_SM_vendor, "Xenolith");
	xn_db_set_string(db, row, XN_SM_copyright, "LGPL-2.1");
	xn_db_set_string(db, row, XN_SM_version, XN_VERSION);
	xn_db_set_string(db, row, XN_SM_required_api_version, "1.0");
}

void xn_storage_refresh_sm(struct xn_storage *st)
{
	for (unsigned i = 0; xn_sr_types[i]; i++)
		refresh_sm(st->db, xn_sr_types[i]);
}

/* ---- first start ---- */

struct first_sr {
	const char *name, *description, *content_type;
	const struct xn_sr_ops *ops;
	const char *location; /* below the state folder; NULL: sr/<uuid> */
};

static const struct first_sr first_srs[] = {
	{"Local storage", "Disks in the daemon's state folder", "user", &xn_sr_file_ops, NULL},
	{"Local ISO library", "Put .iso files into this SR's folder; a scan finds them", "iso",
	 &xn_sr_iso_ops, "iso"},
};

static int make_folder(struct xn_storage *st, const char *location)
{
	char *path = xn_asprintf("%s/%s", st->state_dir, location);
	int rc = xn_sr_make_folders(path);

	free(path);
	return rc;
}

static struct xn_row *make_first_sr(struct xn_storage *st, const struct first_sr *first)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *sr = xn_map_new();
	XN_CLEANUP(xn_value_unref_p) struct xn_value *pbd = xn_map_new();
	struct xn_value *config = xn_map_new(), *other_config = xn_map_new();
	char uuid[XN_UUID_LEN];
	struct xn_row *row;
	int rc;

	xn_uuid_new(st->core->loop, uuid);
	xn_map_put(&config, "location",
		   first->location ? xn_string(first->location) : xn_stringf("sr/%s", uuid));
	rc = make_folder(st, xn_map_get_string(config, "location"));
	if (rc < 0)
		xn_log_warn(st->core->log, "storage", "cannot make the folder of \"%s\": %s",
			    first->name, strerror(-rc));

	if (first->ops->read_only) /* people put files there; disks come by calls */
		xn_map_put_string(&other_config, "auto-scan", "true");
	xn_map_put_string(&sr, "uuid", uuid);
	xn_map_put_string(&sr, "name_label", first->name);
	xn_map_put_string(&sr, "name_description", first->description);
	xn_map_put_string(&sr, "type", first->ops->type);
	xn_map_put_string(&sr, "content_type", first->content_type);
	xn_map_put(&sr, "default_vdi_visibility", xn_bool(true));
	xn_map_put(&sr, "other_config", other_config);
	row = xn_db_create(st->db, XN_CLASS_SR, NULL, sr);

	xn_map_put_string(&pbd, "SR", xn_row_ref(row));
	xn_map_put_string(&pbd, "host", xn_host_ref(st->host));
	xn_map_put(&pbd, "device_config", config);
	xn_map_put(&pbd, "currently_attached", xn_bool(rc == 0));
	xn_db_create(st->db, XN_CLASS_PBD, NULL, pbd);
	return row;
}

void xn_storage_make_first_rows(struct xn_storage *st)
{
	struct xn_row *pool = xn_db_get(st->db, XN_CLASS_pool, xn_host_pool(st->host));
	struct xn_row *host = xn_db_get(st->db, XN_CLASS_host, xn_host_ref(st->host));
	const char *disks = xn_row_ref(make_first_sr(st, &first_srs[0]));

	make_first_sr(st, &first_srs[1]);
	xn_db_set_string(st->db, pool, XN_pool_default_SR, disks);
	xn_db_set_string(st->db, pool, XN_pool_suspend_image_SR, disks);
	xn_db_set_string(st->db, pool, XN_pool_crash_dump_SR, disks);
	xn_db_set_string(st->db, host, XN_host_suspend_image_sr, disks);
	xn_db_set_string(st->db, host, XN_host_crash_dump_sr, disks);
}
