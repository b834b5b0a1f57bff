/*
 * Records as clients get them. A record is the public side of a row as of one moment: who takes one
 * holds a reference, and the row leaves its old values behind when it changes. JSON bytes are kept
 * until the row changes, in an LRU with a byte limit, so that lists and snapshots are memory copies.
 */
#include "modules/db/db_internal.h"

#include "core/json.h"
#include "core/xml.h"

#include <stdlib.h>

struct cached_json {
	struct xn_list link; /* db->cached */
	struct xn_record *record;
	size_t len;
	char bytes[];
};

struct xn_record {
	unsigned refs;	    /* of those who took it; the cache has none */
	struct xn_row *row; /* NULL: that has changed since, or is gone */
	struct xn_table *table;
	struct cached_json *json; /* NULL: not in the cache */
	/* Once the row has gone on: */
	struct xn_value *ref;
	struct xn_value **fields;
	uint64_t created, modified;
	uint32_t lengths[2];
	size_t frozen; /* in db->frozen_bytes for it */
};

/* ---- life ---- */

static void forget_json(struct xn_record *record)
{
	struct cached_json *json = record->json;

	if (!json)
		return;
	xn_list_remove(&json->link);
	record->table->db->cached_bytes -= sizeof(*json) + json->len;
	record->json = NULL;
	free(json);
}

static void free_if_unused(struct xn_record *record)
{
	if (record->refs || (record->row && record->json))
		return;
	forget_json(record);
	if (record->row)
		record->row->record = NULL;
	if (record->fields) {
		for (unsigned f = 0; f < record->table->cls->n_public; f++)
			xn_value_unref(record->fields[f]);
		free(record->fields);
		record->table->db->frozen_bytes -= record->frozen;
	}
	xn_value_unref(record->ref);
	free(record);
}

static struct xn_record *record_of(struct xn_row *row)
{
	if (!row->record) {
		row->record = xn_calloc(1, sizeof(*row->record));
		row->record->row = row;
		row->record->table = row->table;
	}
	return row->record;
}

struct xn_record *xn_row_take(struct xn_row *row)
{
	struct xn_record *record = record_of(row);

	record->refs++;
	return record;
}

struct xn_record *xn_record_share(struct xn_record *record)
{
	record->refs++;
	return record;
}

void xn_record_unref(struct xn_record *record)
{
	if (!record)
		return;
	record->refs--;
	free_if_unused(record);
}

size_t xn_value_weight(const struct xn_value *v)
{
	size_t sum = sizeof(*v);

	switch ((enum xn_kind)v->kind) {
	case XN_STRING:
		return sum + v->string.len;
	case XN_SET:
		/* Thousands of references, as a rule, which are shared and alike. */
		return sum + (v->set.len ? v->set.len * (sizeof(v->set.items[0]) +
							 xn_value_weight(v->set.items[0]))
					 : 0);
	case XN_MAP:
		for (uint32_t i = 0; i < v->map.len; i++)
			sum += sizeof(v->map.entries[i]) + xn_value_weight(v->map.entries[i].key) +
			       xn_value_weight(v->map.entries[i].value);
		return sum;
	default:
		return sum;
	}
}

size_t xn_row_weight(const struct xn_row *row)
{
	const struct xn_table *table = row->table;
	size_t sum = 0;

	for (unsigned f = 0; f < table->cls->n_public; f++)
		if (row->fields[f] != table->defaults[f])
			sum += xn_value_weight(row->fields[f]);
	return sum;
}

/* The row goes on without it: it keeps the values, which are shared and immutable. */
static void freeze(struct xn_record *record)
{
	const struct xn_row *row = record->row;
	const struct xn_table *table = record->table;
	unsigned n = table->cls->n_public;

	record->ref = xn_value_ref(row->ref);
	record->created = row->created;
	record->modified = row->modified;
	record->fields = xn_malloc((n ? n : 1) * sizeof(record->fields[0]));
	record->frozen = sizeof(*record) + n * sizeof(record->fields[0]) + xn_row_weight(row);
	for (unsigned f = 0; f < n; f++)
		record->fields[f] = xn_value_ref(row->fields[f]);
	memcpy(record->lengths, row->lengths, sizeof(record->lengths));
	table->db->frozen_bytes += record->frozen;
}

void xn_record_leave(struct xn_row *row)
{
	struct xn_record *record = row->record;

	if (record && record->refs)
		freeze(record);
	memset(row->lengths, 0, sizeof(row->lengths));
	if (!record)
		return;
	row->record = NULL;
	record->row = NULL;
	free_if_unused(record);
}

size_t xn_db_frozen_bytes(const struct xn_db *db)
{
	return db->frozen_bytes;
}

/* ---- reading ---- */

const char *xn_record_ref(const struct xn_record *record)
{
	return xn_value_string(record->row ? record->row->ref : record->ref);
}

int xn_record_class(const struct xn_record *record)
{
	return record->table->cls->id;
}

uint64_t xn_record_created(const struct xn_record *record)
{
	return record->row ? record->row->created : record->created;
}

uint64_t xn_record_modified(const struct xn_record *record)
{
	return record->row ? record->row->modified : record->modified;
}

static struct xn_value *const *fields_of(const struct xn_record *record)
{
	return record->row ? record->row->fields : record->fields;
}

const struct xn_value *xn_record_get(const struct xn_record *record, int field)
{
	return fields_of(record)[field];
}

static void encode_json(const struct xn_record *record, struct xn_buf *out)
{
	const struct xn_table *table = record->table;
	struct xn_value *const *fields = fields_of(record);

	for (unsigned f = 0; f < table->cls->n_public; f++) {
		const struct xn_json_field *json = &table->json[f];

		if (fields[f] == table->defaults[f]) {
			xn_buf_add(out, json->text, json->len);
			continue;
		}
		xn_buf_add(out, json->text, json->key_len);
		xn_json_write(fields[f], out);
	}
	xn_buf_add_string(out, table->cls->n_public ? "}" : "{}");
}

static void encode_xml(const struct xn_record *record, struct xn_buf *out)
{
	const struct xn_class *cls = record->table->cls;
	struct xn_value *const *fields = fields_of(record);

	xn_buf_add_string(out, "<value><struct>");
	for (unsigned f = 0; f < cls->n_public; f++) {
		xn_buf_add_string(out, "<member><name>");
		xn_buf_add_string(out, cls->fields[f].name);
		xn_buf_add_string(out, "</name>");
		xn_xml_write(fields[f], out);
		xn_buf_add_string(out, "</member>");
	}
	xn_buf_add_string(out, "</struct></value>");
}

/* ---- the cache ---- */

static void keep(struct xn_record *record, const char *bytes, size_t len)
{
	struct xn_db *db = record->table->db;
	struct cached_json *json = xn_malloc(sizeof(*json) + len);

	json->record = record;
	json->len = len;
	memcpy(json->bytes, bytes, len);
	record->json = json;
	xn_list_push(&db->cached, &json->link);
	db->cached_bytes += sizeof(*json) + len;
}

static void make_room(struct xn_db *db, size_t len)
{
	while (db->cached_bytes + len > db->cache_limit && !xn_list_empty(&db->cached)) {
		struct xn_record *oldest =
			xn_list_entry(db->cached.next, struct cached_json, link)->record;

		forget_json(oldest);
		free_if_unused(oldest);
	}
}

static void mark_used(struct xn_db *db, struct cached_json *json)
{
	xn_list_remove(&json->link);
	xn_list_push(&db->cached, &json->link);
}

const char *xn_row_json(struct xn_row *row, size_t *len_out)
{
	struct xn_db *db = row->table->db;
	struct xn_record *record = record_of(row);

	if (record->json) {
		mark_used(db, record->json);
	} else {
		db->scratch.len = 0;
		encode_json(record, &db->scratch);
		make_room(db, db->scratch.len);
		keep(record, db->scratch.data, db->scratch.len);
	}
	*len_out = record->json->len;
	return record->json->bytes;
}

static uint32_t *length_of(struct xn_record *record, enum xn_format format)
{
	return record->row ? &record->row->lengths[format] : &record->lengths[format];
}

/* What is not in the cache enters it only where there is room, so that a list that is larger than
 * the cache does not push itself out. */
static void append_json(struct xn_record *record, struct xn_buf *out)
{
	struct xn_db *db = record->table->db;
	size_t start = out->len, len;

	if (record->json) {
		mark_used(db, record->json);
		xn_buf_add(out, record->json->bytes, record->json->len);
		return;
	}
	encode_json(record, out);
	len = out->len - start;
	if (record->row && !record->row->deleted && db->cached_bytes + len <= db->cache_limit)
		keep(record, out->data + start, len);
}

void xn_record_write(struct xn_record *record, enum xn_format format, struct xn_buf *out)
{
	size_t start = out->len;

	if (format == XN_FORMAT_JSON)
		append_json(record, out);
	else
		encode_xml(record, out);
	*length_of(record, format) = (uint32_t)(out->len - start);
}

size_t xn_record_length(struct xn_record *record, enum xn_format format, size_t *encoded)
{
	struct xn_buf *scratch = &record->table->db->scratch;
	uint32_t known = *length_of(record, format);

	if (known)
		return known;
	if (format == XN_FORMAT_JSON && record->json)
		return record->json->len;
	scratch->len = 0;
	xn_record_write(record, format, scratch);
	*encoded += scratch->len;
	return scratch->len;
}

/* ---- one record as a result ---- */

static void write_record(const void *object, enum xn_format format, struct xn_buf *out)
{
	xn_record_write((struct xn_record *)object, format, out);
}

static void release_record(void *object)
{
	xn_record_unref(object);
}

struct xn_value *xn_row_record(struct xn_row *row)
{
	static const struct xn_embed_ops ops = {.write = write_record, .release = release_record};

	return xn_embed(&ops, xn_row_take(row));
}

/* ---- last records of deleted rows ---- */

struct last_record {
	struct xn_list link; /* db->last_records, in order of deletion */
	uint64_t deleted;
	struct xn_record *record;
};

static void last_record_free(struct last_record *last)
{
	xn_list_remove(&last->link);
	xn_record_unref(last->record);
	free(last);
}

void xn_record_is_last(struct xn_row *row, uint64_t deleted)
{
	struct xn_db *db = row->table->db;
	struct last_record *last;

	if (!db->keeps_deleted)
		return;
	last = xn_malloc(sizeof(*last));
	last->deleted = deleted;
	last->record = xn_row_take(row);
	xn_list_push(&db->last_records, &last->link);
}

struct xn_record *xn_db_take_deleted(struct xn_db *db, uint64_t deleted)
{
	while (!xn_list_empty(&db->last_records)) {
		struct last_record *last =
			xn_list_entry(db->last_records.next, struct last_record, link);
		struct xn_record *record = last->record;

		if (last->deleted > deleted)
			break;
		if (last->deleted == deleted) {
			last->record = NULL;
			last_record_free(last);
			return record;
		}
		last_record_free(last);
	}
	return NULL;
}

void xn_last_records_take_back(struct xn_db *db, uint64_t from)
{
	xn_list_each_safe(link, &db->last_records) {
		struct last_record *last = xn_list_entry(link, struct last_record, link);

		if (last->deleted >= from)
			last_record_free(last);
	}
}

void xn_db_drop_deleted(struct xn_db *db)
{
	xn_last_records_take_back(db, 0);
}

void xn_db_keep_deleted(struct xn_db *db, bool keep)
{
	db->keeps_deleted = keep;
	if (!keep)
		xn_db_drop_deleted(db);
}
