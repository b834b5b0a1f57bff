/* The back end on libxl, for this folder and its tests. */
#ifndef XN_LIBXL_H
#define XN_LIBXL_H

#include "modules/domain/backend.h"

/* @worker: a worker child's command line, ends with NULL; lives as long as the back end. */
struct xn_backend *xn_libxl_backend_new(struct xn_core *core, const char *const *worker);

#endif
