#!/usr/bin/env python3
"""The audit log as its reader sees it: what gets a line, what never does, and that its chain holds."""
import base64
import glob
import http.client
import json
import os
import random
import subprocess
import threading
import time
import unittest

import harness
from harness import Failure
from test_access import PamCase

SECRET = "a secret that no file may hold"


def files(daemon):
    return sorted(glob.glob(os.path.join(daemon.state, "audit", "*.jsonl")))


def text_of(daemon):
    parts = []
    for path in files(daemon):
        with open(path, encoding="utf-8") as file:
            parts.append(file.read())
    return "".join(parts)


def lines_of(daemon):
    return [json.loads(line) for line in text_of(daemon).splitlines()]


def check(daemon):
    return subprocess.run([harness.XENOLITHD, "--check-audit", "--state-dir", daemon.state],
                          capture_output=True, text=True, timeout=60, check=False)


class AuditCase(harness.TestCase):
    def last(self, **members):
        """The newest line with these members."""
        for line in reversed(lines_of(self.daemon)):
            if all(line.get(name) == value for name, value in members.items()):
                return line
        raise AssertionError(f"no line with {members} in\n{text_of(self.daemon)}")

    def template(self):
        return next(ref for ref, vm in self.client("VM.get_all_records").items()
                    if vm["is_default_template"])

    def vm(self, name="audited"):
        vm = self.client("VM.clone", self.template(), name)
        self.client("VM.provision", vm)
        return vm


class Lines(AuditCase):
    def test_a_login_names_who_and_the_public_reference_of_the_session(self):
        line = self.last(method="session.login_with_password", result="Success")
        self.assertEqual(line["event"], "call")
        self.assertEqual(line["user"], "root")
        self.assertRegex(line["origin"], r"^127\.0\.0\.1:\d+$")
        uuid = self.client("session.get_uuid", self.client.session)
        refs = self.client("session.get_all_subject_identifiers")
        self.assertIsInstance(refs, list)
        self.assertNotEqual(line["session"], self.client.session)
        self.assertTrue(uuid)

    def test_a_failed_login_is_denied(self):
        with self.fails("SESSION_AUTHENTICATION_FAILED"):
            self.daemon.json().login("mallory", SECRET)
        line = self.last(event="denied", method="session.login_with_password")
        self.assertNotIn("mallory", json.dumps(line))  # it could have been a password
        self.assertRegex(line["origin"], r"^127\.0\.0\.1:\d+$")
        self.assertEqual(line["result"], "SESSION_AUTHENTICATION_FAILED")

    def test_a_logout_has_a_line(self):
        self.client.logout()
        self.assertEqual(self.last(method="session.logout")["result"], "Success")

    def test_a_change_names_its_object_before_it_is_acknowledged(self):
        vm = self.vm("first name")
        self.client("VM.set_name_label", vm, "second name")
        line = self.last(method="VM.set_name_label")
        self.assertEqual(line["args"], {"self": vm, "value": "second name"})
        self.assertEqual(line["objects"], [{
            "class": "VM", "ref": vm, "uuid": self.client("VM.get_uuid", vm),
            "name": "first name"}])
        self.assertEqual(line["role"], "local-root")

    def test_what_runs_on_has_a_line_at_its_beginning_and_one_at_its_end(self):
        vm = self.vm()
        task = self.client("Async.VM.start", vm, False, False)
        self.assertEqual(self.last(event="begun", task=task)["method"], "Async.VM.start")
        harness.wait_for_task(self.client, task)
        self.vm("a later change")  # answered once its line is written, and those before it
        self.assertEqual(self.last(event="call", task=task)["result"], "Success")

    def test_a_call_that_fails_says_how(self):
        vm = self.vm()
        with self.fails("VM_BAD_POWER_STATE"):
            self.client("VM.pause", vm)
        self.assertEqual(self.last(method="VM.pause", event="call")["result"],
                         "VM_BAD_POWER_STATE")

    def test_what_was_made_is_named(self):
        vm = self.vm()
        self.assertEqual(self.last(method="VM.clone", event="call")["created"], vm)

    def test_a_destroyed_object_still_has_its_name(self):
        vm = self.client("VM.clone", self.template(), "short-lived")
        self.client("VM.destroy", vm)
        self.assertEqual(self.last(method="VM.destroy")["objects"][-1]["name"], "short-lived")

    def test_questions_have_no_line(self):
        before = len(lines_of(self.daemon))
        self.client("VM.get_all_records")
        self.client("event.from", ["vm"], "", 0.0)
        self.assertEqual(len(lines_of(self.daemon)), before)

    def test_a_wrong_session_is_denied(self):
        self.client.session = "OpaqueRef:" + "0" * 36
        with self.fails("SESSION_INVALID"):
            self.client("VM.get_all")
        self.assertEqual(self.last(event="denied", method="VM.get_all")["result"],
                         "SESSION_INVALID")

    def test_an_upload_has_a_line_at_its_beginning_and_one_at_its_end_with_the_disk(self):
        sr = self.client("pool.get_default_SR", self.client("pool.get_all")[0])
        disk = self.client("VDI.create", {
            "name_label": "precious", "name_description": "", "SR": sr, "virtual_size": 1 << 20,
            "type": "user", "sharable": False, "read_only": False, "other_config": {}})
        for size, result in ((4096, "Success"), ((1 << 20) + 1, "VDI_TOO_SMALL")):
            connection = http.client.HTTPConnection(*self.daemon.address, timeout=harness.DEADLINE)
            connection.request("PUT", f"/import_raw_vdi?vdi={disk}&session_id={self.client.session}",
                               b"x" * size)
            connection.getresponse().read()
            connection.close()
            self.vm("a later change")  # answered once its line is written, and those before it
            end = self.last(event="call", method="http/put_import_raw_vdi")
            begun = self.last(event="begun", method="http/put_import_raw_vdi", task=end["task"])
            self.assertEqual(end["result"], result)
            for line in (begun, end):
                self.assertEqual(line["objects"], [{
                    "class": "VDI", "ref": disk, "uuid": self.client("VDI.get_uuid", disk),
                    "name": "precious"}])

    def test_a_login_by_the_basic_scheme_has_a_line(self):
        right = base64.b64encode(f"root:{harness.PASSWORD}".encode()).decode()
        for path in ("/audit_log", "/metrics", "/pool/xmldbdump"):
            connection = http.client.HTTPConnection(*self.daemon.address, timeout=harness.DEADLINE)
            connection.request("GET", path, headers={"Authorization": "Basic " + right,
                                                     "User-Agent": "for " + path})
            self.assertEqual(connection.getresponse().status, 200)
            connection.close()
            self.vm("a later change")
            line = self.last(method="session.login_with_password", agent="for " + path)
            self.assertEqual((line["user"], line["result"]), ("root", "Success"))

    def test_a_login_of_xe_on_the_unix_socket_has_a_line(self):
        subprocess.run([os.path.join(os.path.dirname(harness.XENOLITHD), "xe"), "-s",
                        self.daemon.socket, "vm-list"], check=True, capture_output=True,
                       timeout=harness.DEADLINE, env={"HOME": self.daemon.folder})
        self.vm("a later change")
        out = self.last(method="session.logout", origin="unix")
        line = self.last(method="session.login_with_password", session=out["session"])
        self.assertEqual((line["user"], line["origin"]), ("root", "unix"))

    def test_no_secret_is_in_it(self):
        vm = self.vm()
        self.client("VM.add_to_other_config", vm, "password", SECRET)
        self.client("VM.set_other_config", vm, {"pw": SECRET})
        self.client("VM.set_name_description", vm, SECRET)
        self.client("secret.create", {"value": SECRET, "other_config": {}})
        for method, *params in (
                ("session.change_password", SECRET, SECRET),
                ("session.login_with_password", "x", SECRET),
                ("VM.destroy", self.client.session),
                ("Async.VM.start", self.client.session, False, False),
                ("host.enable_external_auth", "x", {"pass": SECRET}, SECRET, "y")):
            try:
                if method == "session.login_with_password":
                    self.client.raw(method, *params)
                else:
                    self.client(method, *params)
            except Failure:
                pass
        text = text_of(self.daemon)
        self.assertNotIn(SECRET, text)
        self.assertNotIn(harness.PASSWORD, text)
        self.assertNotIn(self.client.session, text)
        self.assertIn('"key":"password"', text)


class Roles(PamCase, AuditCase):
    def test_what_a_role_may_not_do_is_denied_with_who_wanted_it(self):
        self.subject("alice", "read-only")
        alice = self.log_in("alice")
        with self.fails("RBAC_PERMISSION_DENIED"):
            alice("VM.set_name_label", self.template(), "mine")
        line = self.last(event="denied", method="VM.set_name_label")
        self.assertEqual((line["user"], line["role"]), ("alice", "read-only"))
        self.assertEqual(line["result"], "RBAC_PERMISSION_DENIED")
        self.assertEqual(line["objects"][0]["ref"], self.template())

    def test_what_it_may_is_told_with_the_role(self):
        self.subject("alice", "vm-admin")
        alice = self.log_in("alice")
        vm = alice("VM.clone", self.template(), "alice's")
        line = self.last(event="call", method="VM.clone")
        self.assertEqual((line["user"], line["role"], line["created"]), ("alice", "vm-admin", vm))


class HostsOnly(AuditCase):
    def test_calls_of_other_hosts_are_denied(self):
        with self.fails("INTERNAL_ERROR"):
            self.client("pool.audit_log_append", "forged")
        line = self.last(event="denied", method="pool.audit_log_append")
        self.assertEqual(line["user"], "root")
        self.assertNotIn("forged", text_of(self.daemon))


class Download(AuditCase):
    def get(self, query="", session=None):
        connection = http.client.HTTPConnection(*self.daemon.address, timeout=harness.DEADLINE)
        headers = {"Cookie": "session_id=" + session} if session else {}
        connection.request("GET", "/audit_log" + query, headers=headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text

    def test_it_is_the_files(self):
        self.vm()
        status, text = self.get(session=self.client.session)
        self.assertEqual(status, 200)
        self.assertEqual(text, text_of(self.daemon))

    def test_since_leaves_out_what_came_before(self):
        self.vm()
        self.assertEqual(self.get("?since=20991231T00:00:00Z", self.client.session), (200, ""))
        status, text = self.get("?since=20000101T00:00:00Z", self.client.session)
        self.assertEqual((status, text), (200, text_of(self.daemon)))

    def test_a_since_that_is_no_date_is_refused(self):
        self.assertEqual(self.get("?since=yesterday", self.client.session)[0], 400)

    def test_strangers_get_nothing(self):
        status, text = self.get()
        self.assertEqual(status, 401)
        self.assertNotIn("seq", text)


class Chain(unittest.TestCase):
    """What is done to the files of a daemon that stands still."""

    def setUp(self):
        self.daemon = harness.Daemon()
        self.addCleanup(self.daemon.clear)
        self.daemon.start()
        client = self.daemon.client()
        pool = client("pool.get_all")[0]
        for i in range(20):
            client("pool.set_name_description", pool, str(i))
        self.daemon.close_clients()
        self.daemon.stop()

    def edit(self, change):
        path = files(self.daemon)[-1]
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines(keepends=True)
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(change(lines))

    def assert_found(self, *parts):
        out = check(self.daemon)
        self.assertEqual(out.returncode, 1, out.stdout + out.stderr)
        for part in parts:
            self.assertIn(part, out.stdout)

    def test_untouched_it_is_clean(self):
        out = check(self.daemon)
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        self.assertIn("clean", out.stdout)
        self.assertIn("the database knows the lines up to number", out.stdout)

    def test_an_edit_is_found(self):
        self.edit(lambda lines: lines[:9] + [lines[9].replace("root", "nobody")] + lines[10:])
        self.assert_found("line 10: number 10 was changed")

    def test_a_deletion_is_found(self):
        self.edit(lambda lines: lines[:9] + lines[10:])
        self.assert_found("lines 10 to 10 are missing")

    def test_another_order_is_found(self):
        self.edit(lambda lines: lines[:8] + [lines[9], lines[8]] + lines[10:])
        self.assert_found("stands behind")

    def test_an_end_that_was_cut_off_is_found_by_the_database(self):
        self.edit(lambda lines: lines[:-3])
        self.assert_found("its end was cut off")

    def test_a_file_that_is_gone_is_found(self):
        os.unlink(files(self.daemon)[0])
        self.assert_found("its end was cut off")

    def test_the_next_daemon_tells_of_the_cut_in_the_chain(self):
        self.edit(lambda lines: lines[:-3])
        self.daemon.start()
        self.daemon.stop()
        self.assertIn("are missing", lines_of(self.daemon)[-2]["found"])
        self.assert_found("are missing")

    def test_the_next_daemon_goes_on_behind_a_damaged_end(self):
        """Also where the database knows of none of the lines: it was killed in its first second."""
        daemon = harness.Daemon()
        self.addCleanup(daemon.clear)
        daemon.start()
        daemon.client()
        daemon.kill()
        before = files(daemon)
        with open(before[-1], "a", encoding="utf-8") as file:
            file.write("no line\n")
        text = text_of(daemon)
        daemon.start()
        daemon.stop()
        self.assertTrue(text_of(daemon).startswith(text))
        self.assertEqual(files(daemon)[:-1], before)
        out = check(daemon)
        self.assertIn("no line of an audit log", out.stdout)
        self.assertNotIn("stands behind", out.stdout)


def bytes_of(daemon):
    try:
        return sum(os.path.getsize(path) for path in files(daemon))
    except FileNotFoundError:  # one went meanwhile
        return bytes_of(daemon)


class Rotation(unittest.TestCase):
    def test_files_are_begun_anew_and_old_ones_go_and_the_chain_holds(self):
        for file_size in ("64K", "1G"):
            with self.subTest(file_size):
                self.rotate(file_size)

    def rotate(self, file_size):
        daemon = harness.Daemon("--audit-file-size", file_size, "--audit-size", "128K")
        self.addCleanup(daemon.clear)
        daemon.start()
        client = daemon.client()
        pool = client("pool.get_all")[0]
        for i in range(800):
            client("pool.set_name_description", pool, str(i))
        end = time.monotonic() + harness.DEADLINE
        while bytes_of(daemon) > 128 << 10:
            self.assertLess(time.monotonic(), end, "the old files stay")
            time.sleep(0.05)
        daemon.close_clients()
        daemon.stop()
        self.assertGreater(lines_of(daemon)[0]["seq"], 1)
        out = check(daemon)
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)


class Kills(unittest.TestCase):
    def test_what_was_acknowledged_has_a_line_after_sigkill_at_any_time(self):
        daemon = harness.Daemon()
        self.addCleanup(daemon.clear)
        rng = random.Random(5)
        acknowledged = []
        for life in range(int(os.environ.get("XN_AUDIT_KILLS", "6"))):
            daemon.start()
            pool = daemon.client()("pool.get_all")[0]
            writers = [threading.Thread(target=self.write, args=(daemon, pool, life, n, acknowledged))
                       for n in range(4)]
            for writer in writers:
                writer.start()
            writers[0].join(0.05 + rng.random() * 0.3)
            daemon.kill()
            for writer in writers:
                writer.join()
            daemon.close_clients()
            out = check(daemon)
            self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        daemon.start()
        daemon.stop()
        out = check(daemon)
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        keys = {line["args"]["key"] for line in lines_of(daemon)
                if line.get("method") == "pool.add_to_other_config" and line["result"] == "Success"}
        self.assertGreater(len(acknowledged), 20)
        self.assertEqual(set(acknowledged) - keys, set())

    @staticmethod
    def write(daemon, pool, life, n, acknowledged):
        try:
            client = daemon.client()
            for i in range(100000):
                key = f"k-{life}-{n}-{i}"
                client("pool.add_to_other_config", pool, key, "x")
                acknowledged.append(key)
                client("pool.remove_from_other_config", pool, key)
        except (OSError, http.client.HTTPException, AttributeError):
            pass  # it was killed


class Diagnostics(AuditCase):
    def test_they_show_the_end_of_the_chain(self):
        shown = json.loads(self.client("Diagnostics.get"))["audit"]
        last = lines_of(self.daemon)[-1]
        self.assertEqual(shown["seq"], last["seq"])
        self.assertEqual(shown["hash"], last["hash"])


if __name__ == "__main__":
    harness.main()
