"""Logins, logouts, roles and what becomes of sessions over a restart."""
import base64
import http.client
import os
import re
import unittest
import xmlrpc.client

import harness
from harness import PASSWORD, begin

REFERENCE = re.compile(r"OpaqueRef:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


class Login(harness.TestCase):
    def test_login_takes_two_three_or_four_arguments(self):
        for more in ((), ("1.1",), ("1.1", "a test")):
            session = self.daemon.json().login("root", PASSWORD, *more)
            self.assertRegex(session, REFERENCE)

    def test_login_over_xml_rpc_gives_a_session_for_json_rpc_too(self):
        xml = self.daemon.xml()
        xml.login()
        json = self.daemon.json()
        json.session = xml.session
        self.assertEqual(json("session.get_auth_user_name", xml.session), "root")

    def test_wrong_password_and_unknown_user_are_refused_alike(self):
        texts = set()
        for user, password in (("root", "wrong"), ("root", ""), ("root", PASSWORD + "x"),
                               ("root", PASSWORD[:-1]), ("admin", PASSWORD)):
            with self.fails("SESSION_AUTHENTICATION_FAILED") as caught:
                self.daemon.json().login(user, password)
            self.assertEqual(caught.exception.params[0], user)
            texts.add(caught.exception.params[1])
        self.assertEqual(len(texts), 1)

    def test_the_unix_socket_needs_no_password(self):
        local = self.daemon.local()
        local.login("", "")
        self.assertTrue(local("session.get_is_local_superuser", local.session))

    def test_a_password_file_that_changes_is_read_again(self):
        with open(self.daemon.password_file, "w", encoding="utf-8") as out:
            out.write("another one\n")
        try:
            with self.fails("SESSION_AUTHENTICATION_FAILED"):
                self.daemon.json().login()
            self.daemon.json().login("root", "another one")
        finally:
            with open(self.daemon.password_file, "w", encoding="utf-8") as out:
                out.write(PASSWORD + "\n")
        self.daemon.json().login()

    def test_a_missing_password_file_lets_nobody_in(self):
        os.rename(self.daemon.password_file, self.daemon.password_file + ".away")
        try:
            for password in (PASSWORD, ""):
                with self.fails("SESSION_AUTHENTICATION_FAILED"):
                    self.daemon.json().login("root", password)
        finally:
            os.rename(self.daemon.password_file + ".away", self.daemon.password_file)

    def test_an_empty_password_file_is_no_open_door(self):
        with open(self.daemon.password_file, "w", encoding="utf-8"):
            pass
        try:
            with self.fails("SESSION_AUTHENTICATION_FAILED"):
                self.daemon.json().login("root", "")
        finally:
            with open(self.daemon.password_file, "w", encoding="utf-8") as out:
                out.write(PASSWORD + "\n")

    def test_the_pool_secret_of_no_pool_is_always_wrong(self):
        with self.fails("SESSION_AUTHENTICATION_FAILED", "localhost", "Pool credentials invalid"):
            self.client.raw("session.slave_local_login", "secret")


class Sessions(harness.TestCase):
    def test_the_record_tells_who_logged_in(self):
        client = self.daemon.json()
        client.login("root", PASSWORD, "1.1", "a test")
        record = client("session.get_record", client.session)
        self.assertEqual(record["auth_user_name"], "root")
        self.assertEqual(record["originator"], "a test")
        self.assertIs(record["is_local_superuser"], True)
        self.assertIs(record["pool"], False)
        self.assertEqual(record["this_user"], "OpaqueRef:NULL")
        self.assertEqual(record["parent"], "OpaqueRef:NULL")
        self.assertEqual(record["tasks"], [])
        self.assertNotIn("xn_role", record)

    def test_a_session_ref_is_found_by_its_uuid_but_the_row_does_not_log_in(self):
        uuid = self.client("session.get_uuid", self.client.session)
        row = self.client("session.get_by_uuid", uuid)
        thief = self.daemon.json()
        thief.session = row
        if row == self.client.session:
            self.fail("the row's reference is the secret")
        with self.fails("SESSION_INVALID"):
            thief("VM.get_all")

    def test_logout_ends_the_session(self):
        client = self.daemon.client()
        session = client.session
        client.logout()
        client.session = session
        with self.fails("SESSION_INVALID", session):
            client("VM.get_all")
        with self.fails("SESSION_INVALID", session):
            client("session.logout")

    def test_logout_ends_a_waiting_event_from(self):
        client = self.daemon.client()
        session = client.session
        token = client("event.from", ["*"], "", 0.0)["token"]
        waiting = begin(client, "event.from", ["message"], token, 60.0)
        client.logout()
        with self.fails("SESSION_INVALID", session):
            waiting.finish()

    def test_no_session_no_call(self):
        for bad in ("", "OpaqueRef:NULL", "nonsense", "OpaqueRef:" + "0" * 36, "x" * 10000):
            client = self.daemon.json()
            client.session = bad
            with self.fails("SESSION_INVALID"):
                client("VM.get_all")

    def test_a_local_session_works_until_local_logout(self):
        client = self.daemon.json()
        client.session = client.raw("session.slave_local_login_with_password", "root", PASSWORD)
        client("VM.get_all")
        client("session.local_logout")
        with self.fails("SESSION_INVALID"):
            client("VM.get_all")

    def test_no_subject_is_logged_in_when_only_root_is(self):
        self.assertEqual(self.client("session.get_all_subject_identifiers"), [])
        self.client("session.logout_subject_identifier", "")
        self.client("VM.get_all")  # superusers stay

    def test_the_roles_are_there_under_their_known_references(self):
        roles = self.client("role.get_all_records")
        admin = roles["OpaqueRef:0165f154-ba3e-034e-6b27-5d271af109ba"]
        self.assertEqual(admin["name_label"], "pool-admin")
        self.assertLessEqual({"pool-operator", "vm-power-admin", "vm-admin", "vm-operator",
                              "read-only"}, {role["name_label"] for role in roles.values()})

    def test_too_many_sessions_push_out_the_least_recently_used(self):
        mine = self.daemon.json()
        mine.login("root", PASSWORD, "1.1", "flood")
        first = self.daemon.json()
        first.login("root", PASSWORD, "1.1", "flood")
        other = self.daemon.json()
        for _ in range(700):
            other.login("root", PASSWORD, "1.1", "flood")
            mine("session.get_uuid", mine.session)
        with self.fails("SESSION_INVALID"):
            first("VM.get_all")
        mine("VM.get_all")


class Password(harness.TestCase):
    def test_change_password_checks_the_old_one(self):
        with self.fails("CHANGE_PASSWORD_REJECTED"):
            self.client("session.change_password", "wrong", "new")
        self.daemon.json().login()

    def test_change_password_refuses_what_is_no_line(self):
        for bad in ("", "two\nlines"):
            with self.fails("CHANGE_PASSWORD_REJECTED"):
                self.client("session.change_password", PASSWORD, bad)
        self.daemon.json().login()

    def test_change_password_holds_after_a_crash(self):
        self.client("session.change_password", PASSWORD, "next one \u00e9")
        self.daemon.crash_and_restart()
        with self.fails("SESSION_AUTHENTICATION_FAILED"):
            self.daemon.json().login()
        client = self.daemon.json()
        client.login("root", "next one \u00e9")
        client("session.change_password", "next one \u00e9", PASSWORD)
        self.daemon.json().login()


class Restart(harness.TestCase):
    def test_a_session_outlives_a_crash(self):
        self.daemon.crash_and_restart()
        self.client.close()
        self.assertEqual(self.client("session.get_auth_user_name", self.client.session), "root")

    def test_no_cut_text_keeps_the_daemon_from_starting(self):
        """Names and programs are cut to what a row keeps: between characters, wherever that is."""
        basic = base64.b64encode(f"root:{PASSWORD}".encode()).decode()
        local = self.daemon.local()
        for character in "\u00fc", "\u20ac", "\U0001f600":
            for before in range(4):
                text = "x" * before + character * 300
                self.daemon.json().login("root", PASSWORD, "1.0", text)
                local.login(text, "")
                local("task.create", text, "")
                connection = http.client.HTTPConnection(*self.daemon.address)
                connection.request("GET", "/backup", headers={
                    "Authorization": "Basic " + basic, "User-Agent": text[:200].encode()})
                response = connection.getresponse()
                self.assertEqual(response.status, 200)
                response.read()  # to the end: so many backups at a time there may not be
                connection.close()
        self.client("History.get_changes", {"class": "session"})
        self.daemon.crash_and_restart()
        self.client.close()
        self.client("VM.get_all")

    def test_a_logged_out_session_stays_out(self):
        gone = self.daemon.client()
        session = gone.session
        gone.logout()
        self.daemon.crash_and_restart()
        gone.close()
        gone.session = session
        with self.fails("SESSION_INVALID", session):
            gone("VM.get_all")

    def test_no_secret_is_in_the_state_folder(self):
        client = self.daemon.json()
        client.login("root", PASSWORD, "1.1", "needle-in-the-journal")
        self.daemon.kill()
        try:
            text = b""
            for folder, _, files in os.walk(self.daemon.state):
                for name in files:
                    with open(os.path.join(folder, name), "rb") as file:
                        text += file.read()
            self.assertIn(b"needle-in-the-journal", text)
            for secret in (client.session, client.session[len("OpaqueRef:"):], PASSWORD):
                self.assertNotIn(secret.encode(), text)
        finally:
            self.daemon.start()


class PythonClient(harness.TestCase):
    """The flow of XenAPI.py: Python's own XML-RPC client, URL without a path."""

    def test_a_stock_xml_rpc_client_logs_in_calls_and_logs_out(self):
        proxy = xmlrpc.client.ServerProxy(self.daemon.url())
        self.addCleanup(proxy("close"))
        reply = proxy.session.login_with_password("root", PASSWORD, "2.0", "XenAPI.py")
        self.assertEqual(reply["Status"], "Success")
        session = reply["Value"]
        host = proxy.session.get_this_host(session, session)
        self.assertEqual(host["Status"], "Success")
        pools = proxy.pool.get_all(session)["Value"]
        self.assertEqual(len(pools), 1)
        self.assertEqual(proxy.pool.get_master(session, pools[0])["Value"], host["Value"])
        self.assertIsInstance(proxy.host.get_API_version_major(session, host["Value"])["Value"],
                              str)
        token = getattr(proxy.event, "from")(session, ["*"], "", 0.0)["Value"]["token"]
        self.assertRegex(token, r"\A\d{20},\d{20}\Z")
        counts = getattr(proxy.event, "from")(session, ["vm"], "", 0.0)["Value"]["valid_ref_counts"]
        self.assertIsInstance(counts["task"], int)
        self.assertIn("VM.start", proxy.system.listMethods())
        self.assertEqual(proxy.session.logout(session), {"Status": "Success", "Value": ""})
        failed = proxy.VM.get_all(session)
        self.assertEqual(failed, {"Status": "Failure",
                                  "ErrorDescription": ["SESSION_INVALID", session]})

    def test_xapi_local_needs_no_password(self):
        client = harness.XmlClient(self.daemon.socket, self.daemon.clients)
        client.path = "/RPC2"
        client.login("", "", "2.0", "XenAPI.py")
        self.assertEqual(len(client("pool.get_all")), 1)

    def test_a_result_of_an_async_call_is_stripped_by_hand(self):
        proxy = xmlrpc.client.ServerProxy(self.daemon.url() + "/")
        self.addCleanup(proxy("close"))
        session = proxy.session.login_with_password("root", PASSWORD)["Value"]
        task = proxy.Async.network.create(session, {
            "name_label": "made by a script", "name_description": "", "MTU": "1500",
            "other_config": {}})["Value"]
        record = harness.wait_for_task(self.client, task)
        self.assertEqual(record["status"], "success")
        result = proxy.task.get_result(session, task)["Value"]
        self.assertTrue(result.startswith("<value>") and result.endswith("</value>"))
        network = result[len("<value>"):-len("</value>")]
        self.assertEqual(proxy.network.get_name_label(session, network)["Value"],
                         "made by a script")
        proxy.task.destroy(session, task)

    def test_a_script_installs_starts_and_removes_a_vm(self):
        proxy = xmlrpc.client.ServerProxy(self.daemon.url(), allow_none=True)
        self.addCleanup(proxy("close"))
        session = proxy.session.login_with_password("root", PASSWORD, "1.0", "a script")["Value"]

        def call(method, *params):
            reply = getattr(proxy, method)(session, *params)
            self.assertEqual(reply["Status"], "Success", reply)
            return reply["Value"]

        def follow(token, until):
            while True:
                batch = call("event.from", ["vm", "task"], token, 30.0)
                token = batch["token"]
                for event in batch["events"]:
                    if until(event):
                        return token

        template = call("VM.get_by_name_label", "Debian Bookworm 12")[0]
        token = call("event.from", [], "", 0.0)["token"]
        vm = call("VM.clone", template, "made by a script")
        call("VM.provision", vm)
        self.assertIn(vm, call("VM.get_all_records_where",
                               'field "name__label" = "made by a script" and '
                               'not (field "is_a_template" = "true")'))
        task = call("Async.VM.start", vm, False, False)
        token = follow(token, lambda e: e["ref"] == task and "snapshot" in e
                       and e["snapshot"]["status"] != "pending")
        self.assertEqual(call("task.get_status", task), "success")
        self.assertEqual(call("task.get_result", task), "<value></value>")
        call("task.destroy", task)
        record = call("VM.get_record", vm)
        self.assertEqual(record["power_state"], "Running")
        self.assertIsInstance(record["memory_static_max"], str)
        call("VM.hard_shutdown", vm)
        follow(token, lambda e: e["ref"] == vm and e["snapshot"]["power_state"] == "Halted")
        call("VM.destroy", vm)
        self.assertEqual(proxy.VM.get_record(session, vm)["ErrorDescription"],
                         ["HANDLE_INVALID", "VM", vm])
        call("session.logout")


if __name__ == "__main__":
    unittest.main(verbosity=2)
