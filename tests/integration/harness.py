"""What all integration tests share: a daemon in a scratch folder, and clients that speak to it.

Nothing here sleeps: a daemon is ready when it says so on stderr, and a change is waited for with
event.from. Each wait has a deadline. Python 3, standard library.

    XENOLITHD     the daemon to test; without it: build/xenolithd
    XN_SANITIZED  1: it was built with a sanitizer
"""
import contextlib
import http.client
import itertools
import json
import os
import queue
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import xmlrpc.client

DEADLINE = float(os.environ.get("XN_TEST_DEADLINE", "30"))
XENOLITHD = os.environ.get("XENOLITHD") or os.path.join(
    os.path.dirname(__file__), "..", "..", "build", "xenolithd")
# Instrumented code is slower, and its memory is not the daemon's.
IS_SANITIZED = os.environ.get("XN_SANITIZED") == "1"
PASSWORD = "correct horse battery staple"


class Failure(Exception):
    """An error of the API: code and parameters."""

    def __init__(self, code, params):
        super().__init__(code, params)
        self.code = code
        self.params = params


# ---- the daemon ----

def free_port():
    """For a daemon that clients find again after a restart: not of those that the kernel gives to
    outgoing connections, or one of them may have it when the daemon comes back."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        end = int(file.read().split()[0])
    while end > 4096:
        port = random.SystemRandom().randrange(end // 2, end)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    return 0


class Daemon:
    """One xenolithd on a loopback port and a Unix socket, in a state folder of its own."""

    popen = {}  # more for subprocess.Popen
    has_password_file = True

    def __init__(self, *options):
        self.folder = tempfile.mkdtemp(prefix="xn-test-")
        self.state = os.path.join(self.folder, "state")
        self.socket = os.path.join(self.folder, "xapi")
        self.password_file = os.path.join(self.folder, "password")
        self.options = options
        self.process = None
        self.log = []
        self.clients = []
        self.address = None  # (host, port)
        self.https_address = None  # the same, with --https among the options
        with open(self.password_file, "w", encoding="utf-8") as out:
            out.write(PASSWORD + "\n")

    def command(self):
        port = self.address[1] if self.address else free_port()
        options = list(self.options)
        if "--https" in options and options[options.index("--https") + 1] == "127.0.0.1:0":
            options[options.index("--https") + 1] = \
                "127.0.0.1:%d" % (self.https_address[1] if self.https_address else free_port())
        return [XENOLITHD, "--state-dir", self.state, "--hypervisor", "sim",
                "--http", f"127.0.0.1:{port}", "--socket", self.socket,
                *(("--password-file", self.password_file) if self.has_password_file else ()),
                *options]

    def serve_xenstore(self):
        """Before the start; the path of the socket."""
        path = os.path.join(self.folder, "xenstored")
        self.options = (*self.options, "--xenstore-socket", path)
        return path

    def start(self):
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, errors="replace", **self.popen)
        ready = queue.Queue()
        threading.Thread(target=self._read_log, args=(self.process.stderr, ready),
                         daemon=True).start()
        try:
            line = ready.get(timeout=DEADLINE)
        except queue.Empty:
            line = None
        found = re.search(r"serves .*?127\.0\.0\.1:(\d+)", line or "")
        if not found:
            self.kill()
            raise AssertionError("the daemon did not start:\n" + self.log_text())
        self.address = ("127.0.0.1", int(found.group(1)))
        found = re.search(r"https://127\.0\.0\.1:(\d+)", line)
        self.https_address = ("127.0.0.1", int(found.group(1))) if found else None
        return self

    def _read_log(self, stream, ready):
        for line in stream:
            self.log.append(line)
            if " serves " in line:
                ready.put(line)
        ready.put(None)
        stream.close()

    def log_text(self):
        return "".join(self.log[-200:])

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def open_sockets(self):
        """Connections and listeners; files come and go by themselves."""
        folder = f"/proc/{self.process.pid}/fd"
        count = 0
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                count += os.readlink(f"{folder}/{name}").startswith("socket:")
        return count

    def kill(self):
        """SIGKILL: what a crash leaves."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self):
        """SIGTERM. Returns the exit status."""
        process, self.process = self.process, None
        if not process:
            return None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError("the daemon did not stop:\n" + self.log_text()) from None

    def crash_and_restart(self):
        self.kill()
        return self.start()

    def restart(self):
        status = self.stop()
        if status:
            raise AssertionError(f"the daemon ended with {status}:\n" + self.log_text())
        return self.start()

    def clear(self):
        """Ends the daemon in order; one that complains then (a sanitizer, say) fails the test."""
        try:
            status = self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
        if status:
            raise AssertionError(f"the daemon ended with {status}:\n" + self.log_text())

    def url(self):
        return "http://%s:%d" % self.address

    def json(self):
        return JsonClient(self.address, self.clients)

    def xml(self):
        return XmlClient(self.address, self.clients)

    def local(self):
        """JSON-RPC over the Unix socket."""
        return JsonClient(self.socket, self.clients)

    def metrics(self):
        """What /metrics says: {name with labels: value}."""
        connection = UnixConnection(self.socket, DEADLINE)
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
        connection.close()
        lines = (line.rsplit(" ", 1) for line in page.splitlines() if line[0] != "#")
        return {name: float(value) for name, value in lines}

    def close_clients(self):
        while self.clients:
            self.clients.pop().close()

    def client(self):
        """A JSON-RPC client that has logged in."""
        client = self.json()
        client.login()
        return client


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


# ---- clients ----

class Client:
    """One keep-alive connection. client("VM.get_all", ...) adds the session by itself."""

    content_type = path = None

    def __init__(self, address, family):
        self.address = address
        self.timeout = 4 * DEADLINE
        self.family = family  # all clients of the test, so that it can close them
        family.append(self)
        self.session = None
        self.connection = None

    def connect(self):
        if isinstance(self.address, str):
            return UnixConnection(self.address, self.timeout)
        return http.client.HTTPConnection(*self.address, timeout=self.timeout)

    def send(self, body):
        if self.connection is None:
            self.connection = self.connect()
        try:
            self.connection.request("POST", self.path, body, {"Content-Type": self.content_type})
        except BaseException:
            self.close()
            raise

    def receive(self):
        try:
            response = self.connection.getresponse()
            data = response.read()
        except BaseException:
            self.close()
            raise
        if response.status != 200:
            raise AssertionError(f"HTTP status {response.status}: {data[:200]!r}")
        if response.getheader("Content-Type") != self.content_type:
            raise AssertionError(f"content type {response.getheader('Content-Type')!r}")
        return data

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def encode(self, method, params):
        raise NotImplementedError

    def decode(self, data):
        raise NotImplementedError

    def raw(self, method, *params):
        """The call as it is: no session is added."""
        self.send(self.encode(method, params))
        return self.decode(self.receive())

    def login(self, user="root", password=PASSWORD, *more):
        self.session = self.raw("session.login_with_password", user, password, *more)
        return self.session

    def logout(self):
        self.raw("session.logout", self.session)
        self.session = None

    def __call__(self, method, *params):
        return self.raw(method, self.session, *params)

    def begin(self, method, *params):
        """Sends the call; its answer is read by finish(). For calls that block."""
        self.send(self.encode(method, (self.session, *params)))

    def finish(self):
        return self.decode(self.receive())

    def another(self):
        """A second connection with the same session, for calls that block."""
        other = type(self)(self.address, self.family)
        other.session = self.session
        return other


class JsonClient(Client):
    content_type = "application/json"
    path = "/jsonrpc"
    ids = itertools.count(1)
    call_id = None

    def encode(self, method, params):
        self.call_id = next(self.ids)
        return json.dumps({"jsonrpc": "2.0", "method": method, "params": params,
                           "id": self.call_id})

    def decode(self, data):
        reply = json.loads(data)
        if reply["id"] != self.call_id or reply["jsonrpc"] != "2.0":
            raise AssertionError(f"another call's reply: {reply}")
        if "error" in reply:
            raise Failure(reply["error"]["message"], reply["error"]["data"])
        return reply["result"]


class XmlClient(Client):
    content_type = "text/xml"
    path = "/"

    def encode(self, method, params):
        return xmlrpc.client.dumps(params, method, allow_none=True)

    def decode(self, data):
        (reply,), _ = xmlrpc.client.loads(data)
        if not isinstance(reply, dict) or "Status" not in reply:
            return reply
        if reply["Status"] != "Success":
            raise Failure(reply["ErrorDescription"][0], reply["ErrorDescription"][1:])
        return reply["Value"]


# ---- waiting ----

class Events:
    """event.from in a loop, on a connection of its own."""

    def __init__(self, client, classes=("*",), token=None):
        self.client = client.another()
        self.classes = list(classes)
        self.token = token
        self.seen = []
        if token is None:  # from now on
            self.token = self.ask("", 0)["token"]

    def ask(self, token, timeout):
        return self.client("event.from", self.classes, token, float(timeout))

    def next(self, timeout=DEADLINE):
        """One answer: its events. Empty when the time is over."""
        reply = self.ask(self.token, timeout)
        self.token = reply["token"]
        self.seen += reply["events"]
        return reply["events"]

    def wait(self, wanted, timeout=DEADLINE):
        """The first event for which wanted(event) holds."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            for event in self.next(left):
                if wanted(event):
                    return event
        raise AssertionError("no such event; the last ones: "
                             + "\n".join(map(brief, self.seen[-20:])))

    def wait_for(self, ref, timeout=DEADLINE, **fields):
        """Until the object's snapshot has these values."""
        def wanted(event):
            snapshot = event.get("snapshot", {})
            return event["ref"] == ref and all(snapshot.get(k) == v for k, v in fields.items())
        return self.wait(wanted, timeout)["snapshot"]


def brief(event):
    return f"{event['operation']} {event['class']} {event['ref']}"


def wait_for_task(client, task, timeout=DEADLINE):
    """The finished task's record."""
    events = Events(client, ["task/" + task], token="")
    return events.wait(lambda e: e["operation"] != "del" and e["snapshot"]["status"] != "pending",
                       timeout)["snapshot"]


def begin(client, method, *params):
    """
    The call sent on a connection of its own, and certainly met by the daemon: bytes on a loopback
    connection are there once they are sent, and it has since answered two later ones.
    """
    blocked = client.another()
    blocked.begin(method, *params)
    for _ in range(2):
        client("session.get_uuid", client.session)
    return blocked


# ---- test cases ----

class TestCase(unittest.TestCase):
    """One daemon for all tests of the class; restart it only in classes of their own."""

    daemon_options = ()
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(*cls.daemon_options)
        cls.addClassCleanup(cls.daemon.clear)
        cls.daemon.start()

    def setUp(self):
        if self.daemon.process is None or self.daemon.process.poll() is not None:
            self.fail("the daemon is gone:\n" + self.daemon.log_text())
        self.addCleanup(self.daemon.close_clients)
        self.client = self.daemon.client()

    @contextlib.contextmanager
    def fails(self, code, *params):
        """The call inside must fail with this code; with these parameters if any are given."""
        with self.assertRaises(Failure) as caught:
            yield caught
        self.assertEqual(caught.exception.code, code)
        if params:
            self.assertEqual(caught.exception.params, list(params))


class FullDiskCase(TestCase):
    """The size that the daemon's files may have can be limited, which fails each of its writes."""

    @classmethod
    def setUpClass(cls):
        cls.enterClassContext(cls.full_disk_is_an_error())
        super().setUpClass()

    @classmethod
    @contextlib.contextmanager
    def full_disk_is_an_error(cls):
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # not a signal that ends the daemon
        Daemon.popen = {"restore_signals": False}
        try:
            yield
        finally:
            Daemon.popen = {}
            signal.signal(signal.SIGXFSZ, before)

    def limit(self, size):
        hard = resource.prlimit(self.daemon.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.daemon.process.pid, resource.RLIMIT_FSIZE, (size, hard))

    def fill_the_disk(self):
        self.limit(0)
        self.addCleanup(self.limit, resource.RLIM_INFINITY)
        with self.fails("INTERNAL_ERROR"):
            self.client("pool.set_name_label", self.client("pool.get_all")[0], "lost")

    def set_label_once_possible(self, pool, label):
        end = time.monotonic() + DEADLINE
        while True:
            try:
                return self.client("pool.set_name_label", pool, label)
            except Failure as failure:
                if failure.code != "INTERNAL_ERROR" or time.monotonic() > end:
                    raise


def main():
    unittest.main(verbosity=2)
