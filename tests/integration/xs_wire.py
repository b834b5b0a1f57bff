"""The xenstore protocol, raw: for requests that no library would send. And a real xenstored, without
a hypervisor, to compare with."""
import glob
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

HEADER = struct.Struct("=IIII")
DEADLINE = 20

(CONTROL, DIRECTORY, READ, GET_PERMS, WATCH, UNWATCH, TRANSACTION_START, TRANSACTION_END, INTRODUCE,
 RELEASE, GET_DOMAIN_PATH, WRITE, MKDIR, RM, SET_PERMS, WATCH_EVENT, ERROR, IS_DOMAIN_INTRODUCED,
 RESUME, SET_TARGET, RESTRICT, RESET_WATCHES, DIRECTORY_PART, GET_FEATURE, SET_FEATURE, GET_QUOTA,
 SET_QUOTA) = range(27)


class Gone(Exception):
    """The server has closed the connection."""


class Wire:
    """One connection. Events that come between replies are kept in .events."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(path)
        self.buffer = b""
        self.events = []
        self.number = 0

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, kind, body=b"", tx=0):
        self.number += 1
        self.socket.sendall(HEADER.pack(kind, self.number, tx, len(body)) + body)
        return self.number

    def fill(self, size):
        while len(self.buffer) < size:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                raise Gone()
            self.buffer += more

    def frame(self):
        """(type, number, tx, body)"""
        self.fill(HEADER.size)
        kind, number, tx, size = HEADER.unpack(self.buffer[:HEADER.size])
        self.fill(HEADER.size + size)
        body = self.buffer[HEADER.size:HEADER.size + size]
        self.buffer = self.buffer[HEADER.size + size:]
        return kind, number, tx, body

    def receive(self, number):
        while True:
            frame = self.frame()
            if frame[0] != WATCH_EVENT:
                assert frame[1] == number, frame
                return frame
            self.events.append(frame[3])

    def call(self, kind, body=b"", tx=0):
        """(type, body) of the reply."""
        kind, _, its_tx, body = self.receive(self.send(kind, body, tx))
        assert its_tx == tx
        return kind, body

    def ask(self, kind, *strings, tx=0):
        """The reply's body; an error is raised as OSError(name)."""
        kind, body = self.call(kind, b"".join(s.encode() + b"\0" for s in strings), tx)
        if kind == ERROR:
            raise OSError(body.rstrip(b"\0").decode())
        return body

    def event(self, timeout=DEADLINE):
        """The next event, or None."""
        if self.events:
            return self.events.pop(0)
        if len(self.buffer) < HEADER.size and not select.select([self.socket], [], [], timeout)[0]:
            return None
        kind, _, _, body = self.frame()
        assert kind == WATCH_EVENT, kind
        return body


class Xenstored:
    """Debian's C xenstored on a socket of its own."""

    def __init__(self, shim):
        found = sorted(glob.glob("/usr/lib/xen-*/bin/xenstored"))
        self.program = found[-1] if found else None
        self.shim = shim
        self.process = None
        self.folder = None

    def start(self):
        self.folder = tempfile.mkdtemp(prefix="xn-xenstored-")
        self.socket = os.path.join(self.folder, "socket")
        self.process = subprocess.Popen(
            [self.program, "--no-fork"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LD_PRELOAD": self.shim, "XENSTORED_PATH": self.socket,
                 "XENSTORED_RUNDIR": self.folder})
        end = time.monotonic() + DEADLINE
        while True:  # it says nowhere when it is up
            try:
                Wire(self.socket).close()
                return self
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    self.stop()
                    raise
            time.sleep(0.01)

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
