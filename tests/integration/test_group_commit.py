"""Clients that change things at the same time share syncs and writes; each reply waits for its own
all the same."""
import json
import re
import signal
import socket
import threading
import unittest

import harness

CLIENTS, CALLS = 64, 30


class GroupCommit(harness.TestCase):
    def metric(self, name):
        connection = harness.UnixConnection(self.daemon.socket, harness.DEADLINE)
        self.addCleanup(connection.close)
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
        return float(re.search(rf"^{name} (\S+)$", page, re.M).group(1))

    def change(self, client, vm, n):
        for i in range(n):
            client("VM.set_name_label", vm, f"{vm} {i}")

    def syncs_of(self, clients, vms, calls):
        before = self.metric("xenolith_db_sync_seconds_count")
        threads = [threading.Thread(target=self.change, args=(c, vm, calls))
                   for c, vm in zip(clients, vms)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.metric("xenolith_db_sync_seconds_count") - before

    def test_many_clients_share_a_sync_and_one_has_its_own(self):
        template = self.client("VM.get_by_name_label", "Other install media")[0]
        vms = [self.client("VM.clone", template, "vm") for _ in range(CLIENTS)]
        clients = [self.client.another() for _ in vms]
        alone = self.syncs_of(clients[:1], vms[:1], CALLS)
        self.assertGreaterEqual(alone, CALLS)  # no reply before a sync that came after its change
        together = self.syncs_of(clients, vms, CALLS)
        self.assertLess(together, CLIENTS * CALLS)  # how far below is a matter of speeds
        self.assertGreaterEqual(together, CALLS)
        for vm in vms:
            self.assertEqual(self.client("VM.get_name_label", vm), f"{vm} {CALLS - 1}")
        print(f"{CLIENTS * CALLS} changes of {CLIENTS} clients: {together:.0f} syncs")

    def send_at_once(self, requests):
        """All are there when the daemon looks: it is stopped meanwhile."""
        sockets = [socket.create_connection(self.daemon.address, harness.DEADLINE)
                   for _ in requests]
        self.daemon.process.send_signal(signal.SIGSTOP)
        for s, request in zip(sockets, requests):
            body = json.dumps(request).encode()
            s.sendall(b"POST /jsonrpc HTTP/1.1\r\nConnection: close\r\n"
                      b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.daemon.process.send_signal(signal.SIGCONT)
        for s in sockets:
            with s, s.makefile("rb") as reply:
                yield json.loads(reply.read().split(b"\r\n\r\n", 1)[1])

    def test_changes_that_come_together_are_written_together_in_the_database_and_the_audit_log(self):
        template = self.client("VM.get_by_name_label", "Other install media")[0]
        counts = {name: self.metric(name) for name in (
            "xenolith_db_commits_total", "xenolith_db_sync_seconds_count",
            "xenolith_audit_write_seconds_count")}
        requests = [{"jsonrpc": "2.0", "id": i, "method": "VM.set_name_description",
                     "params": [self.client.session, template, f"change {i}"]}
                    for i in range(CLIENTS)]
        for reply in self.send_at_once(requests):
            self.assertIn("result", reply)
        # A turn of an instrumented daemon takes fewer of them.
        most = CLIENTS / (2 if harness.IS_SANITIZED else 4)
        for name, before in counts.items():
            with self.subTest(name):
                self.assertLess(self.metric(name) - before, most)


if __name__ == "__main__":
    unittest.main(verbosity=2)
