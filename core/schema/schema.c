/*
 * Lookups in the schema's tables, and default values. The tables are constant; the two caches of
 * parsed defaults are filled on first use and never change an entry once it is there.
 */
#include "core/schema/schema_internal.h"

#include <stdlib.h>
#include <strings.h>

#include "core/json.h"

const struct xn_method *xn_method_find(const char *name)
{
	const uint16_t *slots = xn_expanded.method_slots;
	uint32_t at = xn_schema_hash(XN_METHOD_SEED, name) & (XN_METHOD_SLOTS - 1);

	for (; slots[at]; at = (at + 1) & (XN_METHOD_SLOTS - 1)) {
		const struct xn_method *method = &xn_methods[slots[at] - 1];

		if (!strcmp(method->name, name))
			return method;
	}
	return NULL;
}

const struct xn_class *xn_class_find(const char *name)
{
	for (int i = 0; i < XN_CLASS_COUNT; i++)
		if (!strcmp(xn_classes[i].name, name))
			return &xn_classes[i];
	return NULL;
}

const struct xn_class *xn_class_find_event(const char *name)
{
	for (int i = 0; i < XN_CLASS_COUNT; i++)
		if (!xn_classes[i].internal && !strcasecmp(xn_classes[i].event_name, name))
			return &xn_classes[i];
	return NULL;
}

int xn_field_find(const struct xn_class *cls, const char *name)
{
	const uint16_t *slots = xn_expanded.field_slots;
	uint32_t at = xn_schema_hash((uint32_t)cls->id, name) & (XN_FIELD_SLOTS - 1);

	for (; slots[at]; at = (at + 1) & (XN_FIELD_SLOTS - 1)) {
		unsigned row = slots[at] - 1u;
		const struct xn_field *f = &xn_expanded.fields[row];

		if (xn_expanded.field_classes[row] == cls->id &&
		    (!strcmp(f->name, name) || !strcmp(f->db_name, name)))
			return (int)(row - xn_field_offsets[cls->id]);
	}
	return -1;
}

int xn_enum_find(const struct xn_enum *e, const char *value)
{
	for (unsigned i = 0; i < e->n_values; i++)
		if (!strcasecmp(e->values[i], value))
			return (int)i;
	return -1;
}

static int compare_code(const void *code, const void *row)
{
	return strcmp(code, ((const struct xn_error_info *)row)->code);
}

const struct xn_error_info *xn_error_find(const char *code)
{
	return bsearch(code, xn_errors, xn_n_errors, sizeof(*xn_errors), compare_code);
}

const char *xn_error_code_find(const char *code)
{
	const struct xn_error_info *info = xn_error_find(code);

	return info ? info->code : NULL;
}

/*
 * gen.py has held every default against its type, so a failure here is our bug. The values are made
 * immortal: they live as long as the process and are shared by every row.
 */
static struct xn_value *parse_default(const struct xn_type *type, const char *text)
{
	struct xn_error err = {0};
	struct xn_value *v;

	if (type->kind == XN_T_OPTION || type->kind == XN_T_RECORD)
		return xn_nil(); /* in no row */
	if (xn_json_parse(text, strlen(text), &v, NULL) < 0 ||
	    !(v = xn_type_check(type, v, "default", &err)))
		abort();
	if (v->refs != UINT32_MAX) /* the small common values are, in constant memory */
		v->refs = UINT32_MAX;
	return v;
}

struct xn_value *xn_field_default(const struct xn_class *cls, unsigned field)
{
	static struct xn_value **cache;
	struct xn_value **slot;

	if (!cache)
		cache = xn_calloc(xn_field_offsets[XN_CLASS_COUNT], sizeof(*cache));
	slot = &cache[xn_field_offsets[cls->id] + field];
	if (!*slot)
		*slot = parse_default(cls->fields[field].type, cls->fields[field].default_json);
	return xn_value_ref(*slot);
}

struct xn_value *xn_param_default(const struct xn_param *param)
{
	static struct xn_value **cache;
	struct xn_value **slot;

	if (!param->default_json)
		return NULL;
	if (!cache)
		cache = xn_calloc(XN_SCHEMA_PARAMS, sizeof(*cache));
	slot = &cache[param - xn_expanded.params];
	if (!*slot)
		*slot = parse_default(param->type, param->default_json);
	return xn_value_ref(*slot);
}
