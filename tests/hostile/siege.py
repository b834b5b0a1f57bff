"""
What the hostile tests share: a daemon under siege, a good client that goes on calling meanwhile, and
what must be as before when the besiegers have gone: memory, descriptors, a loop that never stalled.
"""
import json
import os
import resource
import select
import socket
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

import harness  # noqa: E402 pylint: disable=wrong-import-position


def raise_descriptor_limit():
    """How many descriptors this process may have now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def request(body, path="/jsonrpc", headers=""):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: h\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
            .encode() + body)


def call(method, *params):
    return request({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def read_reply(sock):
    """(status, body) of one reply with a Content-Length; (None, what came) at the end of file."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = sock.recv(65536)
        if not piece:
            return None, got
        got += piece
    head, body = got.split(b"\r\n\r\n", 1)
    length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    while len(body) < length:
        piece = sock.recv(65536)
        if not piece:
            return None, got
        body += piece
    return int(head.split()[1]), body


def read_to_end(sock):
    """All that comes until the peer closes; resets count as an end."""
    got = b""
    try:
        while piece := sock.recv(65536):
            got += piece
    except ConnectionError:
        pass
    return got


class GoodClient:
    """A process of its own that calls all the time, over TCP, and notes its slowest call."""

    def __init__(self, daemon):
        client = daemon.client()
        client.close()
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), *map(str, daemon.address), client.session],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()  # its first call was answered

    def slowest(self):
        """Seconds of its slowest call since this was asked last; at least one was made."""
        self.process.stdin.write("slowest\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def leave(self):
        self.process.communicate(timeout=harness.DEADLINE)
        if self.process.returncode:
            raise AssertionError("the good client failed")


def be_good(host, port, session):
    client = harness.JsonClient((host, int(port)), [])
    client.session = session
    client("session.get_uuid", session)
    print("ready", flush=True)
    slowest = 0.0
    while True:
        began = time.monotonic()
        client("session.get_uuid", session)
        slowest = max(slowest, time.monotonic() - began)
        if select.select([sys.stdin], [], [], 0.005)[0]:
            if not sys.stdin.readline():
                break
            print(slowest, flush=True)
            slowest = 0.0
    client.close()


class TestCase(harness.TestCase):
    """A daemon for the class; each test ends with a look at what it left behind."""

    LOOP_LIMIT = 0  # callbacks over 10 ms
    slow_call_s = 3.0  # of the good client, on a busy machine

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.good = GoodClient(cls.daemon)
        cls.addClassCleanup(cls.good.leave)

    def setUp(self):
        super().setUp()
        self.besiegers = []
        self.local = self.daemon.local()
        self.local.login("root", harness.PASSWORD)
        self.stalls_before = self.stalls()
        self.files_before = self.daemon.open_files()
        self.good.slowest()

    def diagnostics(self):
        return json.loads(self.local("Diagnostics.get"))

    def stalls(self):
        return int(self.diagnostics()["loop"]["over_10ms"])

    def rss(self):
        """Bytes that the daemon holds."""
        with open(f"/proc/{self.daemon.process.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def connect(self, address=None):
        sock = socket.create_connection(address or self.daemon.address, timeout=harness.DEADLINE)
        self.besiegers.append(sock)
        return sock

    def connect_tls(self):
        context = ssl._create_unverified_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        sock = context.wrap_socket(self.connect(self.daemon.https_address))
        self.besiegers.append(sock)
        return sock

    def lift_siege(self):
        for sock in self.besiegers:
            sock.close()
        self.besiegers.clear()

    def wait_until(self, is_so, what):
        end = time.monotonic() + harness.DEADLINE
        while not is_so():
            self.assertLess(time.monotonic(), end, what)
            time.sleep(0.02)

    def assert_back_to(self, before):
        """Memory is (almost) what it was; what was freed goes back a moment later."""
        if not harness.IS_SANITIZED:
            self.wait_until(lambda: self.rss() - before < 3 << 20, "memory is not given back")

    def tearDown(self):
        self.lift_siege()
        slowest = self.good.slowest()
        if not harness.IS_SANITIZED:
            self.assertLess(slowest, self.slow_call_s)
            self.assertLessEqual(self.stalls() - self.stalls_before, self.LOOP_LIMIT,
                                 [line for line in self.daemon.log if "stalled" in line])
        self.wait_until(lambda: self.daemon.open_files() <= self.files_before + 3,
                        "descriptors were left open")
        super().tearDown()


if __name__ == "__main__":
    be_good(*sys.argv[1:])
