/* Control commands of the xenstore's server: any body gets an answer, from a guest always the same
 * refusal, and the server goes on serving. */
#include <assert.h>
#include <errno.h>

#include "tests/xenstore/peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct peer_frame answer;
	struct peer *dom0, *guest;
	struct peer_daemon d;

	if (size > XN_XS_BODY_MAX)
		return 0;
	peer_daemon_start(&d);
	dom0 = peer_new(&d, xn_xs_domain_find(d.store, 0));
	guest = peer_new(&d, peer_daemon_guest(&d, 5));
	assert(peer_call(guest, XN_XS_WIRE_CONTROL, 0, data, size, &answer) == -EACCES);
	assert(peer_call(dom0, XN_XS_WIRE_CONTROL, 0, data, size, &answer) != -ENOTCONN);
	assert(peer_write(guest, 0, "x", "1") == 0 || peer_list(dom0, 0, "/", &answer) == 0);
	peer_daemon_stop(&d);
	return 0;
}
