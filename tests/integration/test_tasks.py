"""Tasks: Async. calls, results, cancel, ownership, and what a restart makes of them."""
import re
import unittest
import xml.etree.ElementTree

import harness
from harness import Events, wait_for_task

NETWORK = {"name_label": "n", "name_description": "", "MTU": 1500, "other_config": {}}
NEVER = "19700101T00:00:00Z"


class TaskCase(harness.TestCase):
    def task(self, label="mine", description="for a test"):
        return self.client("task.create", label, description)

    def record(self, task):
        return self.client("task.get_record", task)


class Async(TaskCase):
    def test_an_async_call_answers_with_a_task_that_ends_in_success(self):
        task = self.client("Async.network.create", NETWORK)
        record = wait_for_task(self.client, task)
        self.assertEqual(record["name_label"], "Async.network.create")
        self.assertEqual(record["status"], "success")
        self.assertEqual(record["progress"], 1.0)
        self.assertEqual(record["error_info"], [])
        self.assertEqual(record["type"], "<none/>")
        self.assertEqual(record["allowed_operations"], [])
        self.assertNotEqual(record["finished"], NEVER)
        network = re.fullmatch(r"<value>(OpaqueRef:[0-9a-f-]{36})</value>", record["result"])
        self.assertTrue(network, record["result"])
        self.assertEqual(self.client("network.get_name_label", network.group(1)), "n")
        self.assertEqual(record["resident_on"], self.client("host.get_all")[0])

    def test_a_void_result_is_an_empty_value(self):
        network = self.client("network.create", NETWORK)
        record = wait_for_task(self.client, self.client("Async.network.destroy", network))
        self.assertEqual(record["result"], "<value></value>")

    def test_a_set_is_an_xml_rpc_array_for_json_clients_too(self):
        task = self.client("Async.session.get_all_subject_identifiers")
        result = xml.etree.ElementTree.fromstring(wait_for_task(self.client, task)["result"])
        self.assertEqual([child.tag for child in result.iter()], ["value", "array", "data"])

    def test_a_failed_async_call_fails_its_task(self):
        task = self.client("Async.network.destroy", "OpaqueRef:NULL")
        record = wait_for_task(self.client, task)
        self.assertEqual(record["status"], "failure")
        self.assertEqual(record["error_info"], ["HANDLE_INVALID", "network", "OpaqueRef:NULL"])
        self.assertEqual(record["result"], "")
        self.assertEqual(record["progress"], 1.0)
        self.assertNotEqual(record["finished"], NEVER)

    def test_what_is_wrong_with_the_call_itself_fails_directly(self):
        with self.fails("MESSAGE_PARAMETER_COUNT_MISMATCH"):
            self.client("Async.network.create")
        with self.fails("FIELD_TYPE_ERROR"):
            self.client("Async.network.create", "no record")
        stranger = self.daemon.json()
        stranger.session = "OpaqueRef:nobody"
        with self.fails("SESSION_INVALID"):
            stranger("Async.network.create", NETWORK)

    def test_a_call_without_an_async_form_says_so(self):
        for method in ("Async.network.get_all", "Async.task.create", "Async.session.logout"):
            with self.assertRaises(harness.Failure):
                self.client(method)

    def test_the_final_state_comes_in_one_event(self):
        events = Events(self.client, ["task"])
        task = self.client("Async.network.create", NETWORK)
        seen = []
        events.wait(lambda e: e["ref"] == task and (seen.append(e["snapshot"]) or
                                                    e["snapshot"]["status"] == "success"))
        self.assertEqual([r["status"] for r in seen[:-1]], ["pending"] * (len(seen) - 1))
        self.assertTrue(seen[-1]["result"])
        self.assertEqual(seen[-1]["progress"], 1.0)

    def test_a_task_stays_until_it_is_destroyed(self):
        task = self.client("Async.network.create", NETWORK)
        wait_for_task(self.client, task)
        self.client("task.destroy", task)
        with self.fails("HANDLE_INVALID", "task", task):
            self.client("task.get_status", task)


class OwnTasks(TaskCase):
    def test_a_created_task_is_pending(self):
        record = self.record(self.task("label", "description"))
        self.assertEqual(record["name_label"], "label")
        self.assertEqual(record["name_description"], "description")
        self.assertEqual(record["status"], "pending")
        self.assertEqual(record["progress"], 0.0)
        self.assertEqual(record["finished"], NEVER)
        self.assertEqual(record["result"], "")
        self.assertEqual(record["error_info"], [])
        self.assertEqual(record["other_config"], {})
        self.assertEqual(record["subtask_of"], "OpaqueRef:NULL")
        self.assertEqual(record["subtasks"], [])
        self.assertEqual(record["current_operations"], {})
        for internal in ("session", "externalpid", "forwarded", "xn_made_by_client", "xn_maker"):
            self.assertNotIn(internal, record)

    def test_its_maker_reports_progress_result_and_status(self):
        task = self.task()
        self.client("task.set_progress", task, 0.42)
        self.client("task.set_result", task, "anything")
        self.client("task.set_error_info", task, ["A", "b"])
        self.assertEqual(self.record(task)["progress"], 0.42)
        self.assertEqual(self.record(task)["status"], "pending")
        self.client("task.set_status", task, "success")
        record = self.record(task)
        self.assertEqual((record["status"], record["result"], record["error_info"]),
                         ("success", "anything", ["A", "b"]))
        self.assertNotEqual(record["finished"], NEVER)

    def test_the_first_end_wins(self):
        task = self.task()
        self.client("task.set_status", task, "cancelled")
        self.client("task.set_status", task, "success")
        self.assertEqual(self.record(task)["status"], "cancelled")

    def test_progress_lies_between_nothing_and_all(self):
        task = self.task()
        for bad in (-0.1, 1.1):
            with self.fails("INVALID_VALUE"):
                self.client("task.set_progress", task, bad)

    def test_cancel_ends_a_task_that_nobody_works_on(self):
        task = self.task()
        self.assertEqual(self.record(task)["allowed_operations"], ["cancel"])
        self.client("task.cancel", task)
        record = wait_for_task(self.client, task)
        self.assertEqual(record["status"], "cancelled")
        self.assertEqual(record["allowed_operations"], [])
        self.assertEqual(record["current_operations"], {})
        self.assertEqual(record["progress"], 1.0)

    def test_cancel_of_a_finished_task_changes_nothing(self):
        task = self.task()
        self.client("task.set_status", task, "success")
        before = self.record(task)
        self.client("task.cancel", task)
        self.assertEqual(self.record(task), before)

    def test_other_config_is_the_clients(self):
        task = self.task()
        self.client("task.add_to_other_config", task, "k", "v")
        with self.fails("MAP_DUPLICATE_KEY"):
            self.client("task.add_to_other_config", task, "k", "w")
        self.client("task.remove_from_other_config", task, "absent")
        self.assertEqual(self.record(task)["other_config"], {"k": "v"})
        self.client("task.set_other_config", task, {"a": "b"})
        self.assertEqual(self.record(task)["other_config"], {"a": "b"})

    def test_unknown_tasks_are_named(self):
        for method in ("task.cancel", "task.destroy", "task.get_record"):
            with self.fails("HANDLE_INVALID", "task", "OpaqueRef:NULL"):
                self.client(method, "OpaqueRef:NULL")

    def test_methods_with_an_underscore_of_xo_are_unknown(self):
        task = self.task()
        for method, params in (("task_create", ["label", ""]), ("nodots", []),
                               ("task_set_status", [task, "success"]), ("task_no_such", [])):
            with self.fails("MESSAGE_METHOD_UNKNOWN", method):
                self.client(method, *params)

    def test_many_finished_tasks_are_bounded(self):
        for _ in range(1300):
            self.client("task.set_status", self.task(), "success")
        pending = self.task("still here")
        self.assertLessEqual(len(self.client("task.get_all")), 1200)
        self.assertEqual(self.record(pending)["status"], "pending")


class Restart(TaskCase):
    def restart(self):
        self.daemon.crash_and_restart()
        self.client.close()

    def test_a_clients_own_task_stays_pending(self):
        task = self.task()
        self.client("task.set_progress", task, 0.5)
        before = self.record(task)
        self.restart()
        self.assertEqual(self.record(task), before)
        self.client("task.set_status", task, "success")
        self.assertEqual(self.record(task)["status"], "success")

    def test_a_finished_task_keeps_its_end(self):
        task = self.client("Async.network.create", NETWORK)
        before = wait_for_task(self.client, task)
        self.restart()
        self.assertEqual(self.record(task), before)

    def test_no_task_of_the_server_stays_pending(self):
        tasks = [self.client("Async.network.create", NETWORK) for _ in range(50)]
        self.restart()
        for task in tasks:
            record = wait_for_task(self.client, task)
            self.assertIn(record["status"], ("success", "failure"))
            if record["status"] == "failure":
                self.assertEqual(record["error_info"][0], "INTERNAL_ERROR")


if __name__ == "__main__":
    unittest.main(verbosity=2)
