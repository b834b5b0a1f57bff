/*
 * What may be done with a Cluster and its hosts, and when not. Nothing makes such rows yet but a
 * database that had them; what is said of them is right all the same.
 */
#include "modules/host/host_internal.h"

#include <string.h>

static const char *const cluster_advertised[] = {"add",     "remove",  "enable",
						 "disable", "destroy", NULL};
static const char *const cluster_host_advertised[] = {"enable", "disable", NULL};

static bool is_busy(const struct xn_value *current, const char *self)
{
	return xn_map_len(current) > (self && xn_map_get(current, self));
}

static int refuse_on_cluster(struct xn_db *db, struct xn_row *row, const char *operation,
			     const char *self, struct xn_error *err)
{
	const struct xn_value *current = xn_row_get(row, XN_Cluster_current_operations);
	bool changes_members = strcmp(operation, "add") == 0 || strcmp(operation, "remove") == 0 ||
			       strcmp(operation, "destroy") == 0;

	if (is_busy(current, self))
		return xn_operation_busy(err, "Cluster", xn_row_ref(row), current, self, ",");
	if (changes_members && xn_pool_is_upgrading(db))
		return xn_error_set(err, XN_ERR_NOT_SUPPORTED_DURING_UPGRADE);
	return 0;
}

static int refuse_on_cluster_host(struct xn_db *db, struct xn_row *row, const char *operation,
				  const char *self, struct xn_error *err)
{
	const struct xn_value *current = xn_row_get(row, XN_Cluster_host_current_operations);

	if (is_busy(current, self))
		return xn_operation_busy(err, "Cluster_host", xn_row_ref(row), current, self, ",");
	if (strcmp(operation, "destroy") != 0 && !xn_row_bool(row, XN_Cluster_host_joined))
		return xn_error_set(err, XN_ERR_CLUSTER_HOST_NOT_JOINED, xn_row_ref(row));
	return 0;
}

static const struct xn_operation_rules rules[] = {
	{
		.class_id = XN_CLASS_Cluster,
		.current_field = XN_Cluster_current_operations,
		.allowed_field = XN_Cluster_allowed_operations,
		.advertised = cluster_advertised,
		.refuse = refuse_on_cluster,
	},
	{
		.class_id = XN_CLASS_Cluster_host,
		.current_field = XN_Cluster_host_current_operations,
		.allowed_field = XN_Cluster_host_allowed_operations,
		.advertised = cluster_host_advertised,
		.refuse = refuse_on_cluster_host,
	},
};

void xn_cluster_register_rules(struct xn_operations *operations)
{
	for (unsigned i = 0; i < XN_ARRAY_SIZE(rules); i++)
		xn_operation_register_rules(operations, &rules[i]);
}
