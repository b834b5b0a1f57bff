/* Tables of keys and values that belong to no record's fields, laid out as a record is. */
#include <assert.h>

#include "core/json.h"
#include "rpc/xe/commands/vm.h"

static void print_plain(struct xe *x, const struct xe_pair *pairs, size_t n)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};
	int width = 0;

	for (size_t i = 0; i < n; i++)
		if ((int)strlen(pairs[i].key) > width)
			width = (int)strlen(pairs[i].key);
	width += 4;
	for (size_t i = 0; i < n; i++)
		xn_buf_printf(&text, "%*s: %s\n", i ? width : -width, pairs[i].key, pairs[i].value);
	xn_buf_add_char(&text, '\n');
	xe_print(x, "%s", xn_buf_cstr(&text));
}

void xe_show_pairs(struct xe *x, const struct xe_pair *pairs, size_t n)
{
	struct xn_buf json XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_value *map;

	if (!n)
		return;
	if (xe_is_json(x)) {
		map = xn_map_new();
		for (size_t i = 0; i < n; i++)
			xn_map_put_string(&map, pairs[i].key, pairs[i].value);
		xn_json_write(map, &json);
		xe_raw(x, json.data, json.len);
		xn_value_unref(map);
	} else if (xe_is_minimal(x)) {
		xe_value(x, pairs[0].value);
	} else {
		print_plain(x, pairs, n);
	}
}

void xe_say_line(struct xe *x, const char *text)
{
	if (!xe_is_json(x))
		xe_raw(x, text, strlen(text));
}

struct xn_value *xe_record(const char *json)
{
	struct xn_value *record = NULL;
	int rc = xn_json_parse(json, strlen(json), &record, NULL);

	assert(rc == 0);
	return record;
}
