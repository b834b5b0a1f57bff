#!/usr/bin/env python3
"""Strangers that send nothing but the longest bodies. XENOLITHD: the daemon."""
import collections
import contextlib
import json
import socket
import threading

import siege

import harness  # siege knows where it is

STRANGERS = 24
ROOM = 8 << 20


def long_xml():
    """Nearly rpc-body, and slow to parse."""
    return (b"<methodCall><methodName>VM.get_all</methodName><params><param><value>" +
            b"&#97;" * 209_000 + b"</value></param></params></methodCall>")


def long_json(version):
    return json.dumps({"id": 1, "method": "VM.get_all", "params": ["x" * 1_000_000], **version}).encode()


class LongBodies(siege.TestCase):
    daemon_options = ("--long-bodies", str(ROOM))

    def setUp(self):
        super().setUp()
        self.answers = collections.Counter()
        self.ended = threading.Event()
        requests = [siege.request(long_xml(), "/"), siege.request(long_json({"jsonrpc": "2.0"})),
                    siege.request(long_json({}))]
        self.threads = [threading.Thread(target=self.be_strange, args=(requests[i % 3],))
                        for i in range(STRANGERS)]
        for thread in self.threads:
            thread.start()
        self.addCleanup(self.send_home)

    def send_home(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def tearDown(self):
        self.send_home()
        super().tearDown()

    def be_strange(self, request):
        with contextlib.suppress(ConnectionError), \
                socket.create_connection(self.daemon.address, harness.DEADLINE, ("127.0.0.2", 0)) as sock:
            while not self.ended.is_set():
                sock.sendall(request)
                self.answers[siege.read_reply(sock)] += 1

    def refusals(self):
        return [body for _, body in list(self.answers) if b"TOO_MANY_PENDING_TASKS" in body]

    def test_a_long_call_from_elsewhere_is_not_refused(self):
        vm = self.client("VM.get_all")[0]
        before = self.client("VM.get_other_config", vm)
        self.wait_until(self.refusals, "there was room for all")
        for turn in range(12):
            value = {f"key{i}": str(turn) + "v" * 100_000 for i in range(9)}
            self.client("VM.set_other_config", vm, value)
        self.assertEqual(self.client("VM.get_other_config", vm), value)
        self.client("VM.set_other_config", vm, before)

    def test_who_sends_too_many_hears_so_in_its_protocol(self):
        self.wait_until(lambda: len(self.refusals()) == 3, "some protocol's never was refused")
        for body in self.refusals():
            if body.startswith(b"<"):
                self.assertIn(b"<name>ErrorDescription</name>", body)
            elif b"jsonrpc" in body:
                self.assertEqual(json.loads(body)["error"]["message"], "TOO_MANY_PENDING_TASKS")
            else:
                self.assertEqual(json.loads(body)["error"], ["TOO_MANY_PENDING_TASKS"])
        self.assertEqual([answer for answer in self.answers if b"32700" in answer[1]], [])
        numbers = self.daemon.metrics()
        self.assertEqual(numbers["xenolith_limit_long_bodies_bytes"], ROOM)
        self.assertLessEqual(numbers["xenolith_long_bodies_used_bytes"], ROOM)
        self.assertGreater(numbers['xenolith_calls_over_quota_total{limit="long-bodies"}'], 0)
        self.send_home()
        self.wait_until(lambda: self.daemon.metrics()["xenolith_long_bodies_used_bytes"] == 0,
                        "what is parsed stays counted")


if __name__ == "__main__":
    harness.main()
