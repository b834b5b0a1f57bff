"""The README's first calls, pasted into a shell as a reader would."""
import json
import os
import re
import subprocess
import unittest

import harness

README = os.path.join(os.path.dirname(__file__), "..", "..", "README.md")


def commands():
    """The indented lines of the section that are commands."""
    with open(README, encoding="utf-8") as file:
        section = re.search(r"^## First calls$(.*?)^## ", file.read(), re.M | re.S).group(1)
    return re.findall(r"^    ((?:session=|curl ).*)$", section, re.M)


class FirstCalls(unittest.TestCase):
    def setUp(self):
        self.daemon = harness.Daemon()
        with open(self.daemon.password_file, "w", encoding="utf-8") as out:
            out.write("secret\n")
        self.daemon.start()
        self.addCleanup(self.daemon.clear)

    def test_they_answer_as_shown(self):
        lines = commands()
        self.assertEqual(len(lines), 3)
        script = "\necho; echo ----\n".join(lines).replace("http://127.0.0.1:8080",
                                                          self.daemon.url())
        out = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, timeout=60,
                             check=False)
        self.assertEqual(out.returncode, 0, out.stderr)
        replies = [json.loads(reply) for reply in out.stdout.split("----") if "{" in reply]
        self.assertEqual(len(replies), 2)
        for reply in replies:
            self.assertIn("result", reply, reply)


class CommandLine(unittest.TestCase):
    """The five commands from nothing to a running VM."""

    def setUp(self):
        self.daemon = harness.Daemon("--https", "127.0.0.1:0")
        with open(self.daemon.password_file, "w", encoding="utf-8") as out:
            out.write("secret\n")
        self.daemon.start()
        self.addCleanup(self.daemon.clear)

    def test_a_vm_runs_after_them(self):
        with open(README, encoding="utf-8") as file:
            section = re.search(r"^## xe$(.*?)^## ", file.read(), re.M | re.S).group(1)
        lines = re.findall(r"^    (\S.*)$", section, re.M)
        self.assertEqual(len(lines), 5)
        xe = os.path.join(os.path.dirname(harness.XENOLITHD), "xe")
        script = "\necho ----\n".join(lines).replace("port=8080", f"port={self.daemon.address[1]}")
        out = subprocess.run(["bash", "-euc", script.replace("build/xe", xe)], capture_output=True, text=True, timeout=60,
                             check=False, env={**os.environ, "HOME": self.daemon.folder})
        self.assertEqual((out.returncode, out.stderr), (0, ""))
        shown = out.stdout.split("----\n")
        self.assertIn("Generic Linux BIOS", shown[1])
        self.assertRegex(shown[2], r"^[0-9a-f-]{36}\n$")
        self.assertEqual(shown[3], "")
        self.assertIn(shown[2], shown[4])
        self.assertRegex(shown[4], r"name-label \( RW\): web\n +power-state \( RO\): running")


class NumbersAndAudit(unittest.TestCase):
    def setUp(self):
        self.daemon = harness.Daemon()
        with open(self.daemon.password_file, "w", encoding="utf-8") as out:
            out.write("secret\n")
        self.daemon.start()
        self.addCleanup(self.daemon.clear)

    def run_as_shown(self, part):
        with open(README, encoding="utf-8") as file:
            line = re.search(r"^    (.*" + re.escape(part) + ".*)$", file.read(), re.M).group(1)
        line = line.replace("http://127.0.0.1:8080", self.daemon.url())
        line = line.replace("build/xenolithd", harness.XENOLITHD)
        line = re.sub(r"\bstate\b(?!-)", self.daemon.state, line)
        out = subprocess.run(["bash", "-euc", line], capture_output=True, text=True, timeout=60,
                             check=False)
        self.assertEqual(out.returncode, 0, out.stdout + out.stderr)
        return out.stdout

    def test_the_page_of_metrics(self):
        self.assertTrue(self.run_as_shown("/metrics").endswith("# EOF\n"))

    def test_the_audit_log_and_its_proof(self):
        self.daemon.local().login()  # is let in when its line is written, and all before it
        first = json.loads(self.run_as_shown("/audit_log").splitlines()[0])
        self.assertEqual((first["seq"], first["method"]), (1, "start"))
        self.assertTrue(self.run_as_shown("--check-audit").endswith("clean\n"))


class Commands(unittest.TestCase):
    """What stands indented in a section works as it stands."""

    def setUp(self):
        self.daemon = harness.Daemon()
        self.addCleanup(self.daemon.clear)
        with open(self.daemon.password_file, "w", encoding="utf-8") as out:
            out.write("secret\n")

    def run_section(self, heading, programs):
        """What each of its five commands prints, behind the login's output."""
        with open(README, encoding="utf-8") as file:
            section = re.search(heading + r"(.*?)^## ", file.read(), re.M | re.S).group(1)
        lines = re.findall(r"^    ((?:%s) .*)$" % programs, section, re.M)
        self.assertEqual(len(lines), 5)
        script = "\necho; echo ----\n".join([commands()[0]] + lines)
        for shown, real in (("http://127.0.0.1:8080", self.daemon.url()),
                            ("build/xenolithd", harness.XENOLITHD),
                            ("--state-dir state", "--state-dir " + self.daemon.state)):
            script = script.replace(shown, real)
        out = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, timeout=60,
                             check=False, cwd=self.daemon.folder)
        self.assertEqual(out.returncode, 0, out.stderr)
        return out.stdout.split("----")

    def test_those_of_the_history_answer(self):
        self.daemon.start()
        replies = self.run_section(r"^## History: .*?$", "build/xenolithd|curl")
        for reply in replies[1:4]:
            self.assertIn("result", json.loads(reply), reply)
        self.assertEqual(len(replies[4].strip().splitlines()), 10)
        self.assertIn("name_label", replies[4])
        for line in replies[5].strip().splitlines():
            self.assertTrue(json.loads(line))

    def test_those_of_the_xenstores_past_answer(self):
        path = self.daemon.serve_xenstore()
        self.daemon.start()
        for i in range(12):
            subprocess.run(["xenstore-write", "/local/domain/0/name", f"Domain-{i}"], check=True,
                           env={**os.environ, "XENSTORED_PATH": path})
        replies = self.run_section(r"^## The xenstore's past$", "build/xenolithd|curl|git")
        self.assertTrue(json.loads(replies[1])["result"]["changes"])
        self.assertTrue(json.loads(replies[2])["result"]["nodes"])
        self.assertEqual(len(replies[3].strip().splitlines()), 10)
        self.assertIn('/local/domain/0/name = "Domain-11"   (n0)', replies[4])
        self.assertIn("Author: domain 0", replies[5])


class Claims(unittest.TestCase):
    def test_the_count_of_missing_messages_is_the_daemons(self):
        listed = subprocess.run([harness.XENOLITHD, "--unimplemented"], capture_output=True,
                                text=True, timeout=60, check=True).stdout.splitlines()
        with open(README, encoding="utf-8") as file:
            claimed = re.search(r"^(\d+) published or hidden explicit messages", file.read(), re.M)
        self.assertEqual(int(claimed.group(1)), len(listed))


if __name__ == "__main__":
    unittest.main()
