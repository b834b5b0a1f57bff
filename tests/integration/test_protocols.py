"""The paths, envelopes and spellings in which clients reach the same calls."""
import http.client
import json
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


if __name__ == "__main__":
    unittest.main(verbosity=2)
