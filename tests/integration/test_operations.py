"""Operations on VMs as their tasks tell: waiting, progress, cancel, a queue, and crashes in between."""
import unittest

import harness
from harness import Events, wait_for_task

TEMPLATE = "Debian Bookworm 12"
NULL = "OpaqueRef:NULL"


class OperationCase(harness.TestCase):
    def vm(self, name="a VM", **sim):
        """A halted VM without disks whose simulated guest behaves as told: sim_build_ms=50."""
        template = self.client("VM.get_by_name_label", TEMPLATE)[0]
        vm = self.client("VM.clone", template, name)
        self.client("VM.remove_from_other_config", vm, "disks")
        for key, value in sim.items():
            self.client("VM.add_to_other_config", vm, key.replace("_", "-"), str(value))
        self.client("VM.provision", vm)
        return vm

    def running(self, **sim):
        vm = self.vm(**sim)
        self.client("VM.start", vm, False, False)
        Events(self.client, ["vm/" + vm], token="").wait(  # its guest has said what it can do
            lambda e: "clean_shutdown" in e["snapshot"]["allowed_operations"])
        return vm

    def state(self, vm):
        return self.client("VM.get_power_state", vm)

    def task(self, task):
        return self.client("task.get_record", task)

    def wait(self, ref, **fields):
        """Until the object is so, from whatever it is now."""
        kind = "task" if "status" in fields or "other_config" in fields else "vm"
        return Events(self.client, [f"{kind}/{ref}"], token="").wait_for(ref, **fields)

    def wait_until_waiting(self, task):
        """Until the task says what it waits for; its words."""
        event = Events(self.client, ["task/" + task], token="").wait(
            lambda e: "xn:waiting_for" in e["snapshot"]["other_config"]
            or e["snapshot"]["status"] != "pending")
        self.assertEqual(event["snapshot"]["status"], "pending", event["snapshot"]["error_info"])
        return event["snapshot"]["other_config"]["xn:waiting_for"]


class Life(OperationCase):
    def test_a_start_is_seen_as_current_operation_progress_and_end(self):
        vm = self.vm(sim_build_ms=300)
        events = Events(self.client, ["vm/" + vm, "task"])
        task = self.client("Async.VM.start", vm, False, False)
        progress, operations = [], []

        def look(event):
            if event["ref"] == vm:
                operations.append(event["snapshot"]["current_operations"].get(task))
            if event["ref"] == task:
                progress.append(event["snapshot"]["progress"])
            return event["ref"] == task and event["snapshot"]["status"] == "success"

        record = events.wait(look)["snapshot"]
        self.assertEqual(record["result"], "<value></value>")
        self.assertEqual(progress, sorted(progress))
        self.assertEqual(progress[-1], 1.0)
        self.assertIn("start", operations)
        self.assertEqual(self.client("VM.get_current_operations", vm), {})
        self.assertEqual(self.state(vm), "Running")

    def test_the_end_of_the_task_is_told_after_the_state_it_stands_for(self):
        vm = self.vm()
        events = Events(self.client, ["*"])
        task = self.client("Async.VM.start", vm, False, False)
        states = []

        def look(event):
            if event["ref"] == vm:
                states.append(event["snapshot"]["power_state"])
            return event["ref"] == task and event["snapshot"]["status"] == "success"

        events.wait(look)
        # The one answer that held the task's end may hold the VM behind it.
        states += [e["snapshot"]["power_state"] for e in events.seen if e["ref"] == vm]
        self.assertIn("Running", states)

    def test_a_synchronous_calls_task_goes_with_the_call(self):
        vm = self.vm()
        events = Events(self.client, ["task"])
        waiting = harness.begin(self.client, "event.from", ["task"], events.token, 30.0)
        self.client("VM.start", vm, False, False)
        seen = waiting.finish()["events"][0]
        self.assertEqual((seen["operation"], seen["snapshot"]["name_label"]), ("add", "VM.start"))
        with self.fails("HANDLE_INVALID", "task", seen["ref"]):
            self.task(seen["ref"])

    def test_a_script_may_change_and_shut_down_what_it_has_just_started(self):
        template = self.client("VM.get_by_name_label", "Other install media")[0]  # HVM
        vm = self.client("VM.clone", template, "short")
        self.client("VM.provision", vm)
        vif = self.client("VIF.create", {
            "VM": vm, "network": self.client("network.get_all")[0], "device": "0", "MAC": "",
            "MTU": 1500, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
        for way_down in ("VM.clean_shutdown", "VM.shutdown", "VM.clean_shutdown"):
            self.client("VM.start", vm, False, False)
            self.client("VIF.unplug", vif)
            self.client("VIF.plug", vif)
            if way_down == "VM.shutdown":
                self.client("VM.clean_reboot", vm)
            self.client(way_down, vm)
            self.assertEqual(self.state(vm), "Halted")

    def test_a_failed_start_leaves_nothing(self):
        vm = self.vm(sim_build="fail")
        task = self.client("Async.VM.start", vm, False, False)
        record = wait_for_task(self.client, task)
        self.assertEqual(record["status"], "failure")
        self.assertTrue(record["error_info"][0])
        self.assertEqual(self.state(vm), "Halted")
        self.assertEqual(self.client("VM.get_current_operations", vm), {})
        self.assertEqual(self.client("VM.get_domid", vm), -1)

    def test_a_client_that_hangs_up_does_not_stop_its_call(self):
        vm = self.vm(sim_build_ms=300)
        starting = harness.begin(self.client, "VM.start", vm, False, False)
        starting.close()
        self.assertEqual(self.wait(vm, power_state="Running")["power_state"], "Running")


class Stopping(OperationCase):
    def test_a_stop_leaves_nothing_of_the_calls_under_way(self):
        vm = self.vm(sim_build_ms=60000)
        harness.begin(self.client, "VM.start", vm, False, False)
        harness.begin(self.client, "VM.snapshot", vm, "behind it")
        self.client("Async.VM.snapshot", vm, "so is this")
        self.assertIn("start", self.client("VM.get_current_operations", vm).values())
        self.assertEqual(self.daemon.stop(), 0, self.daemon.log_text())  # sanitizers count what is left
        self.daemon.start()


class Waiting(OperationCase):
    def hung_shutdown(self):
        vm = self.running(sim_shutdown="hang")
        task = self.client("Async.VM.clean_shutdown", vm)
        return vm, task, self.wait_until_waiting(task)

    def test_a_waiting_operation_says_what_for_and_can_be_cancelled(self):
        vm, task, words = self.hung_shutdown()
        self.assertRegex(words, "guest|shut")
        record = self.task(task)
        self.assertEqual(record["allowed_operations"], ["cancel"])
        self.assertEqual(self.client("VM.get_current_operations", vm), {task: "clean_shutdown"})
        self.client("task.cancel", task)
        record = wait_for_task(self.client, task)
        self.assertEqual(record["status"], "cancelled")
        self.assertEqual(record["error_info"], ["TASK_CANCELLED", task])
        self.assertNotIn("xn:waiting_for", record["other_config"])
        self.assertEqual(self.state(vm), "Running")
        self.assertEqual(self.client("VM.get_current_operations", vm), {})
        self.client("VM.hard_shutdown", vm)

    def test_a_start_whose_builder_hangs_can_be_cancelled(self):
        vm = self.vm(sim_build="hang")
        task = self.client("Async.VM.start", vm, False, False)
        self.wait_until_waiting(task)
        self.client("task.cancel", task)
        self.assertEqual(wait_for_task(self.client, task)["status"], "cancelled")
        self.assertEqual(self.client("VM.get_current_operations", vm), {})
        self.assertEqual(self.client("VM.get_domid", vm), -1)
        self.client("VM.remove_from_other_config", vm, "sim-build")
        self.client("VM.start", vm, False, False)
        self.assertEqual(self.state(vm), "Running")

    def test_the_next_operation_waits_its_turn(self):
        vm, first, _ = self.hung_shutdown()
        second = self.client("Async.VM.pause", vm)
        self.assertEqual(self.task(second)["status"], "pending")
        self.client("task.cancel", first)
        record = wait_for_task(self.client, second)
        self.assertEqual(record["status"], "success")
        self.assertEqual(self.state(vm), "Paused")
        self.client("VM.hard_shutdown", vm)

    def test_what_waits_for_its_turn_can_be_cancelled(self):
        vm, first, _ = self.hung_shutdown()
        second = self.client("Async.VM.pause", vm)
        self.client("task.cancel", second)
        self.assertEqual(wait_for_task(self.client, second)["status"], "cancelled")
        self.assertEqual(self.task(first)["status"], "pending")
        self.assertEqual(self.client("VM.get_current_operations", vm), {first: "clean_shutdown"})
        self.client("VM.hard_shutdown", vm)

    def test_a_hard_shutdown_ends_what_hangs(self):
        vm, task, _ = self.hung_shutdown()
        self.client("VM.hard_shutdown", vm)
        self.assertIn(wait_for_task(self.client, task)["status"], ("cancelled", "failure"))
        self.assertEqual(self.state(vm), "Halted")
        self.assertEqual(self.client("VM.get_current_operations", vm), {})

    def test_a_client_may_not_end_a_servers_task(self):
        vm, task, _ = self.hung_shutdown()
        with self.fails("OPERATION_NOT_ALLOWED"):
            self.client("task.set_status", task, "success")
        self.client("VM.hard_shutdown", vm)


class Crashes(OperationCase):
    def crash(self):
        self.daemon.crash_and_restart()
        self.client.close()

    def assert_settled(self, vm):
        """Nothing hangs: no operation, and the domain is there exactly if the VM runs."""
        record = Events(self.client, ["vm/" + vm], token="").wait(
            lambda e: not e["snapshot"]["current_operations"])["snapshot"]
        self.assertIn(record["power_state"], ("Halted", "Running"))
        self.assertEqual(record["domid"] == -1, record["power_state"] == "Halted")
        self.assertEqual(record["resident_on"] == NULL, record["power_state"] == "Halted")
        return record["power_state"]

    def test_a_start_that_a_crash_interrupted_settles(self):
        for build_ms in (0, 40, 200):
            vm = self.vm(sim_build_ms=build_ms)
            task = self.client("Async.VM.start", vm, False, False)
            self.crash()
            record = wait_for_task(self.client, task)
            self.assertIn(record["status"], ("success", "failure"))
            state = self.assert_settled(vm)
            if record["status"] == "success":
                self.assertEqual(state, "Running")
            if state == "Halted":
                self.client("VM.start", vm, False, False)
            self.assertEqual(self.state(vm), "Running")
            self.client("VM.hard_shutdown", vm)

    def test_a_waiting_shutdown_goes_on_waiting_and_can_then_be_cancelled(self):
        vm = self.running(sim_shutdown="hang")
        task = self.client("Async.VM.clean_shutdown", vm)
        self.wait_until_waiting(task)
        self.crash()
        self.assertEqual(self.state(vm), "Running")
        self.assertEqual(self.task(task)["status"], "pending")
        self.wait(task, allowed_operations=["cancel"], status="pending")
        self.client("task.cancel", task)
        record = wait_for_task(self.client, task)
        self.assertEqual((record["status"], record["current_operations"]), ("cancelled", {}))
        self.assert_settled(vm)
        self.client("VM.hard_shutdown", vm)

    def test_what_waited_for_its_turn_is_told_of_the_restart(self):
        vm = self.running(sim_shutdown="hang")
        first = self.client("Async.VM.clean_shutdown", vm)
        self.wait_until_waiting(first)
        second = self.client("Async.VM.pause", vm)
        self.crash()
        record = wait_for_task(self.client, second)
        self.assertEqual((record["status"], record["error_info"][0]), ("failure", "INTERNAL_ERROR"))
        self.client("VM.hard_shutdown", vm)
        self.assert_settled(vm)

    def test_a_running_vm_is_untouched_by_a_crash(self):
        vm = self.running()
        before = self.client("VM.get_record", vm)
        self.crash()
        after = self.client("VM.get_record", vm)
        for field in ("power_state", "domid", "resident_on", "uuid", "current_operations"):
            self.assertEqual(after[field], before[field], field)
        self.client("VM.clean_shutdown", vm)
        self.assertEqual(self.state(vm), "Halted")


if __name__ == "__main__":
    unittest.main(verbosity=2)
