/* See ova.h. */
#include "modules/transfer/ova.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/hmap.h"
#include "core/xml.h"

enum {
	PIECE = 64 << 10,
	EXPORT_VERSION = 2,			/* each piece of a disk is followed by its checksum */
	OLDEST_MAJOR = 1, OLDEST_MINOR = 20,	/* readers refuse what says that it is newer than they */
};

struct object {
	struct xn_hnode node; /* by reference */
	struct xn_record *record;
	char id[16];
};

/* In the order of the file. */
static const int classes[] = {
	XN_CLASS_host,	     XN_CLASS_VM,      XN_CLASS_VM_guest_metrics, XN_CLASS_VBD,
	XN_CLASS_VIF,	     XN_CLASS_network, XN_CLASS_VDI,		  XN_CLASS_SR,
	XN_CLASS_VGPU_type,  XN_CLASS_VGPU,    XN_CLASS_GPU_group,	  XN_CLASS_PVS_proxy,
	XN_CLASS_PVS_site,
};
enum { N_CLASSES = XN_ARRAY_SIZE(classes) };

struct xn_ova {
	struct xn_db *db;
	struct xn_ova_options options;
	char *without;
	struct xn_hmap by_ref;
	struct {
		struct object **objects; /* as added */
		size_t n, cap;
	} of_class[N_CLASSES];
	size_t n; /* in all */
	struct xn_buf begin; /* of the text, with the version */
	size_t class_at, at; /* object that is measured, then written, next */
	bool begun;
	uint64_t length;
};

static unsigned rank_of(int class_id)
{
	unsigned i = 0;

	while (classes[i] != class_id)
		i++;
	return i;
}

/* ---- what is in it ---- */

static struct object *find(const struct xn_ova *ova, const char *ref)
{
	struct xn_hnode *node = xn_hmap_first_same(&ova->by_ref, xn_hash_string(ref));

	for (; node; node = xn_hmap_next_same(node)) {
		struct object *object = xn_container_of(node, struct object, node);

		if (strcmp(xn_record_ref(object->record), ref) == 0)
			return object;
	}
	return NULL;
}

const char *xn_ova_id(const struct xn_ova *ova, const char *ref)
{
	const struct object *object = find(ova, ref);

	return object ? object->id : NULL;
}

/* The row, when it is there and new to the archive. */
static struct xn_row *add(struct xn_ova *ova, int class_id, const char *ref)
{
	struct xn_row *row = xn_db_get(ova->db, class_id, ref);
	unsigned rank = rank_of(class_id);
	size_t n = ova->of_class[rank].n, *cap = &ova->of_class[rank].cap;
	struct object *object;

	if (!row || find(ova, ref))
		return NULL;
	object = xn_calloc(1, sizeof(*object));
	object->record = xn_row_take(row);
	snprintf(object->id, sizeof(object->id), "Ref:%zu", ova->n++);
	xn_hmap_insert(&ova->by_ref, &object->node, xn_hash_string(ref));
	if (n == *cap) {
		*cap = n ? 2 * n : 4;
		ova->of_class[rank].objects =
			xn_realloc(ova->of_class[rank].objects, *cap * sizeof(object));
	}
	ova->of_class[rank].objects[ova->of_class[rank].n++] = object;
	return row;
}

static struct xn_row *add_field(struct xn_ova *ova, const struct xn_row *row, int field,
				int class_id)
{
	return add(ova, class_id, xn_row_string(row, field));
}

/* Whether the client does not want devices of this type. */
static bool leaves_out(const struct xn_ova *ova, const char *type)
{
	const char *at = ova->without;
	size_t len = strlen(type);

	while (at && *at) {
		if (strcspn(at, ",") == len && strncasecmp(at, type, len) == 0)
			return true;
		at += strcspn(at, ",");
		at += *at == ',';
	}
	return false;
}

static void add_vdi(struct xn_ova *ova, const char *ref)
{
	struct xn_row *vdi = add(ova, XN_CLASS_VDI, ref);

	if (vdi)
		add_field(ova, vdi, XN_VDI_SR, XN_CLASS_SR);
}

static void add_vif(struct xn_ova *ova, const struct xn_row *vif)
{
	add_field(ova, vif, XN_VIF_network, XN_CLASS_network);
	for (struct xn_row *proxy = xn_db_first(ova->db, XN_CLASS_PVS_proxy); proxy;
	     proxy = xn_db_next(ova->db, proxy))
		if (strcmp(xn_row_string(proxy, XN_PVS_proxy_VIF), xn_row_ref(vif)) == 0 &&
		    add(ova, XN_CLASS_PVS_proxy, xn_row_ref(proxy)))
			add_field(ova, proxy, XN_PVS_proxy_site, XN_CLASS_PVS_site);
}

static void add_vbd(struct xn_ova *ova, const struct xn_row *vbd)
{
	if (!xn_row_bool(vbd, XN_VBD_empty))
		add_vdi(ova, xn_row_string(vbd, XN_VBD_VDI));
}

static void add_vgpu(struct xn_ova *ova, const struct xn_row *vgpu)
{
	add_field(ova, vgpu, XN_VGPU_type, XN_CLASS_VGPU_type);
	add_field(ova, vgpu, XN_VGPU_GPU_group, XN_CLASS_GPU_group);
}

static void add_devices(struct xn_ova *ova, const struct xn_row *vm)
{
	static const struct {
		int field, class_id;
		const char *type;
		void (*more)(struct xn_ova *ova, const struct xn_row *device);
	} devices[] = {
		{XN_VM_VIFs, XN_CLASS_VIF, "vif", add_vif},
		{XN_VM_VBDs, XN_CLASS_VBD, "vbd", add_vbd},
		{XN_VM_VGPUs, XN_CLASS_VGPU, "vgpu", add_vgpu},
	};

	for (size_t i = 0; i < XN_ARRAY_SIZE(devices); i++) {
		const struct xn_value *refs = xn_row_get(vm, devices[i].field);

		if (leaves_out(ova, devices[i].type))
			continue;
		for (size_t k = 0; k < xn_set_len(refs); k++) {
			struct xn_row *row = add(ova, devices[i].class_id,
						 xn_value_string(xn_set_at(refs, k)));

			if (row)
				devices[i].more(ova, row);
		}
	}
}

static void add_one(struct xn_ova *ova, const char *ref)
{
	struct xn_row *vm = add(ova, XN_CLASS_VM, ref);

	if (!vm)
		return;
	add_devices(ova, vm);
	if (ova->options.keeps_state &&
	    strcmp(xn_row_string(vm, XN_VM_power_state), "Suspended") == 0)
		add_vdi(ova, xn_row_string(vm, XN_VM_suspend_VDI));
	add_field(ova, vm, XN_VM_guest_metrics, XN_CLASS_VM_guest_metrics);
	add_field(ova, vm, XN_VM_resident_on, XN_CLASS_host);
	add_field(ova, vm, XN_VM_affinity, XN_CLASS_host);
}

void xn_ova_add_vm(struct xn_ova *ova, struct xn_row *vm)
{
	const struct xn_value *snapshots = xn_row_get(vm, XN_VM_snapshots);

	add_one(ova, xn_row_ref(vm));
	if (!ova->options.snapshots)
		return;
	for (size_t i = 0; i < xn_set_len(snapshots); i++)
		add_one(ova, xn_value_string(xn_set_at(snapshots, i)));
	add_one(ova, xn_row_string(vm, XN_VM_parent));
}

/* ---- how it is written ---- */

static void add_member(struct xn_buf *out, const char *name, const struct xn_value *value)
{
	xn_buf_printf(out, "<member><name>%s</name>", name);
	xn_xml_write(value, out);
	xn_buf_add_string(out, "</member>");
}

static void add_text_member(struct xn_buf *out, const char *name, const char *text)
{
	xn_buf_printf(out, "<member><name>%s</name><value>", name);
	xn_xml_write_text(text, strlen(text), out);
	xn_buf_add_string(out, "</value></member>");
}

static const char *version_text(const struct xn_row *host, const char *key)
{
	const char *text = host ? xn_row_map_string(host, XN_host_software_version, key) : NULL;

	return text ? text : "";
}

static void write_begin(struct xn_ova *ova, const struct xn_core *core)
{
	struct xn_row *pool = xn_db_first(ova->db, XN_CLASS_pool);
	const struct xn_row *host = pool ? xn_row_follow(ova->db, pool, XN_pool_master) : NULL;
	struct xn_buf *out = &ova->begin;
	char date[19];

	xn_date_print(xn_wall_s(core->loop), date);
	xn_buf_add_string(out, "<value><struct><member><name>version</name><value><struct>");
	add_text_member(out, "hostname", host ? xn_row_string(host, XN_host_hostname) : "");
	add_text_member(out, "date", date);
	add_text_member(out, "product_version", version_text(host, "product_version"));
	add_text_member(out, "product_brand", version_text(host, "product_brand"));
	add_text_member(out, "build_number", version_text(host, "build_number"));
	xn_buf_printf(out,
		      "<member><name>xapi_major</name><value>%d</value></member>"
		      "<member><name>xapi_minor</name><value>%d</value></member>"
		      "<member><name>export_vsn</name><value>%d</value></member>"
		      "</struct></value></member><member><name>objects</name><value><array><data>",
		      OLDEST_MAJOR, OLDEST_MINOR, EXPORT_VERSION);
}

static const char text_end[] = "</data></array></value></member></struct></value>";

/* A field whose value does not go with the object. */
enum when { ALWAYS, NOT_KEPT /* without the power state */, NO_SNAPSHOTS /* without these */ };
static const struct blank {
	int class_id, field;
	enum when when;
} blanks[] = {
	{XN_CLASS_VM, XN_VM_power_state, NOT_KEPT}, /* the default is Halted */
	{XN_CLASS_VM, XN_VM_is_a_snapshot, NO_SNAPSHOTS},
	{XN_CLASS_VM, XN_VM_snapshot_time, NO_SNAPSHOTS},
	{XN_CLASS_VM, XN_VM_transportable_snapshot_id, NO_SNAPSHOTS},
	{XN_CLASS_VM, XN_VM_current_operations, ALWAYS},
	{XN_CLASS_VM, XN_VM_allowed_operations, ALWAYS},
	{XN_CLASS_VM, XN_VM_blobs, ALWAYS},
	{XN_CLASS_VBD, XN_VBD_currently_attached, NOT_KEPT},
	{XN_CLASS_VBD, XN_VBD_current_operations, ALWAYS},
	{XN_CLASS_VBD, XN_VBD_allowed_operations, ALWAYS},
	{XN_CLASS_VIF, XN_VIF_currently_attached, NOT_KEPT},
	{XN_CLASS_VIF, XN_VIF_current_operations, ALWAYS},
	{XN_CLASS_VIF, XN_VIF_allowed_operations, ALWAYS},
	{XN_CLASS_VGPU, XN_VGPU_currently_attached, NOT_KEPT},
	{XN_CLASS_network, XN_network_current_operations, ALWAYS},
	{XN_CLASS_network, XN_network_allowed_operations, ALWAYS},
	{XN_CLASS_network, XN_network_blobs, ALWAYS},
	{XN_CLASS_VDI, XN_VDI_current_operations, ALWAYS},
	{XN_CLASS_VDI, XN_VDI_allowed_operations, ALWAYS},
	{XN_CLASS_SR, XN_SR_current_operations, ALWAYS},
	{XN_CLASS_SR, XN_SR_allowed_operations, ALWAYS},
	{XN_CLASS_SR, XN_SR_blobs, ALWAYS},
	/* What is nobody else's business, or needs no telling. */
	{XN_CLASS_host, XN_host_license_params, ALWAYS},
	{XN_CLASS_host, XN_host_external_auth_type, ALWAYS},
	{XN_CLASS_host, XN_host_external_auth_service_name, ALWAYS},
	{XN_CLASS_host, XN_host_external_auth_configuration, ALWAYS},
	{XN_CLASS_host, XN_host_logging, ALWAYS},
	{XN_CLASS_host, XN_host_supported_bootloaders, ALWAYS},
	{XN_CLASS_host, XN_host_cpu_configuration, ALWAYS},
	{XN_CLASS_host, XN_host_other_config, ALWAYS},
	{XN_CLASS_host, XN_host_capabilities, ALWAYS},
	{XN_CLASS_host, XN_host_software_version, ALWAYS},
	{XN_CLASS_host, XN_host_sched_policy, ALWAYS},
	{XN_CLASS_host, XN_host_ha_statefiles, ALWAYS},
	{XN_CLASS_host, XN_host_ha_network_peers, ALWAYS},
	{XN_CLASS_host, XN_host_tags, ALWAYS},
	{XN_CLASS_host, XN_host_blobs, ALWAYS},
	{XN_CLASS_PVS_proxy, XN_PVS_proxy_currently_attached, ALWAYS},
	{XN_CLASS_PVS_site, XN_PVS_site_cache_storage, ALWAYS},
};

static bool is_blank(const struct xn_ova *ova, int class_id, int field)
{
	for (size_t i = 0; i < XN_ARRAY_SIZE(blanks); i++) {
		const struct blank *blank = &blanks[i];

		if (blank->class_id != class_id || blank->field != field)
			continue;
		return blank->when == ALWAYS ||
		       (blank->when == NOT_KEPT && !ova->options.keeps_state) ||
		       (blank->when == NO_SNAPSHOTS && !ova->options.snapshots);
	}
	return false;
}

static void write_id(const char *id, struct xn_buf *out)
{
	xn_buf_add_string(out, "<value>");
	xn_buf_add_string(out, id);
	xn_buf_add_string(out, "</value>");
}

static void write_refs(const struct xn_ova *ova, const struct xn_value *refs, struct xn_buf *out)
{
	xn_buf_add_string(out, "<value><array><data>");
	for (size_t i = 0; i < xn_set_len(refs); i++) {
		const char *id = xn_ova_id(ova, xn_value_string(xn_set_at(refs, i)));

		if (id)
			write_id(id, out);
	}
	xn_buf_add_string(out, "</data></array></value>");
}

static void write_field(const struct xn_ova *ova, const struct object *object, unsigned f,
			struct xn_buf *out)
{
	const struct xn_class *cls = &xn_classes[xn_record_class(object->record)];
	const struct xn_type *type = cls->fields[f].type;
	const struct xn_value *value = xn_record_get(object->record, (int)f);

	if (is_blank(ova, cls->id, (int)f)) {
		XN_CLEANUP(xn_value_unref_p) struct xn_value *blank = xn_field_default(cls, f);

		add_member(out, cls->fields[f].name, blank);
		return;
	}
	if (type->kind != XN_T_REF && !(type->kind == XN_T_SET && type->value->kind == XN_T_REF)) {
		add_member(out, cls->fields[f].name, value);
		return;
	}
	xn_buf_printf(out, "<member><name>%s</name>", cls->fields[f].name);
	if (type->kind == XN_T_REF) {
		const char *id = xn_ova_id(ova, xn_value_string(value));

		write_id(id ? id : XN_NULL_REF, out);
	} else {
		write_refs(ova, value, out);
	}
	xn_buf_add_string(out, "</member>");
}

static void write_object(const struct xn_ova *ova, const struct object *object, struct xn_buf *out)
{
	const struct xn_class *cls = &xn_classes[xn_record_class(object->record)];

	xn_buf_printf(out,
		      "<value><struct><member><name>class</name><value>%s</value></member>"
		      "<member><name>id</name><value>%s</value></member>"
		      "<member><name>snapshot</name><value><struct>",
		      cls->name, object->id);
	for (unsigned f = 0; f < cls->n_public; f++)
		write_field(ova, object, f, out);
	xn_buf_add_string(out, "</struct></value></member></struct></value>");
}

/* ---- slices ---- */

/* Some objects on; true: that was the last. */
static bool write_some(struct xn_ova *ova, struct xn_buf *out)
{
	size_t start = out->len;

	for (; ova->class_at < N_CLASSES; ova->class_at++, ova->at = 0) {
		size_t n = ova->of_class[ova->class_at].n;

		while (ova->at < n && out->len - start < PIECE)
			write_object(ova, ova->of_class[ova->class_at].objects[ova->at++], out);
		if (ova->at < n)
			return false;
	}
	ova->class_at = 0;
	return true;
}

bool xn_ova_measure(struct xn_ova *ova)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	bool is_over = write_some(ova, &text);

	ova->length += text.len;
	if (is_over)
		ova->length += ova->begin.len + strlen(text_end);
	return is_over;
}

uint64_t xn_ova_length(const struct xn_ova *ova)
{
	return ova->length;
}

bool xn_ova_write(struct xn_ova *ova, struct xn_buf *out)
{
	if (!ova->begun)
		xn_buf_add(out, ova->begin.data, ova->begin.len);
	ova->begun = true;
	if (!write_some(ova, out))
		return false;
	xn_buf_add_string(out, text_end);
	return true;
}

/* ---- life ---- */

struct xn_ova *xn_ova_new(struct xn_core *core, struct xn_db *db,
			  const struct xn_ova_options *options)
{
	struct xn_ova *ova = xn_calloc(1, sizeof(*ova));

	ova->db = db;
	ova->options = *options;
	ova->without = options->without ? xn_strdup(options->without) : NULL;
	write_begin(ova, core);
	return ova;
}

void xn_ova_free(struct xn_ova *ova)
{
	if (!ova)
		return;
	for (size_t c = 0; c < N_CLASSES; c++) {
		for (size_t i = 0; i < ova->of_class[c].n; i++) {
			xn_record_unref(ova->of_class[c].objects[i]->record);
			free(ova->of_class[c].objects[i]);
		}
		free(ova->of_class[c].objects);
	}
	free(ova->without);
	xn_hmap_clear(&ova->by_ref);
	xn_buf_clear(&ova->begin);
	free(ova);
}
