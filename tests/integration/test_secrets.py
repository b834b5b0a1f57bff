#!/usr/bin/env python3
"""
Secrets stay where they belong: a day's work at the most talkative log level, then a search for every
password and session secret in the log, in all that a reader may see, and in the state folder.

    XENOLITHD=BUILD/xenolithd XN_SCHEMA=BUILD/core/schema/schema.json test_secrets.py
"""
import base64
import contextlib
import http.client
import json
import os
import subprocess
import unittest

import harness
from accounts import PamCase
from harness import PASSWORD

SCHEMA = os.environ.get("XN_SCHEMA") or os.path.join(
    os.path.dirname(harness.XENOLITHD), "core", "schema", "schema.json")


class Secrets(PamCase):
    more_options = ("--log-level", "debug", "--pam-users", "bob")
    passwords = {"reader": "reader's own password", "bob": "bob's own password"}

    def setUp(self):
        super().setUp()
        self.secrets = {"root's password": PASSWORD}
        for user, password in self.passwords.items():
            self.secrets[user + "'s password"] = password
        self.stored = {}  # secrets whose place is a row of class secret
        self.keep_session(self.client)
        self.subject("reader", "read-only")
        self.reader = self.keep_session(self.log_in("reader"))

    def keep_session(self, client):
        self.secrets[f"a session {len(self.secrets)}"] = client.session.split(":")[1]
        return client

    def secret(self, name, text):
        self.secrets[name] = text
        return text

    # ---- the day ----

    def log_in_and_out(self):
        for _ in range(3):
            client = self.daemon.json()
            session = client.login("root", PASSWORD, "1.1", "a test")
            self.keep_session(client)
            client("session.get_record", session)
            client.logout()
            with self.fails("SESSION_INVALID"):
                client.raw("VM.get_all", session)
        for user, password in (("root", self.secret("a wrong password", "wrong pass 1")),
                               ("reader", self.secret("another", "wrong pass 2")),
                               (self.secret("one typed as a name", "typed as a name"), "x")):
            with self.fails("SESSION_AUTHENTICATION_FAILED"):
                self.daemon.json().login(user, password)

    def change_password(self):
        new = self.secret("the new password", "the new one of root")
        self.client("session.change_password", PASSWORD, new)
        with self.fails("CHANGE_PASSWORD_REJECTED"):
            self.client("session.change_password",
                        self.secret("a wrong old one", "not the old one"), "irrelevant")
        self.client("session.change_password", new, PASSWORD)

    def keep_secrets(self):
        self.stored["a secret's value"] = "the value of a secret"
        secret = self.client("secret.create", {"value": self.stored["a secret's value"],
                                               "other_config": {}})
        self.assertEqual(self.client("secret.get_value", secret), "the value of a secret")
        self.stored["a changed value"] = "its next value"
        self.client("secret.set_value", secret, "its next value")
        for method in ("secret.get_value", "secret.get_record", "secret.get_uuid"):
            with self.fails("RBAC_PERMISSION_DENIED"):
                self.reader(method, secret)
        for method in ("secret.get_all_records", "secret.get_all"):
            with self.fails("RBAC_PERMISSION_DENIED"):
                self.reader(method)

    def keep_storage_passwords(self):
        self.stored["a storage password"] = "password of a share"
        host = self.client("host.get_all")[0]
        config = {"location": "server/share", "cifspassword": self.stored["a storage password"]}
        for method, args in (
                ("SR.create", [host, config, "0", "x", "", "dummy", "user", False, {}]),
                ("SR.probe", [host, config, "dummy", {}]),
                ("Async.SR.create", [host, config, "0", "y", "", "dummy", "user", False, {}]),
                ("Async.SR.create", [host, config, "0", "z", "", "no such type", "", False, {}])):
            try:
                result = self.client(method, *args)
                if method.startswith("Async."):
                    harness.wait_for_task(self.client, result)
            except harness.Failure as failure:
                self.assertNotIn(self.stored["a storage password"], str(failure.params))

    def ask_handlers(self):
        right = base64.b64encode(f"root:{PASSWORD}".encode()).decode()
        wrong = base64.b64encode(b"root:wrong by header").decode()
        self.secrets["a header"] = right
        self.secrets["a wrong header"] = wrong
        self.secret("a wrong password in a header", "wrong by header")
        for target, headers in (
                ("/metrics", {"Authorization": "Basic " + right}),
                ("/audit_log", {"Authorization": "Basic " + right}),
                ("/audit_log", {"Authorization": "Basic " + wrong}),
                ("/audit_log", {"Cookie": "session_id=" + self.client.session}),
                ("/audit_log?session_id=" + self.client.session, {}),
                ("/export?session_id=" + self.client.session, {}),
                ("/nowhere?session_id=" + self.client.session, {}),
                ("/nowhere%3Fsession_id=" + self.client.session, {}),
                ("/export%3Fref=x&session_id=" + self.client.session, {}),
                ("/export;session_id=" + self.client.session, {}),
                ("/export/session_id=" + self.client.session, {}),
                ("/export/" + self.client.session, {}),
                ("/export&" + self.client.session, {})):
            self.get(target, headers)

    def get(self, target, headers):
        return self.get_bytes(target, headers).decode()

    def get_bytes(self, target, headers):
        connection = http.client.HTTPConnection(*self.daemon.address, timeout=harness.DEADLINE)
        with contextlib.closing(connection):
            connection.request("GET", target, headers=headers)
            return connection.getresponse().read()

    def send_what_is_no_call(self):
        """A password in a body that is broken, of the wrong shape, or for what is not there."""
        text = self.secret("a password in a broken body", "broken body pass")
        for body in (f'{{"jsonrpc":"2.0","method":"session.login_with_password","params":["{text}"',
                     f'{{"jsonrpc":"2.0","id":1,"method":"session.login_with_password",'
                     f'"params":["root",["{text}"]]}}',
                     f'{{"jsonrpc":"2.0","id":1,"method":"session.login_with_password",'
                     f'"params":["root"]}}',
                     f'{{"jsonrpc":"2.0","id":1,"method":"no.such_call","params":["{text}"]}}'):
            connection = http.client.HTTPConnection(*self.daemon.address,
                                                    timeout=harness.DEADLINE)
            connection.request("POST", "/jsonrpc", body, {"Content-Type": "application/json"})
            connection.getresponse().read()
            connection.close()
        for method, args in (
                ("Async.pool.join", ["10.0.0.1", "root", text]),
                ("pool.join", ["10.0.0.1", "root", text]),
                ("Async.VM.import_convert", ["x", "user", text, "OpaqueRef:NULL", {}]),
                ("pool.configure_repository_proxy", [self.client("pool.get_all")[0], "http://x:1",
                                                     "user", text]),
                ("pool.initialize_wlb", ["x", "u", text, "u", text])):
            try:
                self.client(method, *args)
            except harness.Failure as failure:
                self.assertNotIn(text, str(failure.params), method)

    def misplace_the_session(self):
        """As if it were another object's reference."""
        session, ref = self.client.session, {}
        for cls in ("pool", "VM", "SR", "network"):
            ref[cls] = next(iter(self.client(cls + ".get_all")))
        for method, args in (
                ("VM.start", [session, False, False]),
                ("Async.VM.start", [session, False, False]),
                ("Async.VM.snapshot", [session, "a snapshot"]),
                ("Async.VM.copy", [ref["VM"], "copy", session]),
                ("Async.VDI.create", [{"name_label": "x", "SR": session, "virtual_size": "1",
                                       "type": "user", "sharable": False, "read_only": False,
                                       "other_config": {}}]),
                ("Async.VBD.create", [{"VM": ref["VM"], "VDI": session, "userdevice": "7",
                                       "bootable": False, "mode": "RW", "type": "Disk",
                                       "unpluggable": True, "empty": False, "other_config": {},
                                       "qos_algorithm_type": "", "qos_algorithm_params": {}}]),
                ("Async.event.inject", ["VM", session]),
                ("event.inject", ["VM", session]),
                ("VM.set_affinity", [ref["VM"], session]),
                ("pool.set_default_SR", [ref["pool"], session]),
                ("task.add_to_other_config", [session, "key", "value"]),
                ("session.get_record", [session])):
            try:
                result = self.client(method, *args)
                if method.startswith("Async."):
                    harness.wait_for_task(self.client, result)
            except harness.Failure:
                pass  # to its owner it may be told

    # ---- the search ----

    def seen_by(self, client):
        """{where: text} of all that this session may read."""
        with open(SCHEMA, encoding="utf-8") as file:
            calls = [m for m in json.load(file)["messages"]
                     if m["kind"] in ("GET_ALL_RECORDS", "EXPLICIT")
                     and m["name"].endswith(".get_all_records")]
        seen = {}
        for call in calls:
            try:
                seen[call["name"]] = json.dumps(client(call["name"]))
            except harness.Failure as failure:
                seen[call["name"]] = str(failure)
        reply = client("event.from", ["*"], "", 5.0)
        seen["event.from"] = json.dumps(reply)
        for call in ("Diagnostics.get", "Diagnostics.get_text"):
            try:
                seen[call] = json.dumps(client(call))
            except harness.Failure as failure:
                seen[call] = str(failure)
        seen["a session"] = json.dumps(client("session.get_record", client.session))
        for target in ("/metrics", "/audit_log"):
            seen[target] = self.get(target, {"Cookie": "session_id=" + client.session})
        return seen

    def files(self):
        for folder, _, names in os.walk(self.daemon.state):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    yield os.path.relpath(path, self.daemon.state), file.read()

    def assert_nowhere(self, secrets, places):
        for place, text in places:
            for name, secret in secrets.items():
                found = secret.encode() in text if isinstance(text, bytes) else secret in text
                self.assertFalse(found, f"{name} is in {place}")

    def test_nothing_secret_is_anywhere_but_in_its_place(self):
        self.log_in_and_out()
        self.misplace_the_session()
        self.change_password()
        self.keep_secrets()
        self.keep_storage_passwords()
        self.ask_handlers()
        self.send_what_is_no_call()
        as_root, as_reader = self.seen_by(self.client), self.seen_by(self.reader)
        as_root.pop("secret.get_all_records")  # an operator's to see
        everything = dict(self.secrets, **self.stored)
        self.assert_nowhere(everything, as_root.items())
        self.assert_nowhere(everything, as_reader.items())
        cookie = {"Cookie": "session_id=" + self.client.session}
        copies = {target: self.get_bytes(target, cookie)
                  for target in ("/backup", "/pool/xmldbdump")}
        for target, copy in copies.items():
            self.assertGreater(len(copy), 1000, target)
        self.assert_nowhere(self.secrets, copies.items())
        self.daemon.restart()
        self.daemon.stop()
        self.addCleanup(self.daemon.start)
        self.assert_nowhere(everything, [("the log", "".join(self.daemon.log))])
        self.assert_nowhere(self.secrets, self.files())
        self.assert_nowhere(everything, [(flag[0], self.printed(*flag)) for flag in (
            ("--check-db",), ("--check-audit",), ("--history", "limit=100000 json"))])

    def printed(self, *flag):
        return subprocess.run([harness.XENOLITHD, *flag, "--state-dir", self.daemon.state],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=True).stdout


if __name__ == "__main__":
    unittest.main(verbosity=2)
