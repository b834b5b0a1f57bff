"""Clients that change things at the same time share syncs; each reply waits for one all the same."""
import re
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
        self.assertLess(together, CLIENTS * CALLS / 2)
        self.assertGreaterEqual(together, CALLS)
        for vm in vms:
            self.assertEqual(self.client("VM.get_name_label", vm), f"{vm} {CALLS - 1}")
        print(f"{CLIENTS * CALLS} changes of {CLIENTS} clients: {together:.0f} syncs")


if __name__ == "__main__":
    unittest.main(verbosity=2)
