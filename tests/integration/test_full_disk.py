"""A disk that takes nothing more: changes are refused, reads and events go on, and nothing is lost."""
import contextlib
import glob
import http.client
import json
import os
import resource
import socket
import struct
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

    # ---- files over HTTP ----

    def request(self, method, path, body=None):
        with contextlib.closing(http.client.HTTPConnection(*self.daemon.address,
                                                           timeout=harness.DEADLINE)) as connection:
            connection.request(method, path, body)
            reply = connection.getresponse()
            return reply.status, reply.read().decode("latin-1")

    def new_disk(self):
        sr = self.client("pool.get_default_SR", self.client("pool.get_all")[0])
        disk = self.client("VDI.create", {
            "name_label": "a disk", "name_description": "", "SR": sr, "virtual_size": 1 << 20,
            "type": "user", "sharable": False, "read_only": False, "other_config": {}})
        return disk, f"raw_vdi?format=raw&vdi={disk}&session_id={self.client.session}"

    def assert_nothing_came(self, query, tasks):
        self.limit(resource.RLIM_INFINITY)
        self.set_label_once_possible(self.client("pool.get_all")[0], "it takes uploads again")
        self.assertEqual(self.client("task.get_all"), tasks)
        status, content = self.request("GET", "/export_" + query)
        self.assertEqual((status, content.strip("\0")), (200, ""))

    def test_an_upload_is_refused_before_it_begins(self):
        _, query = self.new_disk()
        tasks = self.client("task.get_all")
        self.fill_the_disk()
        status, text = self.request("PUT", "/import_" + query, b"Z" * 4096)
        self.assertEqual(status, 503)
        self.assertIn("the database refuses changes", text)
        self.assert_nothing_came(query, tasks)

    def test_an_upload_that_finds_it_full_is_refused_before_it_begins(self):
        _, query = self.new_disk()
        tasks = self.client("task.get_all")
        self.limit(0)
        self.addCleanup(self.limit, resource.RLIM_INFINITY)
        status, text = self.request("PUT", "/import_" + query, b"Z" * 4096)
        self.assertEqual(status, 503)
        self.assertIn("INTERNAL_ERROR: the ", text)
        self.assert_nothing_came(query, tasks)

    def test_an_import_whose_client_goes_before_its_undo_can_begin_ends_once(self):
        task = self.client("task.create", "import", "")
        pool = self.client("pool.get_all")[0]
        with socket.create_connection(self.daemon.address) as sock:
            sock.sendall(f"PUT /import?session_id={self.client.session}&task_id={task} HTTP/1.0\r\n\r\n"
                         .encode())
            self.assertTrue(sock.recv(5000).startswith(b"HTTP/1.1 200 "))
            self.limit(0)
            self.addCleanup(self.limit, resource.RLIM_INFINITY)
            with self.fails("INTERNAL_ERROR"):
                self.client("task.cancel", task)
            self.client("session.get_uuid", self.client.session)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for _ in range(2):  # it finds that the client is gone
            self.client("session.get_uuid", self.client.session)
        self.limit(resource.RLIM_INFINITY)
        self.set_label_once_possible(pool, "the undo begins")
        self.assertEqual(harness.wait_for_task(self.client, task)["status"], "cancelled")

    def test_files_that_are_fetched_leave_logins_room_in_the_audit_log(self):
        vm = self.client("VM.get_all")[0]
        path = f"/export_metadata?ref={vm}&session_id={self.client.session}&export_snapshots=x"
        self.fill_the_disk()
        with contextlib.closing(http.client.HTTPConnection(*self.daemon.address,
                                                           timeout=harness.DEADLINE)) as connection:
            status = 400
            while status == 400:
                connection.request("GET", path)
                reply = connection.getresponse()
                status, text = reply.status, reply.read()
        self.assertEqual(status, 503)
        self.assertIn(b"the audit log refuses lines", text)
        self.assertLess(self.daemon.metrics()["xenolith_audit_queued_bytes"], 3.1 * (1 << 20))
        self.assertTrue(self.daemon.client()("pool.get_all"))
        self.limit(resource.RLIM_INFINITY)
        self.set_label_once_possible(self.client("pool.get_all")[0], "all lines are written")


if __name__ == "__main__":
    unittest.main(verbosity=2)
