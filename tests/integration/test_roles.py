#!/usr/bin/env python3
"""
What each role may: every call of the API for each of them, every key of a map that has a role of its
own, and past holes in others' checks.

    XENOLITHD=BUILD/xenolithd XN_SCHEMA=BUILD/core/schema/schema.json test_roles.py
"""
import contextlib
import json
import os
import re
import unittest
import urllib.parse

import harness
from accounts import PamCase, ROLES

HERE = os.path.dirname(os.path.abspath(__file__))
SCHEMA = os.environ.get("XN_SCHEMA") or os.path.join(
    os.path.dirname(harness.XENOLITHD), "core", "schema", "schema.json")
NOBODY = "OpaqueRef:00000000-0000-4000-8000-000000000000"

# Keys of maps, and the least role that adds or removes them.
KEYS = [
    ("VM", "platform", "hvm_serial", "pool-admin"),
    ("VM", "other_config", "hvm_serial", "pool-admin"),
    ("VM", "other_config", "HVM_Serial", "pool-admin"),
    ("VM", "other_config", "pci", "pool-admin"),
    ("VM", "other_config", "PCI", "pool-admin"),
    ("VM", "other_config", "is_system_domain", "pool-admin"),
    ("VM", "other_config", "pci2", "vm-admin"),
    ("VM", "other_config", "anything", "vm-admin"),
    ("VM", "other_config", "folder", "vm-operator"),
    ("VM", "other_config", "XenCenter.CustomFields.x", "vm-operator"),
    ("VM", "other_config", "XenCenter.CustomFields.", "vm-operator"),
    ("VM", "other_config", "XenCenter.CustomField", "vm-admin"),
    ("VDI", "other_config", "folder", "vm-operator"),
    ("VDI", "other_config", "anything", "vm-admin"),
    ("SR", "other_config", "folder", "vm-operator"),
    ("SR", "other_config", "anything", "pool-operator"),
    ("network", "other_config", "XenCenterCreateInProgress", "vm-operator"),
    ("network", "other_config", "XenCenter.CustomFields.x", "vm-operator"),
    ("network", "other_config", "anything", "pool-operator"),
    ("host", "other_config", "folder", "vm-operator"),
    ("host", "other_config", "anything", "pool-operator"),
    ("pool", "other_config", "EMPTY_FOLDERS", "vm-operator"),
    ("pool", "other_config", "folder", "vm-operator"),
    ("pool", "other_config", "anything", "pool-operator"),
]


def call_roles():
    """{call: least role} as the file tells."""
    with open(os.path.join(HERE, "call_roles.txt"), encoding="utf-8") as file:
        text = re.sub(r"\n +", " ", re.sub(r"^#.*\n", "", file.read(), flags=re.M))
    roles = {}
    for line in text.splitlines():
        head, messages = line.split(": ")
        cls, role = head.split(" ")
        roles.update((f"{cls}.{message}", role) for message in messages.split())
    return roles


def sample(type_):
    """Some value of the type that names nothing."""
    kind = type_["kind"]
    if kind in ("set", "map", "record"):
        return [] if kind == "set" else {}
    return {"string": "text", "int": 1, "float": 1.0, "bool": False, "ref": NOBODY,
            "datetime": "20260101T00:00:00Z"}[kind]


class RoleCase(PamCase):
    passwords = {role: role + "'s" for role in ROLES}

    def setUp(self):
        super().setUp()
        self.by_role = {}
        for role in ROLES:
            self.subject(role, role)
            self.by_role[role] = self.log_in(role)

    def denied(self, role, permission, method, *args):
        with self.fails("RBAC_PERMISSION_DENIED") as caught:
            self.by_role[role](method, *args)
        self.assertEqual(caught.exception.params[0], permission)

    def small_vm(self, client=None, **more):
        template = self.client("VM.get_by_name_label", "Other install media")[0]
        record = dict(self.client("VM.get_record", template), **more)
        for key in ("current_operations", "allowed_operations", "uuid"):
            record.pop(key, None)
        record["is_a_template"] = False
        vm = (client or self.client)("VM.create", record)
        self.addCleanup(self.destroy, vm)
        return vm

    def destroy(self, vm):
        self.daemon.client()("VM.destroy", vm)


def may(role, least):
    return least != "local-root" and ROLES.index(role) <= ROLES.index(least.split("+")[0])


class EveryCall(RoleCase):
    def setUp(self):
        super().setUp()
        with open(SCHEMA, encoding="utf-8") as file:
            data = json.load(file)
        self.messages = {m["name"]: m for m in data["messages"]}
        self.enums = data["enums"]
        self.roles = call_roles()
        for name, message in self.messages.items():  # our own, which the file does not know
            self.roles.setdefault(name, message["role"])

    def arguments(self, message):
        return [self.enums[p["type"]["name"]][0] if p["type"]["kind"] == "enum"
                else sample(p["type"]) for p in message["params"]]

    def outcome(self, role, message):
        try:
            self.by_role[role](message["name"], *self.arguments(message))
        except harness.Failure as failure:
            return failure.code, failure.params
        return "done", []

    def expected_refusal(self, message):
        if message["pool_internal"]:
            return "INTERNAL_ERROR"
        return "MESSAGE_REMOVED" if message["lifecycle"] == "removed" else "RBAC_PERMISSION_DENIED"

    def test_the_schema_knows_all_calls_of_the_table_with_their_roles(self):
        for name, least in call_roles().items():
            message = self.messages[name]
            role = message["role"] + ("+client-cert" if message["client_cert"] else "")
            self.assertEqual(role, least, name)

    def test_what_is_beyond_a_role_is_denied_by_its_name(self):
        n = 0
        for name, least in self.roles.items():
            message = self.messages[name]
            if not message["session"]:
                continue
            for role in ROLES:
                if may(role, least):
                    continue
                code, params = self.outcome(role, message)
                self.assertEqual(code, self.expected_refusal(message), (name, role, params))
                if code == "RBAC_PERMISSION_DENIED":
                    self.assertEqual(params[0], name.lower())
                    self.assertTrue(params[1].endswith(
                        ": )" if least == "local-root" else least.split("+")[0] + ")"), params)
                n += 1
        self.assertGreater(n, 3000)

    def test_what_a_role_may_is_not_denied(self):
        """Of calls that cannot do anything with an object that is not there."""
        n = 0
        for name, least in self.roles.items():
            message = self.messages[name]
            cls = message["class"]
            if cls in ("session", "event", "pool", "host") or not message["params"] or \
                    message["params"][0]["type"]["kind"] != "ref" or not message["session"]:
                continue
            for role in ROLES:
                if may(role, least):
                    code, params = self.outcome(role, message)
                    self.assertNotEqual(code, "RBAC_PERMISSION_DENIED", (name, role, params))
                    n += 1
        self.assertGreater(n, 5000)

    def test_a_session_lists_what_it_may(self):
        for role in ROLES:
            client = self.by_role[role]
            listed = client("session.get_rbac_permissions", client.session)
            self.assertEqual({p for p in listed if "/" not in p},
                             {name.lower() for name, least in self.roles.items()
                              if may(role, least)})
            self.assertEqual("vm.add_to_other_config/key:pci" in listed, role == "pool-admin")
            self.assertEqual("vm.add_to_other_config/key:folder" in listed, role != "read-only")

    def test_roles_tell_what_they_may_and_permissions_whose_they_are(self):
        for role in ROLES:
            ref = self.role(role)
            listed = self.client("role.get_permissions_name_label", ref)
            self.assertEqual(sorted(listed),
                             sorted(self.by_role[role]("session.get_rbac_permissions",
                                                       self.by_role[role].session)))
            refs = self.client("role.get_permissions", ref)
            self.assertEqual(len(set(refs)), len(listed))
            self.assertEqual(self.client("role.get_record", ref)["subroles"], refs)
            first = self.client("role.get_record", refs[0])
            self.assertEqual((first["name_label"], first["subroles"]), (listed[0], []))
            self.assertIn(ref, self.client("role.get_by_permission", refs[0]))
        with self.fails("HANDLE_INVALID", "role", NOBODY):
            self.client("role.get_permissions", NOBODY)
        roles = self.client("role.get_all_records_where", "subroles<>[]")
        self.assertEqual(set(roles), set(self.client("role.get_all")))
        for ref, record in roles.items():
            self.assertEqual(record, self.client("role.get_record", ref))
        single = self.client("role.get_all_records_where", "subroles=[]")
        self.assertEqual(set(single), {p for r in roles.values() for p in r["subroles"]})
        holders = self.client("role.get_by_permission_name_label", "vm.start")
        self.assertEqual({self.client("role.get_name_label", r) for r in holders},
                         set(ROLES[:ROLES.index("vm-operator") + 1]))


class Keys(RoleCase):
    def setUp(self):
        super().setUp()
        self.objects = {
            "VM": self.small_vm(),
            "SR": self.client("SR.get_all")[0],
            "network": self.client("network.get_all")[0],
            "host": self.client("host.get_all")[0],
            "pool": self.client("pool.get_all")[0],
        }
        self.objects["VDI"] = self.a_disk()
        self.roles = call_roles()

    def a_disk(self):
        for sr in self.client("SR.get_all"):
            try:
                vdi = self.client("VDI.create", {
                    "name_label": "a disk", "name_description": "", "SR": sr,
                    "virtual_size": 1 << 20, "type": "user", "sharable": False,
                    "read_only": False, "other_config": {}})
            except harness.Failure:
                continue
            self.addCleanup(lambda: self.daemon.client()("VDI.destroy", vdi))
            return vdi
        raise AssertionError("no SR takes a disk")

    def is_done(self, role, permission, method, *args):
        try:
            self.by_role[role](method, *args)
        except harness.Failure as failure:
            self.assertEqual(failure.code, "RBAC_PERMISSION_DENIED", (role, method, args))
            self.assertEqual(failure.params[0], permission)
            return False
        return True

    def permission(self, method, key, least):
        """The name of what is needed: the key's where it has a role of its own."""
        if least == self.roles[method]:
            return method.lower()
        key = key.lower()
        if key.startswith("xencenter.customfields."):
            key = "xencenter.customfields.*"
        return f"{method.lower()}/key:{key}"

    def test_a_key_is_added_and_removed_by_the_role_it_needs(self):
        for cls, field, key, least in KEYS:
            ref = self.objects[cls]
            add, remove = f"{cls}.add_to_{field}", f"{cls}.remove_from_{field}"
            for role in ROLES:
                with self.subTest(role, cls=cls, field=field, key=key):
                    self.assertEqual(
                        self.is_done(role, self.permission(add, key, least), add, ref, key, "x"),
                        may(role, least))
                    if not may(role, least):
                        self.client(add, ref, key, "x")
                    self.assertEqual(
                        self.is_done(role, self.permission(remove, key, least), remove, ref, key),
                        may(role, least))
                    self.client(remove, ref, key)

    def test_a_whole_map_is_held_against_the_same_roles(self):
        for cls, field, key, least in KEYS:
            setter = f"{cls}.set_{field}"
            ref = self.objects[cls]
            before = self.client(f"{cls}.get_{field}", ref)
            for role in ROLES:
                allowed = may(role, least) and may(role, self.roles[setter])
                # the setter's own role comes first
                add = f"{cls}.add_to_{field}" if may(role, self.roles[setter]) else setter
                remove = add.replace("add_to", "remove_from")
                name_of = self.permission if add != setter else lambda m, *_: m.lower()
                with self.subTest(role, cls=cls, field=field, key=key):
                    with_key = dict(before, **{key: "x"})
                    self.assertEqual(self.is_done(role, name_of(add, key, least), setter, ref,
                                                  with_key), allowed)
                    self.client(setter, ref, with_key)
                    changed = dict(before, **{key: "y"})
                    self.assertEqual(self.is_done(role, name_of(add, key, least), setter, ref,
                                                  changed), allowed)
                    self.client(setter, ref, with_key)
                    # what stays as it is needs nothing
                    self.assertEqual(self.is_done(role, setter.lower(), setter, ref,
                                                  dict(with_key)),
                                     may(role, self.roles[setter]))
                    self.assertEqual(self.is_done(role, name_of(remove, key, least), setter, ref,
                                                  before), allowed)
                    self.client(setter, ref, before)

    def test_a_record_to_make_something_from_is_held_against_them_too(self):
        for field, key in (("other_config", "pci"), ("other_config", "hvm_serial"),
                           ("platform", "hvm_serial"), ("other_config", "is_system_domain")):
            for role in ROLES:
                with self.subTest(role, field=field, key=key):
                    try:
                        self.small_vm(self.by_role[role], **{field: {key: "x"}})
                        self.assertEqual(role, "pool-admin")
                    except harness.Failure as failure:
                        self.assertEqual(failure.code, "RBAC_PERMISSION_DENIED")
                        self.assertEqual(failure.params[0], f"vm.add_to_{field}/key:{key}"
                                         if may(role, "vm-admin") else "vm.create")

    def test_async_calls_are_checked_before_there_is_a_task(self):
        before = len(self.client("task.get_all"))
        for name, args in (("Async.VM.destroy", [self.objects["VM"]]),
                           ("Async.pool.sync_database", [])):
            self.denied("read-only", name[6:].lower(), name, *args)
        self.assertEqual(len(self.client("task.get_all")), before)

    def test_underscored_names_are_checked_like_the_others(self):
        self.denied("read-only", "vm.destroy", "VM_destroy", self.objects["VM"])


class PastHoles(RoleCase):
    """By the names under which others had them."""

    def test_xsa_489_hvm_serial_in_platform_is_for_the_pool_admin(self):
        vm = self.small_vm()
        for role in ROLES[1:]:
            for method, args in (("VM.add_to_platform", ("hvm_serial", "file:/etc/cron.d/x")),
                                 ("VM.set_platform", ({"hvm_serial": "file:/etc/cron.d/x"},))):
                with self.fails("RBAC_PERMISSION_DENIED"):
                    self.by_role[role](method, vm, *args)
        self.assertNotIn("hvm_serial", self.client("VM.get_platform", vm))

    def test_xsa_489_hvm_serial_in_other_config_is_for_the_pool_admin(self):
        vm = self.small_vm()
        for role in ROLES[1:]:
            with self.fails("RBAC_PERMISSION_DENIED"):
                self.by_role[role]("VM.add_to_other_config", vm, "hvm_serial", "file:/x")

    def test_xsa_489_set_other_config_does_not_pass_by_the_role_of_pci(self):
        vm = self.small_vm()
        config = self.client("VM.get_other_config", vm)
        for role in ROLES[1:]:
            with self.fails("RBAC_PERMISSION_DENIED"):
                self.by_role[role]("VM.set_other_config", vm,
                                   dict(config, pci="0/0000:00:00.0"))
        self.assertEqual(self.client("VM.get_other_config", vm), config)

    def test_xsa_489_an_archive_does_not_pass_by_the_roles_of_keys(self):
        """Made by the admin, with such a key; a vm-admin may make machines, but not with that."""
        for field, key, least in (("other_config", "pci", "pool-admin"),
                                  ("platform", "hvm_serial", "pool-admin"),
                                  ("other_config", "anything", "vm-admin")):
            archive = self.export(self.small_vm(**{field: {key: "x"}}))
            before = set(self.client("VM.get_all"))
            if least != "vm-admin":
                task = self.import_by("vm-admin", archive)
                self.assertEqual(task["error_info"][:2],
                                 ["RBAC_PERMISSION_DENIED", f"vm.add_to_{field}/key:{key}"])
                self.assertEqual(set(self.client("VM.get_all")), before)
            task = self.import_by(least, archive)
            self.assertEqual(task["status"], "success", task["error_info"])
            vm = (set(self.client("VM.get_all")) - before).pop()
            self.addCleanup(self.destroy, vm)
            self.assertEqual(self.client("VM.get_" + field, vm)[key], "x")

    def request(self, client, method, target, **query):
        body = query.pop("body", None)
        connection = self.daemon.json().connect()
        with contextlib.closing(connection):
            connection.request(method, target + "?" + urllib.parse.urlencode(
                dict(query, session_id=client.session)), body)
            return connection.getresponse().read()

    def export(self, vm):
        return self.request(self.client, "GET", "/export", ref=vm)

    def import_by(self, role, archive):
        client = self.by_role[role]
        task = client("task.create", "import", "")
        self.request(client, "PUT", "/import", task_id=task, body=archive)
        return harness.wait_for_task(client, task)

    def test_xsa_489_backend_local_makes_no_disk_of_a_file_of_the_host(self):
        vm = self.small_vm()
        vbd = self.client("VBD.create", {
            "VM": vm, "VDI": "OpaqueRef:NULL", "userdevice": "3", "bootable": False, "mode": "RO",
            "type": "CD", "empty": True, "other_config": {"backend-local": "/etc/passwd"},
            "qos_algorithm_type": "", "qos_algorithm_params": {}})
        self.by_role["vm-admin"]("VM.start", vm, False, False)
        self.addCleanup(lambda: self.daemon.client()("VM.hard_shutdown", vm))
        record = self.client("VBD.get_record", vbd)
        self.assertTrue(record["empty"])
        self.assertEqual(record["VDI"], "OpaqueRef:NULL")
        self.assertNotIn("passwd", self.xenstore())

    def xenstore(self):
        """All that the daemon tells of its insides."""
        return json.dumps(self.client("Diagnostics.get"))

    def test_xsa_489_storage_driver_domain_gives_a_vm_no_host_storage(self):
        vm = self.small_vm()
        self.by_role["vm-admin"]("VM.add_to_other_config", vm, "storage_driver_domain", "x")
        pbd = self.client("PBD.get_all")[0]
        self.client("PBD.add_to_other_config", pbd, "storage_driver_domain", vm)
        self.addCleanup(lambda: self.daemon.client()("PBD.remove_from_other_config", pbd,
                                                     "storage_driver_domain"))
        self.assertEqual(self.client("VM.get_is_control_domain", vm), False)
        self.assertEqual(self.client("PBD.get_currently_attached", pbd), True)

    def test_xsa_489_is_system_domain_is_for_the_pool_admin(self):
        vm = self.small_vm()
        for role in ROLES[1:]:
            with self.fails("RBAC_PERMISSION_DENIED"):
                self.by_role[role]("VM.add_to_other_config", vm, "is_system_domain", "true")

    def test_cve_2017_5572_5573_a_task_of_another_is_not_cancelled(self):
        task = self.client("task.create", "somebody else's", "")
        self.addCleanup(lambda: self.daemon.client()("task.destroy", task))
        for role in ROLES[2:]:
            for method in ("task.cancel", "task.destroy"):
                with self.fails("RBAC_PERMISSION_DENIED") as caught:
                    self.by_role[role](method, task)
                self.assertIn(caught.exception.params[0], ("task.destroy/any",
                                                           method.lower()))
        self.assertEqual(self.client("task.get_status", task), "pending")

    def test_cve_2017_5572_event_inject_with_a_bad_reference_is_an_error(self):
        for ref in ("", "x", "OpaqueRef:NULL", NOBODY, "../../etc/passwd", "a" * 10000):
            with self.assertRaises(harness.Failure):
                self.client("event.inject", "VM", ref)
        self.client("VM.get_all")

    def test_xsa_474_cve_2025_58146_broken_text_does_not_reach_the_database(self):
        pool = self.client("pool.get_all")[0]
        before = self.client("pool.get_other_config", pool)
        raw = self.daemon.json()
        for key, value in ((b"\xff", b"x"), (b"x", b"\xc0\xaf"), (b"x", b"\xed\xa0\x80"),
                           (b"x", b"\xf4\x90\x80\x80")):
            body = (b'{"jsonrpc":"2.0","id":1,"method":"pool.add_to_other_config","params":["'
                    + self.client.session.encode() + b'","' + pool.encode() + b'","' + key
                    + b'","' + value + b'"]}')
            raw.connection = raw.connect()
            raw.connection.request("POST", "/jsonrpc", body,
                                   {"Content-Type": "application/json"})
            self.assertIn(b"error", raw.connection.getresponse().read())
            raw.close()
        self.assertEqual(self.client("pool.get_other_config", pool), before)

    def test_xsa_271_cve_2018_14007_no_path_leaves_the_server(self):
        for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd",
                     "/%252e%252e/etc/passwd", "/audit_log/../../etc/passwd"):
            connection = self.daemon.json().connect()
            connection.request("GET", path)
            reply = connection.getresponse()
            self.assertNotIn(b"root:", reply.read())
            self.assertGreaterEqual(reply.status, 400)
            connection.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
