/* The only list of modules. */
#ifndef XN_MODULES_H
#define XN_MODULES_H

#include "core/module.h"

extern const struct xn_module *const xn_module_list[]; /* ends with NULL */

#endif
