/*
 * From the store's bytes to rows: the checkpoint, then the transactions after it. Stored fields go
 * in as they are; derived ends and shared texts follow once all rows are there. A malformed entry
 * refuses the start; what is well formed but unknown to this schema is left out and counted in the
 * log. A check (db->findings) is told each thing that is wrong, and the rest is read all the same.
 */
#include "modules/db/db_internal.h"

#include "core/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* Rows have many sets and maps alike: the bytes of one in the checkpoint stand for its value. The
 * checkpoint's bytes stay where they are while it is read. */
struct known {
	const struct xn_type *type;
	struct xn_slice bytes;
	struct xn_value *value;
};
enum { KNOWN_SLOTS = 4096, KNOWN_LEAST = 4 };

struct load {
	struct xn_db *db;
	struct known *known;
	struct xn_slice origin[3]; /* of the entries that follow */
	unsigned unknown, misfits;
	char what[80]; /* what is wrong, for the message */
};

static int refuse(struct load *load, const char *what)
{
	size_t len = strnlen(what, sizeof(load->what) - 1);

	memcpy(load->what, what, len);
	load->what[len] = '\0';
	return -EBADMSG;
}

/* @where: "" or of what waits. */
static void tell_misfit(struct load *load, int class_id, const char *ref, int field,
			const char *where, const struct xn_value *v)
{
	const struct xn_field *f = &xn_classes[class_id].fields[field];
	struct xn_buf text XN_CLEANUP(xn_buf_clear_p) = {0};

	load->misfits++;
	if (!load->db->findings)
		return;
	xn_json_write(v, &text);
	xn_finding(load->db->findings, "%s %s %s: %sis not of the type %s: %.60s",
		   xn_classes[class_id].name, ref, f->name, where, f->type->text,
		   xn_buf_cstr(&text));
}

/* The value of a field, or NULL: malformed. */
static struct xn_value *take_field(struct load *load, const struct xn_row *row, int field,
				   const struct xn_slice *bytes)
{
	const struct xn_type *type = xn_row_field(row, field)->type;
	struct xn_value *otherwise = row->table->defaults[field];
	struct xn_cursor in = xn_cursor(bytes->data, bytes->len);
	struct xn_value *v = xn_take_value(&in);

	if (!v)
		return NULL;
	if (!xn_value_fits(type, v)) {
		tell_misfit(load, xn_row_class(row), xn_row_ref(row), field, "", v);
		xn_value_unref(v);
		return xn_value_ref(otherwise);
	}
	if (xn_value_equal(v, otherwise)) {
		xn_value_unref(v);
		return xn_value_ref(otherwise);
	}
	return xn_type_is_refs(type) ? v : xn_intern(&load->db->values, v);
}

static struct xn_value *take_known_field(struct load *load, const struct xn_row *row, int field,
					 const struct xn_slice *bytes)
{
	const struct xn_type *type = xn_row_field(row, field)->type;
	struct known *known;

	if (!load->known || bytes->len < KNOWN_LEAST || xn_type_is_refs(type) ||
	    (type->kind != XN_T_SET && type->kind != XN_T_MAP && type->kind != XN_T_ENUM))
		return take_field(load, row, field, bytes);
	known = &load->known[xn_hash_bytes(bytes->data, bytes->len) % KNOWN_SLOTS];
	if (known->type != type || known->bytes.len != bytes->len ||
	    memcmp(known->bytes.data, bytes->data, bytes->len) != 0) {
		struct xn_value *v = take_field(load, row, field, bytes);

		if (!v)
			return NULL;
		xn_value_unref(known->value);
		*known = (struct known){type, *bytes, v};
	}
	return xn_value_ref(known->value);
}

static void forget_known(struct load *load)
{
	for (int i = 0; load->known && i < KNOWN_SLOTS; i++)
		xn_value_unref(load->known[i].value);
	free(load->known);
	load->known = NULL;
}

/* A field that this schema lacks or derives may be of another version; one that the dictionary has
 * for another class, or not at all, was never written by any. */
static void tell_unknown(struct load *load, int class_id, const char *ref, uint32_t no)
{
	const struct xn_names *names = &load->db->names;
	bool named = no && no < names->n &&
		     (names->by_no[no].class_id < 0 ||
		      (names->by_no[no].class_id == class_id && names->by_no[no].field >= 0));

	load->unknown++;
	if (load->db->findings && !named)
		xn_finding(load->db->findings, "%s %s: has a field of no name, number %u",
			   xn_classes[class_id].name, ref, no);
}

static int load_pairs(struct load *load, struct xn_row *row, struct xn_cursor *in)
{
	int class_id = xn_row_class(row), rc;
	struct xn_slice bytes;
	uint32_t no;

	while ((rc = xn_take_pair(in, &no, &bytes)) == 1) {
		int field = xn_names_field(&load->db->names, class_id, no);
		struct xn_value *v;

		if (field < 0 || xn_field_is_derived(xn_row_field(row, field))) {
			tell_unknown(load, class_id, xn_row_ref(row), no);
			continue;
		}
		v = take_known_field(load, row, field, &bytes);
		if (!v)
			return refuse(load, "a malformed value");
		xn_value_unref(row->fields[field]);
		row->fields[field] = v;
	}
	return rc < 0 ? refuse(load, "a malformed row") : 0;
}

static struct xn_row *find(struct load *load, const struct xn_slice *ref_bytes,
			   char ref[XN_REF_LEN])
{
	struct xn_cursor in = xn_cursor(ref_bytes->data, ref_bytes->len);

	if (xn_take_string(&in, ref, XN_REF_LEN) < 0 || in.at != in.end) {
		*ref = '\0';
		return NULL;
	}
	return xn_db_get_any(load->db, ref);
}

/* As for fields: a class that the dictionary lacks was never written. */
static int leave_class_out(struct load *load, uint32_t class_no)
{
	load->unknown++;
	if (load->db->findings && (!class_no || class_no >= load->db->names.n))
		return refuse(load, "a class of no name");
	return 0;
}

static int load_row(struct load *load, const struct xn_slice *ref_bytes, uint32_t class_no,
		    uint64_t created, uint64_t modified, struct xn_cursor *pairs)
{
	int class_id = xn_names_class(&load->db->names, class_no), rc;
	struct xn_row *row;
	char ref[XN_REF_LEN];

	if (find(load, ref_bytes, ref))
		return refuse(load, "a reference that two rows have");
	if (!*ref)
		return refuse(load, "a malformed reference");
	if (class_id < 0)
		return leave_class_out(load, class_no);
	row = xn_row_new(xn_table_of(load->db, class_id), xn_string(ref), created, modified);
	rc = load_pairs(load, row, pairs);
	if (rc < 0)
		xn_row_free(row);
	else
		xn_row_enter(row);
	return rc;
}

/* ---- the checkpoint ---- */

static int load_checkpointed_row(struct load *load, const struct xn_slice *key,
				 struct xn_cursor in)
{
	struct xn_row_head head;

	if (xn_take_row_head(&in, &head) < 0)
		return refuse(load, "a malformed row");
	return load_row(load, key, head.class_no, head.created, head.modified, &in);
}

/* Such keys are big-endian, in order. */
static uint64_t number_of_key(const struct xn_slice *key)
{
	uint64_t number = 0;

	for (size_t i = 0; i < key->len; i++)
		number = number << 8 | key->data[i];
	return number;
}

static int load_tombstone(struct load *load, const struct xn_slice *key, struct xn_cursor in)
{
	struct xn_tombstone_bytes tomb;

	if (xn_take_tombstone(&in, &tomb) < 0)
		return refuse(load, "a malformed tombstone");
	if (load->db->findings && (key->len != 8 || number_of_key(key) != tomb.deleted))
		xn_finding(load->db->findings, "the deletion of %s lies at another stamp than its",
			   tomb.ref);
	if (xn_names_class(&load->db->names, tomb.class_no) >= 0)
		xn_tombstone_add(load->db, xn_names_class(&load->db->names, tomb.class_no),
				 tomb.ref, tomb.created, tomb.deleted);
	return 0;
}

static int load_later_pairs(struct load *load, struct xn_later *later, struct xn_cursor in)
{
	int class_id = later->class_id, rc;
	struct xn_slice bytes;
	uint32_t no;

	while ((rc = xn_take_pair(&in, &no, &bytes)) == 1) {
		int field = xn_names_field(&load->db->names, class_id, no);
		struct xn_cursor value_in = xn_cursor(bytes.data, bytes.len);
		XN_CLEANUP(xn_value_unref_p) struct xn_value *v = xn_take_value(&value_in);

		if (!v)
			return refuse(load, "a malformed value");
		if (field < 0)
			tell_unknown(load, class_id, later->ref, no);
		else if (!xn_value_fits(xn_classes[class_id].fields[field].type, v))
			tell_misfit(load, class_id, later->ref, field, "what waits ", v);
		else
			xn_map_put(&later->fields, xn_classes[class_id].fields[field].name,
				   xn_value_ref(v));
	}
	return rc < 0 ? refuse(load, "a malformed change") : 0;
}

static int load_later(struct load *load, uint64_t id, const struct xn_tx_entry *entry)
{
	int class_id = xn_names_class(&load->db->names, entry->class_no);
	struct xn_later *later;

	if (id >= load->db->next_later)
		load->db->next_later = id + 1;
	if (class_id < 0)
		return leave_class_out(load, entry->class_no);
	later = xn_calloc(1, sizeof(*later));
	later->id = id;
	later->class_id = class_id;
	later->fields = xn_map_new();
	for (size_t i = 0; i < XN_ARRAY_SIZE(load->origin); i++)
		if (load->origin[i].len && load->origin[i].len < XN_ORIGIN_TEXT)
			memcpy(later->origin[i], load->origin[i].data, load->origin[i].len);
	xn_list_push(&load->db->laters, &later->link);
	find(load, &entry->ref, later->ref);
	if (!*later->ref && load->db->findings)
		return refuse(load, "a malformed reference");
	return load_later_pairs(load, later, xn_cursor(entry->pairs.data, entry->pairs.len));
}

static void drop_later(struct xn_db *db, uint64_t id)
{
	xn_list_each_safe(link, &db->laters) {
		struct xn_later *later = xn_list_entry(link, struct xn_later, link);

		if (later->id == id)
			xn_later_free(later);
	}
}

static int load_later_entry(struct load *load, struct xn_cursor in)
{
	const struct xn_tx_head no_head = {0};
	struct xn_tx_entry entry;

	if (xn_take_tx_entry(&in, &no_head, &entry) != 1 || entry.op != XN_TX_LATER)
		return refuse(load, "a malformed change");
	return load_later(load, entry.id, &entry);
}

static bool key_is(const struct xn_slice *key, const char *name)
{
	return key->len == strlen(name) && memcmp(key->data, name, key->len) == 0;
}

static int load_meta(struct load *load, const struct xn_slice *key, struct xn_cursor in)
{
	struct xn_db *db = load->db;
	size_t len = (size_t)(in.end - in.at);
	int rc = 0;

	if (key_is(key, XN_META_NAMES))
		rc = xn_names_load(&db->names, in.at, len);
	else if (key_is(key, XN_META_SKIPPED))
		rc = xn_skipped_load(db, in.at, len);
	else if (key_is(key, XN_META_GENERATION))
		rc = xn_take_fixed(&in, &db->generation);
	else if (key_is(key, XN_META_FLOOR))
		rc = xn_take_fixed(&in, &db->floor);
	else if (key_is(key, XN_META_NEXT_LATER))
		rc = xn_take_fixed(&in, &db->next_later);
	else if (key_is(key, XN_META_FORMAT))
		rc = xn_format_load(in);
	else if (key_is(key, XN_META_BOOT) && len < sizeof(db->last_boot)) {
		memcpy(db->last_boot, in.at, len);
		db->last_boot[len] = '\0';
	}
	if (rc == -ENOTSUP)
		return refuse(load, "a format that a newer version wrote");
	return rc < 0 ? refuse(load, "malformed housekeeping data") : 0;
}

static int load_entry(struct load *load, enum xn_space space, const struct xn_slice *key,
		      struct xn_cursor in)
{
	switch (space) {
	case XN_SPACE_META:
		return load_meta(load, key, in);
	case XN_SPACE_ROWS:
		return load_checkpointed_row(load, key, in);
	case XN_SPACE_TOMBS:
		return load_tombstone(load, key, in);
	case XN_SPACE_LATER:
		return load_later_entry(load, in);
	case XN_SPACE_STORE:
	case XN_SPACE_COUNT:
		break;
	}
	return 0;
}

/* What a start refuses, a check tells. @ref: encoded; empty: of no row. */
static int judge(struct load *load, int rc, const struct xn_slice *ref)
{
	struct xn_cursor in = xn_cursor(ref->data, ref->len);
	char text[XN_REF_LEN] = "";

	if (rc >= 0 || !load->db->findings)
		return rc;
	if (ref->len && xn_take_string(&in, text, sizeof(text)) < 0)
		*text = '\0';
	xn_finding(load->db->findings, "%s%s%s", *text ? text : "the database",
		   ": holds ", *load->what ? load->what : "what cannot be read");
	*load->what = '\0';
	return 0;
}

static const char damaged_here[] = "is damaged in the checkpoint";

/* As far as it still tells of what class it was. */
static void tell_damaged_row(struct load *load, struct xn_cursor key, struct xn_cursor in)
{
	char ref[XN_REF_LEN];
	struct xn_row_head head;
	int class_id = -1;

	if (xn_take_string(&key, ref, sizeof(ref)) < 0)
		*ref = '\0';
	if (xn_take_row_head(&in, &head) == 0)
		class_id = xn_names_class(&load->db->names, head.class_no);
	xn_finding(load->db->findings, "%s %s: %s",
		   class_id < 0 ? "a row" : xn_classes[class_id].name, ref, damaged_here);
}

static void on_damaged_entry(void *arg, enum xn_space space, const void *key, size_t key_len,
			     const void *value, size_t len)
{
	const struct xn_slice key_slice = {key, key_len};
	struct load *load = arg;
	struct xn_findings *findings = load->db->findings;

	if (space == XN_SPACE_ROWS) {
		tell_damaged_row(load, xn_cursor(key, key_len), xn_cursor(value, len));
	} else if (space == XN_SPACE_TOMBS) {
		xn_finding(findings, "the deletion of generation %" PRIu64 ": %s",
			   number_of_key(&key_slice), damaged_here);
	} else if (space == XN_SPACE_LATER) {
		xn_finding(findings, "the change that waits, number %" PRIu64 ": %s",
			   number_of_key(&key_slice), damaged_here);
	} else { /* by which rows are read */
		xn_finding(findings, "the database's \"%.*s\": %s", (int)key_len,
			   (const char *)key, damaged_here);
		findings->is_partial = true;
	}
}

static void on_damaged_checkpoint(void *arg, const char *what)
{
	struct load *load = arg;

	xn_finding(load->db->findings, "%s", what);
	load->db->findings->is_partial = true;
}

static bool is_partial(const struct load *load)
{
	return load->db->findings && load->db->findings->is_partial;
}

static int on_entry(void *arg, enum xn_space space, const void *key, size_t key_len,
		    const void *value, size_t len)
{
	const struct xn_slice none = {0}, key_slice = {key, key_len};
	struct load *load = arg;

	if (is_partial(load))
		return 0;
	return judge(load, load_entry(load, space, &key_slice, xn_cursor(value, len)),
		     space == XN_SPACE_ROWS ? &key_slice : &none);
}

/* ---- transactions ---- */

static void load_delete(struct load *load, struct xn_row *row, const struct xn_tx_entry *entry)
{
	if (entry->created)
		xn_tombstone_add(load->db, xn_row_class(row), xn_row_ref(row), entry->created,
				 entry->stamp);
	xn_row_leave(row);
	xn_row_free(row);
}

static int load_set(struct load *load, struct xn_row *row, const struct xn_tx_entry *entry)
{
	struct xn_cursor pairs = xn_cursor(entry->pairs.data, entry->pairs.len);
	int rc;

	xn_row_uuid_leave(row);
	rc = load_pairs(load, row, &pairs);
	xn_row_uuid_enter(row);
	xn_row_stamp(row, entry->stamp);
	return rc;
}

static int load_tx_entry(struct load *load, const struct xn_tx_entry *entry)
{
	struct xn_cursor pairs = xn_cursor(entry->pairs.data, entry->pairs.len);
	struct xn_row *row = NULL;
	char ref[XN_REF_LEN];

	if (entry->ref.len)
		row = find(load, &entry->ref, ref);
	switch (entry->op) {
	case XN_TX_CREATE:
		return load_row(load, &entry->ref, entry->class_no, entry->stamp, entry->stamp,
				&pairs);
	case XN_TX_SET:
		return row ? load_set(load, row, entry) : 0;
	case XN_TX_STAMP:
		if (row)
			xn_row_stamp(row, entry->stamp);
		return 0;
	case XN_TX_DELETE:
		if (row)
			load_delete(load, row, entry);
		return 0;
	case XN_TX_LATER:
		return load_later(load, entry->id, entry);
	case XN_TX_LATER_DONE:
		drop_later(load->db, entry->id);
		return 0;
	case XN_TX_META:
		return load_meta(load, &entry->texts[0],
				 xn_cursor(entry->texts[1].data, entry->texts[1].len));
	case XN_TX_ORIGIN:
		memcpy(load->origin, entry->texts, sizeof(load->origin));
		return 0;
	case XN_TX_WAS:
		return 0;
	}
	return 0;
}

/* Transactions follow on each other, and give out the stamps that they say. */
static void check_head(struct load *load, const struct xn_tx_head *head)
{
	if (load->db->findings && (head->first != load->db->generation || head->next < head->first))
		xn_finding(load->db->findings,
			   "a transaction has the generations %" PRIu64 " to %" PRIu64
			   ", behind one that ended at %" PRIu64,
			   head->first, head->next, load->db->generation);
}

static int load_transaction(struct load *load, struct xn_cursor in)
{
	struct xn_tx_entry entry;
	struct xn_tx_head head;
	int rc, more;

	memset(load->origin, 0, sizeof(load->origin));
	if (xn_take_tx_head(&in, &head) < 0)
		return refuse(load, "a malformed transaction");
	check_head(load, &head);
	while ((more = xn_take_tx_entry(&in, &head, &entry)) == 1) {
		rc = judge(load, load_tx_entry(load, &entry), &entry.ref);
		if (rc < 0)
			return rc;
	}
	if (more < 0)
		return refuse(load, "a malformed transaction");
	load->db->generation = head.next;
	return 0;
}

static int on_transaction(void *arg, const void *bytes, size_t len)
{
	const struct xn_slice none = {0};
	struct load *load = arg;

	forget_known(load);
	if (is_partial(load))
		return 0;
	return judge(load, load_transaction(load, xn_cursor(bytes, len)), &none);
}

/* ---- all of it ---- */

/* Rows of a checkpoint come in the order of their references. */
static int by_stamp(const void *a, const void *b)
{
	const struct xn_row *const *left = a, *const *right = b;

	return (*left)->modified < (*right)->modified ? -1 :
	       (*left)->modified > (*right)->modified ? 1 :
							0;
}

static void sort_table(struct xn_table *table)
{
	struct xn_row **rows = xn_calloc(table->n_rows, sizeof(*rows));
	size_t n = 0;

	xn_list_each(link, &table->rows)
		rows[n++] = xn_list_entry(link, struct xn_row, link);
	qsort(rows, n, sizeof(*rows), by_stamp);
	xn_list_init(&table->rows);
	for (size_t i = 0; i < n; i++)
		xn_list_push(&table->rows, &rows[i]->link);
	free(rows);
}

int xn_db_load(struct xn_db *db, struct xn_error *err)
{
	static const struct xn_store_reader loading = {.entry = on_entry,
						       .transaction = on_transaction};
	static const struct xn_store_reader checking = {.entry = on_entry,
							.transaction = on_transaction,
							.damaged_entry = on_damaged_entry,
							.damaged_checkpoint = on_damaged_checkpoint};
	struct load load = {.db = db, .known = xn_calloc(KNOWN_SLOTS, sizeof(struct known))};
	int rc;

	db->loading = true;
	rc = db->store->ops->open(db->store, db->findings ? &checking : &loading, &load, err);
	db->loading = false;
	forget_known(&load);
	if (rc < 0) {
		if (*load.what)
			xn_error_add_param(err, load.what);
		return -1;
	}
	for (int c = 0; c < XN_CLASS_COUNT; c++)
		sort_table(&db->tables[c]);
	xn_relations_derive(db);
	if (load.unknown || load.misfits)
		xn_log_warn(db->core->log, "db",
			    "left out %u things that this version's schema does not have and %u "
			    "values of another type",
			    load.unknown, load.misfits);
	return 0;
}
