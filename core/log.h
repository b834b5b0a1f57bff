/*
 * Structured log: one line an event, text or JSON, to stderr. Secrets never get here: session
 * references are logged as their public hash, passwords and arguments of secret methods not at all.
 */
#ifndef XN_LOG_H
#define XN_LOG_H

#include "core/base.h"

enum xn_log_level { XN_LOG_ERROR, XN_LOG_WARN, XN_LOG_INFO, XN_LOG_DEBUG };

struct xn_log; /* one a daemon, hangs off struct xn_core */
struct xn_log *xn_log_new(enum xn_log_level level, bool json, int fd);
void xn_log_free(struct xn_log *log);
/* Time stamps come from here: the loop's wall clock. */
void xn_log_set_clock(struct xn_log *log, int64_t (*wall_us)(void *arg), void *arg);

/*
 * @module: the module's name; @task: task reference or NULL; @trace: trace id or NULL.
 * Control characters in the text are escaped, so one call is always one line.
 */
void xn_log_write(struct xn_log *log, enum xn_log_level level, const char *module,
		  const char *task, const char *trace, const char *fmt, ...) XN_PRINTF(6, 7);
bool xn_log_wants(const struct xn_log *log, enum xn_log_level level);

#define xn_log_error(log, module, ...)                                                             \
	xn_log_write(log, XN_LOG_ERROR, module, NULL, NULL, __VA_ARGS__)
#define xn_log_warn(log, module, ...)                                                              \
	xn_log_write(log, XN_LOG_WARN, module, NULL, NULL, __VA_ARGS__)
#define xn_log_info(log, module, ...)                                                              \
	xn_log_write(log, XN_LOG_INFO, module, NULL, NULL, __VA_ARGS__)
#define xn_log_debug(log, module, ...)                                          \
	do {                                                                    \
		if (xn_log_wants(log, XN_LOG_DEBUG))                            \
			xn_log_write(log, XN_LOG_DEBUG, module, NULL, NULL, __VA_ARGS__); \
	} while (0)

#endif
