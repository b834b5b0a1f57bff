#include "tests/unit/ring_guest.h"

static size_t at_most(const struct ring_guest *guest, size_t len)
{
	return guest->piece && guest->piece < len ? guest->piece : len;
}

bool ring_guest_go_on(struct ring_guest *guest)
{
	char room[XN_XS_RING_SIZE];
	size_t sent, got = 0;

	sent = xn_xs_twin_send(guest->end, guest->out.data, at_most(guest, guest->out.len));
	xn_buf_drop(&guest->out, sent);
	if (!guest->is_slow)
		got = xn_xs_twin_receive(guest->end, room, at_most(guest, sizeof(room)));
	xn_buf_add(&guest->in, room, got);
	return sent || got;
}

static void on_notified(struct xn_xs_twin_guest *end, void *arg)
{
	(void)ring_guest_go_on(arg);
}

void ring_guest_init(struct ring_guest *guest, struct xn_xs_twin_guest *end)
{
	*guest = (struct ring_guest){.end = end};
	end->on_notified = on_notified;
	end->arg = guest;
}

void ring_guest_clear(struct ring_guest *guest)
{
	xn_buf_clear(&guest->out);
	xn_buf_clear(&guest->in);
}

uint32_t ring_guest_ask(struct ring_guest *guest, uint32_t type, uint32_t tx, const void *body,
			size_t len)
{
	const struct xn_xs_part part = {body, len};

	if (xn_xs_frame_add(&guest->out, type, ++guest->last_request, tx, &part, 1) < 0)
		return 0;
	(void)ring_guest_go_on(guest);
	return guest->last_request;
}

bool ring_guest_take(struct ring_guest *guest, struct xn_xs_frame *frame)
{
	static char body[XN_XS_BODY_MAX];

	if (xn_xs_frame_parse(guest->in.data, guest->in.len, frame) <= 0)
		return false;
	memcpy(body, frame->body, frame->len);
	frame->body = body;
	xn_buf_drop(&guest->in, XN_XS_FRAME_HEADER + frame->len);
	return true;
}
