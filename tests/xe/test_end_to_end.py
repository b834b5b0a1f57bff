"""Our xe with our daemon, by every transport: what neither shows alone.

    XENOLITHD, XE    the programs to test; without them: those of build/
"""
import os
import subprocess
import sys
import tarfile
import time
import unittest

HERE = os.path.dirname(__file__)
sys.path[:0] = [HERE, os.path.join(HERE, "..", "integration")]
# pylint: disable=wrong-import-position
import harness
from test_client import DEADLINE, XE, Terminal

TEMPLATE = "template=Generic Linux BIOS"


class Test(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = harness.Daemon("--https", "127.0.0.1:0")
        cls.addClassCleanup(cls.daemon.clear)
        cls.daemon.start()
        cls.home = os.path.join(cls.daemon.folder, "home")
        os.mkdir(cls.home)
        login = os.path.join(cls.home, "login")
        with open(login, "w", encoding="utf-8") as out:
            out.write("root\n" + harness.PASSWORD + "\n")
        cls.ways = {
            "socket": ["-s", cls.daemon.socket],
            "tcp": ["-p", str(cls.daemon.address[1]), "-pwf", login],
            "tls": ["-s", "localhost", "-p", str(cls.daemon.https_address[1]), "-pwf", login],
        }
        cls.environment = {**os.environ, "HOME": cls.home, "TERM": "xterm"}
        for name in ("NO_COLOR", "XE_EXTRA_ARGS", "XE_SERVER"):
            cls.environment.pop(name, None)
        # The key is made in the background.
        end = time.monotonic() + DEADLINE
        while subprocess.run([XE, *cls.ways["tls"], "help"], capture_output=True, env=cls.environment, cwd=cls.home,
                             check=False).returncode:
            if time.monotonic() > end:
                raise AssertionError("no HTTPS")

    def run_xe(self, *words, way="socket", stdin=b"", code=0, env=None):
        result = subprocess.run([XE, *self.ways[way], *words], capture_output=True, input=stdin, timeout=DEADLINE,
                                check=False, env={**self.environment, **(env or {})}, cwd=self.home)
        self.assertEqual(result.returncode, code, result)
        return result.stdout.decode(), result.stderr.decode()

    def path(self, name):
        return os.path.join(self.home, name)

    def install(self, name, *settings):
        uuid = self.run_xe("vm-install", TEMPLATE, "new-name-label=" + name)[0].strip()
        for setting in settings:
            self.run_xe("vm-param-set", "uuid=" + uuid, "other-config:" + setting)
        return uuid

    def test_the_same_lists_by_every_transport(self):
        texts = {way: self.run_xe("vm-list", way=way)[0] for way in self.ways}
        self.assertIn("power-state ( RO): running", texts["socket"])
        self.assertEqual(len(set(texts.values())), 1)

    def test_the_certificate_was_remembered(self):
        with open(self.path(".xe-known-hosts"), encoding="ascii") as file:
            self.assertRegex(file.read(), r"^localhost:\d+ sha256:[0-9a-f]{64}\n$")
        self.assertEqual(self.run_xe("vm-list", "--minimal", "--verify=strict", way="tls")[1], "")

    def test_the_daemons_own_certificate_is_an_authority_of_its_own(self):
        own = os.path.join(self.daemon.state, "tls-own.pem")
        _, err = self.run_xe("vm-list", "--verify=strict", "--ca-file=" + own, way="tls", env={"XE_KNOWN_HOSTS": "/dev/null"})
        self.assertEqual(err, "")

    def test_files_by_every_transport(self):
        self.install("exported")
        for way in self.ways:
            for words, name in ((["pool-dump-database"], "db." + way), (["vm-export", "vm=exported"], "xva." + way)):
                self.run_xe(*words, ("file-name=" if "dump" in words[0] else "filename=") + name, way=way)
                self.assertEqual(os.stat(self.path(name)).st_mode & 0o777, 0o600)
            with tarfile.open(self.path("xva." + way)) as archive:
                self.assertEqual(archive.getnames()[0], "ova.xml")
        self.assertEqual(len({os.path.getsize(self.path("xva." + way)) for way in self.ways}), 1)
        out, err = self.run_xe("vm-export", "vm=exported", "filename=xva.tcp", code=1)
        self.assertIn("File exists", err)

    def test_an_archive_comes_back_by_every_transport_and_from_a_pipe(self):
        self.install("travels")
        self.run_xe("vm-export", "vm=travels", "filename=travels.xva")
        with open(self.path("travels.xva"), "rb") as file:
            archive = file.read()
        for way in self.ways:
            for words, stdin in ((["filename=travels.xva"], b""), (["filename=/dev/stdin"], archive)):
                uuid = self.run_xe("vm-import", *words, way=way, stdin=stdin)[0].strip()
                self.assertEqual(self.run_xe("vm-param-get", "uuid=" + uuid, "param-name=name-label")[0], "travels\n")

    def test_a_wrong_password(self):
        for way in ("tcp", "tls"):
            words = [*self.ways[way][:-1], "bad"]
            with open(self.path("bad"), "w", encoding="utf-8") as out:
                out.write("root\nwrong\n")
            result = subprocess.run([XE, *words, "vm-list"], capture_output=True, env=self.environment, cwd=self.home,
                                    check=False, timeout=DEADLINE)
            self.assertEqual((result.returncode, result.stdout), (1, b""))
            self.assertIn(b"Authentication failed", result.stderr)

    def test_a_question(self):
        self.install("doomed")
        out, _ = self.run_xe("vm-uninstall", "vm=doomed", stdin=b"no\n")
        self.assertIn("Aborted (you typed: 'no')", out)
        self.assertEqual(self.run_xe("vm-list", "name-label=doomed", "--minimal")[0].count("-"), 4)
        self.run_xe("vm-uninstall", "vm=doomed", stdin=b"yes\n")
        self.assertEqual(self.run_xe("vm-list", "name-label=doomed", "--minimal")[0], "\n")

    def on_terminal(self, *words):
        terminal = Terminal([XE, *self.ways["socket"], *words], self.environment, 110)
        self.addCleanup(terminal.kill)
        return terminal

    def test_a_table_on_a_terminal_and_plain_text_elsewhere(self):
        shown, code = self.on_terminal("vm-list", "is-control-domain=true").end()
        self.assertEqual(code, 0)
        self.assertRegex(shown, rb"^\x1b\[1muuid\x1b\[0m +\x1b\[1mname-label")
        self.assertNotIn("\x1b", self.run_xe("vm-list")[0])

    def test_ctrl_c_undoes_a_start_when_the_user_says_so(self):
        uuid = self.install("slow", "sim-build-ms=4000")
        terminal = self.on_terminal("vm-start", "vm=slow")
        terminal.wait_for(b"%")  # the progress is drawn
        terminal.type(b"\x03")
        terminal.wait_for(b"? [yes/no] ")
        terminal.type(b"yes\n")
        _, code = terminal.end()
        self.assertEqual(code, 1)
        self.assertEqual(self.run_xe("vm-param-get", "uuid=" + uuid, "param-name=power-state")[0], "halted\n")

    def test_a_console(self):
        uuid = self.run_xe("vm-install", "template=Generic Linux PV", "new-name-label=typed")[0].strip()
        self.run_xe("vm-start", "uuid=" + uuid)
        for way in self.ways:
            terminal = Terminal([XE, *self.ways[way], "console", "uuid=" + uuid], self.environment)
            self.addCleanup(terminal.kill)
            terminal.wait_for(b"repeats what you type")
            terminal.type(b"hello\r")
            terminal.wait_for(b"hello\r")
            terminal.type(b"\x1d")
            self.assertEqual(terminal.end()[1], 0)

    def test_completion_is_answered(self):
        uuid = self.install("completed")
        for way, options in self.ways.items():
            place = str(len(options) + 1)
            self.assertRegex(self.complete(place, *options, "vm-start", "vm=comp"), r"(?m)^vm=completed(\t|$)", way)
            self.assertEqual(self.complete(place, *options, "vm-export", "filename="), "\tfile\n")
            self.assertIn("uuid=" + uuid, self.complete(place, *options, "vm-start", "uuid="))

    def complete(self, place, *words):
        result = subprocess.run([XE, "--complete", place, "--", *words], capture_output=True, timeout=DEADLINE,
                                check=False, env=self.environment, cwd=self.home)
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        return result.stdout.decode()


if __name__ == "__main__":
    unittest.main()
