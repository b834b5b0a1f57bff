"""The paths, envelopes and spellings in which clients reach the same calls."""
import base64
import contextlib
import http.client
import json
import socket
import unittest

import harness

LIST = "<methodCall><methodName>system.listMethods</methodName><params/></methodCall>"


class Paths(harness.TestCase):
    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection(*self.daemon.address, timeout=harness.DEADLINE)
        self.addCleanup(connection.close)
        connection.request(method, path, body)
        reply = connection.getresponse()
        return reply.status, reply.getheader("Content-Type"), reply.read().decode()

    def test_the_old_path_json_takes_both_protocols_by_the_first_byte(self):
        call = {"method": "system.listMethods", "params": [], "id": 7}
        status, content_type, body = self.ask("POST", "/json", json.dumps(call))
        self.assertEqual((status, content_type), (200, "application/json"))
        reply = json.loads(body)
        self.assertEqual((reply["id"], reply["error"]), (7, None))
        self.assertIn("VM.start", reply["result"])
        status, content_type, body = self.ask("POST", "/json", "\n" + LIST)
        self.assertEqual((status, content_type), (200, "text/xml"))
        self.assertIn("<value>VM.start</value>", body)

    def test_any_unknown_path_is_xml_rpc(self):
        for path in ("/", "/RPC2", "/xmlrpc", "/no/such/path"):
            status, content_type, body = self.ask("POST", path, LIST)
            self.assertEqual((path, status, content_type), (path, 200, "text/xml"))
            self.assertIn("<value>VM.start</value>", body)

    def test_what_is_no_json_and_what_is_no_call_are_told_apart_and_batches_are_not_served(self):
        call = '{"jsonrpc":"2.0","id":7,"method":"system.listMethods","params":[]}'
        for body, code in ((call[:-1], -32700), ("", -32700), ("1", -32600),
                           ('{"jsonrpc":"2.0"}', -32600), ("[]", -32600),
                           (f"[{call}]", -32600), (call.replace('"id":7,', ""), -32600),
                           (call.replace("7", "null"), -32600)):
            with self.subTest(body):
                status, _, reply = self.ask("POST", "/jsonrpc", body)
                reply = json.loads(reply)
                self.assertEqual((status, reply["error"]["code"], reply["id"]), (200, code, None))


class Names(harness.TestCase):
    def test_an_underscore_may_stand_for_the_dot(self):
        vm = self.client("VM_get_all")[0]
        self.assertEqual(self.client("VM_get_uuid", vm), self.client("VM.get_uuid", vm))
        with self.fails("MESSAGE_METHOD_UNKNOWN", "Async.VM_clone"):
            self.client("Async.VM_clone", vm, "x")


class Stop(harness.TestCase):
    """SIGTERM while many calls wait for their turn."""

    def requests(self, vm):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "VM.set_name_label",
                           "params": [self.client.session, vm, "renamed"]})
        secret = base64.b64encode(f"root:{harness.PASSWORD}".encode()).decode()
        return [f"POST /jsonrpc HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}",
                f"GET /audit_log HTTP/1.0\r\nAuthorization: Basic {secret}\r\n\r\n"]

    def stop_under(self, requests, count):
        """What each of so many connections got."""
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.create_connection(self.daemon.address,
                                                                    harness.DEADLINE))
                       for _ in range(count)]
            for i, one in enumerate(sockets):
                if i == count // 2:
                    self.daemon.process.terminate()
                with contextlib.suppress(ConnectionError):
                    one.sendall(requests[i % 8 == 7].encode())
            self.assertEqual(self.daemon.stop(), 0, self.daemon.log_text())
            self.daemon.start()
            return [self.all_of(one) for one in sockets]

    @staticmethod
    def all_of(one):
        data = b""
        with contextlib.suppress(ConnectionError):
            while piece := one.recv(65536):
                data += piece
        return data

    def test_a_call_is_answered_rightly_or_not_at_all(self):
        template = self.client("VM.get_by_name_label", "Generic Linux BIOS")[0]
        vm = self.client("VM.clone", template, "to be renamed")
        for _ in range(8):
            answers = self.stop_under(self.requests(vm), 200)
            self.assertEqual([a for a in answers if b'"error"' in a], [])
            self.client.close()
        self.assertEqual(self.client("VM.get_record", vm)["uuid"],
                         self.client("VM.get_uuid", vm))


if __name__ == "__main__":
    unittest.main(verbosity=2)
