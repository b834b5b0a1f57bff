/*
 * Filters of lists, over a row made of the same input: a command line's arguments, then what the
 * row holds. A filter is what its conditions are one by one; whatever a row holds, plain lines keep
 * the record's shape, JSON parses, and no control byte reaches a terminal.
 */
#include <assert.h>
#include <stdlib.h>

#include "core/json.h"
#include "modules/db/store_sim.h"
#include "rpc/xe/record/form.h"
#include "rpc/xe/record/width.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	struct xn_core core;
	struct xn_db *db;
	const struct xe_kind *kind;
	struct xn_row *row;
};

static struct world *world(void)
{
	static const struct xn_module *const modules[] = {&xn_db_module, NULL};
	static struct world w;
	struct xn_error err = {0};
	struct xn_value *none;

	if (w.row)
		return &w;
	xn_core_init(&w.core, xn_loop_new_virtual(1), xn_log_new(XN_LOG_ERROR, false, -1),
		     xn_config_new());
	w.core.store = xn_store_sim_new(&w.core, xn_sim_disk_new(1));
	if (!xn_modules_start(&w.core, modules, &err))
		abort();
	w.db = xn_db_of(&w.core);
	w.kind = xe_kind_find("vm", 2);
	none = xn_map_new();
	w.row = xn_db_create(w.db, XN_CLASS_VM, NULL, none);
	xn_value_unref(none);
	return &w;
}

/* Text of the input that a row can hold. */
static struct xn_value *text_of(const uint8_t *data, size_t size)
{
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf text = {0};

	xn_text_recode((const char *)data, size, &text);
	return xn_string_len(text.len ? text.data : "", text.len);
}

static void fill(struct world *w, const uint8_t *data, size_t size)
{
	struct xn_value *name = text_of(data, size), *map = xn_map_new(), *tags = xn_set_new();

	xn_map_put(&map, "owner", xn_value_ref(name));
	xn_map_put(&map, xn_value_string(name), xn_string("own"));
	xn_set_append(&tags, xn_value_ref(name));
	xn_db_set(w->db, w->row, XN_VM_name_label, name);
	xn_db_set(w->db, w->row, XN_VM_other_config, map);
	xn_db_set(w->db, w->row, XN_VM_tags, tags);
}

static void check_filter(struct world *w, const struct xe_arguments *arguments,
			 const struct xe_item *item)
{
	struct xe_filter *all XN_CLEANUP(xe_filter_free_p) =
		xe_filter_new(w->kind, arguments, NULL, NULL);
	static const struct xe_arguments none;
	bool passes = true, is_unknown = false;

	for (unsigned i = 0; i < arguments->n; i++) {
		struct xe_filter *one XN_CLEANUP(xe_filter_free_p) =
			xe_filter_new(w->kind, &none, NULL, NULL);

		if (xe_argument_is_general(arguments->items[i].name))
			continue;
		xe_filter_add(one, arguments->items[i].name, arguments->items[i].value);
		is_unknown = is_unknown || xe_filter_unknown(one);
		passes = passes && xe_filter_passes(one, w->db, item);
	}
	assert(is_unknown == !!xe_filter_unknown(all));
	assert(passes == xe_filter_passes(all, w->db, item));
}

static void check_terminal(const struct xn_buf *text)
{
	for (size_t i = 0; i < text->len; i++) {
		unsigned char c = (unsigned char)text->data[i];

		assert((c >= 0x20 || c == '\n') && c != 0x7f);
		assert(c != 0xc2 || (unsigned char)text->data[i + 1] >= 0xa0);
	}
}

static void check_forms(struct world *w, const struct xe_arguments *arguments,
			const struct xe_item *item, unsigned columns)
{
	struct xe_sight sight = {.db = w->db, .kind = w->kind, .is_list = true};
	struct xe_screen screen = {.columns = columns};
	XN_CLEANUP(xn_buf_clear_p) struct xn_buf text = {0};
	struct xe_table table;
	struct xn_value *v;

	xe_columns_parse(w->kind, "uuid,name-label,other-config,tags,power-state", &sight.columns);
	if (arguments->n)
		xe_columns_parse(w->kind, arguments->items[0].value, &sight.columns);
	xe_form_json(&sight, item, NULL, &text);
	assert(xn_json_parse(text.data, text.len, &v, NULL) == 0);
	xn_value_unref(v);
	text.len = 0;
	xe_form_pairs(&sight, item, screen, &text);
	check_terminal(&text);
	xe_table_begin(&table, &sight);
	xe_table_measure(&table, &sight, item);
	xe_table_settle(&table, &sight, screen);
	if (table.is_narrow)
		return;
	text.len = 0;
	xe_table_row(&table, &sight, item, screen, &text);
	check_terminal(&text);
	assert(xe_width(xn_buf_cstr(&text)) <= columns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *w = world();
	const uint8_t *rest = memchr(data, 0, size);
	size_t len = rest ? (size_t)(rest - data) : size;
	struct xe_arguments arguments = {0};
	struct xe_item item;
	const char *why;

	fill(w, rest ? rest + 1 : data, rest ? size - len - 1 : size);
	item = xe_item_of(xn_row_take(w->row));
	if (xe_arguments_parse((const char *)data, len, &arguments, &why) == 0) {
		check_filter(w, &arguments, &item);
		check_forms(w, &arguments, &item, size % 200 + 1);
	}
	xe_arguments_clear(&arguments);
	xn_record_unref(item.record);
	xn_db_bound_turn(w->db);
	return 0;
}
