#!/usr/bin/env python3
"""
Every automatic message of every class, and what is refused of all messages, over both
protocols, generated from the schema.

    XENOLITHD=BUILD/tests/daemon/xenolithd-test test_messages.py BUILD/core/schema/schema.json ...

The daemon is the test build, which can give any class a row (tests/daemon/rows.c). What follows the
schema are unittest's own arguments.
"""
import functools
import json
import subprocess
import sys
import unittest

from harness import Daemon, PASSWORD, XENOLITHD
from wire import Date, Failure, JsonRpc, XmlRpc

NULL = "OpaqueRef:NULL"
NOBODY = "OpaqueRef:00000000-0000-4000-8000-000000000000"

# Rows of these are there from the start, or made by their own calls; modules count on them.
OWN_ROWS = ("pool", "host", "session", "task")

METACHARACTERS = "<&>\"'\\ ]]> <!-- --> &amp; &#0; {} [] null \\u0000 \\n %s %n \t\n\r\r\n"


class Schema:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        self.classes = {c["name"]: c for c in data["classes"]}
        self.messages = {m["name"]: m for m in data["messages"]}
        self.enums = data["enums"]
        self.errors = data["errors"]

    def of_kind(self, *kinds):
        return [m for m in self.messages.values() if m["kind"] in kinds]

    def field(self, message):
        cls = self.classes[message["class"]]
        return next(f for f in cls["fields"] if f["name"] == message["field"])

    def public_fields(self, cls):
        return [f for f in self.classes[cls]["fields"] if not f["internal"]]

    def sample(self, type_):
        """Some value of a type that is not its empty one, as far as there is."""
        kind = type_["kind"]
        if kind == "enum":
            return self.enums[type_["name"]][-1]
        if kind == "set":
            return [] if type_["value"]["kind"] == "ref" else [self.sample(type_["value"])]
        if kind == "map":
            return {} if type_["key"]["kind"] == "ref" or type_["value"]["kind"] == "ref" else \
                {str(self.sample(type_["key"])): self.sample(type_["value"])}
        if kind == "record":
            return {f["name"]: self.sample(f["type"]) for f in self.public_fields(type_["name"])}
        return {"string": "some <text> & more", "int": -42, "float": 2.5, "bool": True,
                "datetime": Date("20260228T23:59:59Z"), "ref": NULL}[kind]

    @staticmethod
    def wrong(type_):
        """Values that are no value of a type."""
        kind = type_["kind"]
        wrong = [[], {}] if kind not in ("set", "map", "record") else ["text", 5, True]
        if kind in ("string", "ref"):
            wrong += [5, True, 1.5]
        elif kind == "enum":
            wrong += [5, "no such value", ""]
        elif kind == "datetime":
            wrong += [5, "yesterday", "", "20269999T00:00:00Z"]
        elif kind == "int":
            wrong += [True, 1.5, "", "x", "1x", "9223372036854775808", " 1"]
        elif kind == "float":
            wrong += [True, "x", ""]
        elif kind == "bool":
            wrong += [0, 1, "true", ""]
        elif kind == "set":
            wrong += [{}, *([item] for item in Schema.wrong(type_["value"]))]
        elif kind == "map":
            wrong += [[], *({"1": item} for item in Schema.wrong(type_["value"]))]
        elif kind == "record":
            wrong += [[]]
        return wrong


def per_message(*kinds):
    """The test runs for every automatic message of these kinds, over each protocol."""
    def wrap(check):
        @functools.wraps(check)
        def test(self):
            for message in SCHEMA.of_kind(*kinds):
                for api in self.apis:
                    with self.subTest(message["name"], protocol=api.name):
                        if message["lifecycle"] == "removed":
                            self.assert_fails(api, "MESSAGE_REMOVED", message["name"],
                                              *arguments(message))
                        else:
                            check(self, api, message)
        return test
    return wrap


class Case(unittest.TestCase):
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        cls.apis = []
        for make in (JsonRpc, XmlRpc):
            api = make(*DAEMON.address)
            api.enums = SCHEMA.enums
            api.login("root", PASSWORD)
            cls.apis.append(api)
        cls.json = cls.apis[0]
        (cls.pool,) = cls.json.call("pool.get_all")
        cls.rows = {}

    @classmethod
    def tearDownClass(cls):
        for api in cls.apis:
            api.close()

    def call(self, api, name, *args):
        """The result, held against the schema."""
        result = SCHEMA.messages[name]["result"]
        value = api.call(name, *args)
        try:
            if result["kind"] == "record":
                return self.typed_record(api, result["name"], value)
            if result["kind"] == "map" and result["value"]["kind"] == "record":
                return {key: self.typed_record(api, result["value"]["name"], record)
                        for key, record in value.items()}
            return api.typed(result, value)
        except AssertionError as problem:
            raise AssertionError(f"{name} over {api.name}: {problem}") from None

    def typed_record(self, api, cls, record):
        fields = SCHEMA.public_fields(cls)
        self.assertEqual(sorted(record), sorted(f["name"] for f in fields))
        return {f["name"]: api.typed(f["type"], record[f["name"]]) for f in fields}

    def assert_fails(self, api, code, name, *args):
        with self.assertRaises(Failure, msg=f"{name}{args} over {api.name}"[:300]) as caught:
            api.call(name, *args)
        self.assertEqual(caught.exception.code, code, f"{name}{args} over {api.name}"[:300])
        return caught.exception.params

    def create_row(self, cls, **values):
        """A row of any class with all fields filled, whatever the API could do."""
        fields = {f["name"]: SCHEMA.sample(f["type"]) for f in SCHEMA.public_fields(cls)
                  if f["name"] not in ("uuid", *KEPT_BY_MODULES)}
        fields.update(ROW_VALUES.get(cls, {}))
        fields.update(values)
        params = {"class": cls, "fields": json.dumps(fields)}
        return self.json.call("pool.test_archive_target", self.pool, params)

    def row(self, cls):
        """One row a class, for calls that leave it as it was."""
        if cls not in self.rows:
            self.rows[cls] = self.own_row(cls) if cls in OWN_ROWS else self.create_row(cls)
        return self.rows[cls]

    def own_row(self, cls):
        if cls == "session":
            return self.json.session
        if cls == "task":
            return self.json.call("task.create", "some <task>", "")
        return (self.json.call(cls + ".get_all") or [self.create_row(cls)])[0]


# Modules write these of their own accord; a made-up current operation would hold up others.
KEPT_BY_MODULES = ("allowed_operations", "current_operations", "memory_overhead")

# What a made-up row must not say, so that no module acts on it.
ROW_VALUES = {
    "VM": {"power_state": "Halted", "is_control_domain": False, "domid": -1,
           "is_a_template": False, "is_a_snapshot": False},
    "VBD": {"currently_attached": False},
    "VIF": {"currently_attached": False},
    "PBD": {"currently_attached": False},
    "PIF": {"currently_attached": False, "managed": False, "physical": False},
}


def unimplemented():
    return subprocess.run([XENOLITHD, "--unimplemented"], check=True, capture_output=True,
                          text=True).stdout.split()


def arguments(message):
    """Well-typed arguments for any message, without the session."""
    return [SCHEMA.sample(p["type"]) for p in message["params"] if not p["optional"]]


class Reading(Case):
    @per_message("GET_RECORD")
    def test_get_record_has_every_field(self, api, message):
        self.call(api, message["name"], self.row(message["class"]))

    def test_both_protocols_show_the_same_record(self):
        for message in SCHEMA.of_kind("GET_RECORD"):
            if message["lifecycle"] != "removed":
                with self.subTest(message["name"]):
                    ref = self.row(message["class"])
                    one, other = (self.call(api, message["name"], ref) for api in self.apis)
                    self.assertEqual(one, other)

    @per_message("GET")
    def test_get_field_is_what_the_record_says(self, api, message):
        cls, ref = message["class"], self.row(message["class"])
        value = self.call(api, message["name"], ref)
        if f"{cls}.get_record" in SCHEMA.messages and cls != "session":
            if SCHEMA.messages[f"{cls}.get_record"]["lifecycle"] != "removed":
                record = self.call(api, f"{cls}.get_record", ref)
                self.assertEqual(value, record[message["field"]])

    def test_made_up_rows_read_as_they_were_made(self):
        for cls in SCHEMA.classes.values():
            name = cls["name"]
            if not cls["stored"] or cls["internal"] or name in OWN_ROWS:
                continue
            settled = ("uuid", *KEPT_BY_MODULES, *ROW_VALUES.get(name, {}))
            for field in SCHEMA.public_fields(name):
                getter = SCHEMA.messages.get(f"{name}.get_{field['name']}")
                if getter["lifecycle"] == "removed" or getter["kind"] != "GET" or \
                        field["relation"] != "NONE" or field["name"] in settled:
                    continue
                with self.subTest(getter["name"]):
                    for api in self.apis:
                        self.assertEqual(self.call(api, getter["name"], self.row(name)),
                                         SCHEMA.sample(field["type"]))

    @per_message("GET_BY_UUID")
    def test_get_by_uuid_finds_the_row(self, api, message):
        cls, ref = message["class"], self.row(message["class"])
        uuid = self.call(api, f"{cls}.get_uuid", ref)
        if cls != "session":  # named by a secret, found by its public reference
            self.assertEqual(self.call(api, message["name"], uuid), ref)
        self.assertEqual(self.assert_fails(api, "UUID_INVALID", message["name"], "no such uuid"),
                         [cls, "no such uuid"])

    def test_a_uuid_of_another_class_is_not_found(self):
        uuid = self.json.call("PCI.get_uuid", self.row("PCI"))
        self.assertEqual(self.assert_fails(self.json, "UUID_INVALID", "VM.get_by_uuid", uuid),
                         ["VM", uuid])

    @per_message("GET_BY_NAME_LABEL")
    def test_get_by_name_label_finds_every_row_of_that_name(self, api, message):
        cls, ref = message["class"], self.row(message["class"])
        name = self.call(api, f"{cls}.get_name_label", ref)
        self.assertIn(ref, self.call(api, message["name"], name))
        self.assertEqual(self.call(api, message["name"], "no such name"), [])

    @per_message("GET_ALL")
    def test_get_all_has_every_row(self, api, message):
        ref = self.row(message["class"])
        self.assertIn(ref, self.call(api, message["name"]))

    @per_message("GET_ALL_RECORDS")
    def test_get_all_records_has_every_record(self, api, message):
        cls, ref = message["class"], self.row(message["class"])
        records = self.call(api, message["name"])
        self.assertEqual(sorted(records), sorted(self.call(api, f"{cls}.get_all")))
        self.assertEqual(records[ref], self.call(api, f"{cls}.get_record", ref))

    @per_message("GET_ALL_WHERE", "GET_ALL_RECORDS_WHERE")
    def test_get_all_where_has_the_rows_for_which_it_holds(self, api, message):
        cls, ref = message["class"], self.row(message["class"])
        uuid = self.json.call(f"{cls}.get_uuid", ref)
        found = self.call(api, message["name"], f'field "uuid" = "{uuid}"')
        self.assertEqual(list(found), [ref])
        self.assertEqual(len(self.call(api, message["name"], "false")), 0)
        params = self.assert_fails(api, "INVALID_VALUE", message["name"], 'field "uuid" =')
        self.assertEqual(params[0], "expr")

    def test_expressions_take_wire_and_database_names(self):
        ref = self.create_row("VM", name_label='say "hi" \\', is_a_snapshot=True)
        for name in ("name_label", "name__label"):
            expr = f'field "{name}" = "say \\"hi\\" \\\\" and not field "is_a_snapshot" = "false"'
            for api in self.apis:
                self.assertEqual(self.call(api, "VM.get_all_where", expr), [ref])


class Refusing(Case):
    @per_message("GET", "SET", "ADD", "REMOVE", "GET_RECORD", "DESTROY")
    def test_an_unknown_reference_is_refused_by_every_message_about_one_row(self, api, message):
        args = arguments(message)
        for ref in (NOBODY, NULL, "", "some text"):
            params = self.assert_fails(api, "HANDLE_INVALID", message["name"], ref, *args[1:])
            self.assertEqual(params, [message["class"], ref])

    @per_message("GET_RECORD")
    def test_a_reference_of_another_class_is_refused(self, api, message):
        other = self.row("PCI")
        if message["class"] not in ("PCI", "session"):
            params = self.assert_fails(api, "HANDLE_INVALID", message["name"], other)
            self.assertEqual(params, [message["class"], other])

    def test_wrong_types_are_refused_in_every_position(self):
        for message in SCHEMA.messages.values():
            api = self.apis[len(message["name"]) % 2]  # each message over one protocol, by turns
            args = [SCHEMA.sample(p["type"]) for p in message["params"]]
            for i, param in enumerate(message["params"]):
                for wrong in SCHEMA.wrong(param["type"]):
                    bad = [*args[:i], wrong, *args[i + 1:]]
                    with self.subTest(message["name"], position=i, wrong=wrong):
                        self.assert_wrong_type(api, message, param["name"], wrong, bad)

    def assert_wrong_type(self, api, message, name, wrong, args):
        call = api.call if message["session"] else lambda name, *args: api.raw(name, args)
        with self.assertRaises(Failure) as caught:
            call(message["name"], *args)
        failure = caught.exception
        self.assertIn(failure.code, ("FIELD_TYPE_ERROR", "INVALID_VALUE"))
        self.assertEqual(failure.params[0], name)

    @per_message("CREATE")
    def test_wrong_types_are_refused_in_every_member_of_a_new_record(self, api, message):
        cls = message["class"]
        record = SCHEMA.sample(message["params"][0]["type"])
        for field in SCHEMA.public_fields(cls):
            for wrong in SCHEMA.wrong(field["type"]):
                with self.assertRaises(Failure) as caught:
                    api.call(message["name"], {**record, field["name"]: wrong})
                self.assertIn(caught.exception.code, ("FIELD_TYPE_ERROR", "INVALID_VALUE"))
                self.assertEqual(caught.exception.params[0], field["name"])

    def test_a_wrong_number_of_parameters_is_refused(self):
        for message in SCHEMA.messages.values():
            for api in self.apis:
                with self.subTest(message["name"], protocol=api.name):
                    self.assert_counted(api, message)

    def assert_counted(self, api, message):
        args = [SCHEMA.sample(p["type"]) for p in message["params"]]
        required = message["required"]
        counts = [n for n in {0, required - 1} if 0 <= n < required]
        if required == len(args):
            counts.append(required + 1)  # with optional ones, surplus is ignored
        for n in counts:
            given = (args + ["surplus"])[:n]
            call = api.call if message["session"] else lambda name, *args: api.raw(name, args)
            with self.assertRaises(Failure) as caught:
                call(message["name"], *given)
            self.assertEqual(caught.exception.code, "MESSAGE_PARAMETER_COUNT_MISMATCH")
            self.assertEqual(caught.exception.params, [message["name"], str(required), str(n)])

    def test_without_any_parameter_even_the_session_is_missed(self):
        for message in SCHEMA.messages.values():
            if message["session"]:
                with self.assertRaises(Failure) as caught:
                    self.json.raw(message["name"], [])
                self.assertEqual(caught.exception.params,
                                 [message["name"], str(message["required"]), "-1"])

    def test_unknown_messages_are_refused(self):
        for name in ("", "VM", "VM.", ".", "VM.fly", "vm.start", "VM.start ", "event.*",
                     "Nothing.get_all", "VM.get_all.get_all", "xn_operation.get_all", "\u00e9",
                     "Async.VM.fly", "x" * 200):
            for api in self.apis:
                with self.subTest(name[:40], protocol=api.name):
                    self.assertEqual(self.assert_fails(api, "MESSAGE_METHOD_UNKNOWN", name), [name])

    def test_a_bad_session_is_refused_by_every_message(self):
        for message in SCHEMA.messages.values():
            if message["session"]:
                for api in self.apis:
                    with self.assertRaises(Failure, msg=message["name"]) as caught:
                        api.raw(message["name"], [NOBODY, *arguments(message)])
                    self.assertEqual(caught.exception.code, "SESSION_INVALID")
                    self.assertEqual(caught.exception.params, [NOBODY])

    def test_what_is_not_built_says_so(self):
        names = unimplemented()
        explicit = {m["name"] for m in SCHEMA.of_kind("EXPLICIT")}
        self.assertEqual([n for n in names if n not in explicit], [])
        for name in names:
            message = SCHEMA.messages[name]
            for api in self.apis:
                with self.subTest(name, protocol=api.name):
                    self.assert_not_built(api, message)

    def assert_not_built(self, api, message):
        call = api.call if message["session"] else lambda name, *args: api.raw(name, args)
        with self.assertRaises(Failure) as caught:
            call(message["name"], *arguments(message))
        if message["pool_internal"]:
            self.assertEqual(caught.exception.code, "INTERNAL_ERROR")
        elif message["upstream"] == "deprecated":
            self.assertEqual(caught.exception.code, "MESSAGE_DEPRECATED")
        else:
            self.assertEqual(caught.exception.code, "NOT_IMPLEMENTED")
            self.assertEqual(caught.exception.params, [message["name"]])

    def test_async_exists_exactly_where_the_model_says_so(self):
        for message in SCHEMA.messages.values():
            if message["session"] and not message["async"]:
                self.assert_fails(self.json, "Fault", "Async." + message["name"],
                                  *arguments(message))


class Changing(Case):
    """Round trips of every field that a client may set."""

    def setUp(self):
        self.all_text = text_that_xml_can_carry()

    def settable(self):
        """(field, class, row) for every settable field with its automatic setter still in place."""
        for message in SCHEMA.of_kind("SET"):
            if message["lifecycle"] != "removed":
                yield SCHEMA.field(message), message["class"], self.row(message["class"])

    def round_trip(self, cls, field, ref, value):
        """Set over each protocol, read over both."""
        for api in self.apis:
            try:
                self.call(api, f"{cls}.set_{field['name']}", ref, value)
            except Failure as failure:
                if failure.code in PICKY.get(f"{cls}.{field['name']}", ()):
                    continue
                raise
            for reader in self.apis:
                got = self.call(reader, f"{cls}.get_{field['name']}", ref)
                self.assertTrue(got == value, f"{api.name} -> {reader.name}: wrote "
                                f"{str(value)[:100]!r}, read {str(got)[:100]!r}")
            # So that the other protocol's write is a change as well.
            kind = field["type"]["kind"]
            empty = {"string": "", "set": [], "map": {}}.get(kind, field["default"])
            if empty != value and f"{cls}.{field['name']}" not in PICKY:
                self.call(api, f"{cls}.set_{field['name']}", ref, empty)

    def hostile(self, type_, turn):
        """Values of a type that something on the way might trip over."""
        kind = type_["kind"]
        if kind == "string":
            bmp, *planes = self.all_text
            return ["", "x" * 200000, METACHARACTERS, METACHARACTERS * 2000, bmp,
                    planes[turn % len(planes)], "NULL", NULL, " leading and trailing ", "\n"]
        if kind == "map" and type_["key"]["kind"] == "enum":
            return [{}, {self.hostile(type_["key"], turn)[turn % 3]: METACHARACTERS}]
        if kind == "set" and type_["value"]["kind"] != "string":
            return [[], self.hostile(type_["value"], turn)]
        if kind == "set":
            texts = self.hostile(type_["value"], turn)
            return [[], texts[:1], texts[2:4], [texts[4]], ["b", "a", "b"]]
        if kind == "map":
            texts = self.hostile(type_["value"], turn)
            return [{}, {"": ""}, {METACHARACTERS: METACHARACTERS}, {"k": texts[1]},
                    {texts[4]: "v"}, {"k": texts[4]}, {texts[5]: texts[2]},
                    {str(i): "v" for i in range(2000)}]
        if kind == "enum":
            return list(SCHEMA.enums[type_["name"]])
        return {"int": [0, 1, -1, 2**63 - 1, -2**63, 2**53 + 1], "bool": [True, False],
                "float": [0.0, -0.5, 1e300, 5e-324, 0.1, 1.0, 123456789.125],
                "datetime": [Date("19700101T00:00:00Z"), Date("20380119T03:14:08Z"),
                             Date("99991231T23:59:59Z")],
                "ref": [NULL]}[kind]

    def test_hostile_values_come_back_as_they_went(self):
        for turn, (field, cls, ref) in enumerate(self.settable()):
            if cls == "session":
                ref = self.json.session
            for value in self.hostile(field["type"], turn):
                with self.subTest(f"{cls}.{field['name']}", value=str(value)[:40]):
                    self.round_trip(cls, field, ref, value)

    def test_explicit_setters_keep_what_they_accept(self):
        """A module may refuse a value, but it keeps what it takes, and it breaks on nothing."""
        for turn, (message, field) in enumerate(self.explicit_setters()):
            cls = message["class"]
            ref = self.create_row(cls)
            for value in self.hostile(field["type"], turn):
                with self.subTest(message["name"], value=str(value)[:40]):
                    self.keeps_or_refuses(message, f"{cls}.get_{field['name']}", ref, value)

    def explicit_setters(self):
        """Messages set_FIELD(self, value) that are built, of classes that may have more rows."""
        unbuilt = unimplemented()
        for message in SCHEMA.of_kind("EXPLICIT"):
            cls = SCHEMA.classes[message["class"]]
            field = next((f for f in cls["fields"]
                          if message["name"] == f"{cls['name']}.set_{f['name']}"), None)
            if field and message["name"] not in unbuilt and cls["name"] not in OWN_ROWS and \
                    not message["pool_internal"] and message["lifecycle"] != "removed" and \
                    [p["type"]["text"] for p in message["params"][1:]] == [field["type"]["text"]]:
                yield message, field

    def keeps_or_refuses(self, message, getter, ref, value):
        for api in self.apis:
            before = self.call(api, getter, ref)
            try:
                self.call(api, message["name"], ref, value)
            except Failure as failure:
                self.assertIn(failure.code, SCHEMA.errors)
                self.assertEqual(self.call(api, getter, ref), before)
            else:
                after = self.call(api, getter, ref)
                self.assertTrue(after == value, "it was taken and is not there")

    def test_all_text_that_xml_can_carry_comes_back(self):
        field = next(f for f in SCHEMA.public_fields("VM") if f["name"] == "name_description")
        ref = self.create_row("VM")
        for text in self.all_text:
            with self.subTest(first=hex(ord(text[0]))):
                self.round_trip("VM", field, ref, text)

    def test_text_that_xml_cannot_carry_is_refused(self):
        ref = self.create_row("VM")
        for code in [*range(1, 9), 11, 12, *range(14, 32), 0xfffe, 0xffff]:
            params = self.assert_fails(self.json, "INVALID_VALUE", "VM.set_name_label", ref,
                                       chr(code))
            self.assertEqual(params[0], "value")

    def test_settable_references_name_a_row_or_nothing(self):
        for field, cls, ref in self.settable():
            if field["type"]["kind"] != "ref" or f"{cls}.{field['name']}" in PICKY:
                continue
            target = self.row(field["type"]["name"])
            with self.subTest(f"{cls}.{field['name']}"):
                self.round_trip(cls, field, ref, target)
                params = self.assert_fails(self.json, "HANDLE_INVALID",
                                           f"{cls}.set_{field['name']}", ref, NOBODY)
                self.assertEqual(params, [field["type"]["name"], NOBODY])
                self.call(self.json, f"{cls}.set_{field['name']}", ref, "")
                self.assertEqual(self.call(self.json, f"{cls}.get_{field['name']}", ref), NULL)

    def test_enum_spelling_is_corrected(self):
        for field, cls, ref in self.settable():
            if field["type"]["kind"] == "enum" and f"{cls}.{field['name']}" not in PICKY:
                for value in SCHEMA.enums[field["type"]["name"]]:
                    self.call(self.json, f"{cls}.set_{field['name']}", ref, value.swapcase())
                    self.assertEqual(self.call(self.json, f"{cls}.get_{field['name']}", ref), value)

    def test_numbers_are_also_taken_as_text(self):
        for field, cls, ref in self.settable():
            if field["type"]["kind"] == "int" and f"{cls}.{field['name']}" not in PICKY:
                self.call(self.json, f"{cls}.set_{field['name']}", ref, "-9007199254740993")
                self.assertEqual(self.call(self.json, f"{cls}.get_{field['name']}", ref),
                                 -9007199254740993)

    @per_message("ADD")
    def test_map_entries_are_added_once_and_removed(self, api, message):
        cls, field = message["class"], SCHEMA.field(message)
        if field["type"]["kind"] != "map" or f"{cls}.{field['name']}" in PICKY:
            return
        ref, name = self.row(cls), field["name"]
        self.call(self.json, f"{cls}.set_{name}", ref, {"old": "value"})
        self.call(api, f"{cls}.add_to_{name}", ref, METACHARACTERS, "a\u00e9\U0001f600")
        self.assertEqual(self.call(api, f"{cls}.get_{name}", ref),
                         {"old": "value", METACHARACTERS: "a\u00e9\U0001f600"})
        params = self.assert_fails(api, "MAP_DUPLICATE_KEY", message["name"], ref, "old", "new")
        row_ref = params[2] if cls == "session" else ref
        self.assertEqual(params, [cls, field["db_name"], row_ref, "old"])
        for _ in range(2):  # what is not there is removed already
            self.call(api, f"{cls}.remove_from_{name}", ref, METACHARACTERS)
        self.assertEqual(self.call(api, f"{cls}.get_{name}", ref), {"old": "value"})

    @per_message("ADD")
    def test_set_items_are_added_once_and_removed(self, api, message):
        cls, field = message["class"], SCHEMA.field(message)
        if field["type"]["kind"] != "set" or f"{cls}.{field['name']}" in PICKY:
            return
        ref, name = self.row(cls), field["name"]
        self.call(self.json, f"{cls}.set_{name}", ref, ["old"])
        for _ in range(2):
            self.call(api, f"{cls}.add_{name}", ref, METACHARACTERS)
        self.assertEqual(sorted(self.call(api, f"{cls}.get_{name}", ref)),
                         sorted(["old", METACHARACTERS]))
        for _ in range(2):
            self.call(api, f"{cls}.remove_{name}", ref, METACHARACTERS)
        self.assertEqual(self.call(api, f"{cls}.get_{name}", ref), ["old"])

    def test_a_change_is_told_and_an_equal_one_is_not(self):
        ref = self.create_row("PCI")
        token = self.json.call("event.from", ["PCI/" + ref], "", 0.0)["token"]
        self.json.call("PCI.set_other_config", ref, {"k": "v"})
        batch = self.json.call("event.from", ["PCI/" + ref], token, 5.0)
        self.assertEqual([(e["operation"], e["snapshot"]["other_config"]) for e in batch["events"]],
                         [("mod", {"k": "v"})])
        self.json.call("PCI.set_other_config", ref, {"k": "v"})
        self.json.call("PCI.remove_from_other_config", ref, "absent")
        batch = self.json.call("event.from", ["PCI/" + ref], batch["token"], 0.1)
        self.assertEqual(batch["events"], [])


class Creating(Case):
    @per_message("CREATE")
    def test_create_takes_a_record_and_destroy_removes_it(self, api, message):
        cls = message["class"]
        record = self.record(cls)
        record.update(uuid="ignored", no_such_field="ignored")
        ref = self.call(api, message["name"], record)
        got = self.call(api, f"{cls}.get_record", ref)
        for field in SCHEMA.public_fields(cls):
            if field["access"] != "ro" and field["relation"] == "NONE" and \
                    f"{cls}.{field['name']}" not in CHOSEN_BY_MODULES:
                self.assert_kept(got[field["name"]], record[field["name"]], field["name"])
        self.assertNotEqual(got["uuid"], "ignored")
        self.call(api, f"{cls}.destroy", ref)
        self.assert_fails(api, "HANDLE_INVALID", f"{cls}.destroy", ref)
        self.assert_fails(api, "HANDLE_INVALID", f"{cls}.get_record", ref)

    def assert_kept(self, got, given, name):
        """Modules add entries of their own to maps."""
        if isinstance(given, dict):
            got = {key: value for key, value in got.items() if key in given}
        self.assertEqual(got, given, name)

    def record(self, cls):
        """One that create takes: with references to rows, and with what modules insist on."""
        record = SCHEMA.sample({"kind": "record", "name": cls})
        record.update(self.references(cls))
        if cls == "VM":
            memory = ("static_max", "dynamic_max", "dynamic_min", "static_min")
            record.update(ROW_VALUES["VM"], VCPUs_max=2, VCPUs_at_startup=1, suspend_VDI=NULL,
                          actions_after_crash="destroy", domain_type="hvm",
                          **{f"memory_{name}": 1 << 28 for name in memory})
        elif cls == "VBD":
            record.update(VM=self.create_row("VM"), userdevice="3", mode="RW", type="Disk",
                          VDI=self.create_row("VDI", type="user", read_only=False), empty=False)
        elif cls == "VIF":
            record.update(VM=self.create_row("VM"), device="3", MAC="02:00:00:00:00:01", MTU=1500)
        elif cls == "network":
            record.update(bridge="", MTU=1500)
        elif cls == "PBD":
            record.update(SR=self.create_row("SR"))
        elif cls == "VDI":
            real = self.json.call("SR.get_all_where", 'field "type" = "file"')[0]
            record.update(SR=real, virtual_size=1 << 20,
                          type="user", sharable=False, read_only=False)
        return record

    def references(self, cls):
        return {f["name"]: self.row(f["type"]["name"]) for f in SCHEMA.public_fields(cls)
                if f["type"]["kind"] == "ref" and f["access"] != "ro"}

    @per_message("CREATE")
    def test_create_misses_what_is_required(self, api, message):
        cls = message["class"]
        record = self.record(cls)
        for field in SCHEMA.public_fields(cls):
            if field["required"]:
                partial = {k: v for k, v in record.items() if k != field["name"]}
                params = self.assert_fails(api, "FIELD_TYPE_ERROR", message["name"], partial)
                self.assertEqual(params, [field["name"]])

    @per_message("CREATE")
    def test_create_refuses_references_to_nothing(self, api, message):
        cls = message["class"]
        record = self.record(cls)
        for name in self.references(cls):
            params = self.assert_fails(api, "HANDLE_INVALID", message["name"],
                                       {**record, name: NOBODY})
            self.assertEqual(params[1], NOBODY)


# Fields whose setter a module has taken over, and what it may refuse; set only to what it takes.
PICKY = {"VM.is_a_template": ("OTHER_OPERATION_IN_PROGRESS", "VM_BAD_POWER_STATE")}
# Fields that a creator may give and a module settles all the same.
CHOSEN_BY_MODULES = {"network.bridge", "PBD.currently_attached", "VBD.currently_attached",
                     "VIF.currently_attached"}


def text_that_xml_can_carry():
    """Every character, in pieces that fit a request: the basic plane, then one plane each."""
    basic = "\t\n\r" + "".join(map(chr, [*range(0x20, 0xd800), *range(0xe000, 0xfffe)]))
    return [basic] + ["".join(map(chr, range(plane << 16, (plane + 1) << 16)))
                      for plane in range(1, 17)]


def main():
    result = unittest.main(argv=[sys.argv[0], *sys.argv[2:]], exit=False).result
    status = DAEMON.stop()
    if status != 0 or not result.wasSuccessful():
        print(DAEMON.log_text())
        print(f"the daemon ended with status {status}")
    return not result.wasSuccessful() or status != 0


if __name__ == "__main__":
    SCHEMA = Schema(sys.argv[1])
    DAEMON = Daemon()
    try:
        DAEMON.start()
        sys.exit(main())
    finally:
        DAEMON.clear()
