/* diagnostic-*: numbers of the daemon and of hosts, as tables. */
#include <stdio.h>
#include <stdlib.h>

#include "core/json.h"
#include "rpc/xe/commands/make.h"
#include "rpc/xe/engine_internal.h"

xe_handler xe_cmd_diagnostic_gc_stats, xe_cmd_diagnostic_db_stats, xe_cmd_diagnostic_net_stats,
	xe_cmd_diagnostic_license_status;

void xe_cmd_diagnostic_gc_stats(struct xe *x)
{
	xe_table_of(x, "Diagnostics.gc_stats", xe_object(x), NULL, NULL);
}

void xe_cmd_diagnostic_db_stats(struct xe *x)
{
	xe_table_of(x, "Diagnostics.db_stats", NULL, NULL, NULL);
}

/* ---- columns ---- */

enum { COLUMNS = 6 };

/* Rows of texts, one below the other; @right: numbers, with a line between the columns. */
static void print_columns(struct xe *x, const struct xn_value *rows, bool right)
{
	int widths[COLUMNS] = {0};

	for (size_t i = 0; i < xn_set_len(rows); i++)
		for (size_t c = 0; c < xn_set_len(xn_set_at(rows, i)) && c < COLUMNS; c++) {
			int len = (int)xn_value_string_len(xn_set_at(xn_set_at(rows, i), c));

			widths[c] = len > widths[c] ? len : widths[c];
		}
	for (size_t i = 0; i < xn_set_len(rows); i++) {
		const struct xn_value *row = xn_set_at(rows, i);
		struct xn_buf line XN_CLEANUP(xn_buf_clear_p) = {0};

		for (size_t c = 0; c < xn_set_len(row) && c < COLUMNS; c++)
			xn_buf_printf(&line, "%s%*s", !c ? "" : right ? " | " : " ",
				      right ? widths[c] : -widths[c],
				      xn_value_string(xn_set_at(row, c)));
		xe_print(x, "%s", xn_buf_cstr(&line));
	}
}

static void say_json(struct xe *x, const struct xn_value *v)
{
	struct xn_buf json XN_CLEANUP(xn_buf_clear_p) = {0};

	xn_json_write(v, &json);
	xe_raw(x, json.data, json.len);
}

void xe_cmd_diagnostic_net_stats(struct xe *x)
{
	static const char *const words[] = {"method", "uri", "params", "requests", "connections",
					    "framed"};
	struct xn_value *params = xn_map_new();
	const struct xn_value *rows;

	for (size_t i = 0; i < XN_ARRAY_SIZE(words); i++)
		if (xe_param(x, words[i]))
			xn_map_put_string(&params, words[i], xe_param(x, words[i]));
	if (!xe_call(x, &rows, "Diagnostics.network_stats", "sv", xe_object(x), params))
		return;
	if (xe_is_json(x))
		say_json(x, rows);
	else
		print_columns(x, rows, true);
}

/* ---- licences ---- */

/* "all", or how many of the features that an edition may withhold it does not. */
static const char *features_of(struct xe *x, const struct xn_value *params)
{
	unsigned n = 0, free_ones = 0;

	for (size_t i = 0; i < xn_map_len(params); i++)
		if (strncmp(xn_map_key_at(params, i), "restrict_", 9) == 0) {
			n++;
			free_ones += strcmp(xn_value_string(xn_map_at(params, i)), "false") == 0;
		}
	return n == free_ones ? "all" : xe_text(x, "%u of %u", free_ones, n);
}

static void add_row(struct xn_value **rows, const char *const texts[COLUMNS])
{
	struct xn_value *row = xn_set_new();

	for (unsigned c = 0; c < COLUMNS; c++)
		xn_set_append_string(&row, texts[c]);
	xn_set_append(rows, row);
}

static bool add_host(struct xe *x, struct xn_value **rows, const char *host)
{
	const struct xn_value *params, *edition, *name, *uuid;
	const char *expiry;
	int64_t end = 0;

	if (!xe_call(x, &params, "host.get_license_params", "s", host) ||
	    !xe_call(x, &edition, "host.get_edition", "s", host) ||
	    !xe_call(x, &name, "host.get_hostname", "s", host) ||
	    !xe_call(x, &uuid, "host.get_uuid", "s", host))
		return false;
	expiry = xn_map_get_string(params, "expiry");
	if (!expiry || xn_date_parse(expiry, &end) < 0)
		expiry = "-";
	add_row(rows, (const char *const[COLUMNS]){
			      xn_value_string(name), xe_text(x, "%.8s", xn_value_string(uuid)),
			      features_of(x, params), xn_value_string(edition), expiry,
			      xe_text(x, "%.1f",
				      (double)(end - xn_wall_s(xe_core(x)->loop)) / 86400)});
	return true;
}

void xe_cmd_diagnostic_license_status(struct xe *x)
{
	static const char *const heading[COLUMNS] = {"Hostname", "UUID",   "Features",
						     "Edition",	 "Expiry", "Days left"};
	static const char *const divider[COLUMNS] = {"-", "-", "-", "-", "-", "-"};
	const struct xn_value *restrictions;
	struct xn_value *rows = xn_set_new();

	add_row(&rows, heading);
	add_row(&rows, divider);
	if (add_host(x, &rows, xe_host(x)) &&
	    xe_call(x, &restrictions, "pool.get_restrictions", "s", xe_pool(x))) {
		add_row(&rows, divider);
		add_row(&rows, (const char *const[COLUMNS]){"-", "-", features_of(x, restrictions),
							    "-", "-", "-"});
		if (xe_is_json(x))
			say_json(x, rows);
		else
			print_columns(x, rows, false);
	}
	xn_value_unref(rows);
}
