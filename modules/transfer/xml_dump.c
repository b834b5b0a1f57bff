/*
 * GET /pool/xmldbdump: all rows of one moment as the field's XML, for its tools. First every table is
 * walked in steps, while rows that change leave their old records; then the records are written, a
 * slice each time that the client has taken the one before.
 *
 *	<database><manifest>...</manifest><table name="VM"><row ref="..." __ctime="1" __mtime="2" .../>
 *
 * Attributes are the fields' database names in byte order. Sets and maps are s-expressions of quoted
 * texts; blanks and % are written %. %t %n %r %%, as attributes do not keep white space.
 */
#include "modules/transfer/transfer_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	ROWS_A_STEP = 2000,
	PIECE = 64 << 10,
	RUN = 16 << 10, /* of a text that is written in one go */
	SCHEMA_MAJOR = 5, /* of the field's release whose classes and fields these are */
	SCHEMA_MINOR = 909,
};

struct dump {
	struct xn_transfer transfer;
	struct xn_outflow flow;
	struct xn_error err;
	uint64_t generation;
	struct xn_walk walks[XN_CLASS_COUNT]; /* of the classes that have a table */
	int class_id;			      /* walked, then written, up to here */
	size_t row;
	bool walked, begun, in_table, in_row, in_value;
	unsigned *order; /* public fields of class_id, by their name */
	unsigned field;	 /* of the row, by that order */
	bool ref_is_out; /* so is the attribute _ref */
	struct xn_buf text; /* of that field's value */
	size_t text_at;	 /* so much of it is out */
};

/* ---- values ---- */

static void add_sexpr(const struct xn_value *v, struct xn_buf *out);
static void add_text(const struct xn_value *v, struct xn_buf *out);

static void add_quoted(const char *s, size_t len, struct xn_buf *out)
{
	char *begin = xn_buf_reserve(out, 2 * len + 2), *to = begin;

	*to++ = '\'';
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '\'' || s[i] == '\\')
			*to++ = '\\';
		*to++ = s[i];
	}
	*to++ = '\'';
	out->len += (size_t)(to - begin);
}

static void add_quoted_value(const struct xn_value *v, struct xn_buf *out)
{
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	if (v->kind == XN_SET || v->kind == XN_MAP) {
		add_sexpr(v, out);
	} else if (v->kind == XN_STRING) {
		add_quoted(xn_value_string(v), xn_value_string_len(v), out);
	} else {
		add_text(v, &text);
		add_quoted(text.data, text.len, out);
	}
}

static void add_sexpr(const struct xn_value *v, struct xn_buf *out)
{
	size_t n = v->kind == XN_SET ? xn_set_len(v) : xn_map_len(v);

	xn_buf_add_char(out, '(');
	for (size_t i = 0; i < n; i++) {
		if (i)
			xn_buf_add_char(out, ' ');
		if (v->kind == XN_SET) {
			add_quoted_value(xn_set_at(v, i), out);
			continue;
		}
		xn_buf_add_char(out, '(');
		add_quoted(xn_map_key_at(v, i), strlen(xn_map_key_at(v, i)), out);
		xn_buf_add_char(out, ' ');
		add_quoted_value(xn_map_at(v, i), out);
		xn_buf_add_char(out, ')');
	}
	xn_buf_add_char(out, ')');
}

static void add_text(const struct xn_value *v, struct xn_buf *out)
{
	if (xn_value_add_plain(v, out))
		return;
	switch ((enum xn_kind)v->kind) {
	case XN_FLOAT:
		xn_buf_printf(out, "%.16g", xn_value_float(v));
		break;
	case XN_SET:
	case XN_MAP:
		add_sexpr(v, out);
		break;
	default:
		break;
	}
}

static void add_attribute(const char *s, size_t len, struct xn_buf *out)
{
	static const char *const written[128] = {
		[' '] = "%.",	[9] = "%t",	 [10] = "%n",	 [13] = "%r",
		['%'] = "%%",	['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;",
		['"'] = "&quot;",
	};

	enum { LONGEST = sizeof("&quot;") };
	char *begin = xn_buf_reserve(out, LONGEST * len), *to = begin;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < 128 && written[c])
			to = stpcpy(to, written[c]);
		else
			*to++ = s[i];
	}
	out->len += (size_t)(to - begin);
}

/* ---- tables ---- */

static int by_name(const void *a, const void *b, void *cls)
{
	const struct xn_field *fields = ((const struct xn_class *)cls)->fields;

	return strcmp(fields[*(const unsigned *)a].db_name, fields[*(const unsigned *)b].db_name);
}

static void begin_table(struct dump *dump, struct xn_buf *out)
{
	const struct xn_class *cls = &xn_classes[dump->class_id];

	dump->order = xn_realloc(dump->order, (cls->n_public + 1) * sizeof(*dump->order));
	for (unsigned f = 0; f < cls->n_public; f++)
		dump->order[f] = f;
	qsort_r(dump->order, cls->n_public, sizeof(dump->order[0]), by_name, (void *)cls);
	xn_buf_printf(out, "<table name=\"%s\">", cls->name);
}

static void begin_row(struct dump *dump, const struct xn_record *record, struct xn_buf *out)
{
	xn_buf_printf(out, "<row ref=\"%s\" __ctime=\"%" PRIu64 "\" __mtime=\"%" PRIu64 "\"",
		      xn_record_ref(record), xn_record_created(record),
		      xn_record_modified(record));
	dump->in_row = true;
	dump->field = 0;
	dump->ref_is_out = false;
}

static void begin_value(struct dump *dump, struct xn_record *record, struct xn_buf *out)
{
	unsigned f = dump->order[dump->field];
	const char *name = xn_classes[dump->class_id].fields[f].db_name;

	if (!dump->ref_is_out && strcmp(name, "_ref") > 0) {
		xn_buf_printf(out, " _ref=\"%s\"", xn_record_ref(record));
		dump->ref_is_out = true;
	}
	xn_buf_printf(out, " %s=\"", name);
	dump->text.len = dump->text_at = 0;
	add_text(xn_record_get(record, (int)f), &dump->text);
	dump->in_value = true;
}

/* Whether all of it is out. */
static bool write_value(struct dump *dump, struct xn_buf *out)
{
	while (dump->text_at < dump->text.len && out->len < PIECE) {
		size_t left = dump->text.len - dump->text_at, run = left < RUN ? left : RUN;

		add_attribute(dump->text.data + dump->text_at, run, out);
		dump->text_at += run;
	}
	if (dump->text_at < dump->text.len)
		return false;
	xn_buf_add_char(out, '"');
	dump->in_value = false;
	return true;
}

/* Rows may be large: one ends a piece inside of it, too. Whether it is complete. */
static bool write_row(struct dump *dump, struct xn_record *record, struct xn_buf *out)
{
	if (!dump->in_row)
		begin_row(dump, record, out);
	for (; dump->field < xn_classes[dump->class_id].n_public; dump->field++) {
		if (out->len >= PIECE)
			return false;
		if (!dump->in_value)
			begin_value(dump, record, out);
		if (!write_value(dump, out))
			return false;
	}
	xn_buf_add_string(out, "/>");
	dump->in_row = false;
	return true;
}

static bool has_table(int class_id)
{
	const struct xn_class *cls = &xn_classes[class_id];

	return cls->in_database && !cls->internal;
}

/* Rows of these do not outlive a restart there, so no dump has them: tasks, sessions. */
static bool has_rows(int class_id)
{
	return has_table(class_id) && xn_classes[class_id].persistent;
}

/* ---- slices ---- */

static void walk_some(struct dump *dump)
{
	for (; dump->class_id < XN_CLASS_COUNT; dump->class_id++) {
		if (has_rows(dump->class_id) &&
		    !xn_walk_step(&dump->walks[dump->class_id], ROWS_A_STEP))
			return;
	}
	dump->walked = true;
	dump->class_id = 0;
}

static void begin_document(struct dump *dump, struct xn_buf *out)
{
	xn_buf_printf(out,
		      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<database><manifest>"
		      "<pair key=\"schema_major_vsn\" value=\"%d\"/>"
		      "<pair key=\"schema_minor_vsn\" value=\"%d\"/>"
		      "<pair key=\"generation_count\" value=\"%" PRIu64 "\"/></manifest>",
		      SCHEMA_MAJOR, SCHEMA_MINOR, dump->generation);
	dump->begun = true;
}

/* Whether the table is complete. */
static bool write_table(struct dump *dump, struct xn_buf *out)
{
	struct xn_walk *walk = &dump->walks[dump->class_id];

	if (!dump->in_table)
		begin_table(dump, out);
	dump->in_table = true;
	while (dump->row < walk->n && out->len < PIECE)
		dump->row += write_row(dump, walk->records[dump->row], out);
	if (dump->row < walk->n)
		return false;
	xn_buf_add_string(out, "</table>");
	dump->in_table = false;
	dump->row = 0;
	return true;
}

static int make_slice(struct xn_outflow *flow, struct xn_buf *out)
{
	struct dump *dump = xn_container_of(flow, struct dump, flow);

	if (!dump->walked) {
		walk_some(dump);
		return 1;
	}
	if (!dump->begun)
		begin_document(dump, out);
	for (; dump->class_id < XN_CLASS_COUNT; dump->class_id++) {
		if (out->len >= PIECE || (has_table(dump->class_id) && !write_table(dump, out)))
			return 1;
	}
	xn_buf_add_string(out, "</database>");
	return 0;
}

static void on_made(struct xn_outflow *flow, size_t bytes)
{
	struct dump *dump = xn_container_of(flow, struct dump, flow);

	xn_transfer_progress(&dump->transfer, (double)dump->class_id / XN_CLASS_COUNT);
}

/* ---- begin and end ---- */

static void on_over(struct xn_outflow *flow, int rc)
{
	struct dump *dump = xn_container_of(flow, struct dump, flow);
	bool failed = xn_transfer_error(&dump->err, rc, "the dump was not made");

	xn_transfer_end(&dump->transfer, failed ? &dump->err : NULL);
	for (int c = 0; c < XN_CLASS_COUNT; c++)
		if (has_rows(c))
			xn_walk_end(&dump->walks[c]);
	xn_error_clear(&dump->err);
	xn_buf_clear(&dump->text);
	free(dump->order);
	free(dump);
}

static void stop(struct xn_transfer *transfer, const struct xn_error *err)
{
	struct dump *dump = xn_container_of(transfer, struct dump, transfer);

	xn_error_copy(&dump->err, err);
	xn_outflow_cut(&dump->flow);
}

static void on_admitted(const struct xn_http_request *req, struct xn_rpc_visit *visit, void *arg)
{
	struct xn_transfers *t = arg;
	struct xn_buf headers XN_CLEANUP(xn_buf_clear_p) = {0};
	struct dump *dump = xn_calloc(1, sizeof(*dump));

	if (!xn_transfer_begin(t, &dump->transfer, req, visit, stop)) {
		free(dump);
		return;
	}
	dump->generation = xn_db_generation(t->db);
	for (int c = 0; c < XN_CLASS_COUNT; c++)
		if (has_rows(c))
			xn_walk_begin(&dump->walks[c], t->db, c, 0);
	dump->flow = (struct xn_outflow){.core = t->core,
					 .conn = req->conn,
					 .make = make_slice,
					 .made = on_made,
					 .holds_records = true,
					 .over = on_over};
	xn_transfer_headers(&dump->transfer, "text/xml", NULL, &headers);
	xn_outflow_begin(&dump->flow, xn_buf_cstr(&headers), -1);
}

static const struct xn_rpc_door door = {
	.name = "get_pool_xml_db_sync",
	.role = XN_ROLE_POOL_ADMIN,
	.task_label = "Dumping database as XML",
	.run = on_admitted,
};

static void on_request(const struct xn_http_request *req, void *arg)
{
	xn_rpc_admit(((struct xn_transfers *)arg)->core, req, &door, arg);
}

const struct xn_http_route xn_transfer_xml_dump_route = {
	.method = "GET",
	.path = "/pool/xmldbdump",
	.kind = XN_HTTP_STREAM_OUT,
	.run = on_request,
};
