/* The registry of sources, and the two text formats that Prometheus and its kin read; see metrics.h. */
#include "core/metrics.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/value.h"

enum { MAX_NAME = 128, MAX_LABEL_VALUE = 128 };

struct xn_metrics {
	struct xn_list sources; /* and the marks of pages under way, which have no write() */
};

struct xn_metrics_page {
	struct xn_metrics_source mark; /* stands before the source that writes next */
	const struct xn_metrics_source *current; /* has written part of its families, ... */
	size_t from;				  /* ... up to here */
	struct xn_metrics *metrics;
	enum xn_metrics_format format;
	struct xn_buf text;
	enum xn_metric_type type; /* of the family that is being written */
	char name[MAX_NAME];
	struct check *check; /* or NULL */
	bool complete;
};

/* What xn_metrics_check() has seen. */
struct check {
	struct xn_buf *why;
	char (*names)[MAX_NAME];
	size_t n;
	bool failed;
};

struct xn_metrics *xn_metrics_new(void)
{
	struct xn_metrics *metrics = xn_calloc(1, sizeof(*metrics));

	xn_list_init(&metrics->sources);
	return metrics;
}

void xn_metrics_free(struct xn_metrics *metrics)
{
	if (!metrics)
		return;
	while (xn_list_pop(&metrics->sources))
		;
	free(metrics);
}

void xn_metrics_add(struct xn_metrics *metrics, struct xn_metrics_source *source)
{
	if (metrics) /* tests of one module have no page */
		xn_list_push(&metrics->sources, &source->link);
}

void xn_metrics_remove(struct xn_metrics_source *source)
{
	if (source->link.next)
		xn_list_remove(&source->link);
}

/* ---- what a family may be called ---- */

static void complain(struct xn_metrics_page *page, const char *what)
{
	page->check->failed = true;
	xn_buf_printf(page->check->why, "%s: %s\n", page->name, what);
}

static bool ends_in(const char *name, const char *unit, const char *more)
{
	size_t len = strlen(name), unit_len = strlen(unit), more_len = strlen(more);

	return len > unit_len + more_len && strcmp(name + len - more_len, more) == 0 &&
	       strncmp(name + len - more_len - unit_len, unit, unit_len) == 0 &&
	       name[len - more_len - unit_len - 1] == '_';
}

static bool is_name(const char *name)
{
	size_t good = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return !name[good] && !isdigit((unsigned char)*name) && !strstr(name, "__") &&
	       (strncmp(name, "xenolith_", 9) == 0 || strncmp(name, "process_", 8) == 0);
}

static void check_name(struct xn_metrics_page *page, const char *name, const char *unit)
{
	static const char *const reserved[] = {"total", "created", "count", "sum", "bucket", "info"};
	static const char *const wrong_units[] = {"milliseconds", "ms", "us", "kilobytes", "kb", "mb"};

	if (strlen(name) >= MAX_NAME - 8)
		complain(page, "the name is too long");
	if (!is_name(name))
		complain(page, "the name is not of the form xenolith_small_letters");
	for (size_t i = 0; i < XN_ARRAY_SIZE(reserved); i++)
		if (ends_in(name, reserved[i], ""))
			complain(page, "the name ends in what the format adds itself");
	for (size_t i = 0; i < XN_ARRAY_SIZE(wrong_units); i++)
		if (ends_in(name, wrong_units[i], ""))
			complain(page, "times are in seconds and sizes in bytes");
	if (*unit && !ends_in(name, unit, ""))
		complain(page, "the name does not end in its unit");
	if (!*unit && (ends_in(name, "seconds", "") || ends_in(name, "bytes", "")))
		complain(page, "the name ends in a unit that is not told");
}

static void check_family(struct xn_metrics_page *page, const char *name, const char *unit,
			 const char *help)
{
	struct check *check = page->check;

	check_name(page, name, unit);
	if (page->type == XN_METRIC_HISTOGRAM && strcmp(unit, "seconds") != 0)
		complain(page, "a histogram is of seconds");
	if (page->type == XN_METRIC_INFO && *unit)
		complain(page, "an info has no unit");
	if (!*help || help[strlen(help) - 1] != '.')
		complain(page, "the help is no sentence");
	for (size_t i = 0; i < check->n; i++)
		if (strcmp(check->names[i], page->name) == 0)
			complain(page, "the family is written twice");
	check->names = xn_realloc(check->names, (check->n + 1) * sizeof(*check->names));
	memcpy(check->names[check->n++], page->name, MAX_NAME);
}

/* ---- text ---- */

static void add_escaped(struct xn_buf *out, const char *text, size_t len, bool quotes)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\n')
			xn_buf_add_string(out, "\\n");
		else if (text[i] == '\\' || (text[i] == '"' && quotes))
			xn_buf_printf(out, "\\%c", text[i]);
		else
			xn_buf_add_char(out, text[i]);
	}
}

/* Cut between two characters; what is no text is made to be. */
static void add_label_value(struct xn_buf *out, const char *value)
{
	struct xn_buf good XN_CLEANUP(xn_buf_clear_p) = {0};
	size_t len = strnlen(value, MAX_LABEL_VALUE + 1);

	if (len > MAX_LABEL_VALUE)
		for (len = MAX_LABEL_VALUE; len && ((unsigned char)value[len] & 0xc0) == 0x80;)
			len--;
	if (xn_text_is_valid(value, len)) {
		add_escaped(out, value, len, true);
		return;
	}
	xn_text_recode(value, len, &good);
	add_escaped(out, good.data, good.len, true);
}

/* {a="b",c="d"}; nothing where there are no labels. */
static void add_labels(struct xn_buf *out, va_list ap)
{
	char before = '{';
	const char *name;

	while ((name = va_arg(ap, const char *))) {
		xn_buf_add_char(out, before);
		xn_buf_add_string(out, name);
		xn_buf_add_string(out, "=\"");
		add_label_value(out, va_arg(ap, const char *));
		xn_buf_add_char(out, '"');
		before = ',';
	}
	if (before == ',')
		xn_buf_add_char(out, '}');
}

static const char *suffix_of(const struct xn_metrics_page *page)
{
	return page->type == XN_METRIC_COUNTER ? "_total"
	       : page->type == XN_METRIC_INFO  ? "_info"
					       : "";
}

static struct xn_buf *begin_sample(struct xn_metrics_page *page, const char *suffix)
{
	xn_buf_add_string(&page->text, page->name);
	xn_buf_add_string(&page->text, suffix);
	return &page->text;
}

/* "12.000345", without zeros that say nothing. */
static void add_seconds(struct xn_buf *out, int64_t us)
{
	uint64_t n = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;
	char part[8];
	int len = 6;

	if (us < 0)
		xn_buf_add_char(out, '-');
	xn_buf_add_int(out, (int64_t)(n / 1000000));
	snprintf(part, sizeof(part), "%06u", (unsigned)(n % 1000000));
	while (len > 1 && part[len - 1] == '0')
		len--;
	xn_buf_add_char(out, '.');
	xn_buf_add(out, part, (size_t)len);
}

/* ---- for sources ---- */

void xn_metrics_family(struct xn_metrics_page *page, enum xn_metric_type type, const char *name,
		       const char *unit, const char *help)
{
	static const char *const types[2][4] = {
		[XN_METRICS_OPENMETRICS] = {"counter", "gauge", "histogram", "info"},
		[XN_METRICS_PROMETHEUS] = {"counter", "gauge", "histogram", "gauge"},
	};
	bool is_open = page->format == XN_METRICS_OPENMETRICS;
	const char *suffix;

	page->type = type;
	snprintf(page->name, sizeof(page->name), "%s", name);
	if (page->check)
		check_family(page, name, unit, help);
	/* The older format knows samples only, so its families have the samples' names. */
	suffix = is_open ? "" : suffix_of(page);
	xn_buf_printf(&page->text, "# TYPE %s%s %s\n", page->name, suffix, types[page->format][type]);
	if (is_open && *unit)
		xn_buf_printf(&page->text, "# UNIT %s %s\n", page->name, unit);
	xn_buf_printf(&page->text, "# HELP %s%s ", page->name, suffix);
	add_escaped(&page->text, help, strlen(help), is_open);
	xn_buf_add_char(&page->text, '\n');
}

/* Between two of these stands the value of a sample; @page and its labels are the caller's names. */
#define BEGIN_SAMPLE(out, last)                                         \
	struct xn_buf *out = begin_sample(page, suffix_of(page));       \
	va_list ap;                                                     \
									\
	va_start(ap, last);                                             \
	add_labels(out, ap);                                            \
	va_end(ap);                                                     \
	xn_buf_add_char(out, ' ')

void xn_metrics_int_(struct xn_metrics_page *page, int64_t value, ...)
{
	BEGIN_SAMPLE(out, value);
	xn_buf_add_int(out, value);
	xn_buf_add_char(out, '\n');
}

void xn_metrics_float_(struct xn_metrics_page *page, double value, ...)
{
	BEGIN_SAMPLE(out, value);
	if (isfinite(value))
		xn_buf_printf(out, "%.12g\n", value);
	else
		xn_buf_add_string(out, isnan(value) ? "NaN\n" : value > 0 ? "+Inf\n" : "-Inf\n");
}

void xn_metrics_us_(struct xn_metrics_page *page, int64_t us, ...)
{
	BEGIN_SAMPLE(out, us);
	add_seconds(out, us);
	xn_buf_add_char(out, '\n');
}

/* The labels were written once; a bucket's have its bound behind them. */
static void add_bucket(struct xn_metrics_page *page, const struct xn_buf *labels, unsigned i,
		       uint64_t count)
{
	struct xn_buf *out = begin_sample(page, "_bucket");

	if (labels->len) {
		xn_buf_add(out, labels->data, labels->len - 1);
		xn_buf_add_char(out, ',');
	} else {
		xn_buf_add_char(out, '{');
	}
	xn_buf_add_string(out, "le=\"");
	if (i < XN_HISTOGRAM_BOUNDS)
		add_seconds(out, xn_histogram_bound_us(i));
	else
		xn_buf_add_string(out, "+Inf");
	xn_buf_add_string(out, "\"} ");
	xn_buf_add_int(out, (int64_t)count);
	xn_buf_add_char(out, '\n');
}

void xn_metrics_histogram_(struct xn_metrics_page *page, const struct xn_histogram *h, ...)
{
	struct xn_buf labels XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_buf *out = &page->text;
	uint64_t count = 0;
	va_list ap;

	va_start(ap, h);
	add_labels(&labels, ap);
	va_end(ap);
	for (unsigned i = 0; i <= XN_HISTOGRAM_BOUNDS; i++) {
		count += h->buckets[i];
		add_bucket(page, &labels, i, count);
	}
	begin_sample(page, "_count");
	xn_buf_add(out, labels.data, labels.len);
	xn_buf_add_char(out, ' ');
	xn_buf_add_int(out, (int64_t)count);
	xn_buf_add_char(out, '\n');
	begin_sample(page, "_sum");
	xn_buf_add(out, labels.data, labels.len);
	xn_buf_add_char(out, ' ');
	add_seconds(out, (int64_t)h->sum_us);
	xn_buf_add_char(out, '\n');
}

void xn_metrics_counter(struct xn_metrics_page *page, const char *name, const char *unit,
			const char *help, uint64_t value)
{
	xn_metrics_family(page, XN_METRIC_COUNTER, name, unit, help);
	xn_metrics_int(page, (int64_t)value);
}

void xn_metrics_gauge(struct xn_metrics_page *page, const char *name, const char *unit,
		      const char *help, int64_t value)
{
	xn_metrics_family(page, XN_METRIC_GAUGE, name, unit, help);
	xn_metrics_int(page, value);
}

/* ---- pages ---- */

struct xn_metrics_page *xn_metrics_page_new(struct xn_metrics *metrics,
					    enum xn_metrics_format format)
{
	struct xn_metrics_page *page = xn_calloc(1, sizeof(*page));

	page->metrics = metrics;
	page->format = format;
	xn_list_insert(metrics->sources.next, &page->mark.link);
	return page;
}

void xn_metrics_page_free(struct xn_metrics_page *page)
{
	if (!page)
		return;
	xn_list_remove(&page->mark.link);
	xn_buf_clear(&page->text);
	free(page);
}

struct xn_buf *xn_metrics_page_text(struct xn_metrics_page *page)
{
	return &page->text;
}

static struct xn_metrics_source *next_source(const struct xn_metrics_page *page)
{
	struct xn_list *node = page->mark.link.next;

	for (; node != &page->metrics->sources; node = node->next) {
		struct xn_metrics_source *source = xn_list_entry(node, struct xn_metrics_source, link);

		if (source->write)
			return source;
	}
	return NULL;
}

static void finish(struct xn_metrics_page *page)
{
	if (!page->complete && page->format == XN_METRICS_OPENMETRICS)
		xn_buf_add_string(&page->text, "# EOF\n");
	page->complete = true;
}

bool xn_metrics_page_step(struct xn_metrics_page *page)
{
	struct xn_metrics_source *source = next_source(page);

	if (!source) {
		finish(page);
		return false;
	}
	if (source != page->current)
		page->from = 0;
	page->current = source;
	page->from = source->write(source, page, page->from);
	if (!page->from) {
		page->current = NULL;
		xn_list_remove(&page->mark.link);
		xn_list_insert(source->link.next, &page->mark.link);
	}
	return true;
}

int xn_metrics_check(struct xn_metrics *metrics, struct xn_buf *why)
{
	struct xn_metrics_page *page = xn_metrics_page_new(metrics, XN_METRICS_OPENMETRICS);
	struct check check = {.why = why};

	page->check = &check;
	while (xn_metrics_page_step(page))
		page->text.len = 0;
	xn_metrics_page_free(page);
	free(check.names);
	return check.failed ? -EINVAL : 0;
}
