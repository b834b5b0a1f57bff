/* The model of connections that outlive a crash; see kept.h. */
#include "modules/xenstore/journal/kept.h"

#include <limits.h>
#include <stdlib.h>

/* More than a connection may have unsent: what a ring that reads on has taken long ago. */
enum { MAX_UNSENT = 32768 };

void xn_xs_model_init(struct xn_xs_kept_table *table)
{
	*table = (struct xn_xs_kept_table){0};
	xn_list_init(&table->all);
}

struct xn_xs_kept *xn_xs_model_find(const struct xn_xs_kept_table *table, uint64_t birth)
{
	struct xn_hnode *at = xn_hmap_first_same(&table->by_birth, birth);

	return at ? xn_container_of(at, struct xn_xs_kept, hash) : NULL;
}

/* ---- events and watches ---- */

static void drop_event(struct xn_xs_kept *ring, struct xn_xs_kept_event *event)
{
	xn_list_remove(&event->link);
	ring->n_events--;
	free(event);
}

static void pop_events(struct xn_xs_kept *ring, unsigned n)
{
	while (n-- && !xn_list_empty(&ring->events))
		drop_event(ring, xn_list_entry(ring->events.next, struct xn_xs_kept_event, link));
}

static bool is_text(const char *own, size_t own_len, struct xn_xs_text text)
{
	return own_len == text.len && !memcmp(own, text.bytes, text.len);
}

static void drop_events(struct xn_xs_kept *ring, struct xn_xs_text path, struct xn_xs_text token)
{
	xn_list_each_safe(link, &ring->events)
	{
		struct xn_xs_kept_event *event =
			xn_list_entry(link, struct xn_xs_kept_event, link);

		if (is_text(event->text, event->path_len, path) &&
		    is_text(event->text + event->path_len + 1, event->token_len, token))
			drop_event(ring, event);
	}
}

static void drop_watch(struct xn_xs_kept_watch *watch)
{
	xn_list_remove(&watch->link);
	free(watch);
}

static void drop_watches(struct xn_xs_kept *ring)
{
	pop_events(ring, UINT_MAX);
	while (!xn_list_empty(&ring->watches))
		drop_watch(xn_list_entry(ring->watches.next, struct xn_xs_kept_watch, link));
}

static struct xn_xs_kept_watch *find_watch(struct xn_xs_kept *ring, const struct xn_xs_part *part)
{
	xn_list_each(link, &ring->watches)
	{
		struct xn_xs_kept_watch *watch = xn_list_entry(link, struct xn_xs_kept_watch, link);

		if (is_text(watch->text, watch->path_len, part->ring.path) &&
		    is_text(watch->text + watch->path_len + 1, watch->token_len, part->ring.token))
			return watch;
	}
	return NULL;
}

static void add_watch(struct xn_xs_kept *ring, const struct xn_xs_part *part)
{
	size_t path_len = part->ring.path.len, token_len = part->ring.token.len;
	struct xn_xs_kept_watch *watch = find_watch(ring, part);

	if (watch)
		return;
	watch = xn_calloc(1, sizeof(*watch) + path_len + token_len + 2);
	watch->depth = part->ring.depth;
	watch->path_len = path_len;
	watch->token_len = token_len;
	memcpy(watch->text, part->ring.path.bytes, path_len);
	memcpy(watch->text + path_len + 1, part->ring.token.bytes, token_len);
	xn_list_push(&ring->watches, &watch->link);
}

static char *put_text(char *at, struct xn_xs_text text)
{
	memcpy(at, text.bytes, text.len);
	at[text.len] = '\0';
	return at + text.len + 1;
}

static void add_event(struct xn_xs_kept *ring, const struct xn_xs_part *part)
{
	size_t len = part->ring.path.len + part->ring.token.len + part->ring.event.len;
	struct xn_xs_kept_event *event = xn_malloc(sizeof(*event) + len + 3);

	if (part->ring.all)
		drop_events(ring, part->ring.path, part->ring.token);
	event->path_len = part->ring.path.len;
	event->token_len = part->ring.token.len;
	event->len = part->ring.event.len;
	put_text(put_text(put_text(event->text, part->ring.path), part->ring.token),
		 part->ring.event);
	xn_list_push(&ring->events, &event->link);
	ring->n_events++;
}

/* ---- rings ---- */

static void open_ring(struct xn_xs_kept_table *table, const struct xn_xs_part *part)
{
	struct xn_xs_kept *ring = xn_xs_model_find(table, part->ring.birth);

	if (!ring) {
		ring = xn_calloc(1, sizeof(*ring));
		ring->birth = part->ring.birth;
		xn_list_init(&ring->watches);
		xn_list_init(&ring->events);
		xn_list_push(&table->all, &ring->link);
		xn_hmap_insert(&table->by_birth, &ring->hash, ring->birth);
	}
	ring->domid = part->ring.domid;
	ring->gfn = part->ring.gfn;
	ring->port = part->ring.port;
}

void xn_xs_model_drop(struct xn_xs_kept_table *table, struct xn_xs_kept *ring)
{
	xn_xs_conn_free(ring->conn);
	drop_watches(ring);
	xn_hmap_remove(&table->by_birth, &ring->hash);
	xn_list_remove(&ring->link);
	xn_buf_clear(&ring->partial);
	xn_buf_clear(&ring->unsent);
	free(ring);
}

void xn_xs_model_clear(struct xn_xs_kept_table *table)
{
	while (!xn_list_empty(&table->all))
		xn_xs_model_drop(table, xn_list_entry(table->all.next, struct xn_xs_kept, link));
	xn_hmap_clear(&table->by_birth);
}

void xn_xs_model_sent(struct xn_xs_kept *ring, uint32_t sent)
{
	uint32_t done = sent - ring->out_at;

	if (done > ring->unsent.len)
		return; /* not a position in there */
	xn_buf_drop(&ring->unsent, done);
	ring->out_at = sent;
}

static void set_input(struct xn_xs_kept *ring, const struct xn_xs_part *part)
{
	ring->in_at = part->ring.at;
	ring->partial.len = 0;
	xn_buf_add(&ring->partial, part->ring.bytes.bytes, part->ring.bytes.len);
	if (!ring->partial.len && ring->partial.cap > 1024)
		xn_buf_clear(&ring->partial);
}

static void add_output(struct xn_xs_kept *ring, const struct xn_xs_part *part)
{
	xn_xs_model_sent(ring, part->ring.sent);
	if (ring->out_at + (uint32_t)ring->unsent.len != part->ring.at) {
		ring->unsent.len = 0; /* it begins anew */
		ring->out_at = part->ring.at;
	}
	xn_buf_add(&ring->unsent, part->ring.bytes.bytes, part->ring.bytes.len);
	if (ring->unsent.len > MAX_UNSENT)
		xn_xs_model_sent(ring, ring->out_at + (uint32_t)ring->unsent.len - MAX_UNSENT / 2);
	pop_events(ring, part->ring.events);
}

void xn_xs_model_apply(struct xn_xs_kept_table *table, const struct xn_xs_part *part)
{
	struct xn_xs_kept *ring;
	struct xn_xs_kept_watch *watch;

	if (part->kind == XN_XS_PART_RING_OPEN) {
		open_ring(table, part);
		return;
	}
	if (part->kind == XN_XS_PART_KEPT_AGAIN) {
		xn_xs_model_clear(table);
		return;
	}
	if (part->kind == XN_XS_PART_GONE) {
		ring = xn_xs_model_find(table, part->domain.who.birth);
		if (ring)
			xn_xs_model_drop(table, ring);
		return;
	}
	if (part->kind < XN_XS_PART_RING_OPEN || part->kind > XN_XS_PART_EVENT)
		return;
	ring = xn_xs_model_find(table, part->ring.birth);
	if (!ring)
		return;
	switch (part->kind) {
	case XN_XS_PART_RING_CLOSE:
		xn_xs_model_drop(table, ring);
		break;
	case XN_XS_PART_RING_INPUT:
		set_input(ring, part);
		break;
	case XN_XS_PART_RING_OUTPUT:
		add_output(ring, part);
		break;
	case XN_XS_PART_RING_TX:
		ring->highest_transaction = part->ring.tx;
		break;
	case XN_XS_PART_WATCH:
		add_watch(ring, part);
		break;
	case XN_XS_PART_UNWATCH:
		watch = part->ring.all ? NULL : find_watch(ring, part);
		if (part->ring.all)
			drop_watches(ring);
		else
			drop_events(ring, part->ring.path, part->ring.token);
		if (watch)
			drop_watch(watch);
		break;
	case XN_XS_PART_EVENT:
		add_event(ring, part);
		break;
	default:
		break;
	}
}

/* ---- told again ---- */

static struct xn_xs_part part_of(const struct xn_xs_kept *ring, enum xn_xs_part_kind kind)
{
	struct xn_xs_part part = {.kind = kind};

	part.ring.birth = ring->birth;
	return part;
}

static void name_watch(struct xn_xs_part *part, const struct xn_xs_kept_watch *watch)
{
	part->ring.depth = watch->depth;
	part->ring.path = (struct xn_xs_text){watch->text, watch->path_len};
	part->ring.token =
		(struct xn_xs_text){watch->text + watch->path_len + 1, watch->token_len};
}

static void tell_ring(const struct xn_xs_kept *ring, struct xn_buf *out)
{
	struct xn_xs_part part = part_of(ring, XN_XS_PART_RING_OPEN);

	part.ring.domid = ring->domid;
	part.ring.gfn = ring->gfn;
	part.ring.port = ring->port;
	xn_xs_put_part(out, &part);
	part = part_of(ring, XN_XS_PART_RING_INPUT);
	part.ring.at = ring->in_at;
	part.ring.bytes = (struct xn_xs_text){ring->partial.data, ring->partial.len};
	xn_xs_put_part(out, &part);
	part = part_of(ring, XN_XS_PART_RING_OUTPUT);
	part.ring.sent = part.ring.at = ring->out_at;
	part.ring.bytes = (struct xn_xs_text){ring->unsent.data, ring->unsent.len};
	xn_xs_put_part(out, &part);
	part = part_of(ring, XN_XS_PART_RING_TX);
	part.ring.tx = ring->highest_transaction;
	xn_xs_put_part(out, &part);
	xn_list_each(link, &ring->watches)
	{
		part = part_of(ring, XN_XS_PART_WATCH);
		name_watch(&part, xn_list_entry(link, struct xn_xs_kept_watch, link));
		xn_xs_put_part(out, &part);
	}
	xn_list_each(link, &ring->events)
	{
		const struct xn_xs_kept_event *event =
			xn_list_entry(link, struct xn_xs_kept_event, link);

		part = part_of(ring, XN_XS_PART_EVENT);
		part.ring.path = (struct xn_xs_text){event->text, event->path_len};
		part.ring.token = (struct xn_xs_text){event->text + event->path_len + 1,
						      event->token_len};
		part.ring.event = (struct xn_xs_text){
			event->text + event->path_len + event->token_len + 2, event->len};
		xn_xs_put_part(out, &part);
	}
}

void xn_xs_model_tell(const struct xn_xs_kept_table *table, struct xn_buf *out)
{
	xn_list_each(link, &table->all)
		tell_ring(xn_list_entry(link, struct xn_xs_kept, link), out);
}
