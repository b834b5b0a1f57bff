#!/usr/bin/env python3
"""Clients that ask for long replies: all the time, or without ever reading them. XENOLITHD: the
daemon."""
import json
import os
import re
import socket
import sys
import tempfile
import time
import xmlrpc.client

import siege

import harness  # siege knows where it is

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "xe"))

import thin  # noqa: E402 pylint: disable=wrong-import-position

BIG, EACH = 150, 230_000  # networks; bytes of each of the three texts that one carries
CALLERS = 80


def read_long(sock):
    """(whether it is whole, body) of a long reply."""
    got = bytearray()
    length = None
    while length is None or len(got) < length:
        try:
            piece = sock.recv(1 << 20)
        except ConnectionResetError:
            break
        if not piece:
            break
        got += piece
        if length is None and b"\r\n\r\n" in got:
            head, _, got = got.partition(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    return len(got) == length, got


class Unread(siege.TestCase):
    """Some 100 MB of records."""

    daemon_options = ("--session-replies", "1M", "--old-records", "1M", "--http-write-idle", "3",
                      "--https", "127.0.0.1:0")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        client = cls.daemon.client()
        cls.networks = [
            client("network.create", {
                "name_label": f"big {i}", "name_description": "", "MTU": 1500,
                "other_config": {f"text{n}": f"{i:03d}" + "x" * EACH for n in range(3)}})
            for i in range(BIG)]
        client.close()

    def ask(self, method, *params):
        """A connection with a long reply under way that nobody reads."""
        sock = self.connect()
        sock.sendall(siege.call(method, self.client.session, *params))
        while len(sock.recv(1 << 16, siege.socket.MSG_PEEK)) < 1 << 14:
            time.sleep(0.01)  # it has begun
        return sock

    def least_held(self, before):
        """While others go on, and nobody is cut off yet: a checkpoint of the 100 MB, which takes as
        much for a moment, is not what is looked for."""
        least, end = self.rss() - before, time.monotonic() + 2
        while time.monotonic() < end:
            self.client("network.set_name_description", self.networks[0], "others go on")
            least = min(least, self.rss() - before)
        return least

    def test_a_reply_that_is_never_read_takes_no_memory(self):
        self.client("network.get_all_records")
        before = self.rss()
        for _ in range(10):
            self.ask("network.get_all_records")
            self.ask("event.from", ["network"], "", 5.0)
        if not harness.IS_SANITIZED:  # a slice and a record each, of 100 MB
            self.assertLess(self.least_held(before), 24 << 20)
        self.client("network.set_name_description", self.networks[0], "others go on")
        self.lift_siege()
        self.assert_back_to(before)

    def test_100_mb_in_either_protocol_plain_or_over_tls_are_not_held_for_who_reads_no_further(self):
        json_call = siege.call("network.get_all_records", self.client.session)
        xml_call = siege.request(xmlrpc.client.dumps(
            (self.client.session,), "network.get_all_records").encode(), "/")
        self.client("network.get_all_records")
        before = self.rss()
        for ask in (json_call, xml_call):
            for connect in (self.connect, self.connect_tls):
                sock = connect()
                sock.sendall(ask)
                head = sock.recv(1024)
                while b"\r\n\r\n" not in head:
                    head += sock.recv(1024)
                length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
                self.assertGreater(length, 100_000_000)
        least = self.least_held(before)  # what it sends is refused by the sockets now
        if not harness.IS_SANITIZED:
            self.assertLess(least, 16 << 20)  # of 400 MB
        self.lift_siege()
        self.assert_back_to(before)

    def unread(self, method, *params):
        """Of a Unix socket the daemon's end holds 200 KB, not megabytes."""
        sock = socket.socket(socket.AF_UNIX)
        self.besiegers.append(sock)
        sock.settimeout(harness.DEADLINE)
        sock.connect(self.daemon.socket)
        sock.sendall(siege.call(method, *params))
        return sock

    def unread_bytes(self):
        return self.number("xenolith_unread_replies_bytes")

    def test_a_long_reply_that_is_no_list_counts_until_it_is_read(self):
        sock = self.unread("network.get_other_config", self.client.session, self.networks[0])
        self.wait_until(lambda: self.unread_bytes() > 3 * EACH, "it counts")
        with self.fails("TOO_MANY_PENDING_TASKS"):
            self.client("network.get_other_config", self.networks[0])
        self.client("network.get_name_label", self.networks[0])
        is_whole, body = read_long(sock)
        self.assertTrue(is_whole)
        self.assertEqual({len(text) for text in json.loads(body)["result"].values()}, {EACH + 3})
        self.wait_until(lambda: not self.unread_bytes(), "it counts on")
        sock.sendall(siege.call("network.get_name_label", self.client.session, self.networks[0]))
        self.assertTrue(read_long(sock)[0])  # the connection goes on
        self.assertEqual(len(self.client("network.get_other_config", self.networks[0])), 3)

    def test_the_last_piece_counts_until_it_is_read(self):
        most = 261_000  # two pieces of 128 KiB
        network = self.client("network.create", {
            "name_label": "one text", "name_description": "x" * most, "MTU": 1500, "other_config": {}})
        sock = self.unread("network.get_name_description", self.client.session, network)
        self.wait_until(lambda: self.unread_bytes() > most, "it counts")
        self.wait_until(lambda: self.number("xenolith_reply_slices_waiting") == 0, "it is written")
        self.assertGreater(self.unread_bytes(), most)
        self.assertTrue(read_long(sock)[0])
        self.wait_until(lambda: not self.unread_bytes(), "it counts on")

    def test_a_long_error_counts_like_a_reply(self):
        sock = self.unread("network.get_name_label", self.client.session, self.networks[0])
        self.assertTrue(read_long(sock)[0])  # a stranger's errors count with its connection
        sock.sendall(siege.call("network.get_name_label", self.client.session, "x" * 800_000))
        self.wait_until(lambda: self.unread_bytes() > 800_000, "it counts")
        is_whole, body = read_long(sock)
        self.assertTrue(is_whole)
        self.assertEqual(json.loads(body)["error"]["message"], "HANDLE_INVALID")

    def test_who_stops_reading_is_cut_off(self):
        sock = self.ask("network.get_all_records")
        sockets = self.daemon.open_sockets()
        self.wait_until(lambda: self.daemon.open_sockets() < sockets, "the reader was kept")
        self.assertFalse(read_long(sock)[0])

    def test_records_that_change_meanwhile_are_not_kept_for_ever(self):
        reader = self.ask("network.get_all_records")
        self.wait_until(lambda: self.number("xenolith_reply_slices_waiting") == 0, "it goes on")
        time.sleep(1.1)  # it stands still
        for number, network in enumerate(self.networks):
            self.client("network.set_other_config", network,
                        {f"text{n}": f"{number:03d}" + "y" * EACH for n in range(3)})
        self.assertFalse(read_long(reader)[0])
        self.assertLess(self.number("xenolith_old_records_used_bytes"), 2 << 20)
        self.assertGreater(self.number("xenolith_replies_cut_total"), 0)

    def number(self, name):
        """From /metrics, over the Unix socket."""
        connection = harness.UnixConnection(self.daemon.socket, harness.DEADLINE)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return float(next(line for line in text.splitlines() if line.startswith(name + " "))
                     .split()[1])

    def test_a_list_read_slowly_is_whole_and_of_one_moment(self):
        sock = self.ask("network.get_all_records")
        for network in self.networks[:20]:
            self.client("network.set_name_label", network, "changed")
        is_whole, body = read_long(sock)
        self.assertTrue(is_whole)
        records = json.loads(body)["result"]
        self.assertGreaterEqual(len(records), BIG)
        self.assertNotIn("changed", {record["name_label"] for record in records.values()})


class OldRecords(siege.TestCase):
    """Whoever else is shown records as they were, and reads no further, is cut like the reader of a reply."""

    MACHINES = 32
    daemon_options = ("--old-records", "1M")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        client = cls.daemon.client()
        template, = client("VM.get_by_name_label", "Other install media")
        cls.machines = [client("VM.clone", template, f"big {i}") for i in range(cls.MACHINES)]
        client.close()

    def setUp(self):
        super().setUp()
        self.turn = 0
        self.change_all()

    def change_all(self):
        self.turn += 1
        for vm in self.machines:
            self.client("VM.set_other_config", vm, {f"text{n}": f"{self.turn} " + "x" * EACH for n in range(2)})

    def begin(self, request):
        """It has begun to answer, and nobody reads on."""
        sock = socket.socket()
        self.besiegers.append(sock)
        sock.settimeout(harness.DEADLINE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(self.daemon.address)
        sock.sendall(request)
        self.assertTrue(sock.recv(1))
        return sock

    def assert_cut(self, sock, end):
        cut = self.daemon.metrics()["xenolith_replies_cut_total"]

        def is_cut():
            self.change_all()
            return self.daemon.metrics()["xenolith_replies_cut_total"] > cut
        self.wait_until(is_cut, "it was not cut")
        self.wait_until(lambda: self.daemon.metrics()["xenolith_old_records_used_bytes"] < 1 << 20,
                        "its records are held on")
        self.assertNotIn(end, siege.read_to_end(sock)[-100:])

    def get(self, path):
        return self.begin(f"GET {path}session_id={self.client.session} HTTP/1.0\r\n\r\n".encode())

    def test_who_is_sent_the_database(self):
        self.assert_cut(self.get("/pool/xmldbdump?"), b"</database>")

    def test_who_is_sent_metadata(self):
        self.assert_cut(self.get("/export_metadata?all=true&"), b"\0" * 100)

    def xe(self, *arguments):
        login = ("username=root", "password=" + harness.PASSWORD)
        sock = self.begin(thin.Conversation.request([*arguments, *login]))
        sock.sendall(thin.HELLO)
        return sock

    def test_who_lists_with_xe(self):
        self.assert_cut(self.xe("template-list", "params=all"), thin.response(thin.EXIT))

    def test_who_watches_with_xe(self):
        self.assert_cut(self.xe("watch", "class=vm", "--json"), thin.response(thin.EXIT))


class Loops(siege.TestCase):
    """Full lists and all events, asked for in a loop by eighty sessions."""

    def test_eighty_loops_on_full_lists_stall_nobody(self):
        for i in range(500):
            self.client("network.create", {"name_label": f"network {i}", "name_description": "",
                                           "MTU": 1500, "other_config": {"text": "x" * 1000}})
        sessions = [self.daemon.client().session for _ in range(CALLERS)]
        self.daemon.close_clients()
        self.client = self.daemon.client()
        socks = []
        for i, session in enumerate(sessions):
            sock = self.connect()
            sock.sendall(self.long_call(i, session))
            socks.append(sock)
        for _ in range(3):
            for i, (sock, session) in enumerate(zip(socks, sessions)):
                is_whole, body = read_long(sock)
                self.assertTrue(is_whole)
                self.assertIn(b'"result":{', body[:40])
                sock.sendall(self.long_call(i, session))

    @staticmethod
    def long_call(i, session):
        if i % 2:
            return siege.call("event.from", session, ["*"], "", 30.0)
        return siege.call("network.get_all_records", session)


class Quotas(siege.TestCase):
    daemon_options = ("--session-calls", "8", "--pending-tasks", "10", "--session-waits", "6", "--event-classes", "10",
                      "--sessions-per-originator", "3", "--all-arguments", "1M")

    def reply_to(self, sock):
        return json.loads(siege.read_reply(sock)[1])

    def wait_calls(self, n):
        socks = [self.connect() for _ in range(n)]
        for sock in socks:
            sock.sendall(siege.call("event.from", self.client.session, ["pool"],
                                    self.token, 30.0))
        return socks

    def test_a_session_has_so_many_calls_and_waits(self):
        self.token = self.client("event.from", ["pool"], "", 5.0)["token"]
        socks = self.wait_calls(7)
        refused = siege.select.select(socks, [], [], harness.DEADLINE)[0]
        self.daemon.client()("VM.get_all")  # of others there is no such number
        self.assertEqual(siege.select.select(socks, [], [], 0)[0], refused)
        self.assertEqual(len(refused), 1)
        self.assertEqual(self.reply_to(refused[0])["error"]["message"], "TOO_MANY_PENDING_TASKS")
        self.lift_siege()
        self.wait_until(lambda: len(self.client("VM.get_all")) > 0, "the session may go on")

    def test_parameters_of_all_that_wait_have_their_room(self):
        session = self.daemon.client().session
        long = siege.call("event.from", session, ["pool", "x" * 600_000], self.token_of_now(), 30.0)
        waiting, refused = self.connect(), self.connect()
        waiting.sendall(long)
        self.wait_until(lambda: self.daemon.metrics()["xenolith_call_arguments_bytes"] > 600_000, "it waits")
        refused.sendall(long.replace(session.encode(), self.client.session.encode()))
        self.assertEqual(self.reply_to(refused)["error"]["message"], "TOO_MANY_PENDING_TASKS")
        self.client("VM.get_all")  # what is short goes on
        self.client("event.from", ["pool"], "", 5.0)
        numbers = self.daemon.metrics()
        self.assertEqual(numbers['xenolith_calls_over_quota_total{limit="all-arguments"}'], 1)
        self.lift_siege()
        self.wait_until(lambda: self.daemon.metrics()["xenolith_call_arguments_bytes"] < 1000, "it is given back")

    def token_of_now(self):
        return self.client("event.from", ["pool"], "", 5.0)["token"]

    def test_an_originator_has_so_many_sessions(self):
        clients = [self.daemon.json() for _ in range(12)]
        for client in clients:
            client.login("root", harness.PASSWORD, "1.0", "many")
        for client in clients[:8]:
            with self.fails("SESSION_INVALID"):
                client("VM.get_all")
        clients[-1]("VM.get_all")
        for client in clients:
            client.close()

    def test_tasks_and_classes_have_their_numbers(self):
        with self.fails("TOO_MANY_PENDING_TASKS"):
            for i in range(12):
                self.client("task.create", f"task {i}", "")
        self.client("task.set_status", self.client("task.get_all")[0], "success")
        self.client("task.create", "in place of what has ended", "")
        with self.fails("EVENT_SUBSCRIPTION_PARSE_FAILURE"):
            self.client("event.from", ["vm"] * 11, "", 0.0)


class Accounts(siege.TestCase):
    MOST = 8
    daemon_options = ("--session-calls", str(MOST), "--account-tasks", str(MOST))

    def answer(self, session):
        with self.connect() as sock:
            sock.sendall(siege.call("VM.get_all", session))
            return json.loads(siege.read_reply(sock)[1]).get("error", {}).get("message")

    def test_who_shows_a_sessions_reference_has_an_account_of_his_own(self):
        own = self.client.session
        public = self.client("session.get_by_uuid", self.client("session.get_uuid", own))
        self.assertNotEqual(public, own)
        token = self.client("event.from", ["pool"], "", 5.0)["token"]
        for _ in range(self.MOST):
            self.connect().sendall(siege.call("event.from", own, ["pool"], token, 30.0))
        self.wait_until(lambda: self.answer(own) == "TOO_MANY_PENDING_TASKS", "its account is full")
        self.assertEqual(self.answer(public), "SESSION_INVALID")

    def test_who_ends_none_of_his_tasks_hinders_no_operation(self):
        tasks = [self.client("task.create", "stays", "") for _ in range(self.MOST)]
        with self.fails("TOO_MANY_PENDING_TASKS"):
            self.client("task.create", "one more", "")
        self.client("Async.VM.clone", self.client("VM.get_by_name_label", "Other install media")[0], "a clone")
        self.assertEqual(self.daemon.metrics()['xenolith_calls_over_quota_total{limit="account-tasks"}'], 1)
        self.client("task.set_status", tasks[0], "success")
        self.client("task.create", "in its place", "")


class Tasks(siege.TestCase):
    """A call that takes an operation, or a transfer, is a task, too."""

    MOST = 10
    daemon_options = ("--pending-tasks", str(MOST))

    def setUp(self):
        super().setUp()
        sr = next(ref for ref, record in self.client("SR.get_all_records").items()
                  if record["content_type"] != "iso")
        self.vdi = self.client("VDI.create", {
            "name_label": "held", "SR": sr, "virtual_size": 4 << 20, "type": "user", "sharable": False,
            "read_only": False, "other_config": {}})
        template = self.client("VM.get_by_name_label", "Other install media")[0]
        self.vm = self.client("VM.clone", template, "to be ended")
        self.client("VM.provision", self.vm)
        self.client("VM.start", self.vm, False, False)

    def pending(self):
        return [ref for ref, task in self.client("task.get_all_records").items()
                if task["status"] == "pending"]

    def begin(self, request):
        sock = self.connect()
        sock.sendall(request)
        return sock

    def begin_upload(self):
        """Holds the disk until its end."""
        self.begin(f"PUT /import_raw_vdi?session_id={self.client.session}&vdi={self.vdi} HTTP/1.1\r\n"
                   "Host: h\r\nContent-Length: 4194304\r\n\r\nabc".encode())
        self.wait_until(lambda: self.client("VDI.get_current_operations", self.vdi), "it is held")
        return self.pending()

    def test_no_more_of_them_begin_than_may_be_pending(self):
        upload, = self.begin_upload()
        calls = [self.begin(siege.call("VDI.snapshot", self.client.session, self.vdi, {}))
                 for _ in range(2 * self.MOST)]
        self.wait_until(lambda: len(self.pending()) == self.MOST, "so many are begun")
        refused = []
        while len(refused) < len(calls) - self.MOST + 1:
            refused += siege.select.select(
                [sock for sock in calls if sock not in refused], [], [], harness.DEADLINE)[0]
        self.assertEqual(len(refused), len(calls) - self.MOST + 1)
        for sock in refused:
            self.assertEqual(json.loads(siege.read_reply(sock)[1])["error"]["message"],
                             "TOO_MANY_PENDING_TASKS")
        for path in (f"GET /export_raw_vdi?vdi={self.vdi}&", f"PUT /import_raw_vdi?vdi={self.vdi}&",
                     "PUT /import?", f"GET /export?ref={self.vm}&"):
            status, body = siege.read_reply(self.begin(
                f"{path}session_id={self.client.session} HTTP/1.1\r\nHost: h\r\n"
                "Content-Length: 0\r\n\r\n".encode()))
            self.assertEqual(status, 503, body)
            self.assertIn(b"TOO_MANY_PENDING_TASKS", body)
        for method, *params in (("VM.clean_shutdown", self.vm), ("Async.VM.clean_shutdown", self.vm),
                                ("VM.snapshot", self.vm, "one more"), ("task.create", "one", "")):
            with self.fails("TOO_MANY_PENDING_TASKS"):
                self.client(method, *params)
        self.assertEqual(len(self.pending()), self.MOST)
        self.client("VM.set_name_label", self.vm, "what makes no task goes on")
        self.client("event.from", ["vm"], "", 5.0)
        self.client("VM.hard_shutdown", self.vm)
        self.client("task.cancel", upload)
        for sock in calls:
            if sock not in refused:
                self.assertIn("result", json.loads(siege.read_reply(sock)[1]))
        self.client("VM.start", self.vm, False, False)


class Room(siege.TestCase):
    daemon_options = ("--all-rows", "1000")

    def test_objects_have_their_number(self):
        library = tempfile.TemporaryDirectory(prefix="xn-test-isos-")
        self.addCleanup(library.cleanup)
        host = self.client("host.get_all")[0]
        sr = self.client("SR.create", host, {"location": library.name}, "0", "library", "", "iso", "iso",
                         False, {})
        with self.assertRaises(harness.Failure) as caught:
            for i in range(1000):
                self.client("network.create", {"name_label": f"network {i}",
                                               "name_description": "", "MTU": 1500,
                                               "other_config": {}})
        self.assertEqual(caught.exception.code, "OUT_OF_SPACE")
        self.assertIn("all-rows", caught.exception.params[0])
        with open(os.path.join(library.name, "found.iso"), "wb") as file:
            file.write(bytes(4096))
        with self.fails("OUT_OF_SPACE"):  # what a scan finds is an object, too
            self.client("SR.scan", sr)
        self.assertEqual(self.client("SR.get_VDIs", sr), [])
        template = self.client("VM.get_by_name_label", "Other install media")[0]
        for method, *params in (("VM.clone", template, "one more"), ("VM.provision", template)):
            with self.fails("OUT_OF_SPACE"):
                self.client(method, *params)
        for i in range(10):  # the scan's task and operation are objects, too
            self.client("network.destroy", self.client("network.get_by_name_label", f"network {i}")[0])
        self.client("SR.scan", sr)
        self.assertEqual(len(self.client("SR.get_VDIs", sr)), 1)


if __name__ == "__main__":
    harness.main()
