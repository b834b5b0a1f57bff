/*
 * Records as clients get them. The JSON bytes of a row are kept until the row changes, in an LRU
 * with a byte limit, so that a list of records and an event's snapshot are memory copies.
 */
#include "modules/db/db_internal.h"

#include "core/json.h"
#include "core/xml.h"

#include <stdlib.h>

struct xn_cached_record {
	struct xn_list link; /* db->records */
	struct xn_row *row;
	size_t len;
	char bytes[];
};

void xn_record_forget(struct xn_row *row)
{
	struct xn_cached_record *record = row->cached;

	if (!record)
		return;
	xn_list_remove(&record->link);
	row->table->db->record_bytes -= sizeof(*record) + record->len;
	row->cached = NULL;
	free(record);
}

static void write_json(const struct xn_row *row, struct xn_buf *out)
{
	const struct xn_table *table = row->table;

	for (unsigned f = 0; f < table->cls->n_public; f++) {
		const struct xn_json_field *json = &table->json[f];

		if (row->fields[f] == table->defaults[f]) {
			xn_buf_add(out, json->text, json->len);
			continue;
		}
		xn_buf_add(out, json->text, json->key_len);
		xn_json_write(row->fields[f], out);
	}
	xn_buf_add_string(out, table->cls->n_public ? "}" : "{}");
}

static void write_xml(const struct xn_row *row, struct xn_buf *out)
{
	const struct xn_class *cls = row->table->cls;

	xn_buf_add_string(out, "<value><struct>");
	for (unsigned f = 0; f < cls->n_public; f++) {
		xn_buf_add_string(out, "<member><name>");
		xn_buf_add_string(out, cls->fields[f].name);
		xn_buf_add_string(out, "</name>");
		xn_xml_write(row->fields[f], out);
		xn_buf_add_string(out, "</member>");
	}
	xn_buf_add_string(out, "</struct></value>");
}

static struct xn_cached_record *keep(struct xn_row *row, const char *bytes, size_t len)
{
	struct xn_db *db = row->table->db;
	struct xn_cached_record *record = xn_malloc(sizeof(*record) + len);

	record->row = row;
	record->len = len;
	memcpy(record->bytes, bytes, len);
	row->cached = record;
	xn_list_push(&db->records, &record->link);
	db->record_bytes += sizeof(*record) + len;
	return record;
}

static void make_room(struct xn_db *db, size_t len)
{
	while (db->record_bytes + len > db->record_limit && !xn_list_empty(&db->records))
		xn_record_forget(
			xn_list_entry(db->records.next, struct xn_cached_record, link)->row);
}

static void mark_used(struct xn_db *db, struct xn_cached_record *record)
{
	xn_list_remove(&record->link);
	xn_list_push(&db->records, &record->link);
}

const char *xn_row_json(struct xn_row *row, size_t *len_out)
{
	struct xn_db *db = row->table->db;

	if (row->cached) {
		mark_used(db, row->cached);
	} else {
		db->scratch.len = 0;
		write_json(row, &db->scratch);
		make_room(db, db->scratch.len);
		keep(row, db->scratch.data, db->scratch.len);
	}
	*len_out = row->cached->len;
	return row->cached->bytes;
}

/* For lists: what is not in the cache enters it only where there is room, so that a list that is
 * larger than the cache does not push itself out. */
static void append_json(struct xn_row *row, struct xn_buf *out)
{
	struct xn_db *db = row->table->db;
	size_t start = out->len;

	if (row->cached) {
		mark_used(db, row->cached);
		xn_buf_add(out, row->cached->bytes, row->cached->len);
		return;
	}
	write_json(row, out);
	if (!row->deleted && db->record_bytes + out->len - start <= db->record_limit)
		keep(row, out->data + start, out->len - start);
}

static void write_record(const void *object, enum xn_format format, struct xn_buf *out)
{
	struct xn_row *row = (struct xn_row *)object; /* its cache changes, its content does not */

	if (format == XN_FORMAT_XML)
		write_xml(row, out);
	else
		append_json(row, out);
}

struct xn_value *xn_row_record(struct xn_row *row)
{
	static const struct xn_embed_ops ops = {.write = write_record};

	return xn_embed(&ops, row);
}

struct row_list {
	size_t n;
	struct xn_row *rows[];
};

/* Room for all of it at once: a list may be megabytes. */
static void reserve(const struct row_list *list, struct xn_buf *out)
{
	enum {
		AROUND = 64,
		UNKNOWN = 1024
	}; /* the reference and marks; a record not in the cache */
	size_t size = 0;

	for (size_t i = 0; i < list->n; i++)
		size += AROUND + (list->rows[i]->cached ? list->rows[i]->cached->len : UNKNOWN);
	xn_buf_reserve(out, size);
}

static void write_records_json(const struct row_list *list, struct xn_buf *out)
{
	reserve(list, out);
	for (size_t i = 0; i < list->n; i++) {
		xn_buf_add_char(out, i ? ',' : '{');
		xn_json_write(list->rows[i]->ref, out);
		xn_buf_add_char(out, ':');
		append_json(list->rows[i], out);
	}
	xn_buf_add_string(out, list->n ? "}" : "{}");
}

static void write_records(const void *object, enum xn_format format, struct xn_buf *out)
{
	const struct row_list *list = object;

	if (format == XN_FORMAT_JSON) {
		write_records_json(list, out);
		return;
	}
	xn_buf_add_string(out, "<value><struct>");
	for (size_t i = 0; i < list->n; i++) {
		xn_buf_add_string(out, "<member><name>");
		xn_buf_add_string(out, xn_row_ref(list->rows[i]));
		xn_buf_add_string(out, "</name>");
		write_xml(list->rows[i], out);
		xn_buf_add_string(out, "</member>");
	}
	xn_buf_add_string(out, "</struct></value>");
}

struct xn_value *xn_rows_records(struct xn_row *const *rows, size_t n)
{
	static const struct xn_embed_ops ops = {.write = write_records, .release = free};
	struct row_list *list = xn_malloc(sizeof(*list) + n * sizeof(list->rows[0]));

	list->n = n;
	if (n)
		memcpy(list->rows, rows, n * sizeof(list->rows[0]));
	return xn_embed(&ops, list);
}
