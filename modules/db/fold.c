/*
 * Transactions folded into a checkpoint; see fold.h. Entries that are touched are held in memory as
 * bytes until the end, so a row that changed a hundred times is read and put once.
 */
#include "modules/db/fold.h"

#include "modules/db/db_internal.h"
#include "modules/db/item.h"

#include <errno.h>
#include <stdlib.h>

struct xn_fold {
	struct xn_kv *kv;
	struct xn_fold_watch *watch;
	struct xn_items items;
	struct xn_tx_head head;
};

struct xn_fold *xn_fold_new(struct xn_kv *kv, struct xn_fold_watch *watch)
{
	struct xn_fold *fold = xn_calloc(1, sizeof(*fold));

	fold->kv = kv;
	fold->watch = watch;
	return fold;
}

void xn_fold_free(struct xn_fold *fold)
{
	if (!fold)
		return;
	xn_items_clear(&fold->items);
	free(fold);
}

/* ---- items ---- */

/* As the checkpoint has it, where it was not touched yet. */
static int get_item(struct xn_fold *fold, enum xn_space space, const void *key, size_t len,
		    struct xn_item **out)
{
	struct xn_item *item = xn_items_find(&fold->items, space, key, len);
	struct xn_slice value;
	int rc = 0;

	if (!item) {
		rc = fold->kv->get(fold->kv, space, key, len, &value);
		if (rc < 0 && rc != -ENOENT)
			return rc;
		item = xn_items_add(&fold->items, space, key, len);
		item->present = rc == 0;
		if (item->present)
			xn_buf_add(&item->value, value.data, value.len);
	}
	*out = item;
	return 0;
}

static int put_item(struct xn_fold *fold, enum xn_space space, const void *key, size_t key_len,
		    const void *value, size_t len)
{
	struct xn_item *item;
	int rc = get_item(fold, space, key, key_len, &item);

	if (rc < 0)
		return rc;
	item->value.len = 0;
	xn_buf_add(&item->value, value, len);
	item->present = item->changed = true;
	return 0;
}

static int delete_item(struct xn_fold *fold, enum xn_space space, const void *key, size_t key_len)
{
	struct xn_item *item;
	int rc = get_item(fold, space, key, key_len, &item);

	if (rc < 0)
		return rc;
	item->changed |= item->present;
	item->present = false;
	return 0;
}

static int put_meta_fixed(struct xn_fold *fold, const char *key, uint64_t n)
{
	struct xn_buf value = {0};
	int rc;

	xn_put_fixed(&value, n);
	rc = put_item(fold, XN_SPACE_META, key, strlen(key), value.data, value.len);
	xn_buf_clear(&value);
	return rc;
}

/* ---- rows ---- */

static void set_modified(struct xn_buf *row, struct xn_row_head *head, uint64_t stamp)
{
	struct xn_buf fresh = {0};

	head->modified = stamp;
	xn_put_row_head(&fresh, head); /* of the same length */
	memcpy(row->data, fresh.data, fresh.len);
	xn_buf_clear(&fresh);
}

/* Cuts the field out of the row's bytes. */
static int remove_field(struct xn_buf *row, uint32_t name_no)
{
	struct xn_cursor in = xn_cursor(row->data, row->len);
	struct xn_row_head head;
	struct xn_slice value;
	uint32_t no;
	int rc;

	if (xn_take_row_head(&in, &head) < 0)
		return -EBADMSG;
	for (;;) {
		char *start = row->data + (row->len - (size_t)(in.end - in.at));

		rc = xn_take_pair(&in, &no, &value);
		if (rc <= 0)
			return rc;
		if (no != name_no)
			continue;
		memmove(start, in.at, (size_t)(in.end - in.at));
		row->len -= (size_t)((const char *)in.at - start);
		return 0;
	}
}

int xn_row_merge(struct xn_buf *row, const struct xn_slice *pairs)
{
	struct xn_cursor in = xn_cursor(pairs->data, pairs->len);
	struct xn_slice value;
	uint32_t no;
	int rc;

	while ((rc = xn_take_pair(&in, &no, &value)) == 1) {
		rc = remove_field(row, no);
		if (rc < 0)
			return rc;
		xn_put_varint(row, no);
		xn_buf_add(row, value.data, value.len);
	}
	return rc;
}

static int fold_create(struct xn_fold *fold, const struct xn_tx_entry *entry)
{
	struct xn_row_head head = {entry->class_no, entry->stamp, entry->stamp};
	struct xn_buf row = {0};
	int rc;

	xn_put_row_head(&row, &head);
	xn_buf_add(&row, entry->pairs.data, entry->pairs.len);
	rc = put_item(fold, XN_SPACE_ROWS, entry->ref.data, entry->ref.len, row.data, row.len);
	xn_buf_clear(&row);
	return rc;
}

/* SET and STAMP; a row that is gone already is left alone. */
static int fold_change(struct xn_fold *fold, const struct xn_tx_entry *entry)
{
	struct xn_row_head head;
	struct xn_cursor in;
	struct xn_item *item;
	int rc = get_item(fold, XN_SPACE_ROWS, entry->ref.data, entry->ref.len, &item);

	if (rc < 0 || !item->present)
		return rc;
	in = xn_cursor(item->value.data, item->value.len);
	if (xn_take_row_head(&in, &head) < 0)
		return -EBADMSG;
	set_modified(&item->value, &head, entry->stamp);
	item->changed = true;
	return entry->op == XN_TX_SET ? xn_row_merge(&item->value, &entry->pairs) : 0;
}

static void put_big_endian(unsigned char key[8], uint64_t n)
{
	for (int i = 0; i < 8; i++)
		key[i] = (unsigned char)(n >> (56 - 8 * i));
}

static int put_tombstone(struct xn_fold *fold, const struct xn_tx_entry *entry, uint32_t class_no)
{
	struct xn_tombstone_bytes tomb = {class_no, entry->created, entry->stamp, ""};
	struct xn_cursor ref = xn_cursor(entry->ref.data, entry->ref.len);
	struct xn_buf bytes = {0};
	unsigned char key[8];
	int rc;

	if (xn_take_string(&ref, tomb.ref, sizeof(tomb.ref)) < 0)
		return -EBADMSG;
	put_big_endian(key, tomb.deleted);
	xn_put_tombstone(&bytes, &tomb);
	rc = put_item(fold, XN_SPACE_TOMBS, key, sizeof(key), bytes.data, bytes.len);
	xn_buf_clear(&bytes);
	return rc;
}

static int fold_delete(struct xn_fold *fold, const struct xn_tx_entry *entry)
{
	struct xn_row_head head;
	struct xn_cursor row;
	struct xn_item *item;
	int rc = get_item(fold, XN_SPACE_ROWS, entry->ref.data, entry->ref.len, &item);

	if (rc < 0 || !item->present)
		return rc;
	item->present = false;
	item->changed = true;
	row = xn_cursor(item->value.data, item->value.len);
	if (xn_take_row_head(&row, &head) < 0)
		return -EBADMSG;
	return entry->created ? put_tombstone(fold, entry, head.class_no) : 0;
}

/* ---- changes that wait ---- */

static int fold_later(struct xn_fold *fold, const struct xn_tx_entry *entry,
		      const unsigned char *start, const unsigned char *end)
{
	unsigned char key[8];
	int rc;

	put_big_endian(key, entry->id);
	if (entry->op == XN_TX_LATER_DONE)
		return delete_item(fold, XN_SPACE_LATER, key, sizeof(key));
	rc = put_meta_fixed(fold, XN_META_NEXT_LATER, entry->id + 1);
	if (rc < 0)
		return rc;
	return put_item(fold, XN_SPACE_LATER, key, sizeof(key), start, (size_t)(end - start));
}

/* ---- transactions ---- */

static int fold_entry(struct xn_fold *fold, const struct xn_tx_entry *entry,
		      const unsigned char *start, const unsigned char *end)
{
	switch (entry->op) {
	case XN_TX_CREATE:
		return fold_create(fold, entry);
	case XN_TX_SET:
	case XN_TX_STAMP:
		return fold_change(fold, entry);
	case XN_TX_DELETE:
		return fold_delete(fold, entry);
	case XN_TX_LATER:
	case XN_TX_LATER_DONE:
		return fold_later(fold, entry, start, end);
	case XN_TX_META:
		return put_item(fold, XN_SPACE_META, entry->texts[0].data, entry->texts[0].len,
				entry->texts[1].data, entry->texts[1].len);
	case XN_TX_ORIGIN:
	case XN_TX_WAS:
		return 0;
	}
	return -EBADMSG;
}

static bool is_about_row(const struct xn_tx_entry *entry)
{
	return entry->op == XN_TX_CREATE || entry->op == XN_TX_SET || entry->op == XN_TX_STAMP ||
	       entry->op == XN_TX_DELETE;
}

static int tell_entry(struct xn_fold *fold, const struct xn_tx_entry *entry)
{
	struct xn_slice row;
	struct xn_item *item;
	int rc;

	if (!fold->watch)
		return 0;
	if (!is_about_row(entry))
		return fold->watch->entry(fold->watch, entry, NULL);
	rc = get_item(fold, XN_SPACE_ROWS, entry->ref.data, entry->ref.len, &item);
	if (rc < 0)
		return rc;
	row = xn_item_value(item);
	return fold->watch->entry(fold->watch, entry, item->present ? &row : NULL);
}

int xn_fold_transaction(struct xn_fold *fold, const void *bytes, size_t len)
{
	struct xn_cursor in = xn_cursor(bytes, len);
	struct xn_tx_entry entry;
	int rc;

	if (xn_take_tx_head(&in, &fold->head) < 0)
		return -EBADMSG;
	if (fold->watch)
		fold->watch->begin(fold->watch, &fold->head);
	for (;;) {
		const unsigned char *start = in.at;

		rc = xn_take_tx_entry(&in, &fold->head, &entry);
		if (rc <= 0)
			break;
		rc = tell_entry(fold, &entry);
		if (rc == 0)
			rc = fold_entry(fold, &entry, start, in.at);
		if (rc < 0)
			return rc;
	}
	if (rc == 0 && fold->watch)
		rc = fold->watch->end(fold->watch);
	return rc < 0 ? rc : put_meta_fixed(fold, XN_META_GENERATION, fold->head.next);
}

/* ---- the end ---- */

static int by_key(const void *a, const void *b)
{
	const struct xn_item *left = *(struct xn_item *const *)a;
	const struct xn_item *right = *(struct xn_item *const *)b;
	const struct xn_slice left_key = xn_item_key(left), right_key = xn_item_key(right);

	if (left->space != right->space)
		return left->space < right->space ? -1 : 1;
	return xn_slice_order(&left_key, &right_key);
}

static int put_sorted(struct xn_fold *fold, struct xn_item **items, size_t n)
{
	int rc = 0;

	qsort(items, n, sizeof(*items), by_key);
	for (size_t i = 0; rc >= 0 && i < n; i++) {
		struct xn_item *item = items[i];

		if (item->present)
			rc = fold->kv->put(fold->kv, item->space, item->key, item->key_len,
					   item->value.data, item->value.len);
		else
			rc = fold->kv->del(fold->kv, item->space, item->key, item->key_len);
	}
	return rc;
}

/* The oldest tombstones beyond the limit are forgotten, and that they were is kept. */
static int trim_tombstones(struct xn_fold *fold)
{
	struct xn_kv *kv = fold->kv;
	uint64_t floor = 0;
	size_t n;
	int rc = kv->count(kv, XN_SPACE_TOMBS, &n);

	for (; rc >= 0 && n > XN_TOMBSTONES_MAX; n--) {
		struct xn_tombstone_bytes tomb;
		struct xn_slice key, value;
		struct xn_cursor in;

		rc = kv->first(kv, XN_SPACE_TOMBS, &key, &value);
		if (rc < 0)
			return rc;
		in = xn_cursor(value.data, value.len);
		if (xn_take_tombstone(&in, &tomb) < 0)
			return -EBADMSG;
		floor = tomb.deleted;
		rc = kv->del(kv, XN_SPACE_TOMBS, key.data, key.len);
	}
	if (rc >= 0 && floor) {
		struct xn_buf value = {0};

		xn_put_fixed(&value, floor);
		rc = kv->put(kv, XN_SPACE_META, XN_META_FLOOR, strlen(XN_META_FLOOR), value.data,
			     value.len);
		xn_buf_clear(&value);
	}
	return rc < 0 ? rc : 0;
}

int xn_fold_finish(struct xn_fold *fold)
{
	struct xn_item **items = xn_calloc(fold->items.map.count, sizeof(*items));
	size_t n = 0;
	int rc;

	for (struct xn_hnode *node = xn_hmap_first(&fold->items.map); node;
	     node = xn_hmap_next(&fold->items.map, node)) {
		struct xn_item *item = xn_container_of(node, struct xn_item, node);

		if (item->changed)
			items[n++] = item;
	}
	rc = put_sorted(fold, items, n);
	free(items);
	return rc < 0 ? rc : trim_tombstones(fold);
}
