/*
 * GET /metrics: what all modules count (core/metrics.h), as OpenMetrics text; and the numbers of what
 * belongs to no module: loop, workers, process, configured limits.
 */
#ifndef XN_METRICS_MODULE_H
#define XN_METRICS_MODULE_H

#include "core/module.h"

extern const struct xn_module xn_metrics_module;

#endif
