"""Who gets in: PAM, subjects and their roles, the Unix socket; and what a lesser role may not."""
import base64
import http.client
import os
import select
import shutil
import subprocess
import sys
import time
import unittest

import harness
from accounts import Accounts, PamCase
from harness import PASSWORD

class Pam(PamCase):
    more_options = ("--pam-users", "root, bob, @mail")

    def test_root_has_the_password_of_the_file_where_there_is_one(self):
        self.daemon.client()
        with self.fails("SESSION_AUTHENTICATION_FAILED"):
            self.log_in("root")

    def test_a_listed_account_or_group_logs_in_as_superuser(self):
        for user in ("bob", "mail"):
            client = self.log_in(user)
            record = client("session.get_record", client.session)
            self.assertTrue(record["is_local_superuser"])
            self.assertEqual(record["auth_user_name"], user)
            self.assertEqual(record["rbac_permissions"], [])

    def test_any_other_account_needs_to_be_a_subject(self):
        with self.fails("SESSION_AUTHORIZATION_FAILED") as caught:
            self.log_in("alice")
        self.assertEqual(caught.exception.params[0], "alice")

    def test_wrong_passwords_and_unknown_accounts_are_refused_alike(self):
        texts = set()
        for user in ("alice", "bob", "nobody-at-all", "@mail", "alice:x", "a" * 300, "\u00e4"):
            with self.fails("SESSION_AUTHENTICATION_FAILED") as caught:
                self.log_in(user, "wrong")
            self.assertEqual(caught.exception.params[0], user)
            texts.add(caught.exception.params[1])
        self.assertEqual(len(texts), 1)

    def test_a_subject_without_a_role_may_not_log_in(self):
        self.subject("alice")
        with self.fails("RBAC_PERMISSION_DENIED") as caught:
            self.log_in("alice")
        self.assertEqual(caught.exception.params[0], "session.login_with_password")

    def test_a_subject_logs_in_with_its_role(self):
        subject = self.subject("alice", "vm-operator")
        client = self.log_in("alice")
        record = client("session.get_record", client.session)
        self.assertFalse(record["is_local_superuser"])
        self.assertEqual(record["subject"], subject)
        self.assertEqual(record["auth_user_name"], "alice")
        self.assertEqual(record["auth_user_sid"], "alice")
        self.assertIn("vm.start", record["rbac_permissions"])
        self.assertNotIn("vm.clone", record["rbac_permissions"])
        self.assertEqual(sorted(record["rbac_permissions"]),
                         sorted(client("subject.get_permissions_name_label", subject)))
        self.assertEqual(client("session.get_rbac_permissions", client.session),
                         record["rbac_permissions"])
        client("VM.get_all")
        with self.fails("RBAC_PERMISSION_DENIED") as caught:
            client("pool.set_name_label", client("pool.get_all")[0], "x")
        self.assertEqual(caught.exception.params[0], "pool.set_name_label")

    def test_a_group_gives_its_role_to_its_members(self):
        self.subject("@daemon", "read-only")
        client = self.log_in("daemon")
        self.assertEqual(client("session.get_auth_user_sid", client.session), "daemon")
        with self.fails("RBAC_PERMISSION_DENIED"):
            client("VM.start", "OpaqueRef:NULL", False, False)

    def test_a_group_may_be_told_as_directories_do(self):
        self.subject("some id", "vm-admin", **{"subject-name": "daemon",
                                               "subject-is-group": "true"})
        self.log_in("daemon")

    def test_of_several_roles_the_greatest_counts(self):
        subject = self.subject("daemon", "read-only")
        self.subject("@daemon", "vm-admin")
        self.client("subject.add_to_roles", subject, self.role("vm-operator"))
        client = self.log_in("daemon")
        self.assertIn("vm.clone", client("session.get_rbac_permissions", client.session))

    def test_another_role_counts_from_the_next_login_on(self):
        subject = self.subject("alice", "read-only")
        before = self.log_in("alice")
        self.client("subject.remove_from_roles", subject, self.role("read-only"))
        self.client("subject.add_to_roles", subject, self.role("pool-operator"))
        pool = before("pool.get_all")[0]
        with self.fails("RBAC_PERMISSION_DENIED"):
            before("pool.add_to_other_config", pool, "some key", "x")
        after = self.log_in("alice")
        after("pool.add_to_other_config", pool, "some key", "x")
        after("pool.remove_from_other_config", pool, "some key")

    def test_sessions_end_with_their_subject(self):
        subject = self.subject("alice", "read-only")
        client = self.log_in("alice")
        self.client("subject.destroy", subject)
        with self.fails("SESSION_INVALID"):
            client("VM.get_all")

    def test_who_removes_the_own_subject_is_out(self):
        subject = self.subject("alice", "pool-admin")
        client, other = self.log_in("alice"), self.log_in("alice")
        client("subject.destroy", subject)
        for client in client, other:
            with self.fails("SESSION_INVALID"):
                client("VM.get_all")

    def test_sessions_of_a_subject_are_told_and_ended(self):
        self.subject("alice", "pool-admin")
        clients = [self.log_in("alice") for _ in range(3)]
        self.assertEqual(self.client("session.get_all_subject_identifiers"), ["alice"])
        clients[0]("session.logout_subject_identifier", "alice")
        clients[0]("VM.get_all")  # but the caller's own
        for client in clients[1:]:
            with self.fails("SESSION_INVALID"):
                client("VM.get_all")
        self.client("VM.get_all")

    def test_accounts_are_looked_up_before_a_subject_is_made(self):
        look_up = "auth.get_subject_identifier"
        self.assertEqual(self.client(look_up, "daemon"), "daemon")
        self.assertEqual(self.client(look_up, "@daemon"), "@daemon")
        with self.fails("SUBJECT_CANNOT_BE_RESOLVED"):
            self.client(look_up, "nobody-at-all")
        about = self.client("auth.get_subject_information_from_identifier", "@daemon")
        self.assertEqual((about["subject-name"], about["subject-is-group"]), ("daemon", "true"))
        self.assertIn("@daemon", self.client("auth.get_group_membership", "daemon"))

    def test_a_local_session_is_for_superusers(self):
        self.subject("alice", "pool-admin")
        with self.fails("SESSION_AUTHORIZATION_FAILED"):
            self.daemon.json().raw("session.slave_local_login_with_password", "alice",
                                   self.passwords["alice"])
        self.daemon.json().raw("session.slave_local_login_with_password", "bob",
                               self.passwords["bob"])

    def test_a_module_that_crashes_lets_nobody_in_and_harms_nobody(self):
        with self.fails("SESSION_AUTHENTICATION_FAILED"):
            self.log_in("crash")
        self.log_in("bob")

    def test_basic_logins_go_through_pam_too(self):
        self.subject("alice", "read-only")
        self.assertIn(self.status("alice", "alice's"), (403, 404, 200))
        self.assertIn(self.status("alice", "wrong"), (401, 404))

    def status(self, user, password):
        """Of a handler; 404 while this daemon has none."""
        connection = http.client.HTTPConnection(*self.daemon.address, timeout=harness.DEADLINE)
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        try:
            connection.request("GET", "/audit_log", headers={"Authorization": "Basic " + token})
            return connection.getresponse().status
        finally:
            connection.close()


class Readme(PamCase):
    passwords = {"alice": "alice's"}

    def test_its_lines_give_an_account_a_role(self):
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "README.md")
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file if "session.xenapi." in line]
        self.assertEqual(len(lines), 3)
        exec("\n".join(lines), {"session": XenApi(self.client)})  # pylint: disable=exec-used
        client = self.log_in("alice")
        self.assertIn("vm.start", client("session.get_rbac_permissions", client.session))


class XenApi:
    """session.xenapi.VM.start(...), as XenAPI.py has it."""

    def __init__(self, client, name=""):
        self.client, self.name = client, name

    def __getattr__(self, name):
        return XenApi(self.client, "" if name == "xenapi" else f"{self.name}.{name}".strip("."))

    def __call__(self, *args):
        return self.client(self.name, *args)


class PamForRoot(PamCase):
    """Without a password file."""

    @classmethod
    def setUpClass(cls):
        cls.accounts = Accounts(**cls.passwords)
        cls.addClassCleanup(cls.accounts.clear)
        cls.daemon = harness.Daemon(*cls.accounts.options())
        cls.daemon.has_password_file = False
        cls.addClassCleanup(cls.daemon.clear)
        cls.daemon.start()

    def setUp(self):
        self.addCleanup(self.daemon.close_clients)
        self.client = self.daemon.local()
        self.client.login("", "")

    def test_root_logs_in_and_changes_the_password(self):
        client = self.log_in("root")
        self.assertTrue(client("session.get_is_local_superuser", client.session))
        with self.fails("CHANGE_PASSWORD_REJECTED"):
            client("session.change_password", "wrong", "another")
        client("session.change_password", "root's", "another")
        with self.fails("SESSION_AUTHENTICATION_FAILED"):
            self.log_in("root", "root's")
        again = self.log_in("root", "another")
        again("session.change_password", "another", "root's")

    def test_only_root_is_superuser_unless_told_otherwise(self):
        with self.fails("SESSION_AUTHORIZATION_FAILED"):
            self.log_in("bob")


class PamThatBlocks(PamCase):
    more_options = ("--pam-users", "slow, bob", "--pam-workers", "4")

    def test_others_log_in_meanwhile_and_the_daemon_stops(self):
        blocked = [self.daemon.json() for _ in range(10)]
        for client in blocked:
            client.send(client.encode("session.login_with_password", ("slow", "x")))
        self.client("session.get_uuid", self.client.session)
        for _ in range(3):
            self.log_in("bob")
        self.daemon.client()
        began = time.monotonic()
        self.assertEqual(self.daemon.stop(), 0)
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(self.blocked(), [])
        self.daemon.start()

    @staticmethod
    def processes(*which):
        return subprocess.run(["pgrep", *which], capture_output=True, check=False,
                              text=True).stdout.split()

    def blocked(self):
        """Those that run the script."""
        return self.processes("-f", self.accounts.script)

    def wait_until(self, condition):
        end = time.monotonic() + harness.DEADLINE
        while not condition():
            self.assertLess(time.monotonic(), end)

    def test_nothing_of_it_outlives_a_daemon_that_is_killed(self):
        client = self.daemon.json()
        client.send(client.encode("session.login_with_password", ("slow", "x")))
        self.wait_until(self.blocked)
        group, = self.processes("-P", str(self.daemon.process.pid), "-f", "pam-child")
        self.assertTrue(self.processes("-g", group))  # its password is in the memory of these
        self.daemon.crash_and_restart()
        self.wait_until(lambda: not self.processes("-g", group) and not self.blocked())


class PamDeadline(PamCase):
    more_options = ("--pam-users", "slow, bob", "--pam-timeout", "1")

    def test_a_login_that_takes_too_long_fails(self):
        with self.fails("SESSION_AUTHENTICATION_FAILED"):
            self.log_in("slow")
        self.log_in("bob")


class LoginQueue(PamCase):
    more_options = ("--login-queue", "16", "--pam-users", "bob")

    def test_one_address_that_fills_it_keeps_out_neither_root_nor_another_one(self):
        waiting = [self.daemon.json() for _ in range(20)]
        for client in waiting:
            client.send(client.encode("session.login_with_password", ("slow", "x")))
        refused = []
        while len(refused) < 13:  # an eighth is for the file; of the rest it gets half
            left = [c.connection.sock for c in waiting if c not in refused]
            ready = select.select(left, [], [], harness.DEADLINE)[0]
            self.assertTrue(ready, f"{20 - len(refused)} of them wait")
            refused += [c for c in waiting if c.connection.sock in ready]
        for client in refused:
            with self.fails("SESSION_AUTHENTICATION_FAILED") as caught:
                client.finish()
            self.assertIn("too many", caught.exception.params[1])
        self.daemon.client()
        other = self.daemon.json()
        other.connection = http.client.HTTPConnection(
            *self.daemon.address, timeout=harness.DEADLINE, source_address=("127.0.0.2", 0))
        other.login("bob", self.passwords["bob"])
        for client in waiting:
            client.close()


class GuessesAtOnce(PamCase):
    more_options = ("--login-free-failures", "2", "--login-backoff", "600")

    def logins(self):
        return sum(value for name, value in self.daemon.metrics().items()
                   if name.startswith(("xenolith_logins_checked", "xenolith_logins_total")))

    def wait_for_logins(self, n):
        end = time.monotonic() + harness.DEADLINE
        while self.logins() < n:
            self.assertLess(time.monotonic(), end, f"{self.logins()} logins of {n}")

    def test_a_right_one_behind_wrong_ones_shows_for_no_account(self):
        self.subject("alice", "read-only")
        for user in ("alice", "bob"):  # bob is no subject: that is told to the right password only
            clients = [self.daemon.json() for _ in range(12)]
            before = self.logins()
            for i, client in enumerate(clients):
                if i == 8:
                    self.wait_for_logins(before + 8)  # they are in line, or through
                client.send(client.encode("session.login_with_password",
                                          (user, self.passwords[user] if i > 7 else "a guess")))
            for client in clients:
                with self.fails("SESSION_AUTHENTICATION_FAILED", user,
                                "wrong user name or password"):
                    client.finish()


class PamIsOff(harness.TestCase):
    def test_then_nobody_but_root_logs_in_and_nobody_is_looked_up(self):
        with self.fails("SESSION_AUTHENTICATION_FAILED"):
            self.daemon.json().login("daemon", "x")
        with self.fails("AUTH_IS_DISABLED"):
            self.client("auth.get_subject_identifier", "daemon")

    def test_no_directory_can_be_joined(self):
        host = self.client("host.get_all")[0]
        with self.fails("AUTH_UNKNOWN_TYPE", "AD"):
            self.client("host.enable_external_auth", host, {}, "example.org", "AD")
        self.client("host.disable_external_auth", host, {})
        self.assertEqual(self.client("host.get_external_auth_type", host), "")

    def test_asking_for_it_where_it_is_not_set_up_is_an_error(self):
        daemon = harness.Daemon("--pam", "on", "--pam-folder", "/nonexistent")
        self.addCleanup(daemon.clear)
        with self.assertRaises(AssertionError):
            daemon.start()
        self.assertIn("PAM", daemon.log_text())


# What a client on the Unix socket says without a password; run as another user.
STRANGER = """
import sys
sys.path.insert(0, sys.argv[1])
import harness
client = harness.JsonClient(sys.argv[2], [])
for password in sys.argv[3:]:
    try:
        client.login("root", password)
    except harness.Failure as failure:
        print(failure.code)
    else:
        print("in")
"""


@unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "needs root and setpriv")
class UnixSocket(harness.TestCase):
    daemon_options = ("--login-free-failures", "2", "--login-backoff", "600")

    def ask_as(self, uid, *passwords):
        return subprocess.run(
            ["setpriv", f"--reuid={uid}", "--clear-groups", sys.executable, "-c", STRANGER,
             os.path.dirname(os.path.abspath(__file__)), self.daemon.socket, *passwords],
            capture_output=True, text=True, check=True, timeout=harness.DEADLINE).stdout.strip()

    def test_it_trusts_root_alone_even_where_its_file_lets_others_connect(self):
        os.chmod(self.daemon.folder, 0o755)
        os.chmod(self.daemon.socket, 0o666)
        self.assertEqual(self.ask_as(0, "no password"), "in")
        self.assertEqual(self.ask_as(65534, "no password"), "SESSION_AUTHENTICATION_FAILED")
        self.assertEqual(self.ask_as(65534, PASSWORD), "in")

    def test_who_guesses_there_keeps_out_neither_root_nor_another_user(self):
        os.chmod(self.daemon.folder, 0o755)
        os.chmod(self.daemon.socket, 0o666)
        told = self.ask_as(65534, *["a guess"] * 4, PASSWORD).split()
        self.assertEqual(told, ["SESSION_AUTHENTICATION_FAILED"] * 5)
        self.assertEqual(self.ask_as(65533, PASSWORD), "in")
        local = self.daemon.local()
        local.login("root", "whatever")
        local("session.change_password", PASSWORD, PASSWORD)

    def test_its_file_is_for_the_owner_only(self):
        self.daemon.restart()
        self.assertEqual(os.stat(self.daemon.socket).st_mode & 0o777, 0o600)


class Backoff(harness.TestCase):
    daemon_options = ("--login-free-failures", "2", "--login-backoff", "600")

    def test_who_guesses_waits_and_nobody_else_does(self):
        guesser = self.daemon.json()
        waits = []
        for _ in range(6):
            with self.fails("SESSION_AUTHENTICATION_FAILED") as caught:
                guesser.login("root", "a guess")
            waits.append("try again" in caught.exception.params[1])
        self.assertEqual(waits, [False, False, False, True, True, True])
        with self.fails("SESSION_AUTHENTICATION_FAILED"):
            guesser.login("root", PASSWORD)  # the right one does not show either
        with self.fails("CHANGE_PASSWORD_REJECTED") as caught:
            self.client("session.change_password", PASSWORD, PASSWORD)
        self.assertIn("try again in", caught.exception.params[0])
        local = self.daemon.local()
        local.login("root", "whatever")
        local("session.change_password", PASSWORD, PASSWORD)
        self.client("VM.get_all")

    def test_guesses_at_the_same_time_count_one_by_one(self):
        daemon = harness.Daemon("--login-free-failures", "2", "--login-backoff", "600")
        self.addCleanup(daemon.clear)
        daemon.start()
        clients = [daemon.json() for _ in range(40)]
        self.addCleanup(daemon.close_clients)
        for i, client in enumerate(clients):
            client.send(client.encode("session.login_with_password",
                                      ("root", PASSWORD if i > 20 else "a guess")))
        got_in = 0
        for client in clients:
            try:
                client.finish()
                got_in += 1
            except harness.Failure:
                pass
        self.assertEqual(got_in, 0)


if __name__ == "__main__":
    harness.main()
