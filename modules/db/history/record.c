/* One transaction as history has it; see record.h. */
#include "modules/db/history/record.h"

#include <errno.h>

static struct xn_recording *from_watch(struct xn_fold_watch *watch)
{
	return xn_container_of(watch, struct xn_recording, watch);
}

static void begin(struct xn_fold_watch *watch, const struct xn_tx_head *head)
{
	struct xn_recording *r = from_watch(watch);

	r->head = *head;
	r->has_origin = r->origin_written = false;
	r->tx.len = 0;
	xn_put_tx_head(&r->tx, head);
}

/* Who, before the first change of his that is left. */
static void put_origin(struct xn_recording *r)
{
	if (!r->has_origin || r->origin_written)
		return;
	r->origin_written = true;
	xn_buf_add_char(&r->tx, XN_TX_ORIGIN);
	for (size_t i = 0; i < XN_ARRAY_SIZE(r->origin); i++)
		xn_put_text(&r->tx, (const char *)r->origin[i].data, r->origin[i].len);
}

static void put_row_entry(struct xn_recording *r, enum xn_tx_op op,
			  const struct xn_tx_entry *entry)
{
	xn_buf_add_char(&r->tx, (char)op);
	xn_put_varint(&r->tx, entry->class_no);
	xn_buf_add(&r->tx, entry->ref.data, entry->ref.len);
	if (op != XN_TX_WAS)
		xn_put_varint(&r->tx, entry->stamp - r->head.first);
}

static void put_pairs(struct xn_recording *r, unsigned n)
{
	xn_put_varint(&r->tx, n);
	xn_buf_add(&r->tx, r->scratch.data, r->scratch.len);
}

static int put_create(struct xn_recording *r, int class_id, const struct xn_tx_entry *entry)
{
	struct xn_cursor pairs = xn_cursor(entry->pairs.data, entry->pairs.len);
	unsigned n;

	r->scratch.len = 0;
	if (xn_recording_put_pairs(r, class_id, pairs, &r->scratch, &n) < 0)
		return -EBADMSG;
	put_origin(r);
	put_row_entry(r, XN_TX_CREATE, entry);
	put_pairs(r, n);
	return 0;
}

/* Of the row's pairs those that the entry replaces, as they are in the row. */
static int pick_old(const struct xn_slice *row, const struct xn_tx_entry *entry,
		    struct xn_buf *out)
{
	struct xn_cursor in = xn_cursor(row->data, row->len);
	struct xn_row_head head;
	struct xn_slice value;
	uint32_t no;
	int rc;

	if (xn_take_row_head(&in, &head) < 0)
		return -EBADMSG;
	while ((rc = xn_take_pair(&in, &no, &value)) == 1) {
		struct xn_cursor set = xn_cursor(entry->pairs.data, entry->pairs.len);
		struct xn_slice ignored;
		uint32_t set_no;

		while (xn_take_pair(&set, &set_no, &ignored) == 1) {
			if (set_no != no)
				continue;
			xn_put_varint(out, no);
			xn_buf_add(out, value.data, value.len);
		}
	}
	return rc;
}

static void put_was(struct xn_recording *r, const struct xn_tx_entry *entry,
		    const struct xn_buf *pairs, unsigned n)
{
	put_row_entry(r, XN_TX_WAS, entry);
	xn_put_varint(&r->tx, n);
	xn_buf_add(&r->tx, pairs->data, pairs->len);
}

static int put_set(struct xn_recording *r, int class_id, const struct xn_tx_entry *entry,
		   const struct xn_slice *row)
{
	struct xn_cursor pairs = xn_cursor(entry->pairs.data, entry->pairs.len);
	struct xn_buf old = {0}, shown = {0};
	unsigned n = 0, n_old = 0;
	int rc;

	r->scratch.len = 0;
	rc = xn_recording_put_pairs(r, class_id, pairs, &r->scratch, &n);
	if (rc == 0 && n && row)
		rc = pick_old(row, entry, &old);
	if (rc == 0 && n)
		rc = xn_recording_put_pairs(r, class_id, xn_cursor(old.data, old.len), &shown,
					    &n_old);
	if (rc == 0 && n) {
		put_origin(r);
		if (row)
			put_was(r, entry, &shown, n_old);
		put_row_entry(r, XN_TX_SET, entry);
		put_pairs(r, n);
	}
	xn_buf_clear(&old);
	xn_buf_clear(&shown);
	return rc;
}

static int put_delete(struct xn_recording *r, int class_id, const struct xn_tx_entry *entry,
		      const struct xn_slice *row)
{
	struct xn_row_head head = {.created = entry->created};
	struct xn_cursor in;
	unsigned n;

	r->scratch.len = 0;
	if (row) {
		in = xn_cursor(row->data, row->len);
		if (xn_take_row_head(&in, &head) < 0 ||
		    xn_recording_put_pairs(r, class_id, in, &r->scratch, &n) < 0)
			return -EBADMSG;
	}
	put_origin(r);
	if (row)
		put_was(r, entry, &r->scratch, n);
	put_row_entry(r, XN_TX_DELETE, entry);
	xn_put_fixed(&r->tx, head.created);
	return 0;
}

static int put_row_change(struct xn_recording *r, const struct xn_tx_entry *entry,
			  const struct xn_slice *row)
{
	int class_id = xn_names_class(r->names, entry->class_no);

	if (class_id < 0 || !xn_history_keeps_class(r->skip, class_id))
		return 0;
	if (entry->op == XN_TX_CREATE)
		return put_create(r, class_id, entry);
	if (!row && !r->is_blind) /* gone already; the checkpoint leaves it alone, too */
		return 0;
	return entry->op == XN_TX_SET ? put_set(r, class_id, entry, row)
				      : put_delete(r, class_id, entry, row);
}

static int learn_names(struct xn_recording *r, const struct xn_tx_entry *entry)
{
	if (entry->texts[0].len != strlen(XN_META_NAMES) ||
	    memcmp(entry->texts[0].data, XN_META_NAMES, entry->texts[0].len) != 0)
		return 0;
	if (entry->texts[1].len <= r->names->bytes.len)
		return 0; /* it comes again after a crash */
	r->names_changed = true;
	return xn_names_load(r->names, entry->texts[1].data, entry->texts[1].len);
}

static int take_entry(struct xn_fold_watch *watch, const struct xn_tx_entry *entry,
		      const struct xn_slice *row)
{
	struct xn_recording *r = from_watch(watch);

	switch (entry->op) {
	case XN_TX_ORIGIN:
		memcpy(r->origin, entry->texts, sizeof(r->origin));
		r->has_origin = true;
		r->origin_written = false;
		return 0;
	case XN_TX_CREATE:
	case XN_TX_SET:
	case XN_TX_DELETE:
		return put_row_change(r, entry, row);
	case XN_TX_META:
		return learn_names(r, entry);
	case XN_TX_STAMP: /* the change is told where it was made */
	case XN_TX_LATER:
	case XN_TX_LATER_DONE:
	case XN_TX_WAS:
		return 0;
	}
	return 0;
}

static int end(struct xn_fold_watch *watch)
{
	struct xn_recording *r = from_watch(watch);

	return r->tx.len > XN_TX_HEAD_SIZE ? r->take(r, r->tx.data, r->tx.len) : 0;
}

void xn_recording_init(struct xn_recording *recording, const struct xn_history_skip *skip,
		       struct xn_names *names,
		       int (*take)(struct xn_recording *recording, const void *bytes, size_t len))
{
	*recording = (struct xn_recording){
		.watch = {.begin = begin, .entry = take_entry, .end = end},
		.skip = skip,
		.names = names,
		.take = take,
	};
}

void xn_recording_clear(struct xn_recording *recording)
{
	xn_buf_clear(&recording->tx);
	xn_buf_clear(&recording->scratch);
}
