/* Console rows; see console.h. */
#include "modules/console/console.h"

static bool fits(const struct xn_row *row, const char *protocol)
{
	return protocol && strcmp(xn_row_string(row, XN_console_protocol), protocol) == 0;
}

static void write_address(struct xn_db *db, struct xn_row *row, const char *host_address, int port)
{
	/* IPv6 addresses need brackets in a URL. */
	bool brackets = strchr(host_address, ':') != NULL;

	xn_db_set(db, row, XN_console_location,
		  xn_stringf("https://%s%s%s/console?uuid=%s", brackets ? "[" : "", host_address,
			     brackets ? "]" : "", xn_row_uuid(row)));
	xn_db_set_int(db, row, XN_console_port, port);
}

void xn_console_sync(struct xn_db *db, const struct xn_row *vm, const char *protocol, int port,
		     const char *host_address)
{
	XN_CLEANUP(xn_value_unref_p)
	struct xn_value *refs = xn_value_ref(xn_row_get(vm, XN_VM_consoles));
	XN_CLEANUP(xn_value_unref_p) struct xn_value *fields = NULL;
	struct xn_row *kept = NULL;

	for (size_t i = 0; i < xn_set_len(refs); i++) {
		struct xn_row *row =
			xn_db_get(db, XN_CLASS_console, xn_value_string(xn_set_at(refs, i)));

		if (row && !kept && fits(row, protocol))
			kept = row;
		else if (row)
			xn_db_delete(db, row);
	}
	if (!protocol)
		return;
	if (!kept) {
		fields = xn_map_new();
		xn_map_put_string(&fields, "protocol", protocol);
		xn_map_put_string(&fields, "VM", xn_row_ref(vm));
		kept = xn_db_create(db, XN_CLASS_console, NULL, fields);
	}
	write_address(db, kept, host_address, port);
}

/* ---- module ---- */

static int console_init(struct xn_core *core, void **state_out, struct xn_error *err)
{
	*state_out = NULL; /* rows are all there is */
	return 0;
}

static const char *const console_needs[] = {"db", NULL};

const struct xn_module xn_console_module = {
	.name = "console",
	.needs = console_needs,
	.init = console_init,
};
