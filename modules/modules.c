/* The only list of modules, one a line, sorted; the order of starting comes from their `.needs`. */
#include "modules/modules.h"

#include "modules/audit/audit.h"
#include "modules/auth/auth.h"
#include "modules/backup/backup.h"
#include "modules/console/console.h"
#include "modules/db/db.h"
#include "modules/diagnostics/diagnostics.h"
#include "modules/domain/domain.h"
#include "modules/event/event.h"
#include "modules/history/history.h"
#include "modules/host/host.h"
#include "modules/message/message.h"
#include "modules/metrics/metrics.h"
#include "modules/network/network.h"
#include "modules/operation/operation.h"
#include "modules/records/records.h"
#include "modules/storage/storage.h"
#include "modules/task/task.h"
#include "modules/terminal/terminal.h"
#include "modules/transfer/transfer.h"
#include "modules/updates/updates.h"
#include "modules/xenstore/xenstore.h"
#include "rpc/rpc.h"

const struct xn_module *const xn_module_list[] = {
	&xn_audit_module,
	&xn_auth_module,
	&xn_backup_module,
	&xn_console_module,
	&xn_db_module,
	&xn_diagnostics_module,
	&xn_domain_module,
	&xn_event_module,
	&xn_history_module,
	&xn_host_module,
	&xn_message_module,
	&xn_metrics_module,
	&xn_network_module,
	&xn_operation_module,
	&xn_records_module,
	&xn_storage_module,
	&xn_task_module,
	&xn_terminal_module,
	&xn_transfer_module,
	&xn_updates_module,
	&xn_xenstore_module,
	&xn_rpc_module,
	NULL,
};
