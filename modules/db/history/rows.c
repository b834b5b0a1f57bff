/* Rows at a time, as bytes: from an image, and what came after it; see history.h. */
#include "modules/db/history/internal.h"

#include "modules/db/fold.h"

#include <errno.h>
#include <stdlib.h>

struct xn_history_rows {
	struct xn_items items; /* XN_SPACE_ROWS */
	struct xn_history_row *sorted;
	size_t n;
};

struct xn_history_rows *xn_history_rows_new(void)
{
	return xn_calloc(1, sizeof(struct xn_history_rows));
}

void xn_history_rows_free(struct xn_history_rows *rows)
{
	if (!rows)
		return;
	xn_items_clear(&rows->items);
	free(rows->sorted);
	free(rows);
}

/* ---- items ---- */

struct xn_item *xn_history_rows_get(const struct xn_history_rows *rows, const struct xn_slice *ref)
{
	return xn_items_find(&rows->items, XN_SPACE_ROWS, ref->data, ref->len);
}

static struct xn_item *get_or_add(struct xn_history_rows *rows, const struct xn_slice *ref)
{
	struct xn_item *item = xn_history_rows_get(rows, ref);

	return item ? item : xn_items_add(&rows->items, XN_SPACE_ROWS, ref->data, ref->len);
}

void xn_history_rows_put(struct xn_history_rows *rows, const struct xn_slice *ref,
			 const struct xn_slice *row)
{
	struct xn_item *item = get_or_add(rows, ref);

	item->value.len = 0;
	xn_buf_add(&item->value, row->data, row->len);
	item->present = true;
}

/* ---- changes ---- */

static void create(struct xn_history_rows *rows, const struct xn_tx_entry *entry)
{
	struct xn_item *item = get_or_add(rows, &entry->ref);
	struct xn_row_head head = {entry->class_no, entry->stamp, entry->stamp};

	item->value.len = 0;
	xn_put_row_head(&item->value, &head);
	xn_buf_add(&item->value, entry->pairs.data, entry->pairs.len);
	item->present = true;
}

static int apply_entry(struct xn_history_rows *rows, const struct xn_tx_entry *entry)
{
	struct xn_item *item;

	if (entry->op == XN_TX_CREATE) {
		create(rows, entry);
		return 0;
	}
	if (entry->op != XN_TX_SET && entry->op != XN_TX_DELETE)
		return 0;
	item = xn_history_rows_get(rows, &entry->ref);
	if (!item || !item->present)
		return 0;
	if (entry->op == XN_TX_SET)
		return xn_row_merge(&item->value, &entry->pairs);
	item->present = false;
	return 0;
}

int xn_history_rows_apply(struct xn_history_rows *rows, const struct xn_history *h,
			  struct xn_cursor tx, uint64_t until,
			  bool (*wants)(void *arg, const struct xn_slice *ref, int class_id),
			  void *arg)
{
	struct xn_tx_entry entry;
	struct xn_tx_head head;
	int rc;

	if (xn_take_tx_head(&tx, &head) < 0)
		return -EBADMSG;
	while ((rc = xn_take_tx_entry(&tx, &head, &entry)) == 1) {
		int class_id = xn_names_class(&h->names, entry.class_no);

		if (entry.stamp > until)
			return 0;
		if (entry.class_no >= h->names.n) /* the dictionary that it was written by is lost */
			return -EBADMSG;
		if (entry.ref.len && class_id >= 0 && (!wants || wants(arg, &entry.ref, class_id)))
			rc = apply_entry(rows, &entry);
		if (rc < 0)
			return rc;
	}
	return rc;
}

/* ---- in order ---- */

static int by_ref(const void *a, const void *b)
{
	return xn_slice_order(&((const struct xn_history_row *)a)->ref,
			      &((const struct xn_history_row *)b)->ref);
}

static int open_row(const struct xn_item *item, const struct xn_names *names,
		    struct xn_history_row *row)
{
	struct xn_cursor in = xn_cursor(item->value.data, item->value.len);
	struct xn_row_head head;
	struct xn_slice value;
	uint32_t no;
	int rc;

	if (xn_take_row_head(&in, &head) < 0)
		return -EBADMSG;
	*row = (struct xn_history_row){
		.ref = xn_item_key(item),
		.class_id = xn_names_class(names, head.class_no),
		.created = head.created,
		.pairs = {in.at, (size_t)(in.end - in.at)},
	};
	while ((rc = xn_take_pair(&in, &no, &value)) == 1)
		if (no >= names->n)
			return -EBADMSG;
	return rc;
}

int xn_history_rows_sort(struct xn_history_rows *rows, const struct xn_names *names)
{
	rows->sorted = xn_calloc(rows->items.map.count + 1, sizeof(*rows->sorted));
	for (struct xn_hnode *node = xn_hmap_first(&rows->items.map); node;
	     node = xn_hmap_next(&rows->items.map, node)) {
		struct xn_item *item = xn_container_of(node, struct xn_item, node);

		if (!item->present)
			continue;
		if (open_row(item, names, &rows->sorted[rows->n]) < 0)
			return -EBADMSG;
		if (rows->sorted[rows->n].class_id >= 0)
			rows->n++;
	}
	qsort(rows->sorted, rows->n, sizeof(*rows->sorted), by_ref);
	return 0;
}

size_t xn_history_rows_count(const struct xn_history_rows *rows)
{
	return rows->n;
}

const struct xn_history_row *xn_history_row(const struct xn_history_rows *rows, size_t index)
{
	return &rows->sorted[index];
}

const struct xn_history_row *xn_history_row_find(const struct xn_history_rows *rows,
						 const struct xn_slice *ref)
{
	const struct xn_history_row key = {.ref = *ref};

	return bsearch(&key, rows->sorted, rows->n, sizeof(key), by_ref);
}
