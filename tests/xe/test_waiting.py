"""Commands that go on: event-wait and watch, while the database changes and the client comes and goes;
and what people with lower roles may not do."""
import json
import os
import select
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))

import harness  # noqa: E402
import thin  # noqa: E402
from accounts import PamCase  # noqa: E402


class Going(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.vm, = self.client("VM.get_by_name_label", "Other install media")
        self.vm = self.client("VM.clone", self.vm, "shop")
        self.client("VM.set_is_a_template", self.vm, False)
        self.addCleanup(self.client, "VM.destroy", self.vm)
        self.uuid = self.client("VM.get_uuid", self.vm)

    def begin(self, *arguments, session=None):
        talk = thin.Conversation(self.daemon.address)
        self.addCleanup(talk.close)
        login = [f"username=root\npassword={harness.PASSWORD}"]
        return talk.begin("\n".join([*arguments, *login]).encode())

    def xe(self, *arguments):
        return thin.Client(self.daemon.address, password=harness.PASSWORD).run(*arguments)

    def describe(self, text):
        self.client("VM.set_name_description", self.vm, text)

    def next_line(self, talk, change):
        """What is printed next; until something is, the change is made again and again."""
        number = 0
        while not select.select([talk.sock], [], [], 0.02)[0]:
            number += 1
            change(number)
        return talk.message().fields[0].decode()


class Progress(Going):
    def test_is_told_to_who_asked_for_it_in_words(self):
        for command in ("vm-start", "vm-shutdown"):
            told = self.xe(command, "uuid=" + self.uuid, "--force", "--progress")
            self.assertEqual((told.stdout, told.code), (b"", 0))
            self.assertRegex(told.stderr, rb"^(\r[ 0-9]{3}%)+\r    \r$")
        told = self.xe("vm-start", "uuid=" + self.uuid, "--progress", "--minimal")
        self.assertEqual(told, (b"\n", b"", 0))
        told = self.xe("vm-shutdown", "uuid=" + self.uuid, "--force", "progress=no")
        self.assertEqual(told, (b"", b"", 0))


class EventWait(Going):
    def test_ends_with_the_change_and_not_before(self):
        talk = self.begin("event-wait", "class=vm", "uuid=" + self.uuid, "name-description=now")
        for text in ("not", "yet", "but"):
            self.describe(text)
            self.assertEqual(self.xe("vm-list", "uuid=" + self.uuid, "params=name-description",
                                     "--minimal").stdout.decode(), text + "\n")
            self.assertEqual(select.select([talk.sock], [], [], 0)[0], [])
        self.describe("now")
        self.assertEqual(talk.message(), (thin.EXIT, [0]))

    def test_sees_what_changes_in_another_row(self):
        """The VIF's name of its network is the network's."""
        network = self.client("network.create", {"name_label": "inner", "other_config": {}})
        self.addCleanup(self.client, "network.destroy", network)
        vif = self.client("VIF.create", {
            "device": "0", "VM": self.vm, "network": network, "MAC": "", "MTU": 1500,
            "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
        self.addCleanup(self.client, "VIF.destroy", vif)
        talk = self.begin("event-wait", "class=vif", "vm-uuid=" + self.uuid,
                          "network-name-label=outer")
        self.xe("vm-list")
        self.client("network.set_name_label", network, "outer")
        self.assertEqual(talk.message(), (thin.EXIT, [0]))

    def test_a_new_row_ends_it_and_so_does_the_end_of_a_state(self):
        talk = self.begin("event-wait", "class=secret", "value=fresh")
        gone = self.begin("event-wait", "class=task", "name-label=wash", "status=/=pending")
        self.xe("vm-list")
        self.client("secret.create", {"value": "fresh", "other_config": {}})
        self.assertEqual(talk.message(), (thin.EXIT, [0]))
        task = self.client("task.create", "wash", "")
        self.client("task.set_status", task, "success")
        self.assertEqual(gone.message(), (thin.EXIT, [0]))
        self.client("task.destroy", task)

    def test_many_that_wait_cost_the_others_nothing_when_they_go(self):
        talks = [self.begin("event-wait", "class=vm", "name-label=never") for _ in range(20)]
        for talk in talks[1:]:
            talk.close()
        self.describe("still answers")
        self.assertEqual(self.xe("vm-list", "uuid=" + self.uuid, "--minimal").code, 0)
        self.assertEqual(select.select([talks[0].sock], [], [], 0)[0], [])

    def test_the_end_of_the_session_ends_it(self):
        session = self.daemon.client()
        talk = thin.Conversation(self.daemon.address)
        self.addCleanup(talk.close)
        talk.begin(f"session_id={session.session}\nevent-wait\nclass=vm\nname-label=never".encode())
        self.xe("vm-list")
        session.logout()
        words = [message.tag for message in talk.until_exit()]
        self.assertEqual(words, [thin.PRINT_STDERR, thin.EXIT])


class Unplug(Going):
    """A guest that does not let go of its disk at once."""

    def setUp(self):
        super().setUp()
        sr, = self.client("SR.get_by_name_label", "Local storage")
        disk = self.client("VDI.create", {
            "name_label": "shelf", "SR": sr, "virtual_size": 1 << 20, "type": "user",
            "sharable": False, "read_only": False, "other_config": {}})
        self.addCleanup(self.client, "VDI.destroy", disk)
        self.vbd = self.client("VBD.create", {
            "VM": self.vm, "VDI": disk, "userdevice": "1", "bootable": False, "mode": "RW",
            "type": "Disk", "empty": False, "unpluggable": True, "other_config": {},
            "qos_algorithm_type": "", "qos_algorithm_params": {}})
        self.addCleanup(self.client, "VBD.destroy", self.vbd)
        self.client("VM.add_to_other_config", self.vm, "sim-unplug", "refuse")
        self.client("VM.start", self.vm, False, False)
        self.addCleanup(self.client, "VM.hard_shutdown", self.vm)
        self.vbd_uuid = self.client("VBD.get_uuid", self.vbd)
        self.xe("event-wait", "class=vm", "uuid=" + self.uuid, "PV-drivers-detected=true")

    def test_a_refusal_is_an_error_at_once_or_when_the_time_is_over(self):
        for more in ((), ("timeout=0.2",)):
            result = self.xe("vbd-unplug", "uuid=" + self.vbd_uuid, *more)
            self.assertEqual((result.code, result.stdout), (1, b""), more)
            self.assertIn(b"refuses to give the device back", result.stderr)

    def test_within_the_time_it_waits_for_the_guest(self):
        talk = self.begin("vbd-unplug", "uuid=" + self.vbd_uuid, "timeout=60")
        for _ in range(3):
            self.xe("vbd-list")
        self.assertEqual(select.select([talk.sock], [], [], 0)[0], [])
        self.client("VBD.unplug_force", self.vbd)
        self.assertEqual(talk.message(), (thin.EXIT, [0]))


class Watch(Going):
    def test_prints_a_line_a_change(self):
        talk = self.begin("watch", "class=vm,network")
        line = self.next_line(talk, lambda n: self.describe(f"change {n}"))
        self.assertRegex(line, rf"^\d{{8}}T\d\d:\d\d:\d\dZ vm mod shop \({self.uuid}\): "
                               r"name_description \S.* -> change \d+$")
        self.describe("the last")
        while not line.endswith("-> the last"):
            line = talk.message().fields[0].decode()
        self.client("VM.add_to_other_config", self.vm, "colour", "red")
        self.assertIn(": other_config +colour=red", talk.message().fields[0].decode())
        self.client("VM.add_tags", self.vm, "blue")
        self.assertIn(": tags +blue", talk.message().fields[0].decode())
        self.client("task.destroy", self.client("task.create", "not asked for", ""))
        network = self.client("network.create", {"name_label": "inner", "other_config": {}})
        uuid = self.client("network.get_uuid", network)
        self.assertTrue(talk.message().fields[0].decode().endswith(f" network add inner ({uuid})"))
        self.client("network.destroy", network)
        self.assertTrue(talk.message().fields[0].decode().endswith(f" network del inner ({uuid})"))

    def test_is_json_a_line(self):
        talk = self.begin("watch", "class=vm", "--json")
        event = json.loads(self.next_line(talk, lambda n: self.describe(f"change {n}")))
        self.assertEqual((event["class"], event["operation"], event["ref"], event["uuid"],
                          event["name"]), ("vm", "mod", self.vm, self.uuid, "shop"))
        self.assertRegex(event["changes"]["name_description"]["new"], "^change ")

    def test_is_short_with_minimal_and_refuses_what_is_no_class(self):
        talk = self.begin("watch", "class=vm", "--minimal")
        self.assertEqual(self.next_line(talk, lambda n: self.describe(f"change {n}")),
                         f"vm,mod,{self.uuid}")
        refused = self.xe("watch", "class=sphere")
        self.assertEqual((refused.code, refused.stderr),
                         (1, b"Error: There is no class 'sphere' with events\n"))

    def test_may_be_for_one_object(self):
        talk = self.begin("watch", "uuid=" + self.uuid, "--minimal")
        self.assertEqual(self.next_line(talk, lambda n: self.describe(f"change {n}")),
                         f"vm,mod,{self.uuid}")
        template, = self.client("VM.get_by_name_label", "Other install media")
        self.client("VM.set_name_description", template, "not asked for")
        self.describe("asked for")
        self.assertEqual(talk.message().fields[0].decode(), f"vm,mod,{self.uuid}")

    def test_one_that_does_not_read_holds_up_nobody(self):
        talk = self.begin("watch", "class=vm")
        for n in range(300):
            self.describe(f"change {n} " + "x" * 50)
        self.assertEqual(self.xe("vm-list", "uuid=" + self.uuid, "--minimal").code, 0)
        line = ""
        while "change 299" not in line:
            line = talk.message().fields[0].decode()


class Explain(Going):
    def test_says_what_a_task_waits_for_and_who_holds_it(self):
        self.client("VM.add_to_other_config", self.vm, "sim-shutdown", "hang")
        self.client("VM.start", self.vm, False, False)
        self.xe("event-wait", "class=vm", "uuid=" + self.uuid, "guest-metrics-last-updated=/=<not in database>")
        holder = self.client("Async.VM.clean_shutdown", self.vm)
        waiter = self.client("Async.VM.pause", self.vm)
        uuid = [self.client("task.get_uuid", task) for task in (holder, waiter)]
        self.xe("event-wait", "class=task", "uuid=" + uuid[0], "other-config:xn:step=wait for the guest")
        self.xe("event-wait", "class=task", "uuid=" + uuid[1], "other-config:xn:waiting_for=/=x")
        first, second = (json.loads(self.xe("task-explain", "uuid=" + task, "--json").stdout)[0]
                         for task in uuid)
        self.assertEqual((first["on"], first["does"], first["by"]),
                         (f"VM shop ({self.uuid}): clean_shutdown", "wait for the guest", "root"))
        self.assertTrue(second["waits-for"].startswith(f"VM shop ({self.uuid}): clean_shutdown is"))
        self.assertEqual(second["held-by"], f"Async.VM.clean_shutdown ({uuid[0]})")
        self.assertEqual(self.xe("task-cancel", "uuid=" + uuid[1]).code, 0)
        self.assertEqual(self.xe("task-cancel", "uuid=" + uuid[0]).code, 0)
        self.xe("event-wait", "class=task", "uuid=" + uuid[0], "status=cancelled")
        ended, = json.loads(self.xe("task-explain", "uuid=" + uuid[0], "--json").stdout)
        self.assertTrue(ended["why"].startswith("The task was cancelled. (TASK_CANCELLED"), ended)
        self.client("VM.hard_shutdown", self.vm)


class Log(Going):
    def test_pages_are_put_together_in_their_order(self):
        for n in range(1100):
            self.describe(f"change {n}")
        question = ("db-log", "class=vm", "uuid=" + self.uuid, "field=name_description")
        for more, wanted in ((("limit=1050",), range(50, 1100)), ((), range(1000, 1100)),
                             (("limit=3",), range(1097, 1100)),
                             (("order=oldest", "operation=set", "limit=600"), range(600))):
            with self.subTest(more):
                lines = self.xe(*question, *more).stdout.decode().splitlines()
                self.assertEqual([int(line.split('-> "change ')[1].split('"')[0])
                                  for line in lines], list(wanted))
        lines = self.xe(*question, "limit=2", "--json").stdout.decode().splitlines()
        self.assertEqual([json.loads(line)["new"] for line in lines], ["change 1098", "change 1099"])
        short = self.xe(*question, "limit=2", "--minimal").stdout.decode().strip().split(",")
        self.assertEqual(len(short), 2)
        self.assertEqual(self.xe(*question, "limit=0").code, 1)


class Roles(PamCase):
    """What a role is too low for is refused as the API refuses it."""

    def setUp(self):
        super().setUp()
        self.subject("alice", "read-only")
        self.alice = thin.Client(self.daemon.address, session=self.log_in("alice").session)

    def refused(self, *arguments):
        result = self.alice.run(*arguments)
        self.assertEqual(result.code, 1, (arguments, result))
        self.assertEqual(result.stdout, b"", arguments)
        self.assertIn(b"permission", result.stderr.lower(), arguments)

    def test_who_only_reads_changes_nothing(self):
        host, = self.client("host.get_all")
        uuid = self.client("host.get_uuid", host)
        sr, = self.client("SR.get_by_name_label", "Local storage")
        secret = "uuid=" + self.client("secret.get_uuid", self.client("secret.create", {
            "value": "hush", "other_config": {}}))
        for command in (
                ["secret-list"], ["secret-list", "--all", "--minimal"], ["secret-list", secret, "--json"],
                ["secret-list", "value=hush", "params=uuid"], ["secret-param-list", secret],
                ["secret-param-get", secret, "param-name=value"],
                ["secret-param-set", secret, "value=x"], ["secret-param-clear", secret, "param-name=value"],
                ["host-param-set", "uuid=" + uuid, "name-label=x"],
                ["host-param-add", "uuid=" + uuid, "param-name=tags", "param-key=x"],
                ["host-disable"], ["host-enable"], ["host-evacuate"], ["host-sync-data"],
                ["host-forget", "uuid=" + uuid, "force=true"], ["pool-sync-database"],
                ["sr-scan", "uuid=" + self.client("SR.get_uuid", sr)],
                ["sr-create", "name-label=x", "type=file", "device-config:location=x"],
                ["vdi-create", "sr-uuid=" + self.client("SR.get_uuid", sr), "name-label=x",
                 "virtual-size=1MiB"],
                ["network-create", "name-label=x"],
                ["message-create", "host-uuid=" + uuid, "name=x", "priority=1", "body=x"],
                ["secret-create", "value=x"],
                ["observer-create", "name-label=x"], ["caller-create", "name-label=x"],
                ["rate-limit-create", "burst-size=1", "fill-rate=1"],
                ["db-log"], ["xenstore-log"], ["diagnostic-compact"],
                ["event-wait", "class=secret", "value=x"],
                ["session-subject-identifier-logout-all"]):
            with self.subTest(" ".join(command)):
                self.refused(*command)

    def test_who_only_reads_sees_what_is_for_all(self):
        for command in (["vm-list", "params=all"], ["pool-list", "params=all"], ["message-list"],
                        ["host-cpu-info"], ["host-license-view"], ["pool-get-cpu-features"],
                        ["event-wait", "class=host", "enabled=true"], ["task-explain"]):
            with self.subTest(" ".join(command)):
                result = self.alice.run(*command)
                self.assertEqual((result.code, result.stderr), (0, b""))


if __name__ == "__main__":
    harness.main()
