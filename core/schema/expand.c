/*
 * The schema's tables as everybody reads them, from the packed ones: made once, when the program is
 * loaded, before anything runs that could ask. From then on they are as constant as the rest: the
 * system is asked to refuse writes to them.
 */
#include "core/schema/schema_internal.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

struct xn_expanded xn_expanded;
const struct xn_method *const xn_methods = xn_expanded.methods;
const unsigned xn_n_methods = XN_SCHEMA_METHODS;

uint32_t xn_schema_hash(uint32_t seed, const char *name)
{
	uint32_t h = seed;

	for (const unsigned char *p = (const unsigned char *)name; *p; p++)
		h = (h ^ *p) * 16777619u;
	return h ^ h >> 15;
}

static void take_slot(uint16_t *slots, unsigned n, uint32_t hash, unsigned row)
{
	unsigned at = hash & (n - 1);

	while (slots[at])
		at = (at + 1) & (n - 1);
	slots[at] = (uint16_t)(row + 1);
}

static const char *name_at(uint16_t at)
{
	return at == XN_PACKED_NONE ? NULL : xn_packed_names + at;
}

static const struct xn_type *type_at(uint16_t at)
{
	return at == XN_PACKED_NONE ? NULL : &xn_expanded.types[at];
}

static void expand_types(void)
{
	for (unsigned i = 0; i < XN_SCHEMA_TYPES; i++) {
		const struct xn_packed_type *from = &xn_packed_types[i];

		xn_expanded.types[i] = (struct xn_type){
			.kind = from->kind,
			.enumeration = from->kind == XN_T_ENUM ? xn_enums[from->enumeration] : NULL,
			.class_id = from->class_id,
			.key = type_at(from->key),
			.value = type_at(from->value),
			.text = name_at(from->text),
		};
	}
}

static void expand_field(struct xn_field *f, const struct xn_packed_field *from)
{
	*f = (struct xn_field){
		.name = name_at(from->name),
		.db_name = name_at(from->db_name),
		.type = type_at(from->type),
		.qualifier = from->qualifier,
		.lifecycle = from->lifecycle,
		.internal = from->internal,
		.persistent = from->persistent,
		.required = from->required,
		.default_json = name_at(from->default_json),
		.relation = from->relation,
		.other_class = from->other_class,
		.other_field = from->other_field,
		.role_read = from->role_read,
		.role_write = from->role_write,
		.key_roles = xn_packed_key_roles[from->key_roles],
		.doc = xn_packed_docs + from->doc,
	};
}

static void expand_fields(void)
{
	for (unsigned c = 0; c < XN_CLASS_COUNT; c++) {
		for (unsigned i = xn_field_offsets[c]; i < xn_field_offsets[c + 1]; i++) {
			struct xn_field *f = &xn_expanded.fields[i];

			expand_field(f, &xn_packed_fields[i]);
			xn_expanded.field_classes[i] = (uint8_t)c;
			take_slot(xn_expanded.field_slots, XN_FIELD_SLOTS,
				  xn_schema_hash(c, f->name), i);
			if (f->db_name != f->name)
				take_slot(xn_expanded.field_slots, XN_FIELD_SLOTS,
					  xn_schema_hash(c, f->db_name), i);
		}
	}
}

static void expand_params(void)
{
	for (unsigned i = 0; i < XN_SCHEMA_PARAMS; i++) {
		const struct xn_packed_param *from = &xn_packed_params[i];

		xn_expanded.params[i] = (struct xn_param){
			.name = name_at(from->name),
			.type = type_at(from->type),
			.default_json = name_at(from->default_json),
		};
	}
}

/* ---- methods ---- */

static bool is_about_field(enum xn_method_kind kind)
{
	return kind == XN_M_GET || kind == XN_M_SET || kind == XN_M_ADD || kind == XN_M_REMOVE;
}

static const struct xn_field *field_of(const struct xn_method *m)
{
	return m->field < 0 ? NULL : &xn_classes[m->class_id].fields[m->field];
}

/* "VM", ".", "get_", "power_state" */
static char *put_name(struct xn_method *m, const struct xn_packed_method *from, char *to)
{
	m->name = to;
	to = stpcpy(stpcpy(to, xn_classes[m->class_id].name), ".");
	m->message = to;
	to = stpcpy(to, name_at(from->message));
	if (is_about_field(m->kind))
		to = stpcpy(to, field_of(m)->name);
	return to + 1;
}

/* In the middle of a sentence: "The VMs", but not "ID of". */
static char *put_field_doc(const char *doc, char *to)
{
	bool lower = doc[0] >= 'A' && doc[0] <= 'Z' &&
		     ((doc[1] >= 'a' && doc[1] <= 'z') || doc[1] == ' ');
	char *end = stpcpy(to, doc);

	if (lower)
		*to = (char)(*to - 'A' + 'a');
	return end;
}

static char *put_doc(struct xn_method *m, char *to)
{
	m->doc = to;
	for (const char *p = xn_packed_kind_docs[m->kind]; *p; p++) {
		switch (*p) {
		case XN_DOC_CLASS:
			to = stpcpy(to, xn_classes[m->class_id].name);
			break;
		case XN_DOC_FIELD:
			to = stpcpy(to, field_of(m)->name);
			break;
		case XN_DOC_FIELD_DOC:
			to = put_field_doc(field_of(m)->doc, to);
			break;
		default:
			*to++ = *p;
		}
	}
	*to = '\0';
	return to + 1;
}

static char *expand_method(struct xn_method *m, const struct xn_packed_method *from, char *to)
{
	*m = (struct xn_method){
		.class_id = from->class_id,
		.kind = from->kind,
		.field = from->field,
		.params = from->n_params ? &xn_expanded.params[from->params] : NULL,
		.n_params = from->n_params,
		.n_required = from->n_required,
		.result = type_at(from->result),
		.min_role = from->min_role,
		.key_roles = xn_packed_key_roles[from->key_roles],
		.flags = from->flags,
		.forward_param = from->forward_param,
		.lock_param = from->lock_param,
		.operation = name_at(from->operation),
		.errors = xn_packed_errors[from->errors],
	};
	to = put_name(m, from, to);
	if (from->doc == XN_PACKED_NONE)
		return put_doc(m, to);
	m->doc = xn_packed_docs + from->doc;
	return to;
}

static void expand_methods(void)
{
	char *to = xn_expanded.texts;

	for (unsigned i = 0; i < XN_SCHEMA_METHODS; i++) {
		struct xn_method *m = &xn_expanded.methods[i];

		to = expand_method(m, &xn_packed_methods[i], to);
		take_slot(xn_expanded.method_slots, XN_METHOD_SLOTS,
			  xn_schema_hash(XN_METHOD_SEED, m->name), i);
	}
	assert(to == xn_expanded.texts + sizeof(xn_expanded.texts));
}

__attribute__((constructor)) static void expand(void)
{
	expand_types();
	expand_fields();
	expand_params();
	expand_methods();
	/* Where pages are larger than the table's alignment it stays writable. */
	(void)mprotect(&xn_expanded, sizeof(xn_expanded), PROT_READ);
}
