"""The ten likely mistakes of somebody new: each is told in one clear sentence, and what to do next.

With our own client, as a person would. XE names it; without it: build/xe.
"""
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import world as worlds
from world import harness

sys.path.insert(0, os.path.join(worlds.HERE, "..", "integration"))
import accounts  # noqa: E402

XE = os.environ.get("XE") or os.path.join(worlds.HERE, "..", "..", "build", "xe")


class Shell:
    """Somebody at a terminal: a home of their own, and no settings in the environment."""

    def __init__(self):
        self.home = tempfile.mkdtemp(prefix="xe-home-")
        self.environment = {"HOME": self.home, "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}

    def clear(self):
        shutil.rmtree(self.home)

    def run(self, *words):
        return subprocess.run([XE, *words], capture_output=True, text=True, env=self.environment,
                              stdin=subprocess.DEVNULL, timeout=harness.DEADLINE, check=False)


class Mistakes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.mkdtemp(prefix="xe-mistakes-")
        cls.addClassCleanup(shutil.rmtree, cls.scratch, ignore_errors=True)
        cls.daemon = worlds.Daemon(worlds.World(cls.scratch).make().state, "--https", "127.0.0.1:0")
        cls.addClassCleanup(cls.daemon.clear)
        cls.daemon.start()
        cls.addClassCleanup(cls.daemon.close_clients)

    def setUp(self):
        self.shell = Shell()
        self.addCleanup(self.shell.clear)

    def xe(self, *words, password=harness.PASSWORD):
        return self.shell.run("-s", "127.0.0.1", "-p", str(self.daemon.address[1]), "-u", "root", "-pw",
                              password, *words)

    def told(self, done, sentence, *next_steps):
        """The first line is the sentence, the last one what to do; nothing on stdout; exit code 1."""
        lines = done.stderr.splitlines()
        self.assertEqual((done.returncode, done.stdout), (1, ""), done)
        if sentence:
            self.assertEqual(lines[0], sentence)
        for step in next_steps:
            self.assertIn(step, lines[-1])
        self.assertLessEqual(len(lines), 5, done.stderr)  # parameters of the error stand between
        return lines

    def uuid(self, kind, name):
        done = self.xe(kind + "-list", "name-label=" + name, "--minimal")
        self.assertEqual(done.returncode, 0, done)
        return done.stdout.strip()

    def test_a_wrong_password(self):
        self.told(self.xe("vm-list", password="wrong"), "Authentication failed", "-u and -pw")

    def test_a_wrong_uuid(self):
        self.told(self.xe("vm-param-list", "uuid=12345"), "The uuid you supplied was invalid.",
                  "'xe vm-list'")
        self.told(self.xe("vm-start", "uuid=12345"), "Error: No matching VMs found", "'xe vm-list'")

    def test_a_name_that_two_have(self):
        self.told(self.xe("vm-start", "vm=twin"),
                  "Error: Multiple matches VMs found. --multiple required to complete the operation",
                  "uuid=", "--multiple")

    def test_a_missing_parameter(self):
        self.told(self.xe("vm-install", "template=golden"),
                  "Required parameter not found: new-name-label", "'xe help vm-install'")

    def test_a_vm_that_runs_already(self):
        self.told(self.xe("vm-start", "vm=web"), "The VM is not in the power state that this needs.",
                  "It runs", "'xe vm-shutdown'")

    def test_no_such_template(self):
        self.told(self.xe("vm-install", "template=Debian Bokworm 12", "new-name-label=x"),
                  "Error: No templates matched", "Did you mean 'Debian Bookworm 12'?")
        self.told(self.xe("vm-install", "template=BeOS", "new-name-label=x"),
                  "Error: No templates matched", "'xe template-list'")

    def test_no_space_for_a_disk(self):
        folder = os.path.join(self.scratch, "tiny")
        os.mkdir(folder)
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=2", "tmpfs", folder],
                               capture_output=True, check=False)
        if mount.returncode:
            self.skipTest("no file system of a size of its own can be made here")
        self.addCleanup(subprocess.run, ["umount", folder], check=True)
        host = self.uuid("host", "xenolith")
        sr = self.xe("sr-create", "name-label=tiny", "type=file", "host-uuid=" + host,
                     "device-config:location=" + folder)
        self.assertEqual(sr.returncode, 0, sr)
        sr = sr.stdout.strip()
        made = [self.xe("vdi-create", "name-label=x", "sr-uuid=" + sr, "virtual-size=1MiB")
                for _ in range(3)]
        self.told(made[-1], "The storage repository is full.", "'xe vdi-list'", "'xe sr-list params=all'")
        pbd = self.xe("pbd-list", "sr-uuid=" + sr, "--minimal").stdout.strip()
        self.assertEqual(self.xe("pbd-unplug", "uuid=" + pbd).returncode, 0)

    def test_no_room_in_memory(self):
        self.assertEqual(self.xe("vm-memory-set", "vm=db", "memory=100GiB").returncode, 0)
        self.told(self.xe("vm-start", "vm=db"), "The host has not enough free memory.", "vm-memory-set")

    def test_a_daemon_that_does_not_run(self):
        with contextlib.closing(harness.socket.create_server(("127.0.0.1", 0))) as free:
            port = str(free.getsockname()[1])
        lines = self.told(self.shell.run("-s", "127.0.0.1", "-p", port, "-u", "root", "-pw", "x", "vm-list"),
                          None, "Start the daemon")
        self.assertTrue(lines[0].startswith("Unable to contact server"), lines)
        lines = self.told(self.shell.run("-s", "localhost", "-p", port, "-u", "root", "-pw", "x", "vm-list"),
                          None, "Is the daemon running there")
        self.assertTrue(lines[0].startswith("Unable to contact server"), lines)

    def test_a_certificate_that_has_changed(self):
        where = ("-s", "localhost", "-p", str(self.daemon.https_address[1]), "-u", "root", "-pw",
                 harness.PASSWORD)
        met = self.shell.run(*where, "vm-list", "name-label=web", "--minimal")
        self.assertEqual(met.returncode, 0, met)
        self.assertIn("met for the first time", met.stderr)
        again = self.shell.run(*where, "vm-list", "name-label=web", "--minimal")
        self.assertEqual((again.returncode, again.stderr), (0, ""))
        client = self.daemon.client()
        client("host.reset_server_certificate", client("host.get_all")[0])
        changed = self.shell.run(*where, "vm-list")
        lines = self.told(changed, None, "If the change is expected", ".xe-known-hosts", "try again")
        self.assertRegex(lines[0], "The certificate of localhost:[0-9]+ has changed, so nothing was sent")

    def test_what_one_may_not(self):
        if not accounts.pam_is_there():
            self.skipTest("no PAM here")
        people = accounts.Accounts(alice="secret")
        self.addCleanup(people.clear)
        daemon = harness.Daemon(*people.options())
        self.addCleanup(daemon.clear)
        daemon.start()
        self.addCleanup(daemon.close_clients)
        client = daemon.client()
        subject = client("subject.create", {"subject_identifier": "alice", "other_config": {}})
        role, = client("role.get_by_name_label", "read-only")
        client("subject.add_to_roles", subject, role)
        done = self.shell.run("-s", "127.0.0.1", "-p", str(daemon.address[1]), "-u", "alice", "-pw",
                              "secret", "vm-install", "template=Windows 10", "new-name-label=x")
        self.told(done, "Your role does not permit this.", "pool-admin", "'xe subject-role-add'")


if __name__ == "__main__":
    harness.main()
