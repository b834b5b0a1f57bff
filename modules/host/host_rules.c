/* What may run on a host and on the pool, and when not: allowed_operations of the two classes. */
#include "modules/host/host_internal.h"

#include <string.h>

/* How an operation is written in errors, where that is not its name. */
static const char *spelling(const char *operation)
{
	static const char *const odd[][2] = {{"vm_resume", "VM.resume"},
					     {"vm_migrate", "VM.migrate"}};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(odd); i++)
		if (strcmp(odd[i][0], operation) == 0)
			return odd[i][1];
	return operation;
}

/* A current operation out of @list by another than @self: busy with it. */
static int refuse_while(struct xn_row *row, int class_id, int current_field,
			const char *const *list, const char *self, struct xn_error *err)
{
	const struct xn_value *current = xn_row_get(row, current_field);
	int rc = 0;

	for (size_t i = 0; i < xn_map_len(current) && rc == 0; i++) {
		const char *task = xn_map_key_at(current, i);
		const char *operation = xn_value_string(xn_map_at(current, i));

		if ((self && strcmp(task, self) == 0) || !xn_is_one_of(operation, list))
			continue;
		rc = xn_error_set(err, XN_ERR_OTHER_OPERATION_IN_PROGRESS,
				  xn_classes[class_id].name, xn_row_ref(row), spelling(operation),
				  task);
	}
	return rc;
}

/* ---- host ---- */

static const char *const host_advertised[] = {
	"provision", "evacuate",   "shutdown",      "reboot", "power_on", "vm_start",
	"vm_resume", "vm_migrate", "apply_updates", "enable", NULL};
static const char *const leaving[] = {"evacuate", "reboot", "shutdown", NULL};
static const char *const arriving[] = {"provision", "vm_resume", "vm_migrate", NULL};
static const char *const only_reboot[] = {"reboot", NULL};
static const char *const only_shutdown[] = {"shutdown", NULL};
static const char *const only_provision[] = {"provision", NULL};
static const char *const only_updates[] = {"apply_updates", NULL};
static const char *const nothing[] = {NULL};

/* In the order of the checks: first these lists one after the other, then the flags. */
static const struct host_rule {
	const char *operation;
	const char *const *busy[3];
	bool needs_disabled, needs_dead;
	bool pauses_in_upgrade; /* not listed while the pool is upgraded, though not refused */
} host_rules[] = {
	{"apply_updates", {only_reboot, only_shutdown, nothing}, true, false, true},
	{"enable", {only_updates, nothing, nothing}, false, false, true},
	{"evacuate", {arriving, nothing, nothing}, false, false, false},
	{"power_on", {nothing, nothing, nothing}, false, true, true},
	{"provision", {leaving, only_provision, nothing}, false, false, false},
	{"reboot", {arriving, only_shutdown, only_updates}, true, false, true},
	{"shutdown", {arriving, only_reboot, only_updates}, true, false, true},
	{"vm_migrate", {leaving, nothing, nothing}, false, false, true},
	{"vm_resume", {leaving, nothing, nothing}, false, false, true},
	{"vm_start", {nothing, nothing, nothing}, false, false, true},
};

static int refuse_power_on(struct xn_db *db, struct xn_row *row, struct xn_error *err)
{
	const struct xn_row *metrics = xn_row_follow(db, row, XN_host_metrics);

	if (metrics && xn_row_bool(metrics, XN_host_metrics_live))
		return xn_error_set(err, XN_ERR_HOST_IS_LIVE, xn_row_ref(row));
	if (xn_row_string(row, XN_host_power_on_mode)[0] == '\0')
		return xn_error_set(err, XN_ERR_HOST_POWER_ON_MODE_DISABLED);
	return xn_error_set(err, XN_ERR_XENAPI_MISSING_PLUGIN, "power-on-host");
}

/* A host that is down, though it takes part in clustering: what is shared waits for it. */
static bool a_cluster_host_is_down(struct xn_db *db)
{
	for (struct xn_row *row = xn_db_first(db, XN_CLASS_Cluster_host); row;
	     row = xn_db_next(db, row)) {
		const struct xn_row *host = xn_row_follow(db, row, XN_Cluster_host_host);
		const struct xn_row *metrics =
			host ? xn_row_follow(db, host, XN_host_metrics) : NULL;

		if (xn_row_bool(row, XN_Cluster_host_enabled) &&
		    !(metrics && xn_row_bool(metrics, XN_host_metrics_live)))
			return true;
	}
	return false;
}

/* A task by which a clustered SR is being made whole again. */
static bool an_sr_recovers(struct xn_db *db)
{
	for (struct xn_row *row = xn_db_first(db, XN_CLASS_task); row; row = xn_db_next(db, row))
		if (strcmp(xn_row_string(row, XN_task_name_label), "SR Recovering") == 0 &&
		    strcmp(xn_row_string(row, XN_task_status), "pending") == 0)
			return true;
	return false;
}

/* The host must not leave while a clustered SR that it uses is short of another one. */
static int refuse_degraded(struct xn_db *db, struct xn_row *row, struct xn_error *err)
{
	const struct xn_value *pbds = xn_row_get(row, XN_host_PBDs);

	for (size_t i = 0; i < xn_set_len(pbds); i++) {
		const struct xn_row *pbd =
			xn_db_get(db, XN_CLASS_PBD, xn_value_string(xn_set_at(pbds, i)));
		const struct xn_row *sr = pbd && xn_row_bool(pbd, XN_PBD_currently_attached)
						  ? xn_row_follow(db, pbd, XN_PBD_SR)
						  : NULL;

		if (sr && xn_row_bool(sr, XN_SR_clustered) &&
		    (a_cluster_host_is_down(db) || an_sr_recovers(db)))
			return xn_error_set(err, XN_ERR_CLUSTERED_SR_DEGRADED, xn_row_ref(sr));
	}
	return 0;
}

static int refuse_on_host(struct xn_db *db, struct xn_row *row, const char *operation,
			  const char *self, struct xn_error *err)
{
	for (unsigned i = 0; i < XN_ARRAY_SIZE(host_rules); i++) {
		const struct host_rule *rule = &host_rules[i];

		if (strcmp(rule->operation, operation) != 0)
			continue;
		for (unsigned k = 0; k < XN_ARRAY_SIZE(rule->busy); k++)
			if (refuse_while(row, XN_CLASS_host, XN_host_current_operations,
					 rule->busy[k], self, err) < 0)
				return -1;
		if (rule->needs_disabled && xn_row_bool(row, XN_host_enabled))
			return xn_error_set(err, XN_ERR_HOST_NOT_DISABLED);
		if (rule->needs_disabled && refuse_degraded(db, row, err) < 0)
			return -1;
		if (!err && rule->pauses_in_upgrade && xn_pool_is_upgrading(db))
			return -1;
		return rule->needs_dead ? refuse_power_on(db, row, err) : 0;
	}
	return 0;
}

/* ---- pool ---- */

static const char *const pool_advertised[] = {
	"ha_enable",
	"ha_disable",
	"cluster_create",
	"designate_new_master",
	"configure_repositories",
	"sync_updates",
	"sync_bundle",
	"get_updates",
	"apply_updates",
	"tls_verification_enable",
	"cert_refresh",
	"exchange_certificates_on_join",
	"exchange_ca_certificates_on_join",
	"copy_primary_host_certs",
	"eject",
	"exchange_crls_on_join",
	NULL,
};

/* These exclude all the others, each with an error of its own, in this order. */
static const struct {
	const char *operation, *error;
} exclusive[] = {
	{"ha_enable", XN_ERR_HA_ENABLE_IN_PROGRESS},
	{"ha_disable", XN_ERR_HA_DISABLE_IN_PROGRESS},
	{"cluster_create", XN_ERR_CLUSTER_CREATE_IN_PROGRESS},
	{"designate_new_master", XN_ERR_DESIGNATE_NEW_MASTER_IN_PROGRESS},
	{"tls_verification_enable", XN_ERR_TLS_VERIFICATION_ENABLE_IN_PROGRESS},
	{"configure_repositories", XN_ERR_CONFIGURE_REPOSITORIES_IN_PROGRESS},
	{"sync_updates", XN_ERR_SYNC_UPDATES_IN_PROGRESS},
	{"sync_bundle", XN_ERR_SYNC_BUNDLE_IN_PROGRESS},
	{"apply_updates", XN_ERR_APPLY_UPDATES_IN_PROGRESS},
};

/* Those that wait for an exclusive one instead of telling its own error. */
static const char *const patient[] = {"cert_refresh",
				      "exchange_certificates_on_join",
				      "exchange_ca_certificates_on_join",
				      "copy_primary_host_certs",
				      "eject",
				      "get_updates",
				      "exchange_crls_on_join",
				      NULL};

static bool is_running(const struct xn_value *current, const char *operation, const char *self)
{
	for (size_t i = 0; i < xn_map_len(current); i++)
		if (strcmp(xn_value_string(xn_map_at(current, i)), operation) == 0 &&
		    !(self && strcmp(xn_map_key_at(current, i), self) == 0))
			return true;
	return false;
}

static int refuse_pool_state(struct xn_db *db, struct xn_row *row, const char *operation,
			     struct xn_error *err)
{
	bool ha = xn_row_bool(row, XN_pool_ha_enabled);

	if (strcmp(operation, "ha_disable") == 0 && !ha)
		return xn_error_set(err, XN_ERR_HA_NOT_ENABLED);
	if (ha && (strcmp(operation, "ha_enable") == 0 ||
		   strcmp(operation, "tls_verification_enable") == 0))
		return xn_error_set(err, XN_ERR_HA_IS_ENABLED);
	if ((strcmp(operation, "cluster_create") == 0 ||
	     strcmp(operation, "tls_verification_enable") == 0) &&
	    xn_pool_is_upgrading(db))
		return xn_error_set(err, XN_ERR_NOT_SUPPORTED_DURING_UPGRADE);
	if (strcmp(operation, "cluster_create") != 0)
		return 0;
	if (xn_db_count(db, XN_CLASS_Cluster) > 0)
		return xn_error_set(err, XN_ERR_CLUSTER_ALREADY_EXISTS);
	return ha ? xn_error_set(err, XN_ERR_INCOMPATIBLE_CLUSTER_STACK_ACTIVE,
				 xn_row_string(row, XN_pool_ha_cluster_stack))
		  : 0;
}

static int refuse_on_pool(struct xn_db *db, struct xn_row *row, const char *operation,
			  const char *self, struct xn_error *err)
{
	const struct xn_value *current = xn_row_get(row, XN_pool_current_operations);

	/* allowed_operations (nobody wants the error) do not look at this one. */
	if (err && xn_row_bool(row, XN_pool_is_psr_pending))
		return xn_error_set(err, XN_ERR_POOL_SECRET_ROTATION_PENDING);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(exclusive); i++) {
		const char *one[] = {exclusive[i].operation, NULL};

		if (!is_running(current, exclusive[i].operation, self))
			continue;
		if (xn_is_one_of(operation, patient))
			return refuse_while(row, XN_CLASS_pool, XN_pool_current_operations, one,
					    self, err);
		return xn_error_set(err, exclusive[i].error);
	}
	if (refuse_while(row, XN_CLASS_pool, XN_pool_current_operations, patient, self, err) < 0)
		return -1;
	return refuse_pool_state(db, row, operation, err);
}

static const struct xn_operation_rules rules[] = {
	{
		.class_id = XN_CLASS_host,
		.current_field = XN_host_current_operations,
		.allowed_field = XN_host_allowed_operations,
		.advertised = host_advertised,
		.refuse = refuse_on_host,
	},
	{
		.class_id = XN_CLASS_pool,
		.current_field = XN_pool_current_operations,
		.allowed_field = XN_pool_allowed_operations,
		.advertised = pool_advertised,
		.refuse = refuse_on_pool,
	},
};

void xn_host_register_rules(struct xn_operations *operations)
{
	for (unsigned i = 0; i < XN_ARRAY_SIZE(rules); i++)
		xn_operation_register_rules(operations, &rules[i]);
}
