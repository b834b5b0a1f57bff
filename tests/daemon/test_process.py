#!/usr/bin/env python3
"""The daemon as a process: its flags and their refusals, readiness, stopping, its hold on the state.

Usage: test_process.py XENOLITHD
"""

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

DAEMON = None
SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
DEADLINE_S = 30


def run(*args):
    return subprocess.run([DAEMON, *args], capture_output=True, text=True, timeout=DEADLINE_S)


class Daemon:
    """A serving daemon; its log is read until the line that says so."""

    def __init__(self, *args, env=None):
        self.log = ""
        self.process = subprocess.Popen(
            [DAEMON, *args], stderr=subprocess.PIPE, env=dict(os.environ, **(env or {}))
        )
        self.wait_for(" serves ")

    def wait_for(self, words):
        end = time.monotonic() + DEADLINE_S
        fd = self.process.stderr.fileno()
        while words not in self.log:
            ready, _, _ = select.select([fd], [], [], end - time.monotonic())
            data = os.read(fd, 65536) if ready else b""
            if not data:
                raise AssertionError("no %r in: %s" % (words, self.log))
            self.log += data.decode()

    def end(self, signo):
        """(exit status, seconds it took)"""
        began = time.monotonic()
        self.process.send_signal(signo)
        status = self.process.wait(DEADLINE_S)
        took = time.monotonic() - began
        self.log += self.process.stderr.read().decode()
        self.process.stderr.close()
        return status, took


class ProcessTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="xn-process-")
        self.state = os.path.join(self.dir, "state")
        self.serve = ["--state-dir", self.state, "--hypervisor", "sim", "--http", "127.0.0.1:0"]

    def tearDown(self):
        shutil.rmtree(self.dir)

    def assert_refused(self, words, *args):
        result = run(*args)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn(words, result.stderr)
        self.assertEqual(result.stdout, "")

    def config(self, text):
        path = os.path.join(self.dir, "config")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def test_help_names_every_flag_and_version_is_one_line(self):
        text = run("--help").stdout
        for flag in (
            "config state-dir hypervisor http https socket xenstore-socket password-file"
            " log-level log-format check-config graph unimplemented version help"
        ).split():
            self.assertIn("--%s " % flag, text)
        self.assertRegex(run("--version").stdout, r"^xenolithd \d+\.\d+\.\d+\n$")

    def test_bad_flags_are_refused_in_words(self):
        self.assert_refused("there is no option --colour", "--colour", "red")
        self.assert_refused("is no address and port", "--http", "80")

    def test_check_config_reads_the_file_and_opens_nothing(self):
        good = self.config("http = 127.0.0.1:80\nhypervisor = sim\nstate-dir = %s\n" % self.state)
        result = run("--check-config", "--config", good)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertFalse(os.path.exists(self.state))
        bad = self.config("http = 127.0.0.1:80\n\ncolour = red\n")
        self.assert_refused("line 3: there is no option", "--check-config", "--config", bad)

    def test_the_example_configuration_is_good(self):
        with open(os.path.join(SOURCE, "examples", "xenolithd.conf"), encoding="utf-8") as f:
            text = f.read()
        # The password file of the example is not there, and the check does not look.
        result = run("--check-config", "--config", self.config(text.replace("#password", "password")))
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_the_graph_is_dot(self):
        result = run("--graph")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(result.stdout.startswith("digraph bus {\n"))
        self.assertIn('"main" -> "daemon_ready";', result.stdout)

    def test_unimplemented_lists_names_once_each_in_order(self):
        names = run("--unimplemented").stdout.split()
        self.assertEqual(names, sorted(set(names)))
        self.assertNotIn("VM.get_record", names)

    def test_it_says_when_it_serves_and_stops_in_a_second(self):
        for signo in (signal.SIGTERM, signal.SIGINT):
            daemon = Daemon(*self.serve)
            self.assertIn("127.0.0.1:", daemon.log)
            status, took = daemon.end(signo)
            self.assertEqual(status, 0, daemon.log)
            self.assertLess(took, 1.0)
            self.assertNotIn("took too long", daemon.log)

    def test_a_checkpoint_that_was_cut_short_is_named(self):
        Daemon(*self.serve).end(signal.SIGTERM)
        path = os.path.join(self.state, "db", "checkpoint.mdb")
        for size in (os.path.getsize(path) // 2 & ~4095, 8192):
            os.truncate(path, size)
            result = run("--check-db", "--state-dir", self.state)
            self.assertEqual(result.returncode, 1, result.stderr)
            self.assertIn("damaged", result.stdout)

    def test_it_tells_the_service_manager(self):
        path = os.path.join(self.dir, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            manager.settimeout(DEADLINE_S)
            daemon = Daemon(*self.serve, env={"NOTIFY_SOCKET": path})
            self.assertEqual(manager.recv(100), b"READY=1")
            daemon.end(signal.SIGTERM)
            self.assertEqual(manager.recv(100), b"STOPPING=1")

    def test_a_second_daemon_on_the_same_state_is_refused(self):
        daemon = Daemon(*self.serve)
        result = run(*self.serve)
        self.assertEqual(result.returncode, 1)
        self.assertIn("is in use by process %d" % daemon.process.pid, result.stderr)
        daemon.end(signal.SIGKILL)
        Daemon(*self.serve).end(signal.SIGTERM)  # the lock died with its holder

    def test_the_log_can_be_json(self):
        import json

        daemon = Daemon(*self.serve, "--log-format", "json")
        daemon.end(signal.SIGTERM)
        lines = [json.loads(line) for line in daemon.log.splitlines()]
        self.assertTrue(any(" serves " in line["message"] for line in lines))
        self.assertEqual({line["module"] for line in lines if "signal" in line["message"]}, {"main"})


if __name__ == "__main__":
    DAEMON = sys.argv.pop(1)
    unittest.main()
