/* Commands that fetch a file from the daemon itself. */
#include "rpc/xe/command.h"
#include "rpc/xe/commands.h"

xe_handler xe_cmd_pool_dump_database, xe_cmd_audit_log_get;

/* The field's tell this one's address whole: any host of a pool may be asked, the coordinator answers. Our
 * own client rather goes where it is, to the name whose certificate it knows. */
void xe_cmd_pool_dump_database(struct xe *x)
{
	const char *url = "/pool/xmldbdump";

	if (!xe_screen(x).is_ours)
		url = xe_text(x, "https://%s%s", xe_own_address(x), url);
	if (!xe_get(x, xe_param(x, "file-name"), url, "Dump the database", NULL))
		return;
}

void xe_cmd_audit_log_get(struct xe *x)
{
	const char *filename = xe_param(x, "filename"), *since = xe_param(x, "since");
	const char *path = xe_text(x, "/audit_log%s%s", since ? "?since=" : "",
				   since ? xe_escaped(x, since) : "");
	int64_t epoch_s;

	if (since && *since && xn_date_parse(since, &epoch_s) < 0) {
		xe_fail(x, "Parameter since takes a time such as 20260821T02:00:23Z, not '%s'", since);
		return;
	}
	if (xe_get(x, filename, path, "Download of the audit log", NULL) && *filename)
		xe_print(x, "Audit log get succeeded");
}
