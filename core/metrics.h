/*
 * Numbers that the daemon tells about itself. A module keeps plain counters in its own state and adds
 * a source in init: a function that writes them into a page when somebody asks (modules/metrics
 * serves the page). Counting costs nothing but the counter.
 *
 *	static size_t write_metrics(struct xn_metrics_source *source, struct xn_metrics_page *page,
 *				    size_t from)
 *	{
 *		struct thing *t = xn_container_of(source, struct thing, metrics);
 *
 *		xn_metrics_counter(page, "xenolith_thing_calls", "", "Calls of things.", t->calls);
 *		xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_things", "", "Things by colour.");
 *		xn_metrics_int(page, t->red, "colour", "red");
 *		xn_metrics_int(page, t->green, "colour", "green");
 *		xn_metrics_family(page, XN_METRIC_HISTOGRAM, "xenolith_thing_wait_seconds", "seconds",
 *				  "Time that a thing waited.");
 *		xn_metrics_histogram(page, &t->waits);
 *		return 0;
 *	}
 *
 * Names begin with xenolith_ (process_ for the process), end in the unit when there is one (seconds,
 * bytes; never milliseconds), and a counter's name is given without _total, which the page adds. A
 * family is written by one source in one go. Never a series for each VM, session or client: what a
 * label can be is a short list that we know. xn_metrics_check() finds breaches; a test calls it.
 */
#ifndef XN_METRICS_H
#define XN_METRICS_H

#include "core/buf.h"
#include "core/histogram.h"
#include "core/list.h"

enum xn_metric_type {
	XN_METRIC_COUNTER,
	XN_METRIC_GAUGE,
	XN_METRIC_HISTOGRAM, /* of seconds */
	XN_METRIC_INFO,	     /* always 1: the labels tell; its name is given without _info */
};

struct xn_metrics; /* the registry, core->metrics */
struct xn_metrics_page;

struct xn_metrics_source { /* embedded in the module's state; all zero bytes = not added */
	struct xn_list link;
	/* Writes its families. @from is 0 at first; what is returned, unless 0, comes back as @from in
	 * a later turn of the loop: for more than some 500 lines. The state may change meanwhile. */
	size_t (*write)(struct xn_metrics_source *source, struct xn_metrics_page *page, size_t from);
};

struct xn_metrics *xn_metrics_new(void);
void xn_metrics_free(struct xn_metrics *metrics);
void xn_metrics_add(struct xn_metrics *metrics, struct xn_metrics_source *source);
void xn_metrics_remove(struct xn_metrics_source *source); /* in the module's stop; not added: nothing */

/* ---- for sources ---- */

/* Begins a family; its samples follow. @unit: "" for none. @help: a sentence. */
void xn_metrics_family(struct xn_metrics_page *page, enum xn_metric_type type, const char *name,
		       const char *unit, const char *help);
/* Samples. Behind the value: names and values of labels (char *, char *, ...). Values of labels are
 * escaped; they are cut at 128 bytes. */
#define xn_metrics_int(page, ...) xn_metrics_int_((page), __VA_ARGS__, (const char *)NULL)
#define xn_metrics_float(page, ...) xn_metrics_float_((page), __VA_ARGS__, (const char *)NULL)
/* Microseconds here, seconds on the page. */
#define xn_metrics_us(page, ...) xn_metrics_us_((page), __VA_ARGS__, (const char *)NULL)
#define xn_metrics_histogram(page, ...) \
	xn_metrics_histogram_((page), __VA_ARGS__, (const char *)NULL)
void xn_metrics_int_(struct xn_metrics_page *page, int64_t value, ...);
void xn_metrics_float_(struct xn_metrics_page *page, double value, ...);
void xn_metrics_us_(struct xn_metrics_page *page, int64_t us, ...);
void xn_metrics_histogram_(struct xn_metrics_page *page, const struct xn_histogram *h, ...);
/* A family of one number without labels. */
void xn_metrics_counter(struct xn_metrics_page *page, const char *name, const char *unit,
			const char *help, uint64_t value);
void xn_metrics_gauge(struct xn_metrics_page *page, const char *name, const char *unit,
		      const char *help, int64_t value);

/* ---- for who serves the page ---- */

enum xn_metrics_format {
	XN_METRICS_OPENMETRICS, /* OpenMetrics 1.0 text */
	XN_METRICS_PROMETHEUS,	/* Prometheus text 0.0.4 */
};
/* Between two slices the page must not outlive a source's removal unless it is given up: free it. */
struct xn_metrics_page *xn_metrics_page_new(struct xn_metrics *metrics,
					    enum xn_metrics_format format);
void xn_metrics_page_free(struct xn_metrics_page *page);
/* Lets the next source write, once. False: the page is complete. */
bool xn_metrics_page_step(struct xn_metrics_page *page);
struct xn_buf *xn_metrics_page_text(struct xn_metrics_page *page); /* may be drained between steps */

/* Writes a whole page and appends what breaks the rules above, a line each. Return: 0 or -EINVAL. */
int xn_metrics_check(struct xn_metrics *metrics, struct xn_buf *why);

#endif
