#!/usr/bin/env python3
"""
Wrong types and texts in every position of every message, built or not, over JSON-RPC 1.0 and 2.0 and
XML-RPC; each is told apart by its error, and nothing changes.

    XENOLITHD=BUILD/xenolithd test_types.py BUILD/core/schema/schema.json [all] ...

With "all" each over each protocol, otherwise by turns.
"""
import json
import sys

from hostile import HostileCase, NULL, PROTOCOLS, Raw, encode, main

TYPE, VALUE = "FIELD_TYPE_ERROR", "INVALID_VALUE"
NIL = Raw("null", "<value><nil/></value>")
DATE = Raw('"20260228T23:59:59Z"',
           "<value><dateTime.iso8601>20260228T23:59:59Z</dateTime.iso8601></value>")
TEXT = Raw('"a\\u0001b"', None)  # what XML cannot say at all
SCHEMA = {}
EACH_PROTOCOL = False


def sample(type_):
    kind = type_["kind"]
    if kind == "enum":
        return SCHEMA["enums"][type_["name"]][0]
    return {"string": "text", "ref": NULL, "int": 1, "float": 0.5, "bool": False, "datetime": DATE,
            "set": [], "map": {}, "record": {}}[kind]


def wrong(type_):
    """(value, code): what is refused for this type, and how."""
    kind = type_["kind"]
    if kind in ("string", "ref"):
        return [(v, TYPE) for v in ([], {}, 5, True, 1.5, NIL, ["x"])] + [(TEXT, VALUE)]
    if kind == "enum":
        return [([], TYPE), ({}, TYPE), (5, TYPE), (NIL, TYPE), ("no such value", VALUE), ("", VALUE)]
    if kind == "datetime":
        return [([], TYPE), ({}, TYPE), (5, TYPE), (NIL, TYPE), ("yesterday", VALUE),
                ("20269999T00:00:00Z", VALUE)]
    if kind == "int":
        return [([], TYPE), ({}, TYPE), (True, TYPE), (1.5, TYPE), (NIL, TYPE), ("", VALUE),
                ("1x", VALUE), ("9223372036854775808", VALUE)]
    if kind == "float":
        return [([], TYPE), ({}, TYPE), (True, TYPE), (NIL, TYPE), ("x", VALUE), ("nan", VALUE),
                ("inf", VALUE), ("1e999", VALUE)]
    if kind == "bool":
        return [([], TYPE), ({}, TYPE), (0, TYPE), ("true", TYPE), (NIL, TYPE)]
    if kind == "set":
        return [(v, TYPE) for v in ("text", 5, True, {}, NIL)] + \
            [([v], code) for v, code in wrong(type_["value"])[:4] + [(NIL, TYPE)]]
    if kind == "map":
        key = sample(type_["key"]) if type_["key"]["kind"] == "enum" else "1"
        return [(v, TYPE) for v in ("text", 5, True, [], NIL)] + \
            [({key: v}, code) for v, code in wrong(type_["value"])[:4] + [(NIL, TYPE)]]
    return [(v, TYPE) for v in ("text", 5, True, [], NIL)]  # a record


def has_control_characters(value):
    if isinstance(value, (list, dict)):
        return any(map(has_control_characters, value.values() if isinstance(value, dict) else value))
    return value is TEXT


class Types(HostileCase):
    def refuses(self, protocol, message, position, value, code):
        """The error has the code and names the parameter."""
        params = [sample(p["type"]) for p in message["params"]]
        params[position] = value
        if message["session"]:
            params.insert(0, self.client.session)
        answer = self.post(protocol, encode(protocol, message["name"], params))
        name = message["params"][position]["name"]
        if not answer.error or answer.error[:2] != [code, name]:
            self.fail(f"{message['name']} over {protocol}, {name} = {value!r}: {answer}")

    def test_wrong_types_in_every_position_of_every_message(self):
        asked = 0
        with self.unharmed():
            for turn, message in enumerate(SCHEMA["messages"]):
                for position, param in enumerate(message["params"]):
                    for nth, (value, code) in enumerate(wrong(param["type"])):
                        for protocol in self.protocols(turn + nth, value):
                            with self.subTest(message["name"], position=position):
                                self.refuses(protocol, message, position, value, code)
                            asked += 1
        self.assertGreater(asked, 50_000 if EACH_PROTOCOL else 20_000)

    @staticmethod
    def protocols(turn, value):
        able = [p for p in PROTOCOLS if p != "xml" or not has_control_characters(value)]
        return able if EACH_PROTOCOL else [able[turn % len(able)]]

    def test_wrong_types_in_every_member_of_every_record(self):
        classes = {c["name"]: c for c in SCHEMA["classes"]}
        with self.unharmed():
            for message in SCHEMA["messages"]:
                for position, param in enumerate(message["params"]):
                    if param["type"]["kind"] != "record":
                        continue
                    fields = [f for f in classes[param["type"]["name"]]["fields"]
                              if not f["internal"]]
                    for n, field in enumerate(fields):
                        for turn, (value, code) in enumerate(wrong(field["type"])):
                            self.refuses_member(message, position, field["name"], value, code,
                                                PROTOCOLS[(n + turn) % 3])

    def refuses_member(self, message, position, name, value, code, protocol):
        if protocol == "xml" and has_control_characters(value):
            protocol = "json1"
        params = [sample(p["type"]) for p in message["params"]]
        params[position] = {name: value}
        answer = self.call(protocol, message["name"], *params)
        if not answer.error or answer.error[:2] != [code, name]:
            self.fail(f"{message['name']} over {protocol}, {name}: {value!r}: {answer}")

    def test_keys_of_maps_are_texts_of_their_type(self):
        """A key that is no text cannot be written; one that the API cannot carry can, in JSON."""
        with self.unharmed():
            for message in SCHEMA["messages"]:
                for position, param in enumerate(message["params"]):
                    if param["type"]["kind"] == "map":
                        for protocol in ("json1", "json2"):
                            value = sample(param["type"]["value"])
                            self.refuses(protocol, message, position, {"a\x01b": value}, VALUE)
                        if param["type"]["key"]["kind"] == "int":
                            self.refuses("xml", message, position, {"x": value}, VALUE)

    def test_a_session_of_a_wrong_type_is_refused_by_every_message(self):
        with self.unharmed():
            for message in SCHEMA["messages"]:
                if not message["session"]:
                    continue
                params = [sample(p["type"]) for p in message["params"]]
                for nth, value in enumerate(([], {}, 5, True, 1.5, NIL, [self.client.session],
                                             {"session": self.client.session})):
                    for protocol in self.protocols(nth, value):
                        answer = self.post(protocol, encode(protocol, message["name"],
                                                            [value, *params]))
                        self.assert_error(answer, TYPE, "session_id")


if __name__ == "__main__":
    with open(sys.argv.pop(1), encoding="utf-8") as file:
        SCHEMA.update(json.load(file))
    if sys.argv[1:2] == ["all"]:
        EACH_PROTOCOL = bool(sys.argv.pop(1))
    main()
