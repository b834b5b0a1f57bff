/* Commands about the pool, that are more than one call. */
#include "rpc/xe/command.h"

xe_handler xe_cmd_pool_ha_compute_hypothetical_max_host_failures_to_tolerate;

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
