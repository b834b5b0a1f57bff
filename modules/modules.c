/* The only list of modules, one a line, sorted; the order of starting comes from their `.needs`. */
#include "modules/modules.h"

#include "modules/db/db.h"
#include "modules/xenstore/xenstore.h"

const struct xn_module *const xn_module_list[] = {
	&xn_db_module,
	&xn_xenstore_module,
	NULL,
};
