#!/usr/bin/env python3
"""Archives of virtual machines that hold more than anybody may have, or thousands of machines. XENOLITHD:
the daemon."""
import io
import re
import socket
import tarfile

import hostile
import siege

import harness  # siege knows where it is

MANY = 2000  # machines, each with a drive and an interface


def machine(i, **fields):
    return ("VM", f"Ref:vm{i}", {
        "uuid": f"{i:08d}-0000-4000-8000-000000000000", "name_label": f"many {i}",
        "power_state": "Halted", "memory_static_max": "268435456", "memory_dynamic_max": "268435456",
        "memory_dynamic_min": "268435456", "memory_static_min": "134217728", "VCPUs_max": "1",
        "VCPUs_at_startup": "1", **fields})


def devices(i):
    return [("VBD", f"Ref:vbd{i}", {"VM": f"Ref:vm{i}", "VDI": hostile.NULL, "type": "CD", "mode": "RO",
                                    "userdevice": "3", "empty": True, "bootable": False}),
            ("VIF", f"Ref:vif{i}", {"VM": f"Ref:vm{i}", "network": "Ref:net", "device": "0",
                                    "MAC": "", "MTU": "1500"})]


NETWORK = ("network", "Ref:net", {"name_label": "of the archive", "bridge": ""})


def archive(objects, is_whole=True):
    ova = hostile.xml_value({
        "version": {"hostname": "h", "date": "20260101T00:00:00Z", "product_version": "1",
                    "product_brand": "x", "build_number": "1", "xapi_major": 1, "xapi_minor": 20,
                    "export_vsn": 2},
        "objects": [{"class": name, "id": ref, "snapshot": snapshot}
                    for name, ref, snapshot in objects]}).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo("ova.xml")
        info.size = len(ova)
        tar.addfile(info, io.BytesIO(ova))
        if not is_whole:
            end = out.tell()
    return out.getvalue() if is_whole else out.getvalue()[:end]


def many(n):
    objects = [NETWORK]
    for i in range(n):
        objects += [machine(i), *devices(i)]
    return objects


class Archives:
    """For cases with a daemon."""

    CLASSES = ("VM", "VM_metrics", "VBD", "VIF", "VDI", "network")

    def setUp(self):
        super().setUp()
        self.socks = []
        self.before = self.everything()

    def tearDown(self):
        for sock in self.socks:
            sock.close()
        super().tearDown()

    def everything(self):
        return {name: set(self.client(name + ".get_all")) for name in self.CLASSES}

    def new_ones(self):
        now = self.everything()
        return {name: len(now[name] - self.before[name]) for name in now}

    def begin(self, body):
        task = self.client("task.create", "import", "")
        sock = socket.create_connection(self.daemon.address, timeout=harness.DEADLINE)
        self.socks.append(sock)
        sock.sendall(f"PUT /import?session_id={self.client.session}&task_id={task} HTTP/1.1\r\n"
                     f"Host: h\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        return task

    def end_of(self, task):
        token = ""
        while True:  # not on a connection of its own: those are counted
            reply = self.client("event.from", ["task/" + task], token, float(harness.DEADLINE))
            self.assertTrue(reply["events"], "the task does not end")
            token, last = reply["token"], reply["events"][-1]["snapshot"]
            if last["status"] != "pending":
                return last

    def ended(self, body):
        return self.end_of(self.begin(body))

    def assert_refused(self, body, *error):
        task = self.ended(body)
        self.assertEqual((task["status"], task["error_info"][:2]), ("failure", list(error[:2])))
        for word in error[2:]:
            self.assertIn(word, task["error_info"][-1])
        self.assertEqual(set(self.new_ones().values()), {0})

    def assert_all_there(self, task, n):
        self.assertEqual((task["status"], task["error_info"]), ("success", []))
        new = self.everything()["VM"] - self.before["VM"]
        self.assertEqual(set(re.findall("OpaqueRef:[-0-9a-f]+", task["result"])), new)
        records = self.client("VM.get_all_records")
        self.assertEqual([records[ref]["current_operations"] for ref in new], [{}] * n)
        self.assertEqual({(len(records[ref]["VBDs"]), len(records[ref]["VIFs"])) for ref in new},
                         {(1, 1)})
        self.assertTrue(all("start" in records[ref]["allowed_operations"] for ref in new))


class Sizes(Archives, siege.TestCase):
    daemon_options = ("--all-rows", "1000")

    def test_what_no_call_may_store_no_archive_brings(self):
        for fields, *error in (
                ({"name_label": "x" * 3000000}, "name_label", "string-bytes"),
                ({"other_config": {f"k{i}": "v" for i in range(20000)}}, "other_config", "field-items"),
                ({"tags": [f"t{i}" for i in range(20000)]}, "tags", "field-items"),
                ({"other_config": {f"k{i}": "v" * 200000 for i in range(8)}}, "VM", "row-bytes"),
                ({"tags": ["short"] + [f"{i}" * 200000 for i in range(8)]}, "VM", "row-bytes")):
            self.assert_refused(archive([machine(1, **fields)]), "INVALID_VALUE", *error)
        text = "x" * 300000
        self.assert_refused(archive([machine(1), ("VBD", "Ref:b", {"VM": "Ref:vm1", "type": "CD",
                                                                   "other_config": {"k": text}})]),
                            "INVALID_VALUE", "k", "string-bytes")
        self.assertGreaterEqual(
            self.daemon.metrics()['xenolith_calls_over_quota_total{limit="row-bytes"}'], 2)
        self.ended(archive([machine(1, unknown=text, **{"name_label": "what is not kept is not looked at"})]))
        self.assertEqual(self.new_ones()["VM"], 1)

    def test_more_objects_than_there_may_be_are_refused_before_any_is_made(self):
        events = harness.Events(self.client, ["vm"])
        task = self.ended(archive([machine(i) for i in range(4096)]))
        self.assertEqual((task["status"], task["error_info"][0]), ("failure", "OUT_OF_SPACE"))
        self.assertIn("all-rows", task["error_info"][1])
        self.assertEqual(events.next(0), [])
        self.assertEqual(set(self.new_ones().values()), {0})


class Many(Archives, siege.TestCase):
    def test_they_come_whole_and_the_loop_does_not_stall(self):
        self.assert_all_there(self.ended(archive(many(1365))), 1365)  # 4096 objects

    def test_what_fails_at_its_end_leaves_nothing_and_the_loop_does_not_stall(self):
        self.assert_refused(archive(many(1000), is_whole=False), "IMPORT_ERROR_PREMATURE_EOF")

    def test_one_that_cannot_be_made_takes_the_others_with_it(self):
        bad = ("VBD", "Ref:vbdx", {"VM": "Ref:nowhere", "type": "CD"})  # the last one
        self.assert_refused(archive(many(1000) + [bad]), "IMPORT_ERROR_FAILED_TO_FIND_OBJECT",
                            "Ref:nowhere")


class Kills(Archives, harness.TestCase):
    def after_a_kill(self, wanted):
        """The task, killed when an event of a machine is like that."""
        events = harness.Events(self.client, ["vm"])
        task = self.begin(archive(many(1000)))
        events.wait(lambda event: event["operation"] == "mod" and event["ref"] not in self.before["VM"]
                    and wanted(event["snapshot"]) or event["operation"] == "add" and wanted(event["snapshot"]))
        self.daemon.crash_and_restart()
        self.daemon.close_clients()
        self.client = self.daemon.client()
        return self.end_of(task)

    def test_one_while_they_are_made_leaves_nothing(self):
        task = self.after_a_kill(lambda vm: vm["current_operations"])
        self.assertEqual(task["status"], "failure")
        self.assertEqual(set(self.new_ones().values()), {0})

    def test_one_while_they_are_let_go_leaves_all_of_them_to_everybody(self):
        self.assert_all_there(self.after_a_kill(lambda vm: not vm["current_operations"]), 1000)


if __name__ == "__main__":
    harness.main()
