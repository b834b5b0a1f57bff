/*
 * The last gate before a row: text that is no UTF-8, or that XML cannot carry, would be kept, but no
 * later start could read it. What comes from outside is checked where it comes in; what still gets
 * here is our own fault, and must not cost more than its odd bytes.
 */
#include "modules/db/db_internal.h"

static bool is_clean(const struct xn_value *v)
{
	switch (v->kind) {
	case XN_STRING:
		return xn_text_is_valid(xn_value_string(v), xn_value_string_len(v));
	case XN_SET:
		for (size_t i = 0; i < xn_set_len(v); i++)
			if (!is_clean(xn_set_at(v, i)))
				return false;
		return true;
	case XN_MAP:
		for (size_t i = 0; i < xn_map_len(v); i++) {
			const char *key = xn_map_key_at(v, i);

			if (!xn_text_is_valid(key, strlen(key)) || !is_clean(xn_map_at(v, i)))
				return false;
		}
		return true;
	default:
		return true;
	}
}

static struct xn_value *cleaned(const struct xn_value *v);

static struct xn_value *cleaned_set(const struct xn_value *v)
{
	struct xn_value *set = xn_set_new();

	for (size_t i = 0; i < xn_set_len(v); i++)
		xn_set_append(&set, cleaned(xn_set_at(v, i)));
	return set;
}

static struct xn_value *cleaned_map(const struct xn_value *v)
{
	struct xn_value *map = xn_map_new();

	for (size_t i = 0; i < xn_map_len(v); i++) {
		struct xn_buf key XN_CLEANUP(xn_buf_clear_p) = {0};
		const char *odd = xn_map_key_at(v, i);

		xn_text_recode(odd, strlen(odd), &key);
		xn_buf_add_char(&key, '\0');
		xn_map_put(&map, key.data, cleaned(xn_map_at(v, i)));
	}
	return map;
}

static struct xn_value *cleaned(const struct xn_value *v)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	if (v->kind == XN_SET)
		return cleaned_set(v);
	if (v->kind == XN_MAP)
		return cleaned_map(v);
	if (v->kind != XN_STRING)
		return xn_value_ref(v);
	xn_text_recode(xn_value_string(v), xn_value_string_len(v), &text);
	return xn_string_len(text.data, text.len);
}

struct xn_value *xn_value_cleaned(struct xn_db *db, const struct xn_class *cls, int field,
				  struct xn_value *v)
{
	struct xn_value *clean;

	if (is_clean(v))
		return v;
	xn_log_error(db->core->log, "db", "%s.%s was to hold bytes that are no text", cls->name,
		     cls->fields[field].name);
	clean = cleaned(v);
	xn_value_unref(v);
	return clean;
}
