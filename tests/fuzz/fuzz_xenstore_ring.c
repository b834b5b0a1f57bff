/*
 * A guest's ring, whose guest writes whatever it likes wherever it likes, also between the
 * xenstore's looks: what comes of it is bytes that lie in the ring, "none now", a clean error, or a
 * new beginning. Input: orders of two bytes and their operands.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "core/buf.h"
#include "modules/xenstore/server/ring_twin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct play {
	struct xn_loop *loop;
	struct xn_xs_twin_guest *guest;
	struct xn_xs_link *link;
	size_t seen; /* read and not taken */
	bool broken;
	unsigned readies;
};

static void check(struct play *play, ssize_t rc, size_t limit)
{
	const struct xn_xs_ring_page *page = play->guest->page;

	assert(rc >= 0 || rc == -EPROTO || rc == -ECONNRESET);
	assert(rc <= (ssize_t)limit && rc <= XN_XS_RING_SIZE);
	if (rc == -EPROTO && !play->broken) {
		play->broken = true;
		assert(page->error == XN_XS_RING_BAD_INDEX || page->error == XN_XS_RING_BAD_REQUEST);
	}
	assert(!play->broken || rc < 0);
}

static void read_some(struct play *play, size_t len)
{
	char room[XN_XS_RING_SIZE], again[XN_XS_RING_SIZE];
	uint32_t at = play->link->in_at + (uint32_t)play->seen;
	ssize_t n = play->link->ops->read(play->link, play->seen, room, len);

	check(play, n, len);
	if (n <= 0)
		return;
	xn_xs_ring_copy_out(play->guest->page->req, at, again, (uint32_t)n);
	assert(memcmp(room, again, (size_t)n) == 0);
	play->seen += (size_t)n;
	assert(play->seen <= XN_XS_RING_SIZE);
}

static void write_some(struct play *play, size_t len)
{
	char bytes[XN_XS_RING_SIZE], again[XN_XS_RING_SIZE];
	uint32_t at = play->link->out_at;
	ssize_t n;

	memset(bytes, (int)len, len);
	n = play->link->ops->write(play->link, bytes, len);
	check(play, n, len);
	if (n <= 0)
		return;
	xn_xs_ring_copy_out(play->guest->page->rsp, at, again, (uint32_t)n);
	assert(memcmp(bytes, again, (size_t)n) == 0);
	assert(play->guest->page->rsp_prod == at + (uint32_t)n);
}

static void on_ready(struct xn_xs_link *link, void *arg)
{
	struct play *play = arg;

	play->readies++;
	link->ops->want(link, false, false);
}

static void guest_moves(struct play *play, unsigned which, uint32_t value)
{
	struct xn_xs_ring_page *page = play->guest->page;
	uint32_t *const words[] = {&page->req_cons, &page->req_prod, &page->rsp_cons,  &page->rsp_prod,
				   &page->features, &page->connection, &page->error};

	which %= 2 * XN_ARRAY_SIZE(words);
	if (which < XN_ARRAY_SIZE(words))
		*words[which] = value;
	else
		*words[which - XN_ARRAY_SIZE(words)] += value % 2048;
}

static void order(struct play *play, uint8_t what, uint8_t how, uint32_t value)
{
	const struct xn_xs_link_ops *ops = play->link->ops;

	switch (what % 10) {
	case 0:
		guest_moves(play, how, value);
		break;
	case 1:
		memset(play->guest->page->req, (int)value, sizeof(play->guest->page->req));
		break;
	case 2:
		xn_xs_twin_notify(play->guest);
		break;
	case 3:
		read_some(play, 1 + how * 4);
		break;
	case 4:
		if (play->seen)
			ops->taken(play->link, play->seen);
		play->seen = 0;
		break;
	case 5:
		write_some(play, 1 + how * 4);
		break;
	case 6:
		ops->want(play->link, how & 1, how & 2);
		break;
	case 7:
		ops->reset(play->link);
		play->seen = 0;
		play->broken = false;
		break;
	case 8:
		play->seen = 0;
		/* As after a restart: the page alone tells, and the guest may have put that right. */
		play->broken = xn_xs_ring_resume(play->link, play->link->in_at,
						 play->link->out_at - how, how) < 0;
		break;
	default:
		for (unsigned i = 0; i < how % 4u; i++)
			xn_loop_turn(play->loop, 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct play play = {.loop = xn_loop_new_virtual(1)};
	struct xn_xs_carrier *twin = xn_xs_twin_new(play.loop);
	struct xn_xs_port *port;

	play.guest = xn_xs_twin_guest(twin, 1);
	if (size >= sizeof(*play.guest->page)) {
		memcpy(play.guest->page, data, sizeof(*play.guest->page));
		data += sizeof(*play.guest->page);
		size -= sizeof(*play.guest->page);
	}
	assert(twin->ops->open(twin, 1, 0, 1, &port) == 0);
	play.link = xn_xs_ring_new(play.loop, port, 1);
	play.link->on_ready = on_ready;
	play.link->arg = &play;
	while (size >= 6) {
		uint32_t value;

		memcpy(&value, data + 2, sizeof(value));
		order(&play, data[0], data[1], value);
		data += 6;
		size -= 6;
	}
	play.link->ops->close(play.link);
	twin->ops->free(twin);
	xn_loop_free(play.loop);
	return 0;
}
