"""Our xe against a scripted server: every message, rule and complaint that a script or a user can see.

    XE    the program to test; without it: build/xe
"""
import os
import pty
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(__file__))
# pylint: disable=wrong-import-position
import fake_server as fake
import thin

XE = os.environ.get("XE") or os.path.join(os.path.dirname(__file__), "..", "..", "build", "xe")
DEADLINE = thin.DEADLINE


def exits(code=0, *messages):
    """A script: these messages, then the end."""
    def script(peer):
        peer.send(b"".join(messages) + fake.exit_(code))
        peer.rest()
    return script


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command, env, columns=100, stdout=None):
        self.master, slave = pty.openpty()
        import fcntl, struct, termios  # pylint: disable=import-outside-toplevel,multiple-imports
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))

        def own_it():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(command, env=env, stdin=slave, stdout=stdout or slave, stderr=slave,
                                        preexec_fn=own_it)
        os.close(slave)
        self.seen = b""

    def read_some(self, timeout=DEADLINE):
        if not select.select([self.master], [], [], timeout)[0]:
            raise AssertionError(f"nothing more after {self.seen!r}")
        try:
            data = os.read(self.master, 65536)
        except OSError:
            data = b""
        self.seen += data
        return data

    def wait_for(self, text):
        """Until @text was seen; what came before it."""
        while text not in self.seen:
            if not self.read_some():
                raise AssertionError(f"{text!r} does not come: {self.seen!r}")
        before, self.seen = self.seen.split(text, 1)
        return before

    def type(self, text):
        os.write(self.master, text)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        """(all that is left to see, exit code)"""
        while self.read_some():
            pass
        code = self.process.wait(DEADLINE)
        os.close(self.master)
        return self.seen, code


class Test(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="xn-xe-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.env = {"HOME": self.folder, "PATH": os.environ["PATH"], "TERM": "xterm", "LANG": "C.UTF-8"}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    def path(self, name, content=None):
        path = os.path.join(self.folder, name)
        if content is not None:
            with open(path, "wb") as out:
                out.write(content.encode() if isinstance(content, str) else content)
        return path

    def server(self, script=None, transfer=None, **how):
        server = fake.Server(script or exits(), transfer, **how)
        self.addCleanup(server.close)
        return server

    def where(self, server):
        if isinstance(server, fake.Server) and server.address.startswith("/"):
            return ["-s", server.address]
        return ["-s", server.address, "-p", str(server.port)] + ([] if server.tls else ["--nossl"])

    def run_words(self, *words, stdin=b"", env=None):
        return subprocess.run([XE, *words], capture_output=True, input=stdin, timeout=DEADLINE, check=False,
                              env={**self.env, **(env or {})}, cwd=self.folder)

    def run_xe(self, server, *words, stdin=b"", env=None, password=True, settle=True):
        result = self.run_words(*self.where(server), *(("-pw", "secret") if password else ()), *words,
                                stdin=stdin, env=env)
        if settle:
            server.settle()
        return result

    def on_terminal(self, server, *words, env=None, columns=100, stdout=None):
        terminal = Terminal([XE, *self.where(server), *words], {**self.env, **(env or {})}, columns, stdout)
        self.addCleanup(terminal.kill)
        return terminal

    def refused(self, result, *parts):
        """One clear thing on stderr, exit code 1, nothing on stdout."""
        text = result.stderr.decode()
        for part in parts:
            self.assertIn(part, text)
        self.assertEqual((result.returncode, result.stdout), (1, b""), text)
        return text


# ---- settings ----

class Settings(Test):
    def body(self, *words, env=None, password=True, **how):
        server = self.server()
        result = self.run_xe(server, *words, env=env, password=password, **how)
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        return server.requests[0][2]

    def test_the_request_is_the_fields_with_our_name(self):
        server = self.server()
        self.run_xe(server, "vm-list", "params=all", "name-label=a b", "--minimal", "uuid=", "--multiple")
        line, headers, body = server.requests[0]
        self.assertEqual(line, "POST /cli HTTP/1.0")
        self.assertRegex(headers["User-agent"], r"^xe-cli/Xenolith/\d+\.\d+\.\d+$")
        self.assertEqual(headers["originator"], "cli")
        self.assertEqual(headers["xe-terminal"], "")
        self.assertEqual(body, ["vm-list", "params=all", "name-label=a b", "--minimal", "uuid=", "--multiple",
                                "username=root", "password=secret"])

    def test_without_a_password_and_a_terminal_it_is_null(self):
        self.assertEqual(self.body("vm-list", password=False), ["vm-list", "username=root", "password=null"])

    def test_what_is_for_the_client_does_not_reach_the_server(self):
        self.assertEqual(
            self.body("-u", "bob", "vm-list", "--debug-on-fail", "debug=false", "nossl=true", "debugonfail=true",
                      "--traceparent", "00-1", "traceparent=00-2", "--insecure", "--color=never", "verify=no",
                      "--trace", "--force", "--all", "password=other"),
            ["vm-list", "--trace", "--force", "--all", "username=bob", "password=other"])

    def test_the_last_word_of_a_kind_counts(self):
        self.assertEqual(self.body("vm-list", "username=a", "-u", "b")[-2], "username=b")

    def test_more_arguments_come_from_the_environment(self):
        env = {"XE_EXTRA_ARGS": "username=eve,a=b\\,c,password=x,--force"}
        self.assertEqual(self.body("vm-list", env=env, password=False),
                         ["vm-list", "a=b,c", "--force", "username=eve", "password=x"])
        self.assertEqual(self.body("vm-list", "-u", "me", env=env)[-2:], ["username=me", "password=secret"])

    def test_more_arguments_come_from_the_own_file(self):
        self.path(".xe", "# mine\nusername=ann\n\npassword=pw=1\nparams=uuid\n")
        self.assertEqual(self.body("vm-list", password=False),
                         ["vm-list", "params=uuid", "username=ann", "password=pw=1"])
        self.assertEqual(self.body("vm-list", "params=all", env={"XE_EXTRA_ARGS": "username=eve"}, password=False),
                         ["vm-list", "params=all", "params=uuid", "username=eve", "password=pw=1"])

    def test_a_bad_line_discards_the_own_file(self):
        self.path(".xe", "username=ann\nnonsense\n")
        server = self.server()
        result = self.run_xe(server, "vm-list")
        self.assertEqual(result.returncode, 0)
        self.assertIn(b".xe is ignored: its line 2", result.stderr)
        self.assertEqual(server.requests[0][2][1], "username=root")

    def test_a_password_file(self):
        path = self.path("pw", "carol\npass word\n")
        for words, env in ((["-pwf", path], None), (["passwordfile=" + path], None), ([], {"XE_PASSWORD_FILE": path})):
            self.assertEqual(self.body("vm-list", *words, env=env, password=False),
                             ["vm-list", "username=carol", "password=pass word"])
        self.path(".xe", "passwordfile=" + path + "\n")
        self.assertEqual(self.body("vm-list", "-u", "me", "-pw", "x", password=False),
                         ["vm-list", "username=me", "password=x"])
        self.refused(self.run_words("-pwf", self.path("none"), "vm-list"), "password file", "No such file")
        self.refused(self.run_words("-pwf", self.path("one", "carol"), "vm-list"), "two lines")

    def test_the_server_may_come_from_the_environment(self):
        server = self.server()
        result = self.run_words("vm-list", "--nossl", env={"XE_SERVER": server.address, "XE_PORT": str(server.port),
                                                           "XE_USERNAME": "zoe"})
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(server.requests[0][2], ["vm-list", "username=zoe", "password=null"])

    def test_trace_headers(self):
        server = self.server()
        self.run_xe(server, "vm-list", env={"TRACEPARENT": "00-abc", "BAGGAGE": "a=b"})
        self.run_xe(server, "vm-list", "--traceparent", "00-def", env={"TRACEPARENT": "00-abc"})
        self.run_xe(server, "vm-list", "--traceparent", "x\r\nevil: 1")
        self.assertEqual([(h.get("traceparent"), h.get("baggage"), "evil" in h) for _, h, _ in server.requests],
                         [("00-abc", "a=b", False), ("00-def", None, False), (None, None, False)])

    def test_usage_and_versions(self):
        for words in ([], ["--help"], ["-p", "x", "vm-list"], ["port=70000", "vm-list"], ["-s", "h"], ["-h"]):
            result = self.run_words(*words)
            self.assertEqual((result.returncode, result.stdout), (0, b""), words)
            self.assertIn(b"Usage: xe", result.stderr)
        self.assertEqual(self.run_words("-version").stdout, b"ThinCLI protocol: 0.2\n")
        self.assertIn(b"Xenolith", self.run_words("--version").stdout)

    def test_help_of_a_command(self):
        self.assertEqual(self.body("vm-start", "--help", "x=y")[:-2], ["help", "vm-start"])

    def test_wrong_settings_are_refused(self):
        self.refused(self.run_words("vm-list", "-pw"), "-pw needs a value")
        self.refused(self.run_words("vm-list", "nossl=maybe"), "nossl cannot be \"maybe\"")
        self.refused(self.run_words("vm-list", "--color=pink"), "auto, always or never")
        self.refused(self.run_words("vm-list", "--fingerprint=12"), "64 hexadecimal digits")

    def test_a_password_does_not_stay_in_the_list_of_processes(self):
        shown = []

        def script(peer):
            for pid in os.listdir("/proc"):
                try:
                    with open(f"/proc/{pid}/cmdline", "rb") as file:
                        words = file.read().split(b"\0")
                except OSError:
                    continue
                if os.path.basename(words[0]) == b"xe" and str(server.port).encode() in words:
                    shown.append(words)
            exits()(peer)

        server = self.server(script)
        self.run_words(*self.where(server), "-pw", "s3cr3t-1", "vm-list", "password=s3cr3t-2")
        self.assertEqual(len(shown), 1)
        self.assertNotIn(b"s3cr3t", b" ".join(shown[0]))
        self.assertEqual(server.requests[0][2][-1], "password=s3cr3t-2")

    def test_the_terminal_is_described(self):
        server = self.server()
        for words, env in ((["vm-list"], {}), (["vm-list", "--color=never"], {}), (["vm-list"], {"NO_COLOR": "1"}),
                           (["vm-list"], {"TERM": "dumb"}), (["vm-list", "--color=always"], {"NO_COLOR": "1"})):
            self.on_terminal(server, "-pw", "x", *words, env=env, columns=77).end()
        self.run_xe(server, "vm-list", "--color=always")
        plain, colour = "columns=77 stdin stderr", "columns=77 colour stdin stderr"
        self.assertEqual([headers["xe-terminal"] for _, headers, _ in server.requests],
                         [colour, plain, plain, plain, colour, "colour"])


# ---- messages ----

class Messages(Test):
    def test_texts_and_the_exit_code(self):
        server = self.server(exits(7, fake.print_("hi"), fake.print_stderr("bad thing\n"), fake.print_(""),
                                   fake.print_stderr("no newline"), fake.error("VM_BAD_POWER_STATE", "a", "b"),
                                   fake.error("X"), fake.command(thin.DEBUG, thin.string("hidden")),
                                   fake.print_("ü\n")))
        result = self.run_xe(server, "vm-list")
        self.assertEqual(result.stdout, "hi\n\nü\n\n".encode())
        self.assertEqual(result.stderr, b"bad thing\nno newlineError code: VM_BAD_POWER_STATE\nError parameters: a, b\n"
                                        b"Error code: X\nError parameters: \n")
        self.assertEqual(result.returncode, 7)

    def test_the_documents_bytes(self):
        """The dumps of the protocol, as they stand."""
        server = self.server(lambda peer: (peer.send(bytes.fromhex(
            "0e000000 09000000 00000000 02000000 6869"
            "16000000 09000000 10000000 0a000000 62616420 7468696e 670a"
            "2c000000 09000000 0e000000 12000000 564d5f424144 5f504f574552 5f5354415445"
            "02000000 01000000 61 01000000 62"
            "0c000000 09000000 04000000 00000000")), peer.rest()))
        result = self.run_xe(server, "x")
        self.assertEqual((result.stdout, result.returncode), (b"hi\n", 0))
        self.assertIn(b"bad thing\nError code: VM_BAD_POWER_STATE\nError parameters: a, b\n", result.stderr)

    def test_output_in_small_and_large_pieces(self):
        text = "0123456789" * 100000
        messages = (fake.print_("a") * 3000) + fake.print_(text) + fake.exit_(0)

        def script(peer):
            for i in range(0, 200):
                peer.send(messages[i:i + 1])
            peer.send(messages[200:])
            peer.rest()

        result = self.run_xe(self.server(script), "x")
        self.assertEqual(result.stdout, b"a\n" * 3000 + text.encode() + b"\n")

    def test_nothing_after_exit_is_read(self):
        result = self.run_xe(self.server(lambda peer: (peer.send(fake.exit_(0) + fake.print_("late")), peer.rest())), "x")
        self.assertEqual((result.stdout, result.returncode), (b"", 0))

    def test_output_appears_at_once(self):
        """What is printed is seen before the server says more."""
        seen = threading.Event()

        def script(peer):
            peer.send(fake.print_("first"))
            self.assertTrue(seen.wait(DEADLINE))
            peer.send(fake.exit_(0))
            peer.rest()

        server = self.server(script)
        process = subprocess.Popen([XE, *self.where(server), "watch"], stdout=subprocess.PIPE, env=self.env,
                                   stdin=subprocess.DEVNULL)
        self.assertEqual(process.stdout.readline(), b"first\n")
        seen.set()
        self.assertEqual(process.wait(DEADLINE), 0)
        process.stdout.close()

    def test_prompt_sends_lines(self):
        got = []

        def script(peer):
            for _ in range(3):
                peer.send(fake.print_("Type 'yes' to continue") + fake.PROMPT)
                got.append(peer.blob())
            exits(0)(peer)

        result = self.run_xe(self.server(script), "vm-uninstall", stdin=b"yes\n\nno newline")
        self.assertEqual((got, result.returncode), ([b"yes", b"", b"no newline"], 0))
        self.assertEqual(result.stdout, b"Type 'yes' to continue\n" * 3)

    def test_prompt_at_the_end_of_input(self):
        rest = []
        result = self.run_xe(self.server(lambda peer: (peer.send(fake.PROMPT), rest.append(peer.rest()))), "x")
        self.refused(result, "standard input has ended")
        self.assertEqual(rest, [b""])

    def load(self, name, *words):
        got = []

        def script(peer):
            peer.send(fake.load(name))
            try:
                got.append(peer.response()[1])
                if got[0] == thin.OK:
                    got.append(peer.blob())
                exits(0)(peer)
            except EOFError:
                pass

        return self.run_xe(self.server(script), "cmd", *words), got

    def test_load(self):
        path = self.path("f.bin", bytes(range(256)) * 1000)
        for name, word in ((path, "filename=" + path), ("f.bin", "x=" + path), (path, "filename=./sub/../f.bin")):
            result, got = self.load(name, word)
            self.assertEqual(got, [thin.OK, bytes(range(256)) * 1000])
            self.assertEqual(result.returncode, 0)
        self.assertEqual(self.load(self.path("empty", ""), "f=empty")[1], [thin.OK, b""])

    def test_load_of_a_missing_file_fails_and_goes_on(self):
        result, got = self.load("none", "filename=none")
        self.assertEqual((got, result.returncode), ([thin.FAILED], 0))

    def test_files_that_the_user_did_not_name_are_blocked(self):
        path = self.path("secret", "x")
        for word in ("filename=other", "secret", "filename=" + self.folder):
            result, got = self.load(path, word)
            self.assertEqual(got, [])
            self.refused(result, "File not permitted: Blocked upload", path)
        result, got = self.load("/etc/passwd", "-pwf", self.path("pw", "a\nb\n"))
        self.refused(result, "/etc/passwd")

    def test_a_file_for_the_client_itself_is_not_for_the_server(self):
        path = self.path("pw", "a\nb\n")
        result, got = self.load(path, "passwordfile=" + path)
        self.assertEqual(got, [])
        self.refused(result, "File not permitted")

    def test_debug_shows_the_conversation_without_secrets(self):
        script = exits(1, fake.command(thin.DEBUG, thin.string("inner session_id=OpaqueRef:1&x=1")), fake.print_("p"))
        result = self.run_xe(self.server(script), "x", "--debug")
        self.assertIn(b"Read: Debug", result.stderr)
        self.assertIn(b"inner session_id=...&x=1", result.stderr)
        self.assertNotIn(b"OpaqueRef:1", result.stderr)
        self.assertNotIn(b"secret", result.stderr)
        self.assertIn(b"Read: Print", self.run_xe(self.server(script), "x", "--debug-on-fail").stderr)
        self.assertEqual(self.run_xe(self.server(exits(0)), "x", "--debug-on-fail").stderr, b"")

    def test_a_lost_connection(self):
        for data in (b"", fake.print_("x")[:9], b"\x08\0\0"):
            result = self.run_xe(self.server(lambda peer, data=data: peer.send(data)), "x")
            self.refused(result, "Lost connection to the server.")

    def test_messages_that_are_none(self):
        for data in (b"\xff\xff\xff\xff" * 4, thin.frame(thin.int32(9), thin.int32(2)), thin.frame(thin.int32(9)),
                     thin.frame(thin.int32(9), thin.int32(0), thin.int32(100), b"x"), thin.response(thin.OK),
                     thin.frame(thin.int32(9), thin.int32(4), thin.int32(0), b"left over")):
            result = self.run_xe(self.server(lambda peer, data=data: (peer.send(data), peer.rest())), "x")
            self.refused(result, "The server sent")

    def test_a_closed_pipe_ends_it_quietly(self):
        process = subprocess.Popen([XE, *self.where(self.server(exits(0, fake.print_("x" * 1000) * 3000))), "x"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.env)
        process.stdout.close()
        self.assertEqual(process.stderr.read(), b"")
        self.assertEqual(process.wait(DEADLINE), -signal.SIGPIPE)
        process.stderr.close()

    def test_a_full_disk_behind_stdout_is_told(self):
        with open("/dev/full", "wb") as full:
            result = subprocess.run([XE, *self.where(self.server(exits(0, fake.print_("x")))), "x"], stdout=full,
                                    stderr=subprocess.PIPE, env=self.env, timeout=DEADLINE, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"No space left", result.stderr)

    def test_unix_sockets(self):
        path = self.path("sock")
        server = self.server(exits(0, fake.print_("hi")), address=path)
        for name in (path, "unix:" + path):
            result = self.run_words("-s", name, "vm-list")
            self.assertEqual((result.stdout, result.returncode), (b"hi\n", 0), result.stderr)
        self.assertEqual(server.requests[0][2], ["vm-list", "username=root", "password=null"])


# ---- servers that are none ----

class Contact(Test):
    def test_nobody_listens(self):
        server = fake.Server(exits())
        server.close()
        text = self.refused(self.run_xe(server, "x"), "Unable to contact server", "Connection refused", "-p")
        self.assertEqual(len(text.splitlines()), 1)
        self.refused(self.run_words("-s", self.path("none"), "x"), "Unable to contact server", "Is the daemon running")
        self.refused(self.run_words("-s", "no-such-host.invalid", "x"), "Unable to contact server", "Check the name")

    def test_local_names_both_ways(self):
        if os.path.exists("/var/lib/xcp/xapi"):
            self.skipTest("a daemon of the machine's own")
        self.refused(self.run_words("-p", "1", "vm-list"), "Unable to contact server", "/var/lib/xcp/xapi",
                     "127.0.0.1 port 1", "Start the daemon")

    def raw(self, reply):
        def talk(peer):
            peer.read_head()
            peer.send(reply)
        return self.run_xe(self.server(raw=talk), "x")

    def test_other_protocols(self):
        self.refused(self.raw(b""), "Unable to contact server", "Please check server and port settings")
        self.refused(self.raw(b"HTTP/1.1 404 Not Found\r\nServer: x\r\n\r\nno such thing here"),
                     "Server internal error.", "404 Not Found", "-s and -p")
        self.refused(self.raw(b"http nonsense"), "Server internal error.")
        self.refused(self.raw(b"SSH-2.0-OpenSSH_9\r\n"), "Failed to contact a running management agent.")
        self.refused(self.raw(b"Xen"), "Failed to contact")
        self.refused(self.raw(thin.MAGIC + b"\x01\0\0\0\0\0\0\0"), "another version")
        self.refused(self.raw(b"\x15\x03\x03\x00\x02\x02\x28"), "that port wants TLS")

    def test_a_newer_minor_version_is_fine(self):
        def talk(peer):
            _, headers = peer.read_head()
            peer.read(int(headers["content-length"]))
            peer.send(thin.MAGIC + b"\0\0\0\0\x09\0\0\0")
            peer.read(35)
            exits(3)(peer)
        self.assertEqual(self.run_xe(self.server(raw=talk), "x").returncode, 3)

    def test_tls_against_a_plain_port_and_the_other_way(self):
        def talk(peer):
            peer.more()
            peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        server = self.server(raw=talk)
        self.refused(self.run_words("-s", "127.0.0.2", "-p", str(server.port), "x"), "answers without TLS", "--nossl")
        server = self.server(raw=lambda peer: peer.more())
        self.refused(self.run_words("-s", "127.0.0.2", "-p", str(server.port), "x"), "instead of beginning TLS",
                     "--nossl")
        server = self.server(tls=fake.certificate(self.folder))
        self.refused(self.run_words("-s", "127.0.0.2", "-p", str(server.port), "--nossl", "x"),
                     "Unable to contact server", "TLS")


# ---- TLS ----

class Tls(Test):
    def setUp(self):
        super().setUp()
        self.known = self.path(".xe-known-hosts")
        self.certificate = fake.certificate(self.folder)
        self.print = fake.fingerprint(self.certificate[0])

    def tls_server(self, certificate=None, **how):
        return self.server(exits(0, fake.print_("hi")), tls=certificate or self.certificate, **how)

    def test_first_use_is_told_and_remembered(self):
        server = self.tls_server()
        result = self.run_xe(server, "x")
        self.assertEqual((result.stdout, result.returncode), (b"hi\n", 0), result.stderr)
        self.assertIn("met for the first time", result.stderr.decode())
        self.assertIn(self.print, result.stderr.decode())
        with open(self.known, encoding="ascii") as file:
            self.assertEqual(file.read(), "127.0.0.2:%d sha256:%s\n" %
                             (server.port, self.print.replace(":", "").lower()))
        self.assertEqual(stat.S_IMODE(os.stat(self.known).st_mode), 0o600)
        self.assertEqual(self.run_xe(server, "x").stderr, b"")

    def test_a_changed_certificate_sends_nothing(self):
        server = self.tls_server()
        self.path(".xe-known-hosts", "# mine\n127.0.0.2:%d sha256:%s\n" % (server.port, "0" * 64))
        os.chmod(self.known, 0o600)
        self.refused(self.run_xe(server, "x"), "has changed", "nothing was sent", "remove line 2 of " + self.known,
                     self.print)
        self.assertEqual(server.requests, [])
        with open(self.known, "a", encoding="ascii") as out:
            out.write("127.0.0.2:%d sha256:%s\n" % (server.port, self.print.replace(":", "")))
        self.assertEqual(self.run_xe(server, "x").returncode, 0)
        self.assertEqual(self.run_xe(self.tls_server(), "--insecure", "x").returncode, 0)

    def test_strict_refuses_what_it_never_saw(self):
        server = self.tls_server()
        for word in ("--verify=strict", "verify=strict"):
            self.refused(self.run_xe(server, word, "x"), "not trusted", "nothing was sent", "--fingerprint=" + self.print)
        self.assertEqual((server.requests, os.path.exists(self.known)), ([], False))

    def test_a_fingerprint_of_the_command_line(self):
        server = self.tls_server()
        for text in (self.print, self.print.replace(":", "").lower(), "sha256:" + self.print):
            result = self.run_xe(server, "--fingerprint=" + text, "x")
            self.assertEqual((result.returncode, result.stderr), (0, b""))
        self.refused(self.run_xe(server, "--fingerprint=" + "ab" * 32, "x"), "not the one of --fingerprint", self.print)
        self.assertFalse(os.path.exists(self.known))

    def test_no_verification_on_demand(self):
        server = self.tls_server()
        for word in ("--insecure", "verify=no", "--verify=no"):
            self.assertEqual(self.run_xe(server, word, "x").stderr, b"")
        self.assertFalse(os.path.exists(self.known))

    def test_authorities_are_believed_for_the_right_name_only(self):
        ca = fake.certificate(self.folder, "authority")
        good = fake.certificate(self.folder, "good", ca=ca)
        server = self.tls_server(good)
        for words, env in ((["--ca-file=" + ca[0]], None), ([], {"XE_CA_FILE": ca[0]})):
            result = self.run_xe(server, "--verify=strict", *words, "x", env=env)
            self.assertEqual((result.returncode, result.stderr), (0, b""))
        result = self.run_words("-s", "localhost", "-p", str(self.localhost(good).port), "--verify=strict",
                                "--ca-file=" + ca[0], "x")
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        self.assertFalse(os.path.exists(self.known))
        other = fake.certificate(self.folder, "other", names="DNS:example.org,IP:127.0.0.9", ca=ca)
        for server, name in ((self.tls_server(other), "127.0.0.2"), (self.localhost(other), "localhost")):
            self.refused(self.run_words("-s", name, "-p", str(server.port), "--verify=strict", "--ca-file=" + ca[0], "x"),
                         "it is for another name")
        self.refused(self.run_xe(self.tls_server(good), "--verify=strict", "x"), "no authority")

    def localhost(self, certificate):
        return self.tls_server(certificate, address="127.0.0.1")

    def test_a_file_that_others_write_is_not_believed(self):
        server = self.tls_server()
        self.path(".xe-known-hosts", "")
        os.chmod(self.known, 0o622)
        self.refused(self.run_xe(server, "x"), "Others can write", "chmod 600")
        self.assertEqual(server.requests, [])

    def test_without_a_place_to_remember_it_says_so(self):
        server = self.tls_server()
        result = self.run_xe(server, "x", env={"HOME": "/proc/nowhere"})
        self.assertEqual(result.returncode, 0)
        self.assertIn(b"cannot be remembered", result.stderr)

    def test_a_terminal_is_asked(self):
        server = self.tls_server()
        terminal = self.on_terminal(server, "-pw", "x", "vm-list")
        shown = terminal.wait_for(b"[yes/no]")
        self.assertIn(self.print.encode(), shown)
        self.assertEqual(server.requests, [])
        terminal.type(b"no\n")
        shown, code = terminal.end()
        self.assertEqual(code, 1)
        self.assertIn(b"nothing was sent", shown)
        self.assertFalse(os.path.exists(self.known))
        terminal = self.on_terminal(server, "-pw", "x", "vm-list")
        terminal.wait_for(b"[yes/no]")
        terminal.type(b"yes\n")
        shown, code = terminal.end()
        self.assertEqual(code, 0)
        self.assertIn(b"hi", shown)
        self.assertTrue(os.path.exists(self.known))

    def test_the_password_is_asked_after_that(self):
        server = self.tls_server()
        terminal = self.on_terminal(server, "vm-list")
        terminal.wait_for(b"[yes/no]")
        terminal.type(b"yes\n")
        terminal.wait_for(b"Password of root on 127.0.0.2")
        terminal.type(b"t0p secret\n")
        shown, code = terminal.end()
        self.assertEqual(code, 0)
        self.assertNotIn(b"t0p", shown)
        self.assertEqual(server.requests[0][2][-1], "password=t0p secret")

    def test_the_fields_server(self):
        """RSA, one cipher, one curve, TLS 1.2: what stunnel before the field's server may offer."""
        rsa = fake.certificate(self.folder, "rsa", key=["-newkey", "rsa:2048", "-nodes"])
        server = self.tls_server(rsa)
        server.context.maximum_version = fake.ssl.TLSVersion.TLSv1_2
        server.context.set_ciphers("ECDHE-RSA-AES256-GCM-SHA384")
        server.context.set_ecdh_curve("secp384r1")
        result = self.run_xe(server, "--fingerprint=" + fake.fingerprint(rsa[0]), "x")
        self.assertEqual((result.stdout, result.stderr), (b"hi\n", b""))

    def test_large_output(self):
        text = "x" * 3000000
        result = self.run_xe(self.server(exits(0, fake.print_(text)), tls=self.certificate), "--insecure", "x")
        self.assertEqual(result.stdout.decode(), text + "\n")


# ---- transfers ----

class Transfers(Test):
    CONTENT = os.urandom(1000) * 3000

    def conversation(self, *messages, code=0):
        """Sends each message and keeps the answer to it."""
        self.answers = []

        def script(peer):
            for message in messages:
                peer.send(message)
                try:
                    self.answers.append(peer.response()[1])
                    while self.answers[-1] == thin.WAIT:
                        self.answers.append(peer.response()[1])
                except EOFError:
                    return
            exits(code)(peer)
        return script

    def give(self, content, head="HTTP/1.1 200 OK\r\nx: y\r\n\r\n"):
        return lambda peer, line, headers: peer.send(head.encode() + content)

    def keep(self):
        """A transfer that takes a PUT by its length; what came is in self.put."""
        def transfer(peer, _, headers):
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            count = headers.get("Content-length")
            self.put = peer.read(int(count)) if count else peer.rest()
            peer.rest()
        return transfer

    def test_get_to_a_file(self):
        server = self.server(self.conversation(fake.get("o2", "/export?x=1")), self.give(self.CONTENT))
        result = self.run_xe(server, "vm-export", "filename=o2")
        self.assertEqual((result.returncode, result.stderr, self.answers), (0, b"", [thin.OK]))
        self.assertEqual(server.transfers, [("GET /export?x=1 HTTP/1.0", {})])
        with open(self.path("o2"), "rb") as file:
            self.assertEqual(file.read(), self.CONTENT)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("o2")).st_mode), 0o600)

    def test_zeroes_take_no_room(self):
        content = b"begin" + bytes(9000000) + b"end" + bytes(7000000)
        server = self.server(self.conversation(fake.get("o", "/export_raw_vdi")), self.give(content))
        self.assertEqual(self.run_xe(server, "vdi-export", "filename=o").returncode, 0)
        with open(self.path("o"), "rb") as file:
            self.assertEqual(file.read(), content)
        self.assertLess(os.stat(self.path("o")).st_blocks * 512, 4000000)

    def test_get_to_stdout(self):
        server = self.server(self.conversation(fake.get("", "/export?x=1")), self.give(self.CONTENT))
        self.assertEqual(self.run_xe(server, "vm-export", "filename=").stdout, self.CONTENT)

    def test_get_over_tls_and_unix_sockets(self):
        for how in ({"tls": fake.certificate(self.folder)}, {"address": self.path("sock")}):
            server = self.server(self.conversation(fake.get("out", "/export")), self.give(self.CONTENT), **how)
            result = self.run_xe(server, "--insecure", "vm-export", "filename=out")
            self.assertEqual((result.returncode, self.answers), (0, [thin.OK]), result.stderr)
            with open(self.path("out"), "rb") as file:
                self.assertEqual(file.read(), self.CONTENT)
            os.unlink(self.path("out"))

    def test_get_never_overwrites(self):
        self.path("o", "old")
        server = self.server(self.conversation(fake.get("o", "/e")), self.give(b"new"))
        self.refused(self.run_xe(server, "x", "filename=o"), "Operation failed.", "o: File exists")
        self.assertEqual(self.answers, [thin.FAILED])
        with open(self.path("o"), "rb") as file:
            self.assertEqual(file.read(), b"old")

    def test_get_only_what_the_user_named(self):
        server = self.server(self.conversation(fake.get("o2", "/e")), self.give(b"new"))
        self.refused(self.run_xe(server, "x", "filename=o"), "File not permitted: Blocked download", self.path("o2"))
        self.assertFalse(os.path.exists(self.path("o2")))

    def test_other_answers_are_failures_and_it_goes_on(self):
        for head in ("HTTP/1.1 404 Not Found\r\n\r\n", "HTTP/1.1 302 Found\r\n\r\n", "nonsense\r\n\r\n", ""):
            server = self.server(self.conversation(fake.get("o", "/e"), fake.put("i", "/i"), code=5),
                                 self.give(b"", head))
            self.path("i", "x")
            result = self.run_xe(server, "x", "filename=o", "i=i")
            self.assertEqual((result.returncode, result.stderr, self.answers), (5, b"", [thin.FAILED] * 2))
            self.assertFalse(os.path.exists(self.path("o")))

    def test_redirects(self):
        def transfer(peer, line, headers):
            where = {"GET /a HTTP/1.0": "/b?x=%20", "GET /b?x=%20 HTTP/1.0": "https://127.0.0.2/c%2fd?e=%26"}.get(line)
            if where:
                peer.send(f"HTTP/1.1 302 Found\r\nLOCATION: {where}\r\n\r\n".encode())
            else:
                peer.send(b"HTTP/1.1 200 OK\r\n\r\nend")

        server = self.server(self.conversation(fake.get("o", "/a")), transfer)
        self.assertEqual(self.run_xe(server, "x", "filename=o").returncode, 0)
        self.assertEqual([line for line, _ in server.transfers],
                         ["GET /a HTTP/1.0", "GET /b?x=%20 HTTP/1.0", "GET /c/d?e=& HTTP/1.0"])
        server = self.server(self.conversation(fake.get("p", "/a"), code=2),
                             self.give(b"", "HTTP/1.1 302 Found\r\nLocation: /a\r\n\r\n"))
        self.assertEqual(self.run_xe(server, "x", "filename=p").returncode, 2)
        self.assertEqual(self.answers, [thin.FAILED])

    def test_urls_that_would_break_the_request_are_not_asked(self):
        server = self.server(self.conversation(fake.get("o", "/a\r\nX: y"), fake.get("o", "https://127.0.0.2/%0d%0aX"),
                                               fake.get("o", "")), self.give(b"x"))
        self.run_xe(server, "x", "filename=o")
        self.assertEqual((self.answers, server.transfers), ([thin.FAILED] * 3, []))

    def test_half_a_download_is_removed(self):
        server = self.server(self.conversation(fake.get("o", "/e"), code=1),
                             self.give(b"half", "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"))
        result = self.run_xe(server, "x", "filename=o")
        self.assertEqual((result.returncode, self.answers), (1, [thin.FAILED]))
        self.assertIn(b"broke off after 4 bytes; o was removed", result.stderr)
        self.assertFalse(os.path.exists(self.path("o")))

    def test_a_failed_export_is_pointed_at(self):
        server = self.server(self.conversation(fake.get("o", "/e"), code=1), self.give(b"some"))
        result = self.run_xe(server, "x", "filename=o")
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"o may be incomplete", result.stderr)

    def test_put_by_its_length(self):
        for how in ({}, {"tls": fake.certificate(self.folder)}, {"address": self.path("sock")}):
            for content in (self.CONTENT, b""):
                self.path("f.bin", content)
                server = self.server(self.conversation(fake.put("f.bin", "/import?x=1")), self.keep(), **how)
                result = self.run_xe(server, "--insecure", "vm-import", "filename=f.bin")
                self.assertEqual((result.returncode, result.stderr, self.answers), (0, b"", [thin.OK]))
                server.close()
                self.assertEqual(self.put, content)
                self.assertEqual(server.transfers, [("PUT /import?x=1 HTTP/1.0", {"Content-length": str(len(content))})])
                if "address" in how:
                    os.unlink(how["address"])

    def test_put_from_a_pipe_has_no_length(self):
        os.mkfifo(self.path("pipe"))
        writer = threading.Thread(target=lambda: self.path("pipe", self.CONTENT))
        writer.start()
        server = self.server(self.conversation(fake.put("pipe", "/import")), self.keep())
        self.assertEqual(self.run_xe(server, "vm-import", "filename=pipe").returncode, 0)
        writer.join()
        server.close()
        self.assertEqual((self.put, server.transfers[0][1]), (self.CONTENT, {}))

    def test_put_waits_for_the_answer(self):
        early = []

        def transfer(peer, line, headers):
            peer.sock.settimeout(0.2)
            try:
                early.append(peer.sock.recv(1))
            except TimeoutError:
                pass
            peer.sock.settimeout(DEADLINE)
            self.keep()(peer, line, headers)

        self.path("f", "content")
        server = self.server(self.conversation(fake.put("f", "/i")), transfer)
        self.run_xe(server, "x", "filename=f")
        server.close()
        self.assertEqual((early, self.put), ([], b"content"))

    def test_put_of_a_missing_or_foreign_file(self):
        server = self.server(self.conversation(fake.put("none", "/i")), self.keep())
        self.refused(self.run_xe(server, "x", "filename=none"), "Operation failed.", "none: No such file")
        self.assertEqual((self.answers, server.transfers), ([thin.FAILED], []))
        server = self.server(self.conversation(fake.put("/etc/hostname", "/i")), self.keep())
        self.refused(self.run_xe(server, "x", "filename=none"), "File not permitted: Blocked upload")
        self.assertEqual((self.answers, server.transfers), ([], []))

    def test_a_server_that_takes_only_a_part(self):
        self.path("f", self.CONTENT * 4)

        def transfer(peer, *_):
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            peer.read(10)
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, thin.struct.pack("ii", 1, 0))

        server = self.server(self.conversation(fake.put("f", "/i"), code=4), transfer)
        result = self.run_xe(server, "x", "filename=f")
        self.assertEqual((result.returncode, self.answers), (4, [thin.FAILED]))

    def test_the_daemons_word_ends_a_transfer_that_hangs(self):
        over = threading.Event()
        self.addCleanup(over.set)

        def script(peer):
            peer.send(fake.get("o", "/e"))
            self.assertTrue(begun.wait(DEADLINE))
            peer.send(fake.print_stderr("The task failed.\n") + fake.exit_(3))
            peer.sock.shutdown(socket.SHUT_WR)
            peer.rest()

        begun = threading.Event()

        def transfer(peer, *_):
            peer.send(b"HTTP/1.1 200 OK\r\n\r\nbytes")
            begun.set()
            over.wait(DEADLINE)

        result = self.run_xe(self.server(script, transfer), "x", "filename=o", settle=False)
        over.set()
        self.assertEqual(result.returncode, 3)
        self.assertIn(b"The task failed.", result.stderr)

    def test_heartbeats(self):
        def transfer(peer, *_):
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            time.sleep(1.3)

        server = self.server(self.conversation(fake.get("o", "/e")), transfer)
        result = self.run_xe(server, "x", "filename=o", env={"XE_HEARTBEAT": "1"})
        self.assertEqual(result.returncode, 0)
        self.assertEqual(self.answers, [thin.WAIT, thin.OK])


# ---- terminals ----

class Terminals(Test):
    def test_a_password_is_asked_without_echo_where_it_is_needed(self):
        server = self.server(exits(0, fake.print_("hi")))
        terminal = self.on_terminal(server, "vm-list")
        terminal.wait_for(b"Password of root on 127.0.0.2 port %d: " % server.port)
        terminal.type(b"geheim\n")
        shown, code = terminal.end()
        self.assertEqual((code, b"geheim" in shown, b"hi" in shown), (0, False, True))
        self.assertEqual(server.requests[-1][2], ["vm-list", "username=root", "password=geheim"])

    def test_it_is_not_asked_where_it_is_not(self):
        server = self.server(exits(0))
        for words in (["help"], ["session_id=OpaqueRef:1", "vm-list"], ["vm-list", "-pw", "x"]):
            self.assertEqual(self.on_terminal(server, *words).end()[1], 0)
        server = self.server(exits(0), address=self.path("sock"))
        self.assertEqual(self.on_terminal(server, "vm-list").end()[1], 0)

    def test_ctrl_c_at_the_password_puts_the_echo_back(self):
        import termios  # pylint: disable=import-outside-toplevel
        terminal = self.on_terminal(self.server(), "vm-list")
        terminal.wait_for(b"Password")
        self.assertFalse(termios.tcgetattr(terminal.master)[3] & termios.ECHO)
        terminal.type(b"\x03")
        self.assertEqual(terminal.process.wait(DEADLINE), 130)
        self.assertTrue(termios.tcgetattr(terminal.master)[3] & termios.ECHO)

    def test_progress_is_drawn_and_cleared(self):
        server = self.server(exits(0, fake.progress(0, "VM.start web"), fake.progress(421, "VM.start wéb"),
                                   fake.print_("done"), fake.progress(500, "more"), fake.progress(-1, "")))
        shown, code = self.on_terminal(server, "-pw", "x", "vm-start").end()
        self.assertEqual(code, 0)
        self.assertIn("VM.start wéb  [##########..............]  42%".encode(), shown)
        at = shown.index(b"done")
        self.assertTrue(shown[:at].endswith(b"\r\x1b[K"), shown)
        self.assertTrue(shown.endswith(b"\r\x1b[K"), shown)

    def test_progress_is_nothing_without_a_terminal(self):
        server = self.server(exits(0, fake.progress(421, "VM.start"), fake.progress(-1, "")))
        result = self.run_xe(server, "vm-start")
        self.assertEqual((result.stdout, result.stderr, result.returncode), (b"", b"", 0))
        shown, _ = self.on_terminal(server, "-pw", "x", "vm-start", env={"TERM": "dumb"}).end()
        self.assertEqual(shown, b"")

    def test_progress_cannot_move_the_cursor_and_fits(self):
        server = self.server(exits(0, fake.progress(500, "\x1b[2J\n\x9b" + "x" * 300)))
        shown, _ = self.on_terminal(server, "-pw", "x", "y", columns=40).end()
        line = shown.split(b"\x1b[K")[1].rstrip(b"\r")
        self.assertNotIn(b"\x1b", line)
        self.assertNotIn(b"\n", line)
        self.assertLess(len(line.decode()), 40)

    def test_a_transfer_shows_bytes_and_rate(self):
        def transfer(peer, *_):
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n")
            for _ in range(8):
                peer.send(bytes(1 << 20))
                time.sleep(0.1)

        def script(peer):
            peer.send(fake.get("o", "/e"))
            peer.response()
            exits(0)(peer)

        shown, code = self.on_terminal(self.server(script, transfer), "-pw", "x", "vm-export", "filename=o",
                                       env={"HOME": self.folder}).end()
        os.unlink("o")
        self.assertEqual(code, 0)
        self.assertRegex(shown, rb"o  \[#+\.*\]  \d\d%  \d\.\d MiB  \d+(\.\d)? MiB/s")
        self.assertTrue(shown.endswith(b"\r\x1b[K"))

    def interrupted(self, *messages, code=9):
        """A command under way, until the client interrupts it."""
        self.interrupts = []

        def script(peer):
            peer.send(b"".join(messages) + fake.print_("under way"))
            try:
                self.interrupts.append(peer.response()[1])
            except (EOFError, OSError):
                return
            exits(code, fake.print_("cancelled"))(peer)
        return self.server(script)

    def test_ctrl_c_at_a_question_of_the_daemon_ends_it(self):
        server = self.server(lambda peer: (peer.send(fake.interruptible("Really?") + fake.print_("Type 'yes'") +
                                                     fake.PROMPT), peer.rest()))
        terminal = self.on_terminal(server, "-pw", "x", "vm-uninstall")
        terminal.wait_for(b"Type 'yes'")
        terminal.type(b"\x03")
        self.assertEqual(terminal.end()[1], 130)

    def test_ctrl_c_ends_what_cannot_be_cancelled(self):
        terminal = self.on_terminal(self.interrupted(fake.progress(1, "work")), "-pw", "x", "vm-start")
        terminal.wait_for(b"under way")
        terminal.type(b"\x03")
        _, code = terminal.end()
        self.assertEqual((code, self.interrupts), (130, []))

    def test_ctrl_c_cancels_at_once_where_nothing_is_lost(self):
        terminal = self.on_terminal(self.interrupted(fake.interruptible("")), "-pw", "x", "event-wait")
        terminal.wait_for(b"under way")
        terminal.type(b"\x03")
        shown, code = terminal.end()
        self.assertEqual((code, self.interrupts), (9, [thin.INTERRUPT]))
        self.assertIn(b"cancelled", shown)

    def test_ctrl_c_asks_first_where_work_would_be_undone(self):
        terminal = self.on_terminal(self.interrupted(fake.interruptible("Undo the copy of 20 GiB?")), "-pw", "x", "vm-copy")
        terminal.wait_for(b"under way")
        terminal.type(b"\x03")
        terminal.wait_for(b"Undo the copy of 20 GiB? [yes/no]")
        terminal.type(b"no\n")
        terminal.wait_for(b"goes on")
        self.assertEqual(self.interrupts, [])
        terminal.type(b"\x03")
        terminal.wait_for(b"[yes/no]")
        terminal.type(b"yes\n")
        _, code = terminal.end()
        self.assertEqual((code, self.interrupts), (9, [thin.INTERRUPT]))

    def test_a_second_ctrl_c_leaves_at_once(self):
        for question in ("", "Really?"):
            def script(peer, question=question):
                peer.send(fake.interruptible(question) + fake.print_("under way"))
                peer.rest()

            terminal = self.on_terminal(self.server(script), "-pw", "x", "vm-copy")
            terminal.wait_for(b"under way")
            terminal.type(b"\x03")
            terminal.wait_for(b"[yes/no]" if question else b"Ctrl-C again")
            terminal.type(b"\x03")
            self.assertEqual(terminal.end()[1], 130)

    def test_ctrl_c_without_a_terminal_cancels(self):
        server = self.interrupted(fake.interruptible("Really?"))
        process = subprocess.Popen([XE, *self.where(server), "x"], stdin=subprocess.DEVNULL, env=self.env,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b"under way\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
        self.assertEqual((out, err, process.returncode, self.interrupts), (b"cancelled\n", b"", 9, [thin.INTERRUPT]))

    def test_ctrl_c_removes_half_a_download(self):
        begun, over = threading.Event(), threading.Event()
        self.addCleanup(over.set)

        def transfer(peer, *_):
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100000)
            begun.set()
            over.wait(DEADLINE)

        server = self.server(lambda peer: (peer.send(fake.get("o", "/e")), peer.rest()), transfer)
        process = subprocess.Popen([XE, *self.where(server), "x", "filename=o"], stdin=subprocess.DEVNULL, env=self.env,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=self.folder)
        self.assertTrue(begun.wait(DEADLINE))
        end = time.monotonic() + DEADLINE
        while not (os.path.exists(self.path("o")) and os.path.getsize(self.path("o"))):
            self.assertLess(time.monotonic(), end)
        process.send_signal(signal.SIGINT)
        self.assertEqual((process.communicate(timeout=DEADLINE)[1], process.returncode), (b"", 130))
        over.set()
        self.assertFalse(os.path.exists(self.path("o")))

    def console(self, reply, after=b""):
        self.typed = b""
        self.answers = []
        self.typed_all = threading.Event()

        def script(peer):
            peer.send(fake.print_("Press Ctrl + ']' to quit.") + fake.connect("/console?uuid=1&session_id=2"))
            self.answers.append(peer.response()[1])
            exits(0)(peer)

        def transfer(peer, line, headers):
            self.request = line, headers
            peer.send(reply + after)
            if b" 200 " in reply:
                while not self.typed.endswith(b"\x04"):
                    self.typed += peer.read(1)
                    peer.send(self.typed[-1:].upper())
            self.typed += peer.rest()
            self.typed_all.set()
        return self.server(script, transfer)

    def test_a_console(self):
        import termios  # pylint: disable=import-outside-toplevel
        server = self.console(b"HTTP/1.1 200 OK\r\n\r\n", b"login: ")
        terminal = self.on_terminal(server, "-pw", "x", "console")
        before = termios.tcgetattr(terminal.master)[3]
        terminal.wait_for(b"login: ")
        terminal.type(b"ab\x03\x04")
        terminal.wait_for(b"AB\x03\x04")
        terminal.type(b"c\x1dd")
        _, code = terminal.end()
        self.assertEqual((code, self.answers), (0, [thin.OK]))
        self.assertTrue(self.typed_all.wait(DEADLINE))
        self.assertEqual(self.typed, b"ab\x03\x04c")
        self.assertEqual(self.request, ("CONNECT /console?uuid=1&session_id=2 HTTP/1.0", {"content-length": "0"}))
        self.assertTrue(before & termios.ECHO)

    def test_a_console_that_is_not_there(self):
        server = self.console(b"HTTP/1.1 404 Not Found\r\n\r\n")
        shown, code = self.on_terminal(server, "-pw", "x", "console").end()
        self.assertEqual((code, self.answers), (0, [thin.FAILED]))
        self.assertIn(b"console is not available", shown)

    def test_a_console_without_a_terminal(self):
        server = self.console(b"HTTP/1.1 200 OK\r\n\r\n")
        result = self.run_xe(server, "console")
        self.assertEqual(self.answers, [thin.FAILED])
        self.assertIn(b"needs a terminal", result.stderr)


# ---- shells ----

FOLDER = os.path.join(os.path.dirname(__file__), "..", "..", "rpc", "xe", "client")


class Completion(Test):
    """The shells' own completion, on a terminal; the daemon's answers are made up."""

    OFFERS = {"vm-st": ["vm-start\tStart VMs.", "vm-startle\tOf all"], "vm-start": ["vm-start\tStart VMs."],
              "vm": ["vm=\tname"], "vm=": ["vm=web one\t", "vm=x:1\t"], "vm=web": ["vm=web one\tits name"],
              "vm=x": ["vm=x:1\t"], "vm=x:": ["vm=x:1\t"], "filename=": ["\tfile"], "filename=mov": ["\tfile"]}

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("bin"))
        os.symlink(os.path.abspath(XE), self.path("bin/xe"))
        self.path("movie.xva", "")
        self.env.update(PATH=self.path("bin") + ":" + self.env["PATH"], PS1="> ", PROMPT="> ", TERM="dumb")
        self.socket = self.path("sock")
        self.server_ = self.server(self.answer, address=self.socket)

    def answer(self, peer):
        words = self.server_.requests[-1][2]
        point = int(words[1].split("=", 1)[1])
        typed = words[2 + point].split("=", 1)[1]
        exits(0, *(fake.print_(line) for line in self.OFFERS.get(typed, [])))(peer)

    def ask(self, *words):
        result = self.run_words("--complete", *words)
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        return result.stdout.decode().splitlines()

    def test_the_client_asks_for_what_is_not_its_own(self):
        self.assertEqual(self.ask("3", "--", "-s", self.socket, "vm-start", "vm=web", "behind"), ["vm=web one\tits name"])
        self.assertEqual(self.server_.requests[0][2],
                         ["complete", "point=1", "line:0=vm-start", "line:1=vm=web", "line:2=behind",
                          "username=root", "password=null"])
        self.assertEqual(self.ask("4", "--", "-s", self.socket, "password=x", "-u", "vm-st", "-pw", "y"), [])
        self.assertEqual(self.ask("1", "--", "-s", self.socket), [])  # of names of users and servers nobody knows more
        self.assertEqual(len(self.server_.requests), 1)
        self.assertIn("--nossl\twithout TLS", self.ask("2", "--", "-s", self.socket, "--no"))

    def shell(self, *command):
        terminal = Terminal([*command], self.env, columns=200)
        self.addCleanup(terminal.kill)
        return terminal

    def complete(self, terminal, typed, completed):
        """Types, presses TAB, and waits for what should stand there then."""
        terminal.type(b"\x15xe -s " + self.socket.encode() + b" " + typed.encode() + b"\t")
        terminal.wait_for(b" " + completed.encode())

    @unittest.skipUnless(shutil.which("bash"), "no bash")
    def test_bash(self):
        terminal = self.shell("bash", "--norc", "--noprofile", "-i")
        terminal.type(b". " + os.path.join(os.path.abspath(FOLDER), "completion.bash").encode() +
                      b"; cd " + self.folder.encode() + b"; bind 'set bell-style none'; echo rea''dy\n")
        terminal.wait_for(b"ready")
        for typed, completed in (("vm-st", "vm-start"), ("vm-start vm=web", "vm-start vm=web\\ one "),
                                 ("vm-start vm=x", "vm-start vm=x:1 "), ("vm-start vm=x:", "vm-start vm=x:1 "),
                                 ("vm-import filename=mov", "vm-import filename=movie.xva ")):
            self.complete(terminal, typed, completed)

    @unittest.skipUnless(shutil.which("zsh"), "no zsh")
    def test_zsh(self):
        terminal = self.shell("zsh", "-f", "-i")
        terminal.type(b"PROMPT='> '; unsetopt zle_bracketed_paste; fpath=(" + os.path.abspath(FOLDER).encode() +
                      b" $fpath); autoload -U compinit; compinit -u -D; cd " + self.folder.encode() + b"; echo rea''dy\n")
        terminal.wait_for(b"ready")
        for typed, completed in (("vm-st", "vm-start"), ("vm-start vm=web", "vm-start vm=web\\ one"),
                                 ("vm-start vm=x", "vm-start vm=x:1"), ("vm-import filename=mov", "vm-import filename=movie.xva")):
            self.complete(terminal, typed, completed)


if __name__ == "__main__":
    unittest.main()
