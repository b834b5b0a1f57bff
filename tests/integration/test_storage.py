"""Disks and repositories: real files, the events they make, and what a crash may not lose."""
import os
import random
import threading
import time
import uuid

import harness
from harness import Events, wait_for_task

NULL = "OpaqueRef:NULL"
MIB = 2**20
GIB = 2**30


class StorageCase(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.pool = self.client("pool.get_all")[0]
        self.host = self.client("host.get_all")[0]
        self.sr = self.client("pool.get_default_SR", self.pool)
        self.iso = next(ref for ref, sr in self.client("SR.get_all_records").items()
                        if sr["type"] == "iso")

    def folder(self, sr):
        pbd = self.client("SR.get_PBDs", sr)[0]
        location = self.client("PBD.get_device_config", pbd)["location"]
        return os.path.join(self.daemon.state, location)

    def image(self, vdi):
        record = self.client("VDI.get_record", vdi)
        return os.path.join(self.folder(record["SR"]), record["uuid"] + ".raw")

    def record(self, size=16 * MIB, **fields):
        return {"name_label": "disk", "name_description": "", "SR": self.sr, "virtual_size": size,
                "type": "user", "sharable": False, "read_only": False, "other_config": {}, **fields}

    def disk(self, size=16 * MIB, **fields):
        return self.client("VDI.create", self.record(size, **fields))

    def write(self, vdi, *places):
        with open(self.image(vdi), "r+b") as file:
            for place in places:
                file.seek(place)
                file.write(b"content at %d" % place)

    def content(self, vdi):
        with open(self.image(vdi), "rb") as file:
            return file.read()


class Disks(StorageCase):
    def test_a_disk_is_a_sparse_file_of_its_size(self):
        vdi = self.disk(10 * GIB)
        stat = os.stat(self.image(vdi))
        self.assertEqual(stat.st_size, 10 * GIB)
        self.assertEqual(stat.st_blocks, 0)
        record = self.client("VDI.get_record", vdi)
        self.assertEqual(record["virtual_size"], 10 * GIB)
        self.assertEqual(record["location"], record["uuid"])
        self.client("VDI.destroy", vdi)

    def test_a_disk_in_qemus_format(self):
        vdi = self.disk(10 * GIB, sm_config={"image-format": "qcow2"})
        record = self.client("VDI.get_record", vdi)
        self.assertEqual((record["virtual_size"], record["sm_config"]),
                         (10 * GIB, {"image-format": "qcow2"}))
        path = os.path.join(self.folder(self.sr), record["uuid"] + ".qcow2")
        with open(path, "rb") as image:
            self.assertEqual(image.read(4), b"QFI\xfb")
        self.client("VDI.resize", vdi, 20 * GIB)
        clone = self.client("VDI.clone", vdi, {})
        record = self.client("VDI.get_record", clone)
        self.assertEqual((record["virtual_size"], record["sm_config"]["image-format"]),
                         (20 * GIB, "qcow2"))
        self.client("VDI.destroy", clone)
        self.client("VDI.destroy", vdi)
        self.assertFalse(os.path.exists(path))
        with self.fails("INVALID_VALUE", "sm_config:image-format", "vhd"):
            self.disk(sm_config={"image-format": "vhd"})

    def test_a_scan_adopts_an_image_in_qemus_format(self):
        source = self.disk(64 * MIB, sm_config={"image-format": "qcow2"})
        folder, name = self.folder(self.sr), str(uuid.uuid4())
        old = self.client("VDI.get_uuid", source)
        with open(os.path.join(folder, old + ".qcow2"), "rb") as image:
            content = image.read()
        with open(os.path.join(folder, name + ".qcow2"), "wb") as image:
            image.write(content)
        needs_another = str(uuid.uuid4())
        with open(os.path.join(folder, needs_another + ".qcow2"), "wb") as image:
            image.write(content[:8] + bytes([0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 11]) + content[20:])
        self.client("SR.scan", self.sr)
        vdi = self.client("VDI.get_by_uuid", name)
        record = self.client("VDI.get_record", vdi)
        self.assertEqual((record["virtual_size"], record["sm_config"]["image-format"]),
                         (64 * MIB, "qcow2"))
        with self.fails("UUID_INVALID"):
            self.client("VDI.get_by_uuid", needs_another)
        for ref in (vdi, source):
            self.client("VDI.destroy", ref)
        os.unlink(os.path.join(folder, needs_another + ".qcow2"))

    def test_a_record_has_what_clients_need(self):
        vdi = self.disk(other_config={"a": "b"}, tags=["t"], sm_config={"c": "d"},
                        xenstore_data={"e": "f"})
        record = self.client("VDI.get_record", vdi)
        self.assertEqual(record["sm_config"], {"c": "d", "image-format": "raw"})
        self.assertEqual(record["other_config"], {"a": "b"})
        self.assertEqual(record["xenstore_data"], {"e": "f"})
        self.assertEqual((record["tags"], record["VBDs"], record["snapshots"]), (["t"], [], []))
        self.assertEqual((record["managed"], record["missing"], record["cbt_enabled"],
                          record["is_a_snapshot"]), (True, False, False, False))
        self.assertEqual(record["snapshot_of"], NULL)
        self.assertLessEqual({"clone", "copy", "destroy", "resize", "snapshot"},
                             set(record["allowed_operations"]))
        self.assertEqual(self.client("VDI.get_nbd_info", vdi), [])
        self.client("VDI.destroy", vdi)

    def test_clone_snapshot_and_copy_have_the_content(self):
        vdi = self.disk(64 * MIB)
        self.write(vdi, 0, 5 * MIB, 63 * MIB)
        before = self.content(vdi)
        made = [self.client("VDI.clone", vdi), self.client("VDI.snapshot", vdi),
                self.client("VDI.copy", vdi, self.sr)]
        for copy in made:
            self.assertEqual(self.content(copy), before)
            self.assertLess(os.stat(self.image(copy)).st_blocks * 512, MIB)
        self.write(vdi, MIB)
        for copy in made:
            self.assertEqual(self.content(copy), before)
        self.assertEqual(self.client("VDI.get_snapshots", vdi), [made[1]])
        for copy in made + [vdi]:
            self.client("VDI.destroy", copy)

    def test_a_copy_over_a_disk_replaces_its_content(self):
        source, target = self.disk(32 * MIB), self.disk(48 * MIB)
        self.write(source, MIB)
        self.write(target, MIB, 20 * MIB, 40 * MIB)
        self.assertEqual(self.client("VDI.copy", source, NULL, NULL, target), target)
        self.assertEqual(self.content(target)[:32 * MIB], self.content(source))
        for vdi in (source, target):
            self.client("VDI.destroy", vdi)

    def test_the_usage_shows_when_asked(self):
        vdi = self.disk()
        self.write(vdi, MIB)
        self.client("VDI.update", vdi)
        self.assertGreater(self.client("VDI.get_physical_utilisation", vdi), 0)
        self.client("VDI.destroy", vdi)

    def test_an_async_copy_ends_in_its_task_with_the_new_disk(self):
        vdi = self.disk()
        task = wait_for_task(self.client, self.client("Async.VDI.copy", vdi, self.sr))
        self.assertEqual(task["status"], "success")
        copy = task["result"][len("<value>"):-len("</value>")]
        self.assertEqual(self.client("VDI.get_SR", copy), self.sr)
        for ref in (copy, vdi):
            self.client("VDI.destroy", ref)

    def test_each_step_of_a_disk_is_an_event(self):
        events = Events(self.client, ["vdi", "sr"])
        vdi = self.disk()
        snapshot = events.wait(lambda e: e["ref"] == vdi)["snapshot"]
        self.assertEqual(snapshot["virtual_size"], 16 * MIB)
        self.client("VDI.set_name_label", vdi, "renamed")
        events.wait_for(vdi, name_label="renamed")
        self.client("VDI.resize", vdi, 32 * MIB)
        events.wait_for(vdi, virtual_size=32 * MIB)
        self.client("VDI.destroy", vdi)
        events.wait(lambda e: e["ref"] == vdi and e["operation"] == "del")

    def test_an_operation_shows_while_it_runs_and_not_after(self):
        events = Events(self.client, ["vdi"])
        vdi = self.disk()
        copy = self.client("VDI.clone", vdi)
        events.wait(lambda e: e["ref"] == copy)
        self.assertEqual(self.client("VDI.get_current_operations", vdi), {})
        for ref in (copy, vdi):
            self.client("VDI.destroy", ref)

    def test_what_no_driver_can_do_is_told(self):
        vdi = self.disk()
        for method, *args in (("enable_cbt",), ("set_on_boot", "reset"), ("data_destroy",),
                              ("pool_migrate", self.sr, {})):
            with self.subTest(method=method), self.fails("SR_OPERATION_NOT_SUPPORTED", self.sr):
                self.client("VDI." + method, vdi, *args)
        self.client("VDI.destroy", vdi)

    def test_what_is_wrong_with_a_record_is_told(self):
        with self.fails("FIELD_TYPE_ERROR", "virtual_size"):
            record = self.record()
            del record["virtual_size"]
            self.client("VDI.create", record)
        with self.fails("HANDLE_INVALID", "SR", NULL):
            self.client("VDI.create", self.record(SR=NULL))
        with self.fails("INVALID_VALUE"):
            self.client("VDI.create", self.record(type="nonsense"))

    def test_many_disks_are_made_side_by_side(self):
        clients = [self.client.another() for _ in range(16)]
        for client in clients:
            client.begin("VDI.create", self.record())
        made = [client.finish() for client in clients]
        self.assertEqual(len(set(made)), 16)
        for vdi in made:
            self.assertEqual(os.stat(self.image(vdi)).st_size, 16 * MIB)
            self.client("VDI.destroy", vdi)

    def test_a_disk_that_is_busy_waits_for_its_turn(self):
        vdi = self.disk(256 * MIB)
        self.write(vdi, *range(0, 256 * MIB, MIB))
        events = Events(self.client, ["vdi"])
        clone, destroy = self.client.another(), self.client.another()
        clone.begin("VDI.clone", vdi)
        events.wait(lambda e: e["ref"] == vdi and e["snapshot"]["current_operations"])
        destroy.begin("VDI.destroy", vdi)
        copy = clone.finish()
        self.assertEqual(os.stat(self.image(copy)).st_size, 256 * MIB)
        destroy.finish()
        self.client("VDI.destroy", copy)


class Repositories(StorageCase):
    def test_a_repository_from_create_to_destroy(self):
        path = os.path.join(self.daemon.folder, "own")
        sr = self.client("SR.create", self.host, {"location": path}, 0, "own", "", "file", "user",
                         False, {})
        record = self.client("SR.get_record", sr)
        self.assertEqual((record["type"], record["content_type"]), ("file", "user"))
        self.assertGreater(record["physical_size"], 0)
        vdi = self.disk(SR=sr)
        copy = self.client("VDI.copy", vdi, self.sr)
        self.assertEqual(self.client("VDI.get_SR", copy), self.sr)
        self.assertEqual(self.client("SR.get_virtual_allocation", sr), 16 * MIB)
        with self.fails("SR_HAS_PBD", sr):
            self.client("SR.destroy", sr)
        for ref in (vdi, copy):
            self.client("VDI.destroy", ref)
        pbd, = self.client("SR.get_PBDs", sr)
        self.client("PBD.unplug", pbd)
        with self.fails("SR_HAS_NO_PBDS", sr):
            self.disk(SR=sr)
        self.client("SR.destroy", sr)
        self.assertFalse(os.path.exists(path))
        self.assertNotIn(pbd, self.client("PBD.get_all"))

    def test_a_forgotten_repository_is_introduced_again_with_its_disks(self):
        path = os.path.join(self.daemon.folder, "kept")
        config = {"location": path}
        sr = self.client("SR.create", self.host, config, 0, "kept", "", "file", "user", False, {})
        sr_uuid = self.client("SR.get_uuid", sr)
        vdi = self.disk(SR=sr)
        self.write(vdi, 0)
        vdi_uuid = self.client("VDI.get_uuid", vdi)
        self.client("PBD.unplug", self.client("SR.get_PBDs", sr)[0])
        self.client("SR.forget", sr)

        sr = self.client("SR.introduce", sr_uuid, "kept", "", "file", "user", False, {})
        with self.fails("SR_UUID_EXISTS", sr_uuid):
            self.client("SR.introduce", sr_uuid, "kept", "", "file", "user", False, {})
        pbd = self.client("PBD.create", {"host": self.host, "SR": sr, "device_config": config})
        with self.fails("PBD_EXISTS", sr, self.host, pbd):
            self.client("PBD.create", {"host": self.host, "SR": sr, "device_config": config})
        self.client("PBD.plug", pbd)
        self.client("SR.scan", sr)
        again = self.client("VDI.get_by_uuid", vdi_uuid)
        self.assertTrue(self.content(again).startswith(b"content at 0"))
        with self.fails("OPERATION_NOT_ALLOWED"):
            self.client("PBD.destroy", pbd)

    def test_images_of_the_library_come_and_go(self):
        path = os.path.join(self.folder(self.iso), "tool.iso")
        with open(path, "wb") as file:
            file.write(bytes(4096))
        self.client("SR.scan", self.iso)
        vdi, = self.client("SR.get_VDIs", self.iso)
        record = self.client("VDI.get_record", vdi)
        self.assertEqual((record["name_label"], record["location"], record["read_only"]),
                         ("tool.iso", "tool.iso", True))
        with self.fails("SR_OPERATION_NOT_SUPPORTED", self.iso):
            self.client("VDI.destroy", vdi)
        os.unlink(path)
        self.client("SR.scan", self.iso)
        self.assertEqual(self.client("SR.get_VDIs", self.iso), [])

    def test_an_image_introduced_by_hand_is_a_disk(self):
        name = str(uuid.uuid4())
        path = os.path.join(self.folder(self.sr), name + ".raw")
        with self.fails("VDI_LOCATION_MISSING", self.sr, name):
            self.client("VDI.introduce", name, "n", "", self.sr, "user", False, False, {}, name)
        with open(path, "wb") as file:
            file.truncate(MIB)
        vdi = self.client("VDI.introduce", name, "n", "", self.sr, "user", False, False, {}, name)
        self.assertEqual(self.client("VDI.get_virtual_size", vdi), MIB)
        with self.fails("UUID_INVALID", "VDI", name):
            self.client("VDI.introduce", name, "n", "", self.sr, "user", False, False, {}, name)
        self.client("VDI.destroy", vdi)
        self.assertFalse(os.path.exists(path))

    def test_file_names_from_clients_lead_nowhere(self):
        for location in ("../../../../etc/passwd", "..", "x" * 36, "../" * 12):
            with self.fails("INVALID_VALUE", "location", location):
                self.client("VDI.introduce", "", "n", "", self.sr, "user", False, False, {},
                            location)
        with self.fails("VDI_LOCATION_MISSING"):
            self.client("VDI.introduce", "", "n", "", self.iso, "user", False, True, {},
                        "../../password")

    def test_driver_calls_of_others_are_refused(self):
        with self.fails("PERMISSION_DENIED", ""):
            self.client("PBD.set_device_config", self.client("SR.get_PBDs", self.sr)[0], {})
        with self.fails("SR_UNKNOWN_DRIVER", "nosuch"):
            self.client("SR.probe", self.host, {}, "nosuch", {})
        with self.fails("VALUE_NOT_SUPPORTED", "SRmaster", "true", "the server sets this key"):
            self.client("SR.create", self.host, {"SRmaster": "true"}, 0, "", "", "file", "user",
                        False, {})
        self.assertEqual(sorted(self.client("SR.get_supported_types")), ["file", "iso"])


class Crash(StorageCase):
    """SIGKILL beside many changes: what was acknowledged holds, and nothing else is left."""

    def churn(self, client, log, stop, seed):
        choice = random.Random(seed)
        mine = []
        try:
            while not stop.is_set():
                if not mine or choice.random() < 0.5:
                    vdi = client("VDI.create", self.record())
                    mine.append(vdi)
                elif choice.random() < 0.3:
                    vdi = client("VDI.clone", choice.choice(mine))
                    mine.append(vdi)
                else:
                    vdi = mine.pop()
                    log[vdi] = "going"
                    client("VDI.destroy", vdi)
                    log[vdi] = "gone"
                    continue
                log[vdi] = "there"
        except (OSError, AssertionError, harness.http.client.HTTPException):
            pass  # the kill

    def crash_while_busy(self, seed):
        log, stop = {}, threading.Event()
        workers = [threading.Thread(target=self.churn,
                                    args=(self.client.another(), log, stop, seed * 100 + i))
                   for i in range(6)]
        for worker in workers:
            worker.start()
        deadline = time.monotonic() + harness.DEADLINE
        wanted = 40 + 17 * seed % 60
        while len(log) < wanted and time.monotonic() < deadline:
            self.client("VDI.get_all")  # no sleep: the time a call takes
        self.daemon.kill()
        stop.set()
        for worker in workers:
            worker.join()
        return log

    def look(self):
        """Rows, and the files that should be there, and those that are."""
        self.client("SR.scan", self.sr)
        records = self.client("VDI.get_all_records")
        wanted = {r["uuid"] + ".raw" for r in records.values() if r["SR"] == self.sr}
        return records, wanted, set(os.listdir(self.folder(self.sr)))

    def check_acknowledged(self, log, records):
        for vdi, state in log.items():
            if state == "there":
                self.assertIn(vdi, records)
            elif state == "gone":
                self.assertNotIn(vdi, records)

    def check(self, log):
        self.check_acknowledged(log, self.client("VDI.get_all_records"))  # from the first answer on
        deadline = time.monotonic() + harness.DEADLINE
        records, wanted, found = self.look()
        # What was interrupted is finished or undone beside these calls.
        while time.monotonic() < deadline and (
                found != wanted or any(r["current_operations"] for r in records.values())):
            records, wanted, found = self.look()
        self.assertEqual(found, wanted)
        self.check_acknowledged(log, records)
        for record in records.values():
            self.assertFalse(record["missing"])
            self.assertEqual(record["current_operations"], {})

    def test_acknowledged_disks_survive_and_nothing_is_left_over(self):
        for seed in range(5):
            with self.subTest(seed=seed):
                log = self.crash_while_busy(seed)
                self.assertGreater(len(log), 10)
                self.daemon.start()
                self.client = self.daemon.client()
                self.check(log)

    def test_a_crash_in_a_copy_leaves_the_source_free_and_no_copy(self):
        vdi = self.disk(2 * GIB)
        with open(self.image(vdi), "r+b") as file:
            for place in range(0, 400 * MIB, 4 * MIB):
                file.seek(place)
                file.write(os.urandom(4096) * 1024)
        before = len(self.client("VDI.get_all"))
        events = Events(self.client, ["vdi"])
        task = self.client("Async.VDI.copy", vdi, self.sr)
        events.wait(lambda e: e["ref"] == vdi and e["snapshot"]["current_operations"])
        self.daemon.crash_and_restart()
        self.client = self.daemon.client()
        record = wait_for_task(self.client, task)
        if record["status"] == "success":  # a fast disk
            before += 1
        self.assertEqual(len(self.client("VDI.get_all")), before)
        self.assertEqual(self.client("VDI.get_current_operations", vdi), {})
        self.client("VDI.destroy", vdi)


if __name__ == "__main__":
    harness.main()
