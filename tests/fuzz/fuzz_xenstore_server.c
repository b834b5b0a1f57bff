/*
 * The xenstore's server, sent whatever a client may send: the first byte says who it is and how its
 * bytes come, the others are its bytes. Answers are whole frames, no more than there were requests;
 * another client is served as if nothing had happened; what hangs on the connection goes with it.
 */
#include <assert.h>

#include "tests/xenstore/peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Also what it holds: for the daemon, not for the other client. */
static void check_accounts(struct peer_daemon *d, uint32_t domid)
{
	const struct xn_xs_domain *domain = xn_xs_domain_find(d->store, domid);

	assert(domain && domain->account.watches == 0 && domain->account.transactions == 0 &&
	       domain->account.transaction_bytes == 0 && domain->account.events == 0);
}

static void take_all(struct peer *peer, size_t sent)
{
	struct peer_frame frame;
	size_t answers = 0;

	while (peer_take(peer, &frame))
		answers += frame.type != XN_XS_WIRE_WATCH_EVENT;
	assert(answers <= sent / XN_XS_FRAME_HEADER + 1);
	/* No half frames, unless it was hung up. */
	assert(peer->from_server.len == 0 || !peer->connection);
}

static void play(struct peer_daemon *d, uint8_t how, const uint8_t *data, size_t size)
{
	uint32_t domid = how & 1 ? 5 : 0;
	struct peer *peer = peer_new(d, xn_xs_domain_find(d->store, domid));
	struct peer *other = peer_new(d, xn_xs_domain_find(d->store, 0));
	struct peer_frame answer;

	peer->gulp = how & 2 ? 1 + (how >> 4) : 0;
	peer->trickle = how & 4 ? 1 + (how >> 4) : 0;
	peer_put(peer, data, size);
	peer_daemon_settle(d);
	take_all(peer, size);
	/* What was sent may have removed what was there, but not the root. */
	assert(peer_list(other, 0, "/", &answer) == 0);
	assert(peer_write(other, 0, "/other", "1") == 0);
	assert(peer_read(other, 0, "/other", &answer) == 0 && answer.body[0] == '1');
	peer_free(peer);
	peer_free(other);
	if (xn_xs_domain_find(d->store, domid))
		check_accounts(d, domid);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct peer_daemon d;

	if (size < 1 || size > 20000)
		return 0;
	peer_daemon_start(&d);
	peer_daemon_guest(&d, 5);
	play(&d, data[0], data + 1, size - 1);
	peer_daemon_stop(&d);
	return 0;
}
