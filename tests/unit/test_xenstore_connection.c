/* Connections of the xenstore's server that do not read for a while, on links in memory. */
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>

#include "tests/xenstore/peer.h"

static void requests_go_on_when_an_event_is_what_finds_the_room_again(void **state)
{
	enum { REQUESTS = 200 };
	struct peer_daemon daemon;
	struct peer *reader, *writer;
	struct peer_frame frame;
	char value[3001];
	unsigned n = 0;

	peer_daemon_start(&daemon);
	reader = peer_new(&daemon, xn_xs_domain_find(daemon.store, 0));
	writer = peer_new(&daemon, xn_xs_domain_find(daemon.store, 0));
	memset(value, 'v', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	assert_int_equal(peer_write(writer, 0, "/large", value), 0);
	assert_int_equal(peer_watch(reader, "/watched", "t"), 0);
	while (peer_take(reader, &frame))
		;
	reader->room = 0;
	for (int i = 0; i < REQUESTS; i++)
		peer_send(reader, XN_XS_WIRE_READ, 0, PEER_BODY("/large"));
	peer_daemon_settle(&daemon);
	assert_true(reader->wants_output && !reader->wants_input);
	/* It reads again; the server has not heard of that yet when it has an event for it. */
	reader->room = SIZE_MAX;
	assert_int_equal(peer_write(writer, 0, "/watched", "1"), 0);
	peer_daemon_settle(&daemon);
	while (peer_take(reader, &frame)) {
		assert_true(frame.type == XN_XS_WIRE_READ || frame.type == XN_XS_WIRE_WATCH_EVENT);
		n += frame.type == XN_XS_WIRE_READ;
	}
	assert_int_equal(n, REQUESTS);
	peer_daemon_stop(&daemon);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_go_on_when_an_event_is_what_finds_the_room_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
