/* The xenstore's history: what changed, the tree at a moment, how both are asked for. */
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/json.h"
#include "core/moment.h"
#include "modules/xenstore/history/answer.h"
#include "modules/xenstore/journal/media.h"
#include "tests/unit/xenstore_recorder.h"

struct fixture {
	struct xenstore_recorder recorder;
	struct xn_xs_conn *dom0, *guest;
	struct xn_xs_domain *five;
	struct xn_error err;
};

static int setup(void **state)
{
	struct fixture *f = xn_calloc(1, sizeof(*f));

	recorder_init(&f->recorder);
	f->dom0 = xn_xs_conn_new(xn_xs_domain_find(f->recorder.store, 0));
	f->five = recorder_add_domain(&f->recorder, 5);
	f->guest = xn_xs_conn_new(f->five);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	xn_xs_conn_free(f->guest);
	xn_xs_conn_free(f->dom0);
	recorder_clear(&f->recorder);
	xn_error_clear(&f->err);
	free(f);
	return 0;
}

static void given(struct fixture *f, const char *path, const char *value)
{
	recorder_wait(&f->recorder, 1000000, 0);
	assert_int_equal(xn_xs_conn_write_string(f->dom0, 0, path, value), 0);
}

static struct xn_value *asked_as(struct fixture *f, const char *text, bool hides_secrets)
{
	struct past_query *q = xn_malloc(sizeof(*q));
	struct past_asking asking = {.media = f->recorder.media,
				     .query = q,
				     .format = XN_FORMAT_JSON,
				     .now_us = f->recorder.wall_us};
	struct xn_buf out XN_CLEANUP(xn_buf_clear_p) = {0};
	struct xn_value *answer = NULL;

	past_query_init(q);
	q->hides_secrets = hides_secrets;
	if (past_query_parse(q, text, &f->err) == 0 && past_answer(&asking, &out, &f->err) == 0)
		assert_int_equal(xn_json_parse(out.data, out.len, &answer, NULL), 0);
	free(q);
	return answer;
}

static struct xn_value *asked(struct fixture *f, const char *text)
{
	struct xn_value *answer = asked_as(f, text, false);

	if (!answer)
		fail_msg("%s: %s %s", text, f->err.code, f->err.params[f->err.n_params - 1]);
	return answer;
}

static void assert_refused(struct fixture *f, const char *text, const char *code, const char *why)
{
	assert_null(asked_as(f, text, false));
	assert_string_equal(f->err.code, code);
	assert_non_null(strstr(f->err.params[f->err.n_params - 1], why));
	xn_error_clear(&f->err);
}

static const struct xn_value *change_at(const struct xn_value *answer, size_t i)
{
	const struct xn_value *changes = xn_map_get(answer, "changes");

	assert_true(i < xn_set_len(changes));
	return xn_set_at(changes, i);
}

static size_t n_changes(const struct xn_value *answer)
{
	return xn_set_len(xn_map_get(answer, "changes"));
}

static void assert_change(const struct xn_value *change, const char *operation, const char *path,
			  const char *old, const char *new)
{
	assert_string_equal(xn_map_get_string(change, "operation"), operation);
	assert_string_equal(xn_map_get_string(change, "path"), path);
	if (old)
		assert_string_equal(xn_map_get_string(change, "old"), old);
	else
		assert_int_equal(xn_map_get(change, "old")->kind, XN_NIL);
	if (new)
		assert_string_equal(xn_map_get_string(change, "new"), new);
	else
		assert_int_equal(xn_map_get(change, "new")->kind, XN_NIL);
}

/* ---- what changed ---- */

static void a_change_is_told_with_time_domain_old_and_new_value(void **state)
{
	struct fixture *f = *state;
	XN_CLEANUP(xn_value_unref_p) struct xn_value *answer = NULL;
	const struct xn_value *change;
	char time[40];

	given(f, "/local/domain/5/data", "first");
	assert_int_equal(xn_xs_conn_set_perms(f->dom0, 0, "/local/domain/5/data", "n5", 2), 0);
	recorder_wait(&f->recorder, 1000000, 0);
	assert_int_equal(xn_xs_conn_write_string(f->guest, 0, "data", "second"), 0);
	answer = asked(f, "path=/local/domain/5/data");
	assert_int_equal(n_changes(answer), 3);
	assert_change(change_at(answer, 0), "create", "/local/domain/5/data", NULL, "first");
	assert_change(change_at(answer, 1), "permissions", "/local/domain/5/data", "n0", "n5");
	change = change_at(answer, 2);
	assert_change(change, "set", "/local/domain/5/data", "first", "second");
	assert_int_equal(xn_map_get_int(change, "domain", -1), 5);
	assert_int_equal(xn_map_get_int(change, "birth", -1), f->five->birth);
	assert_int_equal(xn_map_get_int(change, "transaction", -1), 0);
	assert_string_equal(xn_map_get_string(change, "permissions"), "n5");
	xn_moment_print(f->recorder.wall_us, time);
	assert_string_equal(xn_map_get_string(change, "time"), time);
	assert_true(xn_map_get_bool(answer, "complete", false));
}

static void all_changes_of_a_transaction_have_its_number_and_one_generation(void **state)
{
	struct fixture *f = *state;
	XN_CLEANUP(xn_value_unref_p) struct xn_value *answer = NULL;
	uint32_t tx;

	assert_int_equal(xn_xs_conn_begin(f->dom0, &tx), 0);
	assert_int_equal(xn_xs_conn_write_string(f->dom0, tx, "/a/b", "1"), 0);
	assert_int_equal(xn_xs_conn_write_string(f->dom0, tx, "/a/c", "2"), 0);
	assert_int_equal(xn_xs_conn_end(f->dom0, tx, true), 0);
	answer = asked(f, "path=/a");
	assert_int_equal(n_changes(answer), 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(xn_map_get_int(change_at(answer, i), "transaction", -1), tx);
		assert_int_equal(xn_map_get_int(change_at(answer, i), "generation", -1),
				 xn_xs_store_generation(f->recorder.store));
	}
	assert_change(change_at(answer, 1), "create", "/a/b", NULL, "1");
}

static void the_removal_of_a_tree_tells_what_each_node_held(void **state)
{
	struct fixture *f = *state;
	XN_CLEANUP(xn_value_unref_p) struct xn_value *answer = NULL, *below = NULL;

	given(f, "/a/b/c", "leaf");
	given(f, "/a/b", "middle");
	assert_int_equal(xn_xs_conn_rm(f->dom0, 0, "/a"), 0);
	answer = asked(f, "operation=delete");
	assert_int_equal(n_changes(answer), 3);
	assert_change(change_at(answer, 0), "delete", "/a", "", NULL);
	assert_change(change_at(answer, 1), "delete", "/a/b", "middle", NULL);
	assert_change(change_at(answer, 2), "delete", "/a/b/c", "leaf", NULL);
	/* Who asks for what is below hears of the removal above, too. */
	below = asked(f, "path=/a/b/c operation=delete");
	assert_int_equal(n_changes(below), 1);
	assert_change(change_at(below, 0), "delete", "/a/b/c", "leaf", NULL);
}

static void only_the_path_and_what_is_below_is_told(void **state)
{
	struct fixture *f = *state;
	XN_CLEANUP(xn_value_unref_p) struct xn_value *answer = NULL;

	given(f, "/a/b", "1");
	given(f, "/a/bc", "2");
	given(f, "/a/b/d", "3");
	answer = asked(f, "path=/a/b");
	assert_int_equal(n_changes(answer), 2);
	assert_change(change_at(answer, 0), "create", "/a/b", NULL, "1");
	assert_change(change_at(answer, 1), "create", "/a/b/d", NULL, "3");
}

static void changes_are_found_between_times_and_by_whom(void **state)
{
	struct fixture *f = *state;
	char text[200], from[40], to[40];
	int64_t times[6];

	given(f, "/k", "0");
	assert_int_equal(xn_xs_conn_set_perms(f->dom0, 0, "/k", "b0", 2), 0);
	for (int i = 1; i <= 5; i++) {
		struct xn_xs_conn *who = i % 2 ? f->guest : f->dom0;
		char value[2] = {(char)('0' + i), '\0'};

		recorder_wait(&f->recorder, 1000000, 0);
		assert_int_equal(xn_xs_conn_write_string(who, 0, "/k", value), 0);
		times[i] = f->recorder.wall_us;
	}
	xn_moment_print(times[2], from);
	xn_moment_print(times[4], to);
	snprintf(text, sizeof(text), "path=/k since=%s until=%s", from, to);
	{
		XN_CLEANUP(xn_value_unref_p) struct xn_value *answer = asked(f, text);

		assert_int_equal(n_changes(answer), 3);
		assert_change(change_at(answer, 0), "set", "/k", "1", "2");
		assert_change(change_at(answer, 2), "set", "/k", "3", "4");
	}
	snprintf(text, sizeof(text), "since=%s domain=5", from);
	{
		XN_CLEANUP(xn_value_unref_p) struct xn_value *answer = asked(f, text);

		assert_int_equal(n_changes(answer), 2);
		assert_change(change_at(answer, 0), "set", "/k", "2", "3");
		assert_change(change_at(answer, 1), "set", "/k", "4", "5");
	}
}

#define MINUTE_US INT64_C(60000000)

/* "NAME=TIME", so many minutes from @us. */
static const char *at_minute(char out[60], const char *name, int64_t us, int minutes)
{
	char time[40];

	xn_moment_print(us + minutes * MINUTE_US, time);
	snprintf(out, 60, "%s=%s", name, time);
	return out;
}

static void times_that_the_clock_may_have_shown_twice_are_refused(void **state)
{
	static const struct {
		int minutes;
		const char *value; /* NULL: nobody knows */
	} known[] = {{5, "now"}, {11, "ten"}, {25, NULL}, {59, NULL}, {62, "sixty one"}};
	struct fixture *f = *state;
	int64_t begin_us = f->recorder.wall_us;
	char text[60];

	given(f, "/k", "now");
	recorder_wait(&f->recorder, 10 * MINUTE_US, 0);
	given(f, "/k", "ten");
	recorder_wait(&f->recorder, 50 * MINUTE_US, 0);
	given(f, "/k", "sixty");
	recorder_wait(&f->recorder, -40 * MINUTE_US, 0);
	given(f, "/k", "twenty");
	recorder_wait(&f->recorder, 41 * MINUTE_US, 0);
	given(f, "/k", "sixty one");
	recorder_wait(&f->recorder, 10 * MINUTE_US, 0);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(known); i++) {
		at_minute(text, "path=/k at", begin_us, known[i].minutes);
		if (!known[i].value) {
			assert_refused(f, text, "VALUE_NOT_SUPPORTED", "the clock was set back");
		} else {
			XN_CLEANUP(xn_value_unref_p) struct xn_value *tree = asked(f, text);
			const struct xn_value *nodes = xn_map_get(tree, "nodes");

			assert_string_equal(xn_map_get_string(xn_set_at(nodes, 0), "value"),
					    known[i].value);
		}
	}
	{ /* changes have a time each, so all of these are known */
		XN_CLEANUP(xn_value_unref_p) struct xn_value *answer =
			asked(f, at_minute(text, "path=/k since", begin_us, 15));

		assert_int_equal(n_changes(answer), 3);
		assert_change(change_at(answer, 0), "set", "/k", "ten", "sixty");
		assert_change(change_at(answer, 1), "set", "/k", "sixty", "twenty");
	}
}

static void pages_join_in_either_order(void **state)
{
	struct fixture *f = *state;
	XN_CLEANUP(xn_value_unref_p) struct xn_value *whole = NULL;

	for (int i = 0; i < 23; i++) {
		char path[16];

		snprintf(path, sizeof(path), "/n/%d/x", i % 4);
		if (i % 7 == 6)
			assert_int_equal(xn_xs_conn_rm(f->dom0, 0, "/n"), 0);
		else
			given(f, path, i % 2 ? "odd" : "even");
	}
	whole = asked(f, "path=/n");
	assert_true(n_changes(whole) > 23);
	for (int newest = 0; newest < 2; newest++) {
		char after[40] = "";
		size_t at = 0;

		do {
			XN_CLEANUP(xn_value_unref_p) struct xn_value *page = NULL;
			char text[100];

			snprintf(text, sizeof(text), "path=/n limit=3 after='%s' %s", after,
				 newest ? "newest" : "");
			page = asked(f, text);
			for (size_t i = 0; i < n_changes(page); i++, at++)
				assert_true(xn_value_equal(
					change_at(page, i),
					change_at(whole, newest ? n_changes(whole) - 1 - at : at)));
			snprintf(after, sizeof(after), "%s", xn_map_get_string(page, "next"));
		} while (*after);
		assert_int_equal(at, n_changes(whole));
	}
}

static void secrets_are_hidden_from_those_who_may_not_see_them(void **state)
{
	struct fixture *f = *state;
	const char *question = "path=/local/domain/0/backend";
	XN_CLEANUP(xn_value_unref_p) struct xn_value *shown = NULL, *hidden = NULL, *tree = NULL;

	given(f, "/local/domain/0/backend/vfb/5/0/vncpasswd", "letmein");
	given(f, "/local/domain/0/backend/vfb/5/0/vncpasswd", "letmeout");
	shown = asked_as(f, question, false);
	hidden = asked_as(f, question, true);
	assert_change(change_at(shown, n_changes(shown) - 1), "set",
		      "/local/domain/0/backend/vfb/5/0/vncpasswd", "letmein", "letmeout");
	assert_change(change_at(hidden, n_changes(hidden) - 1), "set",
		      "/local/domain/0/backend/vfb/5/0/vncpasswd", "(hidden)", "(hidden)");
	tree = asked_as(f, "at=now path=/local/domain/0/backend/vfb/5/0/vncpasswd", true);
	assert_string_equal(xn_map_get_string(xn_set_at(xn_map_get(tree, "nodes"), 0), "value"),
			    "(hidden)");
}

static void what_is_no_text_is_told_as_text(void **state)
{
	struct fixture *f = *state;
	XN_CLEANUP(xn_value_unref_p) struct xn_value *answer = NULL;

	assert_int_equal(xn_xs_conn_write(f->dom0, 0, "/binary", "a\xff\0z", 4), 0);
	answer = asked(f, "path=/binary");
	assert_change(change_at(answer, 0), "create", "/binary", NULL,
		      "a\xef\xbf\xbd\xef\xbf\xbdz");
}

/* ---- the tree at a moment ---- */

static void the_tree_is_told_in_pages(void **state)
{
	struct fixture *f = *state;
	char after[64] = "";
	unsigned n = 0;
	static const char *const paths[] = {"/a", "/a/b", "/a/b/c", "/a/d", "/a-b"};

	given(f, "/a/b/c", "1");
	given(f, "/a/d", "2");
	given(f, "/a-b", "3");
	do {
		XN_CLEANUP(xn_value_unref_p) struct xn_value *page = NULL;
		const struct xn_value *nodes;
		char text[100];

		snprintf(text, sizeof(text), "at=now limit=2 after='%s'", after);
		page = asked(f, text);
		nodes = xn_map_get(page, "nodes");
		for (size_t i = 0; i < xn_set_len(nodes); i++, n++) {
			const char *path = xn_map_get_string(xn_set_at(nodes, i), "path");

			assert_true(n < 6);
			assert_string_equal(path, n ? paths[n - 1] : "/");
		}
		snprintf(after, sizeof(after), "%s", xn_map_get_string(page, "next"));
	} while (*after);
	assert_int_equal(n, 6);
}

static void what_is_not_known_is_an_error_and_not_another_times_answer(void **state)
{
	struct fixture *f = *state;

	given(f, "/a", "1");
	assert_refused(f, "at=1000000", "VALUE_NOT_SUPPORTED", "future");
	assert_refused(f, "at=2100-01-01", "VALUE_NOT_SUPPORTED", "future");
	assert_refused(f, "at=1971-01-01", "VALUE_NOT_SUPPORTED", "the history begins at");
}

static void nothing_kept_is_an_error_for_a_state_and_an_empty_list_of_changes(void **state)
{
	struct fixture *f = *state;
	struct xn_xs_media *kept = f->recorder.media;

	f->recorder.media = xn_xs_media_memory_new();
	assert_refused(f, "at=now", "VALUE_NOT_SUPPORTED", "no history yet");
	{
		XN_CLEANUP(xn_value_unref_p) struct xn_value *answer = asked(f, "");

		assert_int_equal(n_changes(answer), 0);
		assert_false(xn_map_get_bool(answer, "complete", true));
	}
	xn_xs_media_memory_destroy(f->recorder.media);
	f->recorder.media = kept;
}

/* Trees are long: the first line that is another one. */
static void assert_same_tree(const char *past, const char *store, uint64_t generation)
{
	while (*past && *past == *store) {
		past++;
		store++;
	}
	if (*past != *store)
		fail_msg("generation %llu: history has ...%.80s, the store had ...%.80s",
			 (unsigned long long)generation, past, store);
}

/* A model: the tree as text after each generation, by the store itself. How many are known. */
static size_t compare_trees(struct past *past, const struct recorder_texts *texts)
{
	const struct past_bounds *bounds = past_bounds(past);
	struct past_tree tree;
	size_t n = 0;

	for (size_t i = 0; i < texts->n; i++) {
		struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

		if (texts->at[i].generation < bounds->first)
			continue;
		past_tree_init(&tree, "/", 1);
		assert_int_equal(past_tree_at(past, texts->at[i].generation, false, &tree), 0);
		recorder_print_past(&tree, &text);
		past_tree_clear(&tree);
		assert_same_tree(xn_buf_cstr(&text), texts->at[i].text, texts->at[i].generation);
		n++;
	}
	return n;
}

static void play_and_compare(struct fixture *f, bool is_cut)
{
	struct recorder_texts *texts;
	struct past *past;
	unsigned seed = recorder_seed();
	size_t n;

	print_message("seed %u\n", seed);
	texts = recorder_play(&f->recorder, seed, 1500);
	assert_int_equal(past_open(f->recorder.media, &past), 0);
	n = compare_trees(past, texts);
	assert_int_equal(past_bounds(past)->is_whole, !is_cut);
	assert_int_equal(past_bounds(past)->n_gaps, 0);
	if (is_cut)
		assert_in_range(n, 1, texts->n - 1);
	else
		assert_int_equal(n, texts->n);
	past_close(past);
	recorder_texts_free(texts);
}

static void disconnect(struct fixture *f)
{
	xn_xs_conn_free(f->guest);
	xn_xs_conn_free(f->dom0);
	f->guest = f->dom0 = NULL;
}

static void the_tree_of_each_generation_is_what_the_store_had_then(void **state)
{
	disconnect(*state);
	play_and_compare(*state, false);
}

static void what_is_left_of_a_history_that_was_cut_is_right(void **state)
{
	struct fixture *f = *state;

	disconnect(f);
	f->recorder.history_bytes = 150 << 10;
	recorder_restart(&f->recorder, false);
	play_and_compare(f, true);
}

/* ---- questions ---- */

static void words_make_a_question(void **state)
{
	struct past_query *q = xn_malloc(sizeof(*q));
	struct xn_error err = {0};

	past_query_init(q);
	assert_int_equal(past_query_parse(q,
					  "path=/local/domain/5 domain=5 birth=17 transaction=3 "
					  "operation=set limit=7 after=12.3 newest json",
					  &err),
			 0);
	assert_int_equal(q->question, PAST_CHANGES);
	assert_string_equal(q->path, "/local/domain/5");
	assert_true(q->has_domain && q->domain == 5 && q->has_birth && q->birth == 17);
	assert_true(q->has_transaction && q->transaction == 3 && q->operation == PAST_SET);
	assert_true(q->limit == 7 && q->has_after && q->after.generation == 12);
	assert_true(q->after.index == 3 && q->newest && q->json);
	free(q);
}

static void what_is_no_question_is_named(void **state)
{
	static const struct {
		const char *text, *name;
	} rows[] = {{"colour=red", "query"},	   {"path=local", "path"},
		    {"path=/a//b", "path"},	   {"path=/a/", "path"},
		    {"domain=32752", "domain"},	   {"domain=x", "domain"},
		    {"limit=0", "limit"},	   {"after=/a", "after"},
		    {"at=now after=1.2", "after"}, {"at=now path=/a after=/b", "after"},
		    {"since=yesterday", "since"},  {"operation=made", "operation"}};
	struct past_query *q = xn_malloc(sizeof(*q));

	for (size_t i = 0; i < XN_ARRAY_SIZE(rows); i++) {
		struct xn_error err = {0};

		past_query_init(q);
		assert_int_equal(past_query_parse(q, rows[i].text, &err), -1);
		assert_string_equal(err.code, XN_ERR_INVALID_VALUE);
		assert_string_equal(err.params[0], rows[i].name);
		xn_error_clear(&err);
	}
	free(q);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_change_is_told_with_time_domain_old_and_new_value),
		TEST(all_changes_of_a_transaction_have_its_number_and_one_generation),
		TEST(the_removal_of_a_tree_tells_what_each_node_held),
		TEST(only_the_path_and_what_is_below_is_told),
		TEST(changes_are_found_between_times_and_by_whom),
		TEST(times_that_the_clock_may_have_shown_twice_are_refused),
		TEST(pages_join_in_either_order),
		TEST(secrets_are_hidden_from_those_who_may_not_see_them),
		TEST(what_is_no_text_is_told_as_text),
		TEST(the_tree_is_told_in_pages),
		TEST(what_is_not_known_is_an_error_and_not_another_times_answer),
		TEST(nothing_kept_is_an_error_for_a_state_and_an_empty_list_of_changes),
		TEST(the_tree_of_each_generation_is_what_the_store_had_then),
		TEST(what_is_left_of_a_history_that_was_cut_is_right),
		cmocka_unit_test(words_make_a_question),
		cmocka_unit_test(what_is_no_question_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
