"""Accounts in a PAM service of the test's own, and a daemon that asks it."""
import glob
import os
import shutil
import subprocess
import tempfile
import unittest

import harness

PAM_MATRIX = (glob.glob("/usr/lib/*/pam_wrapper/pam_matrix.so") + [None])[0]
PAM_EXEC = (glob.glob("/usr/lib/*/security/pam_exec.so")
            + glob.glob("/lib/*/security/pam_exec.so") + [None])[0]

ROLES = ["pool-admin", "pool-operator", "vm-power-admin", "vm-admin", "vm-operator", "read-only"]

# What a module may do to the process that it runs in.
SCRIPT = """#!/bin/sh
echo noise; echo noise >&2
case $PAM_USER in
slow) sleep 1000 ;;
crash) kill -9 $PPID ;;
esac
exit 0
"""


def pam_is_there():
    """Built into the daemon, and the modules are installed."""
    if not PAM_MATRIX or not PAM_EXEC:
        return False
    child = subprocess.run([harness.XENOLITHD, "--pam-child"], capture_output=True, check=False,
                           input=b"look up\0\0xapi\0root\0\0\0\0")
    return child.returncode == 0


class Accounts:
    """A PAM service of our own: accounts with passwords in a file, and a script that misbehaves."""

    def __init__(self, **passwords):
        self.folder = tempfile.mkdtemp(prefix="xn-test-pam-")
        self.database = os.path.join(self.folder, "accounts")
        self.script = os.path.join(self.folder, "script")
        with open(self.script, "w", encoding="utf-8") as out:
            out.write(SCRIPT)
        os.chmod(self.script, 0o755)
        with open(self.database, "w", encoding="utf-8") as out:
            for user, password in passwords.items():
                out.write(f"{user}:{password}:xapi\n")
        matrix = f"{PAM_MATRIX} passdb={self.database}"
        with open(os.path.join(self.folder, "xapi"), "w", encoding="utf-8") as out:
            out.write(f"auth required {PAM_EXEC} stdout {self.script}\n"
                      f"auth required {matrix}\n"
                      f"account required {matrix}\n"
                      f"password required {matrix}\n")

    def options(self, *more):
        return ("--pam", "on", "--pam-folder", self.folder, *more)

    def clear(self):
        shutil.rmtree(self.folder, ignore_errors=True)


@unittest.skipUnless(pam_is_there(), "needs a daemon with PAM, and libpam-wrapper")
class PamCase(harness.TestCase):
    more_options = ()
    passwords = {"root": "root's", "daemon": "daemon's", "mail": "mail's", "alice": "alice's",
                 "bob": "bob's", "slow": "x", "crash": "x"}

    @classmethod
    def setUpClass(cls):
        cls.accounts = Accounts(**cls.passwords)
        cls.addClassCleanup(cls.accounts.clear)
        cls.daemon_options = cls.accounts.options(*cls.more_options)
        super().setUpClass()

    def subject(self, identifier, role=None, **other_config):
        ref = self.client("subject.create", {"subject_identifier": identifier,
                                             "other_config": other_config})
        self.addCleanup(self.drop_subject, ref)
        if role:
            self.client("subject.add_to_roles", ref, self.role(role))
        return ref

    def drop_subject(self, ref):
        try:
            self.daemon.client()("subject.destroy", ref)
        except harness.Failure as failure:
            self.assertEqual(failure.code, "HANDLE_INVALID")

    def role(self, name):
        return self.client("role.get_by_name_label", name)[0]

    def log_in(self, user, password=None):
        client = self.daemon.json()
        client.login(user, password or self.passwords[user])
        return client
