#!/usr/bin/env python3
"""
References that are none of what a message asks for, in each position of every message: of another
class, of a row that is gone, of nothing. The daemon is the test build, which can give any class a row.

    XENOLITHD=BUILD/tests/daemon/xenolithd-test test_refs.py BUILD/core/schema/schema.json [all] ...

With "all" each in each position, otherwise by turns.
"""
import json
import subprocess
import sys

from hostile import harness, HostileCase, NOBODY, NULL, PROTOCOLS, Raw, main

SCHEMA = {}
ALL = False
DATE = Raw('"20260228T23:59:59Z"',
           "<value><dateTime.iso8601>20260228T23:59:59Z</dateTime.iso8601></value>")

# Classes whose rows are there, or that have none to be made.
OWN = ("pool", "host", "session", "task")


class Refs(HostileCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.classes = {c["name"]: c for c in SCHEMA["classes"]}
        cls.known = {}
        cls.unbuilt = set(subprocess.run(
            [harness.XENOLITHD, "--unimplemented"], check=True, capture_output=True,
            text=True).stdout.split())

    def row(self, cls):
        if cls not in self.known:
            self.known[cls] = self.make(cls)
        return self.known[cls]

    def make(self, cls):
        if cls == "session":
            return self.client.session
        if cls == "task":
            return self.client("task.create", "a task", "")
        if not self.classes[cls]["stored"] or self.classes[cls]["internal"]:
            return NULL
        if cls in OWN:
            return self.client(cls + ".get_all")[0]
        fields = {"VM": {"power_state": "Halted", "domid": -1}}.get(cls, {})
        return self.client("pool.test_archive_target", self.client("pool.get_all")[0],
                           {"class": cls, "fields": json.dumps(fields)})

    def gone(self):
        ref = self.client("network.create", {
            "name_label": "", "name_description": "", "other_config": {}})
        self.client("network.destroy", ref)
        return ref

    def sample(self, type_):
        kind = type_["kind"]
        if kind == "enum":
            return SCHEMA["enums"][type_["name"]][0]
        if kind == "ref":
            return self.row(type_["name"])
        return {"string": "text", "int": 1, "float": 0.5, "bool": False, "datetime": DATE,
                "set": [], "map": {}, "record": {}}[kind]

    def test_the_object_of_a_message_is_a_row_of_its_class(self):
        """Whatever the message: built, removed or yet to come. What is not built says so first."""
        gone = self.gone()
        others = {True: self.row("PCI"), False: self.row("network")}
        messages = [m for m in self.messages() if m["params"][0]["type"]["kind"] == "ref"]
        rests = [[self.sample(p["type"]) for p in m["params"][1:]] for m in messages]
        with self.unharmed():
            for turn, (message, rest) in enumerate(zip(messages, rests)):
                cls = message["params"][0]["type"]["name"]
                refs = (others[cls != "PCI"], gone, NOBODY, NULL, "", "a b", "OpaqueRef:",
                        "../../etc/passwd", "x" * 10_000)
                if not ALL:
                    refs = (refs[0], refs[1 + turn % (len(refs) - 1)])
                for nth, ref in enumerate(refs):
                    with self.subTest(message["name"], ref=ref[:50]):
                        self.refuses(PROTOCOLS[(turn + nth) % 3], message, cls, ref, [ref, *rest])

    @staticmethod
    def messages():
        """With parameters; the test build's own message is none of the product's, and a slave's login
        has no session."""
        return [m for m in SCHEMA["messages"]
                if m["params"] and m["session"] and m["name"] != "pool.test_archive_target"]

    def refuses(self, protocol, message, cls, ref, params):
        answer = self.call(protocol, message["name"], *params)
        name = message["name"]
        self.assertIsNotNone(answer.error, f"{name} over {protocol}: {answer}")
        if answer.error[0] in ("NOT_IMPLEMENTED", "MESSAGE_REMOVED", "MESSAGE_DEPRECATED"):
            self.assertTrue(name in self.unbuilt or answer.error[0] != "NOT_IMPLEMENTED")
        elif message["pool_internal"]:
            self.assertEqual(answer.error[0], "INTERNAL_ERROR")
        else:
            self.assertEqual(answer.error, ["HANDLE_INVALID", cls, ref], f"{name} over {protocol}")

    def test_other_references_are_rows_of_their_class(self):
        gone = self.gone()
        built = [m for m in self.messages()
                 if m["name"] not in self.unbuilt and m["lifecycle"] != "removed" and
                 not m["pool_internal"] and m["upstream"] != "deprecated"]
        calls = [(m["name"], position, param["type"]["name"],
                  [self.sample(p["type"]) for p in m["params"]],
                  self.row("network" if param["type"]["name"] == "PCI" else "PCI"))
                 for m in built for position, param in enumerate(m["params"])
                 if position and param["type"]["kind"] == "ref"]
        self.assertGreater(len(calls), 20)
        with self.unharmed():
            for call in calls:
                self.refuses_another(*call, gone)

    def refuses_another(self, name, position, cls, params, other, gone):
        for nth, ref in enumerate((other, gone, NOBODY, "a b")):
            params[position] = ref
            answer = self.call(PROTOCOLS[nth % 3], name, *params)
            with self.subTest(name, position=position, ref=ref):
                self.assertIsNotNone(answer.error, f"{name}: {answer}")
                if answer.error[0] == "HANDLE_INVALID":
                    self.assertEqual(answer.error[1:], [cls, ref])


if __name__ == "__main__":
    with open(sys.argv.pop(1), encoding="utf-8") as file:
        SCHEMA.update(json.load(file))
    if sys.argv[1:2] == ["all"]:
        ALL = bool(sys.argv.pop(1))
    main()
