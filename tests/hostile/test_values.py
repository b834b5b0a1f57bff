#!/usr/bin/env python3
"""
Well-typed values that nobody sends, in each position of each message that is built, on rows that are
there: numbers at their ends, text that means something elsewhere, long text, large maps. Each is
taken or refused with an error of the model, none is an internal error, the loop goes on, and what
was taken leaves a database that --check-db finds nothing wrong with.

    XENOLITHD=BUILD/xenolithd test_values.py BUILD/core/schema/schema.json [all] ...

With "all" each value over each position, otherwise every fourth.
"""
import json
import subprocess
import sys

from hostile import harness, HostileCase, NULL, PROTOCOLS, Raw, main

SCHEMA = {}
EVERY = 4
DATES = tuple(Raw(f'"{text}"', f"<value><dateTime.iso8601>{text}</dateTime.iso8601></value>")
              for text in ("00000101T00:00:00Z", "99991231T23:59:60Z", "19700101T00:00:00+23:59"))

TEXTS = ("", " ", "-1", "0", "9" * 400, "1e999", "nan", "\n\n", "\t", "../../../../etc/passwd",
         "/dev/sda", "/", "file:///etc/passwd", "%n%s%p", "$(reboot)", "; reboot", "`reboot`",
         "' or '1'='1", "<a>&b;</a>", "]]>", "{", "[]", "\u202e\U0001f600", "\u0300" * 1000, NULL,
         "OpaqueRef:", "x" * 70_000, "a=b,c=d", "a/b/c", ".", "..", "con", "-rf", "--help", "*")
INTS = (-1, 0, 1, 2**31, 2**32, 2**53 + 1, 2**62, 2**63 - 1, -2**63)
FLOATS = (-1.0, -0.0, 5e-324, 1e308, -1e308, 0.1)

# These wait on purpose, end our own session, or end the daemon's host.
LEFT_OUT = {"event.from", "event.next", "session.logout", "session.local_logout",
            "session.change_password", "session.logout_subject_identifier", "host.reboot",
            "host.shutdown", "VM.wait_memory_target_live"}


class Values(HostileCase):
    daemon_options = ("--sim-memory", "16G")

    def setUp(self):
        super().setUp()
        self.unbuilt = set(subprocess.run([harness.XENOLITHD, "--unimplemented"], check=True,
                                          capture_output=True, text=True).stdout.split())
        self.rows_of = {}
        self.given_rows()

    def given_rows(self):
        """One of everything that a client can make, so that a message finds its object."""
        client = self.client
        sr = client("pool.get_default_SR", client("pool.get_all")[0])
        template = client("VM.get_by_name_label", "Other install media")[0]
        vm = client("VM.clone", template, "hostile's")
        client("VM.set_is_a_template", vm, False)
        network = client("network.create", {"name_label": "n", "name_description": "",
                                            "other_config": {}})
        vdi = client("VDI.create", {"SR": sr, "virtual_size": 1 << 20, "type": "user",
                                    "name_label": "d", "sharable": False, "read_only": False,
                                    "other_config": {}})
        client("VBD.create", {"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW",
                              "type": "Disk", "empty": False, "other_config": {},
                              "qos_algorithm_type": "", "qos_algorithm_params": {}})
        client("VIF.create", {"VM": vm, "network": network, "device": "0", "MAC": "", "MTU": 1500,
                              "other_config": {}, "qos_algorithm_type": "",
                              "qos_algorithm_params": {}})
        self.rows_of = {"VM": vm, "VDI": vdi, "SR": sr, "network": network}

    def row(self, cls):
        if cls == "session":
            return self.client.session
        ref = self.rows_of.get(cls)
        try:
            if ref is None or not self.client(f"{cls}.get_uuid", ref):
                raise harness.Failure("", [])
        except harness.Failure:
            try:
                ref = (self.client(f"{cls}.get_all") or [NULL])[0]
            except harness.Failure:
                ref = NULL
            self.rows_of[cls] = ref
        return ref

    def plain(self, type_):
        kind = type_["kind"]
        if kind == "ref":
            return self.row(type_["name"])
        if kind == "enum":
            return SCHEMA["enums"][type_["name"]][0]
        return {"string": "text", "int": 1, "float": 0.5, "bool": False, "datetime": DATES[0],
                "set": [], "map": {}, "record": {}}[kind]

    def extremes(self, type_):
        kind = type_["kind"]
        if kind == "map" and type_["key"]["kind"] == "string":
            inner = list(self.extremes(type_["value"]))
            return [{text: inner[i % len(inner)] for i, text in enumerate(TEXTS)},
                    {f"{i}": inner[0] for i in range(5000)}] if inner else []
        if kind == "set":
            inner = list(self.extremes(type_["value"]))
            return [inner, inner[:1] * 2, [inner[0]] * 5000] if inner else []
        if kind == "record":
            fields = {f["name"]: f["type"] for c in SCHEMA["classes"] if c["name"] == type_["name"]
                      for f in c["fields"] if not f["internal"]}
            full = {name: self.plain(t) for name, t in fields.items()}
            return [full] + [{**full, name: value} for name, t in fields.items()
                             for value in self.extremes(t)[:6]]
        return {"string": TEXTS, "int": INTS, "float": FLOATS, "datetime": DATES}.get(kind, ())

    def test_each_value_is_taken_or_refused_with_an_error_of_the_model(self):
        answers, stalls = [], self.stalls()
        for turn, message in enumerate(SCHEMA["messages"]):
            if message["name"] in self.unbuilt | LEFT_OUT or message["pool_internal"] or \
                    message["lifecycle"] == "removed" or \
                    message["kind"] in ("GET", "GET_RECORD", "GET_BY_UUID", "GET_ALL"):
                continue
            for position, param in enumerate(message["params"]):
                for nth, value in enumerate(self.extremes(param["type"])):
                    if (turn + nth) % EVERY == 0:
                        answers.append(self.ask(PROTOCOLS[nth % 3], message, position, value))
        self.assertGreater(len(answers), 8000 // EVERY)
        self.assertGreater(answers.count(None), len(answers) // 4, "too many had no object")
        if not harness.IS_SANITIZED:
            self.assertEqual(self.stalls() - stalls, 0, "the loop stood still")
        self.daemon.close_clients()
        self.assertEqual(self.daemon.stop(), 0)
        checked = subprocess.run([harness.XENOLITHD, "--check-db", "--state-dir", self.daemon.state],
                                 capture_output=True, text=True, check=False)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        self.daemon.start()
        self.daemon.client()("VM.get_all_records")

    def ask(self, protocol, message, position, value):
        params = [self.plain(p["type"]) for p in message["params"]]
        params[position] = value
        answer = self.call(protocol, message["name"], *params,
                           session=None if message["session"] else False)
        with self.subTest(message["name"], parameter=message["params"][position]["name"],
                          value=str(value)[:60], protocol=protocol):
            self.assertIsNone(answer.fault, answer)
            if answer.error:
                self.assertIn(answer.error[0], SCHEMA["errors"])
                self.assertNotEqual(answer.error[0], "INTERNAL_ERROR", answer)
        return answer.error and answer.error[0]


if __name__ == "__main__":
    with open(sys.argv.pop(1), encoding="utf-8") as file:
        SCHEMA.update(json.load(file))
    if sys.argv[1:2] == ["all"]:
        del sys.argv[1]
        EVERY = 1
    main()
