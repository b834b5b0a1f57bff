/* The page of numbers: both formats, escaping, histograms, sources that come and go, the check. */
#include "tests/unit/cmocka_all.h"

#include "core/metrics.h"

#include <stdlib.h>

struct fixture {
	struct xn_metrics *metrics;
	struct xn_metrics_source source;
	struct xn_histogram histogram;
};

static int set_up(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	f->metrics = xn_metrics_new();
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	xn_metrics_free(f->metrics);
	free(f);
	return 0;
}

static char *whole_page(struct fixture *f, enum xn_metrics_format format)
{
	struct xn_metrics_page *page = xn_metrics_page_new(f->metrics, format);
	char *text;

	while (xn_metrics_page_step(page))
		;
	text = xn_buf_steal(xn_metrics_page_text(page));
	xn_metrics_page_free(page);
	return text;
}

static void assert_page(struct fixture *f, enum xn_metrics_format format, const char *expected)
{
	char *text = whole_page(f, format);

	assert_string_equal(text, expected);
	free(text);
}

static void given(struct fixture *f, size_t (*write)(struct xn_metrics_source *,
						      struct xn_metrics_page *, size_t))
{
	f->source.write = write;
	xn_metrics_add(f->metrics, &f->source);
}

/* ---- formats ---- */

static size_t write_one_of_each(struct xn_metrics_source *source, struct xn_metrics_page *page,
				size_t from)
{
	xn_metrics_counter(page, "xenolith_wait_seconds", "seconds", "Time waited.", 3);
	xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_things", "", "Things \\ by \"colour\".\n");
	xn_metrics_int(page, -7, "colour", "red", "size", "1");
	xn_metrics_float(page, 0.5, "colour", "a\"b\\c\nd");
	xn_metrics_us(page, -1500000);
	xn_metrics_family(page, XN_METRIC_INFO, "xenolith_build", "", "What was built.");
	xn_metrics_int(page, 1, "version", "0.1");
	return 0;
}

static void a_page_in_openmetrics_has_types_units_and_an_end(void **state)
{
	given(*state, write_one_of_each);
	assert_page(*state, XN_METRICS_OPENMETRICS,
		    "# TYPE xenolith_wait_seconds counter\n"
		    "# UNIT xenolith_wait_seconds seconds\n"
		    "# HELP xenolith_wait_seconds Time waited.\n"
		    "xenolith_wait_seconds_total 3\n"
		    "# TYPE xenolith_things gauge\n"
		    "# HELP xenolith_things Things \\\\ by \\\"colour\\\".\\n\n"
		    "xenolith_things{colour=\"red\",size=\"1\"} -7\n"
		    "xenolith_things{colour=\"a\\\"b\\\\c\\nd\"} 0.5\n"
		    "xenolith_things -1.5\n"
		    "# TYPE xenolith_build info\n"
		    "# HELP xenolith_build What was built.\n"
		    "xenolith_build_info{version=\"0.1\"} 1\n"
		    "# EOF\n");
}

static void a_page_in_the_older_format_names_families_like_their_samples(void **state)
{
	given(*state, write_one_of_each);
	assert_page(*state, XN_METRICS_PROMETHEUS,
		    "# TYPE xenolith_wait_seconds_total counter\n"
		    "# HELP xenolith_wait_seconds_total Time waited.\n"
		    "xenolith_wait_seconds_total 3\n"
		    "# TYPE xenolith_things gauge\n"
		    "# HELP xenolith_things Things \\\\ by \"colour\".\\n\n"
		    "xenolith_things{colour=\"red\",size=\"1\"} -7\n"
		    "xenolith_things{colour=\"a\\\"b\\\\c\\nd\"} 0.5\n"
		    "xenolith_things -1.5\n"
		    "# TYPE xenolith_build_info gauge\n"
		    "# HELP xenolith_build_info What was built.\n"
		    "xenolith_build_info{version=\"0.1\"} 1\n");
}

static size_t write_long_label(struct xn_metrics_source *source, struct xn_metrics_page *page,
			       size_t from)
{
	char value[201];

	xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_a", "", "A.");
	memset(value, 'x', 127);
	strcpy(value + 127, "\xc3\xa4"); /* two bytes, of which one would fit */
	xn_metrics_int(page, 1, "a", value);
	xn_metrics_int(page, 2, "a", "\xff");
	return 0;
}

static void a_label_is_cut_between_characters_and_is_always_text(void **state)
{
	char *text, *line, *end;

	given(*state, write_long_label);
	text = whole_page(*state, XN_METRICS_PROMETHEUS);
	line = strstr(text, "xenolith_a{");
	end = strchr(line, '\n');
	assert_int_equal(end - line, strlen("xenolith_a{a=\"\"} 1") + 127);
	assert_string_equal(end + 1, "xenolith_a{a=\"\xef\xbf\xbd\"} 2\n");
	free(text);
}

/* ---- histograms ---- */

static size_t write_histogram(struct xn_metrics_source *source, struct xn_metrics_page *page,
			      size_t from)
{
	const struct fixture *f = xn_container_of(source, struct fixture, source);

	xn_metrics_family(page, XN_METRIC_HISTOGRAM, "xenolith_call_seconds", "seconds", "Calls.");
	xn_metrics_histogram(page, &f->histogram, "method", "VM.start");
	return 0;
}

static void buckets_of_a_page_are_cumulative_and_end_at_infinity(void **state)
{
	struct fixture *f = *state;
	char *text;

	given(f, write_histogram);
	xn_histogram_observe(&f->histogram, 16);
	xn_histogram_observe(&f->histogram, 17);
	xn_histogram_observe(&f->histogram, INT64_C(1) << 40);
	text = whole_page(f, XN_METRICS_OPENMETRICS);
	assert_non_null(strstr(text, "_bucket{method=\"VM.start\",le=\"0.000008\"} 0\n"));
	assert_non_null(strstr(text, "_bucket{method=\"VM.start\",le=\"0.000016\"} 1\n"));
	assert_non_null(strstr(text, "_bucket{method=\"VM.start\",le=\"0.000032\"} 2\n"));
	assert_non_null(strstr(text, "_bucket{method=\"VM.start\",le=\"134.217728\"} 2\n"));
	assert_non_null(strstr(text, "_bucket{method=\"VM.start\",le=\"+Inf\"} 3\n"
				     "xenolith_call_seconds_count{method=\"VM.start\"} 3\n"
				     "xenolith_call_seconds_sum{method=\"VM.start\"} "
				     "1099511.627809\n"));
	free(text);
}

static void a_bucket_takes_its_bound_and_not_one_more(void **state)
{
	for (unsigned i = 0; i < XN_HISTOGRAM_BOUNDS; i++) {
		struct xn_histogram h = {0};

		xn_histogram_observe(&h, xn_histogram_bound_us(i));
		assert_int_equal(h.buckets[i], 1);
		xn_histogram_observe(&h, xn_histogram_bound_us(i) + 1);
		assert_int_equal(h.buckets[i + 1], 1);
	}
}

static void times_that_cannot_be_are_counted_as_none_or_as_for_ever(void **state)
{
	struct xn_histogram h = {0};

	xn_histogram_observe(&h, -5);
	xn_histogram_observe(&h, 0);
	xn_histogram_observe(&h, INT64_MAX);
	assert_int_equal(h.buckets[0], 2);
	assert_int_equal(h.buckets[XN_HISTOGRAM_BOUNDS], 1);
	assert_int_equal(xn_histogram_count(&h), 3);
}

/* ---- sources ---- */

static size_t write_in_three_parts(struct xn_metrics_source *source, struct xn_metrics_page *page,
				   size_t from)
{
	if (!from)
		xn_metrics_family(page, XN_METRIC_GAUGE, "xenolith_parts", "", "Parts.");
	xn_metrics_int(page, (int64_t)from, "n", from == 0 ? "a" : from == 1 ? "b" : "c");
	return from < 2 ? from + 1 : 0;
}

static void a_long_source_goes_on_where_it_stopped(void **state)
{
	given(*state, write_in_three_parts);
	assert_page(*state, XN_METRICS_PROMETHEUS,
		    "# TYPE xenolith_parts gauge\n# HELP xenolith_parts Parts.\n"
		    "xenolith_parts{n=\"a\"} 0\nxenolith_parts{n=\"b\"} 1\n"
		    "xenolith_parts{n=\"c\"} 2\n");
}

static void a_source_that_is_removed_in_the_middle_of_a_page_is_left_out(void **state)
{
	struct fixture *f = *state;
	struct xn_metrics_source last = {.write = write_in_three_parts};
	struct xn_metrics_page *page;

	given(f, write_in_three_parts);
	xn_metrics_add(f->metrics, &last);
	page = xn_metrics_page_new(f->metrics, XN_METRICS_PROMETHEUS);
	assert_true(xn_metrics_page_step(page));
	xn_metrics_remove(&f->source);
	xn_metrics_remove(&f->source);
	while (xn_metrics_page_step(page))
		;
	/* One sample of the first, then the other from its beginning. */
	assert_non_null(strstr(xn_buf_cstr(xn_metrics_page_text(page)),
			       "{n=\"a\"} 0\n# TYPE xenolith_parts gauge\n"));
	xn_metrics_page_free(page);
	xn_metrics_remove(&last);
}

static void two_pages_at_a_time_do_not_disturb_each_other(void **state)
{
	struct fixture *f = *state;
	struct xn_metrics_page *a, *b;

	given(f, write_in_three_parts);
	a = xn_metrics_page_new(f->metrics, XN_METRICS_OPENMETRICS);
	b = xn_metrics_page_new(f->metrics, XN_METRICS_OPENMETRICS);
	for (bool more = true; more;) {
		more = xn_metrics_page_step(a);
		assert_int_equal(xn_metrics_page_step(b), more);
	}
	assert_string_equal(xn_buf_cstr(xn_metrics_page_text(a)),
			    xn_buf_cstr(xn_metrics_page_text(b)));
	assert_non_null(strstr(xn_buf_cstr(xn_metrics_page_text(a)), "{n=\"c\"} 2\n# EOF\n"));
	xn_metrics_page_free(a);
	xn_metrics_page_free(b);
}

/* ---- the check of names ---- */

static size_t write_badly(struct xn_metrics_source *source, struct xn_metrics_page *page, size_t from)
{
	xn_metrics_gauge(page, "xenolith_ok", "", "Fine.", 1);
	xn_metrics_gauge(page, "xenolith_ok", "", "Again.", 1);
	xn_metrics_gauge(page, "Xenolith_case", "", "Case.", 1);
	xn_metrics_gauge(page, "other_name", "", "Not ours.", 1);
	xn_metrics_counter(page, "xenolith_calls_total", "", "The page adds it.", 1);
	xn_metrics_gauge(page, "xenolith_wait", "seconds", "Unit.", 1);
	xn_metrics_gauge(page, "xenolith_size_bytes", "", "Unit.", 1);
	xn_metrics_gauge(page, "xenolith_wait_ms", "", "Unit.", 1);
	xn_metrics_gauge(page, "xenolith_help", "", "no sentence", 1);
	return 0;
}

static void the_check_names_what_breaks_the_rules(void **state)
{
	struct fixture *f = *state;
	struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};

	given(f, write_badly);
	assert_true(xn_metrics_check(f->metrics, &why) < 0);
	assert_string_equal(xn_buf_cstr(&why),
			    "xenolith_ok: the family is written twice\n"
			    "Xenolith_case: the name is not of the form xenolith_small_letters\n"
			    "other_name: the name is not of the form xenolith_small_letters\n"
			    "xenolith_calls_total: the name ends in what the format adds itself\n"
			    "xenolith_wait: the name does not end in its unit\n"
			    "xenolith_size_bytes: the name ends in a unit that is not told\n"
			    "xenolith_wait_ms: times are in seconds and sizes in bytes\n"
			    "xenolith_help: the help is no sentence\n");
}

static void the_check_is_content_with_good_families(void **state)
{
	struct fixture *f = *state;
	struct xn_buf why XN_CLEANUP(xn_buf_clear_p) = {0};

	given(f, write_histogram);
	assert_int_equal(xn_metrics_check(f->metrics, &why), 0);
	assert_int_equal(why.len, 0);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_page_in_openmetrics_has_types_units_and_an_end),
		TEST(a_page_in_the_older_format_names_families_like_their_samples),
		TEST(a_label_is_cut_between_characters_and_is_always_text),
		TEST(buckets_of_a_page_are_cumulative_and_end_at_infinity),
		TEST(a_bucket_takes_its_bound_and_not_one_more),
		TEST(times_that_cannot_be_are_counted_as_none_or_as_for_ever),
		TEST(a_long_source_goes_on_where_it_stopped),
		TEST(a_source_that_is_removed_in_the_middle_of_a_page_is_left_out),
		TEST(two_pages_at_a_time_do_not_disturb_each_other),
		TEST(the_check_names_what_breaks_the_rules),
		TEST(the_check_is_content_with_good_families),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
