"""Xen Orchestra's own client library, as npm gives it, against the daemon, over both protocols.

    test_xen_api_client.py [FOLDER]

FOLDER, of the build, takes the installed client and is used again as long as the pinned versions are
the same.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import harness  # noqa: E402 pylint: disable=wrong-import-position

INSTALL_LIMIT, RUN_LIMIT = 300, 180
SOURCES = ("package.json", "package-lock.json", "client.mjs", "waiting.mjs")
folder = None


def is_installed():
    try:
        with open(os.path.join(HERE, "package-lock.json"), "rb") as ours, \
             open(os.path.join(folder, "installed-lock.json"), "rb") as theirs:
            return ours.read() == theirs.read()
    except FileNotFoundError:
        return False


def install():
    """The client and what it needs, in exactly the pinned versions, checked by their digests."""
    os.makedirs(folder, exist_ok=True)
    fresh = not is_installed()
    for name in SOURCES:
        shutil.copy(os.path.join(HERE, name), folder)
    if fresh:
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder,
                       check=True, timeout=INSTALL_LIMIT)
        shutil.copy(os.path.join(folder, "package-lock.json"),
                    os.path.join(folder, "installed-lock.json"))


class XenApiClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        install()

    def setUp(self):
        self.daemon = harness.Daemon("--https", "127.0.0.1:0")
        self.addCleanup(self.daemon.clear)
        self.daemon.start()

    def drive(self, transport, url=None):
        node = subprocess.Popen(
            ["node", "client.mjs", url or self.daemon.url(), harness.PASSWORD, transport], cwd=folder,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        limit = threading.Timer(RUN_LIMIT, node.kill)
        limit.start()
        errors = []
        reader = threading.Thread(target=lambda: errors.extend(node.stderr), daemon=True)
        reader.start()
        said = []
        for line in node.stdout:
            said.append(line.strip())
            if said[-1] == "restart":
                self.daemon.crash_and_restart()
                node.stdin.write("restarted\n")
                node.stdin.flush()
        status = node.wait()
        limit.cancel()
        reader.join()
        for stream in (node.stdin, node.stdout, node.stderr):
            stream.close()
        if status != 0 or said[-1:] != ["done"]:
            self.fail("".join(["the client said:\n", *(line + "\n" for line in said), *errors,
                               "the daemon said:\n", self.daemon.log_text()]))

    def test_over_json_rpc(self):
        self.drive("json-rpc")

    def test_over_xml_rpc(self):
        self.drive("xml-rpc")

    def test_over_tls_with_a_certificate_that_nobody_signed(self):
        self.drive("json-rpc", "https://%s:%d" % self.daemon.https_address)

    def test_with_the_transport_that_it_finds_itself(self):
        self.drive("auto")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        folder = sys.argv.pop(1)
    else:
        folder = os.path.join(tempfile.gettempdir(), "xn-xen-api-client")
    unittest.main(verbosity=2)
