/* The only list of modules, one a line, sorted; the order of starting comes from their `.needs`. */
#include "modules/modules.h"

const struct xn_module *const xn_module_list[] = {
	NULL,
};
