"""History as clients and the flag tell it: who changed what, the database at a time, differences."""
import datetime
import json
import os
import subprocess
import threading
import time
import unittest

import harness
from harness import Events, Failure, wait_for_task
from test_operations import OperationCase

# What history leaves out (history-skip), of the classes that are compared here.
SKIPPED = {"host_metrics": {"last_updated", "memory_free"}, "host_cpu": {"utilisation"},
           "VM_metrics": {"last_updated", "VCPUs_utilisation"},
           "VM_guest_metrics": {"last_updated", "memory"},
           "PIF_metrics": {"io_read_kbs", "io_write_kbs", "last_updated"},
           "task": {"progress", "other_config"}, "session": {"last_active"}}
CLASSES = ["VM", "VBD", "VDI", "VIF", "SR", "PBD", "host", "host_metrics", "network", "PIF", "pool",
           "VM_metrics", "VM_guest_metrics", "console", "task", "PIF_metrics"]


def iso(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime(
        "%Y-%m-%dT%H:%M:%S.%fZ")


class HistoryCase(OperationCase):
    def changes(self, **query):
        """All of them, through all pages."""
        found, after = [], ""
        while True:
            answer = self.client("History.get_changes", {**query, "after": after})
            found += answer["changes"]
            after = answer["next"]
            if not after:
                return found

    def flag(self, query):
        run = subprocess.run(
            [harness.XENOLITHD, "--state-dir", self.daemon.state, "--history", query],
            capture_output=True, text=True, timeout=harness.DEADLINE, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout

    def flag_json(self, query):
        return [json.loads(line) for line in self.flag(query + " json").splitlines()]

    def generation(self):
        return self.client("History.get_bounds")["newest"]["generation"]

    def login_again(self):
        self.client = self.daemon.client()

    def snapshot(self):
        """Every record now, as history would tell it."""
        def kept(cls, record):
            return {k: v for k, v in record.items() if k not in SKIPPED.get(cls, ())}
        return {cls: {ref: kept(cls, record) for ref, record in
                      self.client(cls + ".get_all_records").items()} for cls in CLASSES}

    def quiet(self):
        """Until what goes on by itself has settled: two looks alike."""
        before = None
        end = time.monotonic() + harness.DEADLINE
        events = Events(self.client, ["*"])
        while time.monotonic() < end:
            now = self.snapshot()
            if now == before:
                return now, self.generation()
            before = now
            events.next(0.3)
        raise AssertionError("never quiet")


class Blame(HistoryCase):
    def test_a_rename_is_told_with_old_and_new_value_and_by_whom_also_after_a_crash(self):
        vm = self.vm("before")
        self.client("VM.set_name_label", vm, "after")
        mine = self.changes(ref=vm, field="name_label", operation="set")[-1]
        self.assertEqual((mine["old"], mine["new"]), ("before", "after"))
        self.assertEqual(mine["user"], "root")
        self.assertTrue(mine["origin"].startswith("127.0.0.1:"), mine)
        self.assertEqual(mine["class"], "VM")
        self.assertEqual(self.client("session.get_uuid", mine["session"]),
                         self.client("session.get_uuid", self.client.session))
        self.assertEqual(self.changes(session=self.client.session, ref=vm, field="name_label",
                                      operation="set"), [mine])
        now = datetime.datetime.now(datetime.timezone.utc)
        then = datetime.datetime.strptime(mine["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(
            tzinfo=datetime.timezone.utc)
        self.assertLess(abs((now - then).total_seconds()), 10)
        query = f"ref={vm} field=name_label operation=set"
        self.assertEqual(self.flag_json(query)[-1], mine)  # beside the daemon
        self.daemon.kill()
        self.assertEqual(self.flag_json(query)[-1], mine)  # without one
        self.assertIn('"before" -> "after"', self.flag(query))
        self.daemon.start()
        self.login_again()
        self.assertEqual(self.changes(ref=vm, field="name_label", operation="set")[-1], mine)
        self.daemon.restart()  # the stop writes a checkpoint: the journal's part is recorded
        self.login_again()
        self.assertGreater(self.client("History.get_bounds")["bytes"], 0)
        self.assertEqual(self.changes(ref=vm, field="name_label", operation="set")[-1], mine)
        self.assertEqual(self.flag_json(query)[-1], mine)

    def test_what_an_async_call_did_is_told_with_its_task(self):
        vm = self.vm("a source")
        task = self.client("Async.VM.clone", vm, "a copy")
        self.assertEqual(wait_for_task(self.client, task)["status"], "success")
        copy = self.client("VM.get_by_name_label", "a copy")[0]
        made = self.changes(ref=copy, operation="create")[0]
        self.assertEqual(made["task"], task)
        self.assertEqual(made["user"], "root")
        self.assertEqual(made["new"]["name_label"], "a copy")
        self.assertIn(made, self.changes(task=task))
        ended = self.changes(ref=task, field="status", operation="set")[-1]
        self.assertEqual((ended["new"], ended["user"]), ("success", "root"))

    def finish(self, method, *args):
        task = self.client("Async." + method, *args)
        self.assertEqual(wait_for_task(self.client, task)["status"], "success")
        return task

    def test_a_disk_is_made_and_removed_by_the_task_that_waited_for_its_image(self):
        sr = self.client("SR.get_by_name_label", "Local storage")[0]
        first = self.finish("VDI.create", {
            "name_label": "told", "SR": sr, "virtual_size": "1048576", "type": "user",
            "sharable": False, "read_only": False, "other_config": {}})
        disk = self.client("VDI.get_by_name_label", "told")[0]
        second = self.finish("VDI.copy", disk, sr)
        copy = self.changes(task=second, operation="create", **{"class": "VDI"})[0]["ref"]
        third = self.finish("VDI.destroy", copy)
        told = [(c["ref"], c["operation"], c["task"], c["user"])
                for c in self.changes(**{"class": "VDI"}) if c["operation"] != "set"]
        self.assertEqual([c for c in told if c[0] in (disk, copy)],
                         [(disk, "create", first, "root"), (copy, "create", second, "root"),
                          (copy, "delete", third, "root")])
        allocated = self.changes(ref=sr, field="virtual_allocation", operation="set")
        self.assertEqual([c["task"] for c in allocated[-3:]], [first, second, third])

    def test_a_task_that_is_refused_in_the_queue_fails_by_its_callers_doing(self):
        vm = self.vm("halted")
        task = self.client("Async.VM.hard_shutdown", vm)
        self.assertEqual(wait_for_task(self.client, task)["status"], "failure")
        failed = self.changes(ref=task, field="status", operation="set")[-1]
        self.assertEqual((failed["new"], failed["user"], failed["task"]),
                         ("failure", "root", task))

    def test_a_start_is_told_with_who_began_it_and_what_was_watched(self):
        vm = self.running()
        up = [c for c in self.changes(ref=vm, field="power_state", operation="set")
              if c["new"] == "Running"]
        self.assertTrue(up)
        self.assertIn(up[-1]["origin"].split(":")[0], ("watcher", "127.0.0.1"), up)
        held = [c for c in self.changes(ref=vm, field="current_operations", operation="set")
                if "start" in c["new"].values()]
        self.assertEqual({c["user"] for c in held}, {"root"})

    def test_a_vm_that_is_gone_is_found_by_its_uuid_and_its_reference(self):
        vm = self.vm("short-lived")
        uuid = self.client("VM.get_uuid", vm)
        alive = self.generation()
        record = self.client("VM.get_record", vm)
        self.client("VM.set_name_label", vm, "renamed")
        self.client("VM.destroy", vm)
        gone = self.changes(uuid=uuid)[-1]
        self.assertEqual((gone["operation"], gone["ref"], gone["user"]), ("delete", vm, "root"))
        self.assertEqual(gone["old"]["name_label"], "renamed")
        self.assertEqual(self.changes(ref=vm)[-1], gone)
        for name in (vm, uuid):
            self.assertEqual(self.client("History.get_record", name, str(alive)), record)
        with self.fails("HANDLE_INVALID", "any", vm):
            self.client("History.get_record", vm, "now")
        self.daemon.restart()
        self.login_again()
        self.assertEqual(self.changes(uuid=uuid)[-1], gone)
        self.assertEqual(self.client("History.get_record", uuid, str(alive)), record)

    def test_a_session_that_is_gone_has_left_its_user_and_address(self):
        vm = self.vm("kept")
        other = self.daemon.client()
        other("VM.set_name_label", vm, "by another")
        other.logout()
        change = self.changes(ref=vm, field="name_label")[-1]
        self.assertEqual(change["user"], "root")
        with self.fails("HANDLE_INVALID"):
            self.client("session.get_uuid", change["session"])
        self.assertEqual(self.changes(session=change["session"], ref=vm), [change])


class Restart(HistoryCase):
    def test_what_an_operation_does_after_a_crash_is_still_its_callers_doing(self):
        vm = self.vm("cut off", sim_build_ms=1500)
        task = self.client("Async.VM.start", vm, False, False)
        Events(self.client, ["task/" + task], token="").wait(
            lambda e: e["snapshot"]["other_config"].get("xn:step") == "create domain")
        begun = self.changes(ref=vm, field="current_operations", operation="set")[-1]
        self.assertEqual((begun["user"], begun["task"]), ("root", task))
        self.daemon.crash_and_restart()
        self.login_again()
        self.assertNotEqual(wait_for_task(self.client, task)["status"], "pending")
        ended = self.changes(ref=task, field="status", operation="set")[-1]
        self.assertEqual((ended["user"], ended["origin"], ended["session"]),
                         (begun["user"], begun["origin"], begun["session"]))
        let_go = self.changes(ref=vm, field="current_operations", operation="set")[-1]
        self.assertEqual(let_go["new"], {})
        self.assertEqual((let_go["user"], let_go["session"], let_go["task"]),
                         ("root", begun["session"], task))


class Times(HistoryCase):
    def test_the_database_at_a_time_is_what_it_was_then(self):
        vm = self.vm("traveller")
        first, first_generation = self.quiet()
        first_time = iso(time.time())
        self.client("VM.set_name_label", vm, "elsewhere")
        self.client("VM.start", vm, False, False)
        Events(self.client, ["vm/" + vm], token="").wait(
            lambda e: "clean_shutdown" in e["snapshot"]["allowed_operations"])
        second, second_generation = self.quiet()
        self.client("VM.hard_shutdown", vm)
        self.client("VM.destroy", vm)
        for restarted in (False, True):
            for cls in CLASSES:
                for at in (str(first_generation), first_time):
                    self.assertEqual(self.client("History.get_all_records", cls, at), first[cls])
                self.assertEqual(
                    self.client("History.get_all_records", cls, str(second_generation)),
                    second[cls])
            self.assertEqual(self.client("History.get_record", vm, first_time), first["VM"][vm])
            lines = {k: v for line in self.flag_json(f"at={first_time} class=VM")
                     for k, v in line.items()}
            self.assertEqual(lines, first["VM"])
            self.check_difference(first, first_generation, second, second_generation)
            if not restarted:
                self.daemon.restart()
                self.login_again()

    def check_difference(self, old, old_generation, new, new_generation):
        for cls in CLASSES:
            wanted = []
            for ref in sorted(old[cls].keys() | new[cls].keys()):
                a, b = old[cls].get(ref), new[cls].get(ref)
                if a is None or b is None:
                    wanted.append((ref, "create" if a is None else "delete", "", a, b))
                else:
                    wanted += [(ref, "set", k, a[k], b[k]) for k in a if a[k] != b[k]]
            answer = self.client("History.get_difference", str(old_generation),
                                 str(new_generation), {"class": cls})
            found = [(c["ref"], c["operation"], c["field"], c["old"], c["new"])
                     for c in answer["changes"]]
            self.assertEqual(sorted(found, key=lambda c: c[:3]),
                             sorted(wanted, key=lambda c: c[:3]), cls)
        lines = self.flag_json(f"from={old_generation} to={new_generation} class=VM")
        self.assertEqual(lines, self.client("History.get_difference", str(old_generation),
                                            str(new_generation), {"class": "VM"})["changes"])

    def test_what_is_not_known_is_said_so(self):
        generation = self.generation()
        for at in ("1990-01-01T00:00:00Z", "@17"):
            with self.fails("VALUE_NOT_SUPPORTED") as caught:
                self.client("History.get_all_records", "VM", at)
            self.assertIn("older than what is kept", caught.exception.params[2])
        for at in (str(generation + 1000), "2999-01-01"):
            with self.fails("VALUE_NOT_SUPPORTED") as caught:
                self.client("History.get_all_records", "VM", at)
            self.assertIn("in the future", caught.exception.params[2])

    def test_where_the_journal_is_damaged_history_does_not_end_as_if_nothing_had_followed(self):
        vm = self.vm("first")
        self.daemon.restart()
        self.login_again()
        for name in ("second", "damaged here", "behind it"):
            self.client("VM.set_name_label", vm, name)
        known = next(c for c in self.changes(ref=vm, field="name_label") if c["new"] == "second")
        self.daemon.kill()
        path = os.path.join(self.daemon.state, "db", "journal-00000001")
        with open(path, "r+b") as journal:
            at = journal.read().index(b"damaged here")
            journal.seek(at)
            journal.write(b"#")
        changes = self.flag_json(f"ref={vm} field=name_label")
        self.assertEqual(changes[-1], known)
        bounds, = self.flag_json("bounds")
        self.assertFalse(bounds["complete"])
        self.assertEqual([gap["why"] for gap in bounds["gaps"]], ["the journal is damaged"])
        record, = self.flag_json(f"ref={vm} at={known['generation']}")
        self.assertEqual(record["name_label"], "second")
        for at in ("now", iso(time.time()), str(known["generation"] + 1000)):
            run = subprocess.run(
                [harness.XENOLITHD, "--state-dir", self.daemon.state, "--history",
                 f"ref={vm} at={at}"],
                capture_output=True, text=True, timeout=harness.DEADLINE, check=False)
            self.assertEqual((run.returncode, run.stdout), (1, ""))
            self.assertIn("the journal is damaged", run.stderr)

    def test_bounds_tell_what_is_damaged_in_a_file(self):
        vm = self.vm("whole")
        for name in ("damage here", "behind it"):
            self.client("VM.set_name_label", vm, name)
            self.daemon.restart()
            self.login_again()
        path = os.path.join(self.daemon.state, "history", "changes-00000001")
        with open(path, "r+b") as file:
            at = file.read().index(b"damage here")
            file.seek(at)
            file.write(b"#")
        bounds = self.client("History.get_bounds")
        answer = self.client("History.get_changes", {"ref": vm})
        with open(path, "r+b") as file:
            file.seek(at)
            file.write(b"d")
        self.assertFalse(bounds["complete"])
        self.assertEqual([gap["why"] for gap in bounds["gaps"]], ["a file is damaged"])
        self.assertEqual(bounds["gaps"], answer["gaps"])
        self.assertEqual(self.client("History.get_bounds")["gaps"], [])

    def test_what_is_left_out_is_not_told_as_unchanged(self):
        vm = self.vm("parent")
        task = self.client("task.create", "unseen", "")
        self.client("task.set_progress", task, 0.5)
        left_out, derived = "history leaves it out", "it follows from VBD.VM: ask for that"
        for query, name, why in (
                ({"class": "task", "field": "progress"}, "progress", left_out),
                ({"field": "progress", "ref": task}, "progress", left_out),
                ({"field": "other_config", "ref": task}, "other_config", left_out),
                ({"class": "session", "field": "last_active"}, "last_active", left_out),
                ({"class": "VBD_metrics"}, "VBD_metrics", left_out),
                ({"class": "VM", "ref": vm, "field": "VBDs"}, "VBDs", derived),
                ({"ref": vm, "field": "VBDs"}, "VBDs", derived),
                ({"class": "VM", "field": "VBDs", "operation": "delete"}, "VBDs", derived)):
            what = "class" if name == query.get("class") else "field"
            with self.subTest(query=query):
                with self.fails("VALUE_NOT_SUPPORTED", what, name, why):
                    self.client("History.get_changes", query)
                if why == derived:
                    continue
                with self.fails("VALUE_NOT_SUPPORTED", what, name, why):
                    self.client("History.get_difference", "1", "now", query)
        self.assertEqual(self.client("History.get_changes", {"class": "VM", "ref": vm,
                                                             "field": "other_config",
                                                             "operation": "set"})["gaps"], [])
        difference = self.client("History.get_difference", "1", "now",
                                 {"class": "VM", "field": "VBDs"})
        self.assertEqual(difference["next"], "")

    def test_questions_that_are_none_are_refused(self):
        for code, method, *params in (
                ("INVALID_VALUE", "History.get_changes", {"class": "nonsense"}),
                ("INVALID_VALUE", "History.get_changes", {"class": "VM", "field": "nonsense"}),
                ("INVALID_VALUE", "History.get_changes", {"nonsense": "1"}),
                ("INVALID_VALUE", "History.get_changes", {"since": "yesterday"}),
                ("INVALID_VALUE", "History.get_changes", {"limit": "0"}),
                ("INVALID_VALUE", "History.get_changes", {"at": "now"}),
                ("INVALID_VALUE", "History.get_all_records", "nonsense", "now"),
                ("INVALID_VALUE", "History.get_all_records", "VM", "no time"),
                ("INVALID_VALUE", "History.get_all_records", "xn_operation", "now"),
                ("VALUE_NOT_SUPPORTED", "History.get_all_records", "VBD_metrics", "now"),
                ("HANDLE_INVALID", "History.get_record", "OpaqueRef:nothing", "now"),
                ("HANDLE_INVALID", "History.get_changes", {"ref": "OpaqueRef:nothing"}),
                ("UUID_INVALID", "History.get_changes",
                 {"uuid": "00000000-0000-4000-8000-000000000000"}),
                ("FIELD_TYPE_ERROR", "History.get_changes", ["class"])):
            with self.subTest(params=params):
                with self.fails(code):
                    self.client(method, *params)

    def test_pages_join_and_either_order_is_the_same(self):
        vm = self.vm("paged")
        for i in range(12):
            self.client("VM.set_name_description", vm, str(i))
        whole = self.changes(ref=vm)
        pages = self.changes(ref=vm, limit="5")
        self.assertEqual(pages, whole)
        self.assertEqual(self.changes(ref=vm, order="newest", limit="4"), whole[::-1])
        since = whole[3]
        self.assertEqual(self.changes(ref=vm, since=str(since["generation"])),
                         [c for c in whole if c["generation"] > since["generation"]])
        self.assertEqual(self.changes(ref=vm, since=since["time"], until=since["time"]),
                         [c for c in whole if c["time"] == since["time"]])

    def test_both_protocols_tell_the_same(self):
        vm = self.vm("twice told")
        self.client("VM.set_name_label", vm, "a & <b>")
        xml = self.daemon.xml()
        xml.session = self.client.session
        told = self.client("History.get_changes", {"ref": vm, "field": "name_label"})["changes"]
        again = xml("History.get_changes", {"ref": vm, "field": "name_label"})["changes"]
        self.assertEqual([c["new"] for c in again], [c["new"] for c in told])
        self.assertEqual(xml("History.get_record", vm, "now")["name_label"], "a & <b>")

    def test_secrets_are_never_told(self):
        ref = self.client("secret.create", {"value": "open sesame", "other_config": {}})
        self.client("secret.set_value", ref, "open barley")
        text = json.dumps(self.changes(**{"class": "secret"}))
        text += json.dumps(self.client("History.get_all_records", "secret", "now"))
        text += self.flag("class=secret")
        self.assertIn(ref, text)
        self.assertNotIn("open ", text)


class Bounds(HistoryCase):
    daemon_options = ("--history-size", "1M", "--history-skip", "task.*")

    def sizes(self):
        folder = os.path.join(self.daemon.state, "history")
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            try:
                yield os.path.getsize(os.path.join(folder, name))
            except FileNotFoundError:
                pass

    def test_size_is_kept_while_one_writes_as_fast_as_it_can(self):
        vm, most, writing = self.vm("busy"), 0, threading.Event()
        client = self.daemon.client()

        def write():
            for i in range(1000):
                client("VM.set_name_description", vm, f"{i} " + "x" * 6000)
            writing.set()

        writer = threading.Thread(target=write)
        writer.start()
        while not writing.wait(0.005):
            most = max(most, sum(self.sizes()))
        writer.join()
        self.assertGreater(most, 1 << 18)
        self.assertLessEqual(most, 1 << 20)

    def test_size_is_kept_under_many_changes_and_what_is_left_is_right(self):
        vm = self.vm("busy")
        for round_number in range(6):
            for i in range(400):
                self.client("VM.set_name_description", vm, f"{round_number} {i} " + "x" * 400)
            generation = self.generation()
            record = self.client("VM.get_record", vm)
            if round_number % 2:
                self.daemon.restart()
                self.login_again()
        size = subprocess.run(["du", "-sb", self.daemon.state + "/history"], capture_output=True,
                              text=True, check=True)
        self.assertLessEqual(int(size.stdout.split()[0]), (1 << 20) + 4096)
        bounds = self.client("History.get_bounds")
        self.assertFalse(bounds["since_the_beginning"])
        self.assertEqual(bounds["gaps"], [])
        self.assertEqual(self.client("History.get_record", vm, str(generation)), record)
        with self.fails("VALUE_NOT_SUPPORTED"):
            self.client("History.get_record", vm, "5")
        answer = self.client("History.get_changes", {"ref": vm, "limit": "1"})
        self.assertFalse(answer["complete"])
        self.assertGreaterEqual(answer["changes"][0]["generation"], bounds["oldest"]["generation"])


class Large(HistoryCase):
    """A database of which one image is larger than the size."""
    daemon_options = ("--history-size", "256K")

    def test_one_image_stays_and_the_limit_tells_so(self):
        template = self.vm("original")
        for i in range(250):
            self.client("VM.clone", template, f"clone {i} " + "x" * 1000)
        self.daemon.restart()
        self.login_again()
        bounds = self.client("History.get_bounds")
        self.assertGreater(bounds["bytes"], 256 << 10)
        self.assertLessEqual(bounds["bytes"], bounds["size_limit"])
        deadline = time.monotonic() + harness.DEADLINE
        numbers = self.daemon.metrics()
        while not numbers["xenolith_history_compactions_total"] and time.monotonic() < deadline:
            time.sleep(0.02)
            numbers = self.daemon.metrics()
        self.assertGreater(numbers["xenolith_history_bytes"], 256 << 10)
        self.assertLessEqual(numbers["xenolith_history_bytes"],
                             numbers["xenolith_history_room_bytes"])
        self.assertEqual(len(self.client("History.get_all_records", "VM", "now")),
                         len(self.client("VM.get_all_records")))


class Off(HistoryCase):
    daemon_options = ("--history-size", "0")

    def test_no_history_is_an_error_and_not_an_empty_answer(self):
        with self.assertRaises(Failure) as caught:
            self.client("History.get_changes", {})
        self.assertEqual(caught.exception.code, "VALUE_NOT_SUPPORTED")


if __name__ == "__main__":
    harness.main()
