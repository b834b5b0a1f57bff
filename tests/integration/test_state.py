"""Suspend, resume, checkpoint, snapshot and revert as clients see them, and crashes in the middle."""
import glob
import os
import random
import subprocess
import time
import unittest

import harness
from harness import Events, wait_for_task
from test_operations import OperationCase
from test_storage import MIB, NULL, StorageCase


class StateCase(OperationCase, StorageCase):
    def vm_with_disk(self, **sim):
        """Running, with a disk of 4 MiB."""
        vm = self.vm(**sim)
        vdi = self.disk(4 * MIB)
        self.client("VBD.create", {
            "VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW",
            "type": "Disk", "unpluggable": True, "empty": False, "other_config": {},
            "qos_algorithm_type": "", "qos_algorithm_params": {}})
        self.client("VM.start", vm, False, False)
        self.ready(vm)
        return vm

    def ready(self, vm):
        Events(self.client, ["vm/" + vm], token="").wait(
            lambda e: "suspend" in e["snapshot"]["allowed_operations"])

    def disk_of(self, vm):
        vbds = [self.client("VBD.get_record", v) for v in self.client("VM.get_VBDs", vm)]
        return next(v["VDI"] for v in vbds if v["type"] == "Disk")

    def assert_whole(self, vm):
        """Runs on, or has a whole image: never both and never neither. Nothing else is left."""
        record = Events(self.client, ["vm/" + vm], token="").wait(
            lambda e: not e["snapshot"]["current_operations"])["snapshot"]
        self.assertIn(record["power_state"], ("Running", "Suspended", "Halted"))
        self.assertEqual(record["suspend_VDI"] != NULL, record["power_state"] == "Suspended")
        self.assertEqual(record["domid"] != -1, record["power_state"] == "Running")
        self.assert_no_leftovers()
        return record["power_state"]

    def assert_no_leftovers(self):
        self.client("SR.scan", self.sr)  # what a crash left is finished or removed by now
        vdis = self.client("VDI.get_all_records")
        files = {os.path.basename(path) for path in glob.glob(self.folder(self.sr) + "/*")}
        self.assertEqual(files, {v["uuid"] + ".raw" for v in vdis.values() if v["SR"] == self.sr})
        images = {vm["suspend_VDI"] for vm in self.client("VM.get_all_records").values()}
        for ref, vdi in vdis.items():
            if vdi["type"] == "suspend":
                self.assertIn(ref, images)
            elif vdi["SR"] == self.sr:
                self.assertTrue(vdi["VBDs"], vdi["name_label"])


class Life(StateCase):
    def test_a_suspended_vm_goes_on_where_it_stopped(self):
        vm = self.vm_with_disk()
        events = Events(self.client, ["vm/" + vm])
        self.client("VM.suspend", vm)
        record = self.client("VM.get_record", vm)
        self.assertEqual((record["power_state"], record["domid"], record["resident_on"]),
                         ("Suspended", -1, NULL))
        image = self.client("VDI.get_record", record["suspend_VDI"])
        self.assertEqual((image["type"], image["name_label"]), ("suspend", "Suspend image"))
        most = int(record["memory_static_max"])
        self.assertAlmostEqual(int(image["virtual_size"]), most * 1.2 * 1.05 + 100 * MIB,
                               delta=4096)
        self.assertTrue(os.path.exists(self.image(record["suspend_VDI"])))
        self.assertIn("resume", record["allowed_operations"])
        self.assertNotIn("start", record["allowed_operations"])
        self.daemon.restart()
        self.client = self.daemon.client()
        self.assertEqual(self.state(vm), "Suspended")
        self.client("VM.resume", vm, False, False)
        record = self.client("VM.get_record", vm)
        self.assertEqual((record["power_state"], record["suspend_VDI"]), ("Running", NULL))
        self.assertEqual(self.assert_whole(vm), "Running")
        self.assertIsNotNone(events)

    def test_clients_never_see_states_in_between(self):
        vm = self.vm_with_disk(sim_save_ms=300)
        events = Events(self.client, ["vm/" + vm])
        task = self.client("Async.VM.suspend", vm)
        states = []

        def look(event):
            states.append(event["snapshot"]["power_state"])
            return event["snapshot"]["power_state"] == "Suspended"

        events.wait(look)
        self.assertEqual(set(states), {"Running", "Suspended"})
        self.assertEqual(wait_for_task(self.client, task)["status"], "success")

    def test_a_checkpoint_is_gone_back_to(self):
        vm = self.vm_with_disk()
        self.write(self.disk_of(vm), 0)
        point = self.client("VM.checkpoint", vm, "point")
        self.assertEqual(self.state(vm), "Running")
        self.assertEqual(self.state(point), "Suspended")
        record = self.client("VM.get_record", point)
        self.assertEqual(record["snapshot_info"]["power-state-at-snapshot"], "Running")
        self.assertEqual((record["is_a_snapshot"], record["snapshot_of"]), (True, vm))
        self.write(self.disk_of(vm), 2 * MIB)
        self.client("VM.revert", point)
        self.assertEqual(self.assert_whole(vm), "Suspended")
        self.assertEqual(self.content(self.disk_of(vm))[:12], b"content at 0")
        self.assertEqual(self.content(self.disk_of(vm))[2 * MIB:2 * MIB + 12], bytes(12))
        self.client("VM.resume", vm, False, False)
        self.assertEqual(self.assert_whole(vm), "Running")

    def test_a_slow_save_shows_in_the_tasks_progress(self):
        vm = self.vm_with_disk(sim_save_ms=3000)
        events = Events(self.client, ["task"])
        task = self.client("Async.VM.suspend", vm)
        seen = set()

        def look(event):
            seen.add(event["snapshot"]["progress"])
            return event["ref"] == task and event["snapshot"]["status"] != "pending"

        self.assertEqual(events.wait(look)["snapshot"]["status"], "success")
        self.assertGreater(len([p for p in seen if 0.2 < p < 0.7]), 2, seen)

    def test_the_ways_down_from_suspended(self):
        for way in ("VM.hard_shutdown", "VM.shutdown", "VM.power_state_reset"):
            vm = self.vm_with_disk()
            self.client("VM.suspend", vm)
            self.client(way, vm)
            self.assertEqual(self.assert_whole(vm), "Halted")


class Crashes(StateCase):
    """The daemon is killed at some moment of each operation, again and again."""

    def crash(self):
        self.daemon.crash_and_restart()
        self.client = self.daemon.client()

    def begin_and_crash(self, delay, method, *args):
        task = self.client("Async." + method, *args)
        end = time.monotonic() + delay
        while time.monotonic() < end:
            self.client("task.get_status", task)
        self.crash()
        return wait_for_task(self.client, task)["status"]

    def test_in_suspend_and_resume(self):
        vm = self.vm_with_disk(sim_save_ms=40, sim_build_ms=20)
        for i in range(24):
            before = self.state(vm)
            method, args = (("VM.suspend", [vm]) if before == "Running"
                            else ("VM.resume", [vm, False, False]))
            status = self.begin_and_crash(0.006 * (i % 13), method, *args)
            state = self.assert_whole(vm)
            if status == "success":
                self.assertNotEqual(state, before)
            self.assertIn(state, ("Running", "Suspended"))
            if state == "Running":
                self.ready(vm)

    def test_in_snapshot_and_checkpoint(self):
        vm = self.vm_with_disk(sim_save_ms=20)
        for i in range(16):
            method = ("VM.snapshot", "VM.checkpoint")[i % 2]
            before = set(self.client("VM.get_snapshots", vm))
            status = self.begin_and_crash(0.005 * (i // 2), method, vm, "snap")
            self.assertEqual(self.assert_whole(vm), "Running")
            made = set(self.client("VM.get_snapshots", vm)) - before
            self.assertLessEqual(len(made), 1)
            if status == "success":
                self.assertEqual(len(made), 1)
            self.ready(vm)

    def test_in_revert(self):
        vm = self.vm_with_disk()
        self.write(self.disk_of(vm), 0)
        snapshot = self.client("VM.snapshot", vm, "snap")
        for i in range(12):
            self.write(self.disk_of(vm), 2 * MIB)
            if self.state(vm) == "Halted":
                self.client("VM.start", vm, False, False)
            status = self.begin_and_crash(0.004 * i, "VM.revert", snapshot)
            state = self.assert_whole(vm)
            content = self.content(self.disk_of(vm))
            self.assertEqual(content[:12], b"content at 0")
            if status == "success":
                self.assertEqual((state, content[2 * MIB:2 * MIB + 12]), ("Halted", bytes(12)))
            self.assertEqual(len(self.client("VM.get_VBDs", vm)), 1)


class SmallDisk(StateCase):
    """An SR on a file system of its own, with room for nearly nothing. Needs root."""

    def setUp(self):
        super().setUp()
        self.mount = os.path.join(self.daemon.folder, "small-%d" % random.getrandbits(32))
        os.mkdir(self.mount)
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", self.mount],
                              stderr=subprocess.DEVNULL, check=False)
        if made.returncode:
            self.skipTest("cannot mount a file system")
        self.addCleanup(subprocess.run, ["umount", "-l", self.mount], check=False)
        self.small = self.client("SR.create", self.host, {"location": self.mount}, 0, "small", "",
                                 "file", "user", False, {})

    def fill(self):
        try:
            with open(os.path.join(self.mount, "other"), "wb", buffering=0) as file:
                while file.write(bytes(4096)) == 4096:
                    pass
        except OSError:
            pass

    def files(self):
        return sorted(set(os.listdir(self.mount)) - {"other"})

    def test_a_suspend_without_room_leaves_the_guest_running(self):
        vm = self.vm_with_disk()
        self.client("VM.set_suspend_SR", vm, self.small)
        self.fill()
        with self.fails("SR_SUSPEND_SPACE_INSUFFICIENT", self.small):
            self.client("VM.suspend", vm)
        self.assertEqual(self.assert_whole(vm), "Running")
        self.assertEqual(self.files(), [])

    def test_a_snapshot_without_room_leaves_nothing(self):
        vm = self.vm_with_disk()
        vdi = self.client("VDI.create", self.record(2 * MIB, SR=self.small))
        self.client("VBD.plug", self.client("VBD.create", {
            "VM": vm, "VDI": vdi, "userdevice": "1", "bootable": False, "mode": "RW",
            "type": "Disk", "unpluggable": True, "empty": False, "other_config": {},
            "qos_algorithm_type": "", "qos_algorithm_params": {}}))
        with open(os.path.join(self.mount, self.files()[0]), "r+b") as file:
            file.write(b"x" * 2 * MIB)
        disks = len(self.client("VDI.get_all"))
        for method in ("VM.snapshot", "VM.checkpoint"):
            with self.fails("SR_FULL"):
                self.client(method, vm, "snap")
            self.assertEqual(self.assert_whole(vm), "Running")
            self.assertEqual(len(self.files()), 1)
            self.assertEqual(len(self.client("VDI.get_all")), disks)


if __name__ == "__main__":
    unittest.main(verbosity=2)
