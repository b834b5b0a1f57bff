/* Commands that fetch a file from the daemon itself. */
#include "rpc/xe/command.h"
#include "rpc/xe/commands.h"

xe_handler xe_cmd_pool_dump_database, xe_cmd_audit_log_get;

/* The only one whose address is told whole: any host of a pool may be asked, the coordinator answers. */
void xe_cmd_pool_dump_database(struct xe *x)
{
	const char *url = xe_text(x, "https://%s/pool/xmldbdump", xe_own_address(x));

	if (!xe_get(x, xe_param(x, "file-name"), url, "Dump the database", NULL))
		return;
}

void xe_cmd_audit_log_get(struct xe *x)
{
	const char *filename = xe_param(x, "filename"), *since = xe_param(x, "since");
	const char *path = xe_text(x, "/audit_log%s%s", since ? "?since=" : "",
				   since ? xe_escaped(x, since) : "");

	if (xe_get(x, filename, path, "Download of the audit log", NULL) && *filename)
		xe_print(x, "Audit log get succeeded");
}
