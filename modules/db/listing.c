/*
 * Lists of rows as results: all of a class, or those that pass a test, as references or with their
 * records, as of the moment that the list was asked for. Gathered, tested, measured and written in
 * parts, so that a list of any length holds nobody up; what it keeps are references to records.
 */
#include "modules/db/db_internal.h"

#include "core/json.h"
#include "core/xml.h"

#include <stdlib.h>

enum {
	ROWS_A_STEP = 2000,	/* looked at: some 0.2 ms */
	TESTS_A_STEP = 20000,	/* instructions of a test */
	BYTES_A_STEP = 64 << 10, /* encoded or copied */
};

struct listing {
	struct xn_walk walk;
	enum xn_list_kind kind;
	struct xn_list_test test;
	bool walked;
	size_t tested, kept;
	struct {
		size_t rows;
		int64_t bytes;
	} measured[2]; /* by format */
};

/* A walk begins with the newest; lists begin with the one that changed least recently. */
static struct xn_record *record_at(const struct listing *list, size_t i)
{
	return list->walk.records[list->walk.n - 1 - i];
}

static void test_some(struct listing *list)
{
	struct xn_record **records = list->walk.records;
	size_t end = list->tested + TESTS_A_STEP / (list->test.cost ? list->test.cost : 1) + 1;

	for (; list->tested < list->walk.n && list->tested < end; list->tested++) {
		struct xn_record *record = records[list->tested];

		if (list->test.passes(list->test.arg, record))
			records[list->kept++] = record;
		else
			xn_record_unref(record);
	}
	if (list->tested < list->walk.n)
		return;
	list->walk.n = list->kept;
	list->test.free(list->test.arg);
	list->test = (struct xn_list_test){0};
}

/* A step on; whether the list is whole. */
static bool is_gathered(struct listing *list)
{
	if (!list->walked) {
		list->walked = xn_walk_step(&list->walk, ROWS_A_STEP);
		if (!list->walked)
			return false;
	}
	if (list->test.passes)
		test_some(list);
	return !list->test.passes;
}

/* ---- how a list looks: what is around a row's reference, and around its record ---- */

static const struct shape {
	const char *begin, *next, *ref_begin, *ref_end, *row_end, *end;
} shapes[2][2] = {
	[XN_LIST_REFS] = {
		[XN_FORMAT_JSON] = {"[", ",", "\"", "\"", "", "]"},
		[XN_FORMAT_XML] = {"<value><array><data>", "", "<value>", "</value>", "",
				   "</data></array></value>"},
	},
	[XN_LIST_RECORDS] = {
		[XN_FORMAT_JSON] = {"{", ",", "\"", "\":", "", "}"},
		[XN_FORMAT_XML] = {"<value><struct>", "", "<member><name>", "</name>", "</member>",
				   "</struct></value>"},
	},
};

static void write_row(const struct listing *list, enum xn_format format, size_t i,
		      struct xn_buf *out)
{
	const struct shape *shape = &shapes[list->kind][format];
	struct xn_record *record = record_at(list, i);

	if (i)
		xn_buf_add_string(out, shape->next);
	xn_buf_add_string(out, shape->ref_begin);
	/* References made here need no escapes; those that simulations give are no different. */
	xn_buf_add_string(out, xn_record_ref(record));
	xn_buf_add_string(out, shape->ref_end);
	if (list->kind == XN_LIST_RECORDS)
		xn_record_write(record, format, out);
	xn_buf_add_string(out, shape->row_end);
}

static bool write_part(const void *object, enum xn_format format, size_t *at, struct xn_buf *out)
{
	struct listing *list = (struct listing *)object; /* on its way to what it always was */
	const struct shape *shape = &shapes[list->kind][format];
	size_t start = out->len;

	if (!is_gathered(list))
		return true;
	if (!*at)
		xn_buf_add_string(out, shape->begin);
	while (*at < list->walk.n && out->len - start < BYTES_A_STEP)
		write_row(list, format, (*at)++, out);
	if (*at < list->walk.n)
		return true;
	xn_buf_add_string(out, shape->end);
	return false;
}

static int64_t measure(const void *object, enum xn_format format)
{
	struct listing *list = (struct listing *)object;
	const struct shape *shape = &shapes[list->kind][format];
	size_t around = strlen(shape->ref_begin) + strlen(shape->ref_end) + strlen(shape->row_end);
	size_t encoded = 0, end = list->measured[format].rows + ROWS_A_STEP, i, n;
	int64_t bytes = list->measured[format].bytes;

	if (!is_gathered(list))
		return -1;
	n = list->walk.n;
	for (i = list->measured[format].rows; i < n && i < end && encoded < BYTES_A_STEP; i++) {
		struct xn_record *record = record_at(list, i);

		bytes += (int64_t)(around + strlen(xn_record_ref(record)));
		if (list->kind == XN_LIST_RECORDS)
			bytes += (int64_t)xn_record_length(record, format, &encoded);
	}
	list->measured[format].rows = i;
	list->measured[format].bytes = bytes;
	if (i < n)
		return -1;
	return bytes + (int64_t)(strlen(shape->begin) + strlen(shape->end) +
				 (n > 1 ? n - 1 : 0) * strlen(shape->next));
}

static size_t held(const void *object)
{
	const struct listing *list = object;
	enum { RECORD = 96 };

	return sizeof(*list) + list->walk.cap * sizeof(list->walk.records[0]) +
	       list->walk.n * RECORD;
}

static void release(void *object)
{
	struct listing *list = object;

	/* Half tested: those between were let go. */
	if (list->test.passes) {
		while (list->tested < list->walk.n)
			list->walk.records[list->kept++] = list->walk.records[list->tested++];
		list->walk.n = list->kept;
		list->test.free(list->test.arg);
	}
	xn_walk_end(&list->walk);
	free(list);
}

static const struct xn_embed_ops ops = {
	.part = write_part,
	.measure = measure,
	.held = held,
	.release = release,
};

struct xn_value *xn_db_list(struct xn_db *db, int class_id, enum xn_list_kind kind,
			    const struct xn_list_test *test)
{
	struct listing *list = xn_calloc(1, sizeof(*list));

	list->kind = kind;
	if (test)
		list->test = *test;
	xn_walk_begin(&list->walk, db, class_id, 0);
	return xn_embed(&ops, list);
}

struct xn_value *xn_rows_records(struct xn_row *const *rows, size_t n)
{
	struct listing *list = xn_calloc(1, sizeof(*list));

	list->kind = XN_LIST_RECORDS;
	list->walked = true;
	list->walk.records = xn_malloc((n ? n : 1) * sizeof(list->walk.records[0]));
	list->walk.cap = list->walk.n = n;
	for (size_t i = 0; i < n; i++)
		list->walk.records[n - 1 - i] = xn_row_take(rows[i]);
	return xn_embed(&ops, list);
}
