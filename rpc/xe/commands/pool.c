/* Commands about the pool, that are more than one call. */
#include "rpc/xe/commands/make.h"

xe_handler xe_cmd_pool_ha_compute_hypothetical_max_host_failures_to_tolerate,
	xe_cmd_pool_retrieve_wlb_configuration, xe_cmd_pool_retrieve_wlb_recommendations;

/* Pairs of vm-uuid= and restart-priority=, in the order that they were given. */
static struct xn_value *priorities(struct xe *x)
{
	const struct xe_arguments *all = xe_arguments(x);
	struct xn_value *map = xn_map_new();
	unsigned vm = 0, priority = 0;

	for (;;) {
		const char *ref;

		while (vm < all->n && strcmp(all->items[vm].name, "vm-uuid") != 0)
			vm++;
		while (priority < all->n &&
		       strcmp(all->items[priority].name, "restart-priority") != 0)
			priority++;
		if (vm == all->n && priority == all->n)
			return map;
		if (vm == all->n || priority == all->n) {
			xe_fail(x, "Call requires an equal number of vm-uuid and restart-priority "
				   "arguments");
			break;
		}
		if (!xe_by_uuid(x, XN_CLASS_VM, all->items[vm].value, &ref))
			break;
		xn_map_put_string(&map, ref, all->items[priority].value);
		vm++;
		priority++;
	}
	xn_value_unref(map);
	return NULL;
}

void xe_cmd_pool_ha_compute_hypothetical_max_host_failures_to_tolerate(struct xe *x)
{
	struct xn_value *map = priorities(x);
	const struct xn_value *n;

	if (map && xe_call(x, &n, "pool.ha_compute_hypothetical_max_host_failures_to_tolerate", "v",
			   map))
		xe_value(x, xe_text(x, "%lld", (long long)xn_value_int(n)));
}

/* ---- workload balancing: a service beside, which is told or asked ---- */

void xe_cmd_pool_retrieve_wlb_configuration(struct xe *x)
{
	xe_table_of(x, "pool.retrieve_wlb_configuration", NULL, NULL, NULL);
}

void xe_cmd_pool_retrieve_wlb_recommendations(struct xe *x)
{
	const struct xn_value *all;
	struct xn_value *row, *rows;

	if (!xe_call(x, &all, "pool.retrieve_wlb_recommendations", ""))
		return;
	row = xe_fields("VM", 's', "Host, OptID, RecID, Reason", NULL);
	for (size_t i = 0; i < xn_map_len(all); i++) {
		const struct xn_row *vm = xe_row(x, XN_CLASS_VM, xn_map_key_at(all, i));
		struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

		for (size_t j = 0; vm && j < xn_set_len(xn_map_at(all, i)); j++)
			xn_buf_printf(&text, "%s%s", j ? " " : "",
				      xn_value_string(xn_set_at(xn_map_at(all, i), j)));
		if (vm)
			xn_map_put_string(&row,
					  xe_text(x, "%s (%s)", xn_row_uuid(vm),
						  xn_row_string(vm, XN_VM_name_label)),
					  xn_buf_cstr(&text));
	}
	rows = xn_set_new();
	xn_set_append(&rows, row);
	xe_table(x, rows, NULL);
}
