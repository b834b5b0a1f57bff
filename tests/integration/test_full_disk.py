"""A disk that takes nothing more: changes are refused, reads and events go on, and nothing is lost."""
import glob
import json
import os
import resource
import unittest
import urllib.request

import harness
from harness import Events, begin


class FullDisk(harness.FullDiskCase):
    def test_changes_are_refused_and_reads_and_events_go_on(self):
        pool = self.client("pool.get_all")[0]
        self.client("pool.set_name_label", pool, "before")
        token = Events(self.client, ["pool"]).token
        self.limit(0)
        self.addCleanup(self.limit, resource.RLIM_INFINITY)
        for label in ("lost", "lost too"):
            with self.fails("INTERNAL_ERROR"):
                self.client("pool.set_name_label", pool, label)
        self.assertEqual(self.client("pool.get_record", pool)["name_label"], "before")
        events = self.client("event.from", ["pool"], "", 0.0)["events"]
        self.assertEqual([e["snapshot"]["name_label"] for e in events], ["before"])
        waiting = begin(self.client, "event.from", ["pool"], token, harness.DEADLINE)
        self.limit(resource.RLIM_INFINITY)
        self.set_label_once_possible(pool, "after")
        events = waiting.finish()["events"]
        self.assertEqual([e["snapshot"]["name_label"] for e in events], ["after"])
        self.daemon.crash_and_restart()
        self.client.close()
        self.assertEqual(self.client("pool.get_name_label", pool), "after")

    def audited_logins(self):
        lines = []
        for path in sorted(glob.glob(os.path.join(self.daemon.state, "audit", "*.jsonl"))):
            with open(path, encoding="utf-8") as file:
                lines += map(json.loads, file)
        return sum(line.get("method") == "session.login_with_password" and
                   line["result"] == "Success" for line in lines)

    def test_who_finds_that_it_is_full_comes_in(self):
        self.client("pool.set_name_label", self.client("pool.get_all")[0], "there was room")
        self.limit(0)
        self.addCleanup(self.limit, resource.RLIM_INFINITY)
        new = self.daemon.client()
        self.assertTrue(new("pool.get_all"))
        new.logout()
        self.assertEqual(self.daemon.metrics()["xenolith_calls_under_way"], 0)

    def test_who_comes_while_it_is_full_can_look(self):
        before = self.audited_logins()
        self.fill_the_disk()
        with self.fails("SESSION_AUTHENTICATION_FAILED"):
            self.daemon.json().login("root", "wrong")
        new = self.daemon.client()
        pool = new("pool.get_all")[0]
        with self.fails("INTERNAL_ERROR"):
            new("pool.set_name_label", pool, "refused")
        token = Events(new, ["pool"]).token
        record = new("session.get_record", new.session)
        self.assertEqual(new("session.get_uuid", new.session), record["uuid"])
        self.assertEqual((record["auth_user_name"], record["is_local_superuser"]), ("root", True))
        brief = self.daemon.client()
        secret = brief.session
        brief.logout()
        with self.fails("SESSION_INVALID"):
            brief.raw("pool.get_all", secret)
        with urllib.request.urlopen(self.daemon.url() + "/audit_log?session_id=" + new.session,
                                    timeout=harness.DEADLINE) as reply:
            self.assertEqual(reply.status, 200)
        with self.fails("INTERNAL_ERROR"):
            self.client.logout()  # a restart would let it in again
        self.limit(resource.RLIM_INFINITY)
        self.set_label_once_possible(pool, "there is room")
        self.assertEqual(len(new("event.from", ["pool"], token, harness.DEADLINE)["events"]), 1)
        self.assertEqual(new("session.get_record", new.session), record)
        new("pool.set_name_label", pool, "by the new one")
        self.assertEqual(self.audited_logins(), before + 2)
        self.daemon.crash_and_restart()
        new.close()
        self.assertEqual(new("pool.get_name_label", pool), "by the new one")
        new.logout()


if __name__ == "__main__":
    unittest.main(verbosity=2)
