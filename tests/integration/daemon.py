"""Starts a daemon in a scratch state folder for a test, on the simulated hypervisor."""
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading

PASSWORD = "correct horse & <battery> staple"


class Daemon:
    """
        with Daemon("build/xenolithd") as daemon:
            daemon.host, daemon.port    # where it serves HTTP

    The state folder outlives kill() and restart(), and is removed at the end. What the daemon
    writes to stderr is kept in `log` and printed when the test fails.
    """

    def __init__(self, binary, *options, deadline_s=60):
        self.binary, self.options, self.deadline_s = binary, options, deadline_s
        self.folder = tempfile.mkdtemp(prefix="xenolith-test-")
        self.log = []
        self.process = None
        with open(self.path("password"), "w", encoding="utf-8") as file:
            file.write(PASSWORD + "\n")
        os.chmod(self.path("password"), 0o600)

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self):
        self._serves = threading.Event()
        self.process = subprocess.Popen(
            [self.binary, "--state-dir", self.path("state"), "--hypervisor", "sim",
             "--http", "127.0.0.1:0", "--socket", self.path("socket"),
             "--password-file", self.path("password"), *self.options],
            stderr=subprocess.PIPE, text=True, errors="replace")
        self._reader = threading.Thread(target=self._read, args=[self.process], daemon=True)
        self._reader.start()
        if not self._serves.wait(self.deadline_s) or self.port is None:
            self.kill()
            raise RuntimeError("the daemon does not serve:\n" + "".join(self.log[-50:]))
        return self

    def _read(self, process):
        self.port = None
        for line in process.stderr:
            self.log.append(line)
            match = re.search(r"\bserves\b.*?\b(127\.0\.0\.1):(\d+)", line)
            if match and self.port is None:
                self.host, self.port = match[1], int(match[2])
                self._serves.set()
        self._serves.set()  # it ended: start() need not wait any longer

    def stop(self, signal_number=signal.SIGTERM):
        """Returns the exit status; negative: the signal that ended it."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        status = self.process.wait(self.deadline_s)
        self._reader.join()
        self.process.stderr.close()
        self.process = None
        return status

    def kill(self):
        return self.stop(signal.SIGKILL)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, traceback):
        self.kill()
        if kind is not None:
            print("".join(self.log[-100:]))
        shutil.rmtree(self.folder, ignore_errors=True)
