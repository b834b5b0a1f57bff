#!/usr/bin/env python3
"""Images that the disk does not keep: who sends content hears of it before he may throw his own away.

    XENOLITHD=BUILD/xenolithd disk_images.py SHIM     (disk_shim.so)
"""
import errno
import os
import shutil
import socket
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))

import harness  # noqa: E402 pylint: disable=wrong-import-position
import test_transfer  # noqa: E402 pylint: disable=wrong-import-position
from test_transfer import MIB, noise  # noqa: E402 pylint: disable=wrong-import-position

SHIM = sys.argv.pop(1)
SYNC_IMAGE = 2  # in disk_shim.c


class Syncs(test_transfer.Machines):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix="xn-test-")
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.faults = os.path.join(folder, "faults")
        with open(cls.faults, "wb") as file:
            file.write(bytes(3))
        harness.Daemon.popen = {"env": {
            **os.environ, "LD_PRELOAD": SHIM, "XN_DISK_FAULT": cls.faults,
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}}
        cls.addClassCleanup(setattr, harness.Daemon, "popen", {})
        super().setUpClass()

    def set_fault(self, error):
        with open(self.faults, "r+b") as file:
            file.seek(SYNC_IMAGE)
            file.write(bytes((error,)))

    def upload(self, body, error):
        """The task's record. All disks are made before they get that error."""
        task = self.new_task()
        with socket.create_connection(self.daemon.address, timeout=4 * harness.DEADLINE) as sock:
            sock.sendall(f"PUT /import?session_id={self.client.session}&task_id={task} HTTP/1.0\r\n\r\n"
                         .encode() + body[:-MIB])
            harness.Events(self.client, ["task/" + task], token="").wait(
                lambda event: "object_creation" in event["snapshot"]["other_config"])
            self.set_fault(error)
            self.addCleanup(self.set_fault, 0)
            sock.sendall(body[-MIB:])
            return self.ended(task)

    def everything(self):
        return {name: set(self.client(name + ".get_all")) for name in ("VM", "VBD", "VDI")}

    def test_an_import_ends_well_only_when_its_disks_are_kept(self):
        vm = self.new_vm()
        for device in "01":
            self.new_disk(vm, 2 * MIB, ((0, noise(2 * MIB, int(device))),), device)
        archive = self.get("/export", ref=vm)[2]
        before = self.everything()
        record = self.upload(archive, errno.EIO)
        self.assertEqual((record["status"], record["error_info"][:1]), ("failure", ["VDI_IO_ERROR"]))
        self.assertEqual(self.everything(), before)
        self.assertEqual(self.upload(archive, 0)["status"], "success")


if __name__ == "__main__":
    unittest.main(verbosity=2)
