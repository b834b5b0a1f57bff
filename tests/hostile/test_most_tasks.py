#!/usr/bin/env python3
"""As many tasks that do not end as the configuration admits: each look at all of them is short.
XENOLITHD: the daemon."""
import json

import siege

import harness  # siege knows where it is

MOST = 20000
AT_ONCE = 100


class Most(siege.TestCase):
    daemon_options = tuple(word for key in ("pending", "client", "account") for word in (f"--{key}-tasks", str(MOST)))

    def test_the_loop_does_not_stall_beside_them(self):
        one = siege.call("task.create", self.client.session, "stays", "")
        socks = [self.connect() for _ in range(AT_ONCE)]
        for _ in range(MOST // AT_ONCE):
            for sock in socks:
                sock.sendall(one)
            for sock in socks:
                siege.read_reply(sock)
        sock.sendall(one)
        self.assertEqual(json.loads(siege.read_reply(sock)[1])["error"]["message"],
                         "TOO_MANY_PENDING_TASKS")
        self.diagnostics()
        self.client("host.get_all")


if __name__ == "__main__":
    harness.main()
