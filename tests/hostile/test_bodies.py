#!/usr/bin/env python3
"""Bodies that are no calls, or calls that no client would make. XENOLITHD: the daemon."""
import json

from hostile import HostileCase, NULL, PROTOCOLS, Raw, encode, main

LEVELS = 100_000
MAX_BODY = 1_000_000  # what a call may be long

# No UTF-8: stray, overlong, surrogate, beyond Unicode, cut short, and what is no character.
BAD_BYTES = (b"\xff", b"\x80", b"\xc0\xaf", b"\xc1\x81", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf",
             b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80",
             b"\xe2\x82", b"\xf0\x9f\x98", b"\x00", b"a\x00b")

# Well-formed JSON with text that XML and the API cannot carry.
UNSPEAKABLE = ("\x01", "\x08", "\x0b", "\x1f", "a\x0cb", "\ufffe", "\uffff")


def with_bytes(protocol, method, params, bad):
    """The call with the bytes wherever its texts say HERE."""
    return encode(protocol, method, params).replace(b"HERE", bad)


class Text(HostileCase):
    def setUp(self):
        super().setUp()
        self.vm = self.client("VM.get_by_name_label", "Other install media")[0]

    def positions(self):
        """Calls with a text in each kind of place."""
        me, vm = self.client.session, self.vm
        return [
            ("HERE", []), ("VM.HERE", [me]), ("VM.get_all", ["HERE"]),
            ("VM.get_record", [me, "HERE"]), ("VM.get_by_uuid", [me, "HERE"]),
            ("VM.get_by_name_label", [me, "HERE"]), ("VM.set_name_label", [me, vm, "HERE"]),
            ("VM.set_name_label", [me, vm, "x" * 40000 + "HERE"]),
            ("VM.set_tags", [me, vm, ["a", "HERE"]]), ("VM.add_tags", [me, vm, "HERE"]),
            ("VM.set_other_config", [me, vm, {"HERE": "v"}]),
            ("VM.set_other_config", [me, vm, {"k": "HERE"}]),
            ("VM.add_to_other_config", [me, vm, "HERE", "v"]),
            ("VM.add_to_other_config", [me, vm, "k", "HERE"]),
            ("VM.remove_from_other_config", [me, vm, "HERE"]),
            ("VM.set_actions_after_crash", [me, vm, "HERE"]),
            ("VM.get_all_records_where", [me, "HERE"]),
            ("VM.get_all_records_where", [me, 'field "name_label" = "HERE"']),
            ("event.from", [me, ["HERE"], "", 0.0]), ("event.from", [me, ["VM"], "HERE", 0.0]),
            ("network.create", [me, {"name_label": "HERE"}]),
            ("network.create", [me, {"name_label": "n", "HERE": []}]),
            ("network.create", [me, {"name_label": "n", "other_config": {"HERE": "v"}}]),
            ("session.login_with_password", ["HERE", "secret"]),
            ("session.login_with_password", ["root", "HERE"]),
            ("session.login_with_password", ["root", "secret", "1.0", "HERE"]),
            ("task.create", [me, "HERE", ""]), ("system.listMethodsHERE", []),
            ("message.create", [me, "HERE", 3, "VM", "x", "body"]),
        ]

    def test_bytes_that_are_no_utf8_are_a_fault_wherever_they_stand(self):
        with self.unharmed():
            for method, params in self.positions():
                for turn, bad in enumerate(BAD_BYTES):
                    protocol = PROTOCOLS[turn % 3]
                    with self.subTest(method, protocol=protocol, bad=bad):
                        self.assert_fault(
                            self.post(protocol, with_bytes(protocol, method, params, bad)))

    def test_bytes_that_are_no_utf8_are_a_fault_in_the_envelope(self):
        bodies = (b'{"jsonrpc":"2.0","id":"HERE","method":"VM.get_all","params":[]}',
                  b'{"jsonrpc":"2.HERE0","id":1,"method":"VM.get_all","params":[]}',
                  b'{"jsonrpc":"2.0","id":1,"method":"VM.get_all","params":[],"HERE":1}',
                  b'HERE{"id":1,"method":"VM.get_all","params":[]}',
                  b'{"id":1,"method":"VM.get_all","params":[]}HERE')
        with self.unharmed():
            for body in bodies:
                for bad in BAD_BYTES:
                    with self.subTest(body, bad=bad):
                        self.assert_fault(self.post("json2", body.replace(b"HERE", bad)))
            for body in (b"<HERE/>", b"<methodCall HERE='1'/>", b"<methodCall a='HERE'/>",
                         b"<?xml version='1.0' encoding='HERE'?><methodCall/>", b"HERE<methodCall/>",
                         b"<!--HERE--><methodCall/>", b"<methodCall><![CDATA[HERE]]></methodCall>"):
                for bad in BAD_BYTES:
                    with self.subTest(body, bad=bad):
                        self.assert_fault(self.post("xml", body.replace(b"HERE", bad)))

    def test_escapes_that_name_no_character_are_a_fault(self):
        me = self.client.session
        with self.unharmed():
            for escape in (r"\u0000", r"a\u0000b", r"\ud800", r"\udc00", r"\ud800x", r"\ud800\ud800",
                           r"\uD83D", r"\u12", r"\x41", r"\U0001F600"):
                for protocol in ("json1", "json2"):
                    with self.subTest(escape, protocol=protocol):
                        self.assert_fault(self.post(protocol, with_bytes(
                            protocol, "VM.set_name_label", [me, self.vm, "HERE"],
                            escape.encode())))
            for escape in (b"&#0;", b"&#x0;", b"&#xD800;", b"&#xDFFF;", b"&#x110000;", b"&#1;",
                           b"&#xFFFE;", b"&#xFFFF;", b"&nbsp;", b"&#99999999999;", b"&;", b"&#;"):
                with self.subTest(escape):
                    self.assert_fault(self.post("xml", with_bytes(
                        "xml", "VM.set_name_label", [me, self.vm, "HERE"], escape)))

    def test_text_that_the_api_cannot_carry_is_refused_where_it_could_be_kept(self):
        """JSON can write it, no answer in XML could show it."""
        with self.unharmed():
            for method, params in self.positions():
                for text in UNSPEAKABLE:
                    bad = json.dumps(text)[1:-1].encode()
                    for protocol in ("json1", "json2"):
                        with self.subTest(method, bad=bad, protocol=protocol):
                            answer = self.post(protocol, with_bytes(protocol, method, params, bad))
                            self.assertIsNotNone(answer.error, answer)
                            self.assertIn(answer.error[0], (
                                "INVALID_VALUE", "MESSAGE_METHOD_UNKNOWN", "SESSION_INVALID",
                                "FIELD_TYPE_ERROR", "MESSAGE_PARAMETER_COUNT_MISMATCH"))

    def test_other_encodings_are_read_as_what_they_are_or_refused(self):
        call = encode("xml", "VM.get_by_name_label", [self.client.session, "\u00e9"]).decode()
        with self.unharmed():
            for encoding in ("utf-16", "utf-16-le", "utf-16-be", "iso-8859-1"):
                head = f"<?xml version='1.0' encoding='{encoding}'?>"
                answer = self.post("xml", (head + call).encode(encoding))
                self.assertTrue(answer.fault or answer.error is None, answer)
            self.assert_fault(self.post("json2", b"\xef\xbb\xbf" + encode("json2", "a", [])))
            self.assert_fault(self.post("json2", encode("json2", "a", []).decode().encode("utf-16")))
            self.assert_fault(self.post("xml", b"<?xml version='1.0' encoding='utf-7'?>"
                                        + call.encode()))


class Growth(HostileCase):
    """Objects to which somebody adds for ever."""

    ENOUGH = 5  # texts of 200 KiB fit into an object; row-bytes is 1 MiB
    MEMBERS = 200
    daemon_options = ("--field-items", str(MEMBERS))

    def add_for_ever(self, method, ref):
        """With the first error, the number of texts that were taken before it."""
        for taken in range(2 * self.ENOUGH):
            answer = self.call("json2", method, ref, f"key{taken}", "x" * (200 << 10))
            if answer.error:
                return taken, answer
        return 2 * self.ENOUGH, None

    def test_an_object_is_bounded_by_whatever_message_it_grows(self):
        vm = self.client("VM.get_by_name_label", "Other install media")[0]
        network = self.client("network.create", {"name_label": "large", "other_config": {}})
        for cls, ref, field in (("VM", vm, "other_config"), ("VM", vm, "platform"),
                                ("VM", vm, "NVRAM"), ("VM", vm, "VCPUs_params"),
                                ("network", network, "other_config")):
            with self.subTest(cls, field=field):
                before = self.client(f"{cls}.get_{field}", ref)
                taken, answer = self.add_for_ever(f"{cls}.add_to_{field}", ref)
                self.assertIn(taken, (self.ENOUGH - 1, self.ENOUGH))
                self.assert_error(answer, "INVALID_VALUE", field)
                self.assertIn("row-bytes", answer.error[2])
                for i in range(taken):
                    self.client(f"{cls}.remove_from_{field}", ref, f"key{i}")
                self.assertEqual(self.client(f"{cls}.get_{field}", ref), before)
        self.client("network.destroy", network)

    def test_a_task_holds_little(self):
        """Anybody makes hundreds of them."""
        task = self.client("task.create", "large", "")
        large = ["x" * 1000] * 80
        self.assert_error(self.call("json2", "task.set_error_info", task, large), "INVALID_VALUE", "error_info")
        self.assert_error(self.call("json2", "task.set_result", task, "x" * 80000), "INVALID_VALUE", "result")
        self.assert_error(self.call("json2", "task.create", "x" * 40000, "x" * 40000), "INVALID_VALUE", "create")
        self.client("task.set_error_info", task, large[:40])
        answer = self.call("json2", "task.set_result", task, "x" * 40000)
        self.assert_error(answer, "INVALID_VALUE", "result")
        self.assertIn("task-bytes", answer.error[2])
        self.client("task.destroy", task)

    def test_a_field_has_so_many_members_by_whatever_message_it_grows(self):
        vm = self.client("VM.get_by_name_label", "Other install media")[0]
        task = self.client("task.create", "large", "")
        for cls, ref in (("VM", vm), ("task", task)):
            with self.subTest(cls):
                before = self.client(f"{cls}.get_other_config", ref)
                full = {str(i): "" for i in range(self.MEMBERS - 1)}
                self.client(f"{cls}.set_other_config", ref, full)
                self.client(f"{cls}.add_to_other_config", ref, "the last", "")
                answer = self.call("json2", f"{cls}.add_to_other_config", ref, "one more", "")
                self.assert_error(answer, "INVALID_VALUE", "other_config")
                self.assertIn("field-items", answer.error[2])
                self.client(f"{cls}.set_other_config", ref, before)
        self.client("task.destroy", task)


class Shape(HostileCase):
    def test_deep_nesting_is_a_fault(self):
        me = self.client.session
        openings = {"json": (('[', ']'), ('{"a":', '}'), ('[{"a":', '}]')),
                    "xml": (("<value><array><data>", "</data></array></value>"),
                            ("<value><struct><member><name>a</name>",
                             "</member></struct></value>"), ("<a>", "</a>"))}
        with self.unharmed():
            for protocol in PROTOCOLS:
                for opening, closing in openings[protocol.rstrip("12")]:
                    for levels in (65, 2049, LEVELS):
                        for end in ("", closing * levels):
                            raw = opening * levels + (("0" if protocol != "xml" else "<value/>")
                                                      if end else "") + end
                            body = encode(protocol, "VM.get_all", [me, Raw(raw, raw)])
                            with self.subTest(opening, levels=levels, protocol=protocol):
                                self.assert_fault(self.post(protocol, body[:MAX_BODY]))

    def test_huge_numbers_are_refused(self):
        vm = self.client("VM.get_all")[0]
        digits = "9" * 100_000
        numbers = ("1e400", "-1e400", digits, "-" + digits, "9223372036854775808",
                   "-9223372036854775809", "1" + "0" * 400 + ".0", "0." + digits + "e999", "NaN",
                   "Infinity", "-Infinity", "nan", "inf", "0x10", "1e", "--1", "+-1", "1_000",
                   "\u0661")
        with self.unharmed():
            for number in numbers:
                for tag in ("int", "i4", "i8"):
                    answer = self.post("xml", encode("xml", "VM.set_order", [
                        self.client.session, vm,
                        Raw("", f"<value><{tag}>{number}</{tag}></value>")]))
                    self.assertTrue(answer.fault or answer.error, (number, answer))
                for protocol in PROTOCOLS:
                    for method in ("VM.set_order", "VM.set_HVM_shadow_multiplier"):
                        with self.subTest(number[:30], method=method, protocol=protocol):
                            answer = self.call(protocol, method, vm, Raw(
                                number, f"<value><double>{number}</double></value>"))
                            # a double may be as large as it likes where one is wanted
                            if method == "VM.set_order" or answer.value is None:
                                self.assertTrue(answer.fault or answer.error, answer)
                    answer = self.call(protocol, "VM.set_order", vm, number)
                    self.assert_error(answer, "INVALID_VALUE", "value")

    def test_times_to_wait_may_be_anything(self):
        for text in ("-1", "-0.0", "-1e308", "1e-308", "0", "-9223372036854775808"):
            answer = self.call("json2", "event.from", ["VM"], "", Raw(text, ""))
            self.assertIsNotNone(answer.error or answer.value, answer)
        for text in ("nan", "inf", "-inf", "1e999"):
            answer = self.call("xml", "event.from", ["VM"], "",
                               Raw("", f"<value><double>{text}</double></value>"))
            self.assertTrue(answer.error or answer.fault, answer)

    def test_a_member_that_stands_twice_is_a_fault(self):
        me, vm = self.client.session, self.client("VM.get_all")[0]
        with self.unharmed():
            for body in (b'{"id":1,"id":2,"method":"VM.get_all","params":["%s"]}',
                         b'{"id":1,"method":"VM.get_all","method":"VM.destroy","params":["%s"]}',
                         b'{"id":1,"method":"VM.get_all","params":["%s"],"params":[]}',
                         b'{"jsonrpc":"2.0","jsonrpc":"1.0","id":1,"method":"VM.get_all",'
                         b'"params":["%s"]}'):
                self.assert_fault(self.post("json2", body % me.encode()))
            twice = Raw('{"a":"1","a":"2"}',
                        "<value><struct><member><name>a</name><value>1</value></member><member>"
                        "<name>a</name><value>2</value></member></struct></value>")
            for protocol in PROTOCOLS:
                self.assert_fault(self.call(protocol, "VM.set_other_config", vm, twice))
                self.assert_fault(self.call(protocol, "network.create", twice))

    def test_members_that_a_record_does_not_have_are_ignored(self):
        names = ("", "_ref", "__proto__", "name__label", "NAME_LABEL", "name_label ", "uuid", "ref",
                 "allowed_operations", "x" * 100_000, "\u202e", "%s%n", "../../x", "constructor")
        for protocol in PROTOCOLS:
            record = {name: "hostile" for name in names}
            record["allowed_operations"] = []
            with self.unharmed():
                answer = self.call(protocol, "network.create", {
                    **record, "name_label": "mine", "name_description": "", "other_config": {}})
                self.assertIsNone(answer.error or answer.fault, answer)
                (ref,) = self.client("network.get_by_name_label", "mine")
                made = self.client("network.get_record", ref)
                self.client("network.destroy", ref)
            self.assertNotIn("hostile", json.dumps(made))

    def test_names_of_methods_may_be_anything(self):
        names = ("", ".", "..", "VM", "VM.", ".get_all", "VM.get_all\n", " VM.get_all", "VM..get_all",
                 "VM.get_all.VM.get_all", "Async.", "Async.Async.VM.start", "InternalAsync.Async.x",
                 "system.", "system.multicall", "system.shutdown", "constructor", "%n%s", "a_b",
                 "_" * 200, "." * 200, "VM_get_all_", "x" * 200)
        with self.unharmed():
            for protocol in PROTOCOLS:
                for name in names:
                    with self.subTest(name[:30], protocol=protocol):
                        answer = self.call(protocol, name)
                        self.assert_error(answer, "MESSAGE_METHOD_UNKNOWN", name)
                for name in ("x" * 201, "_" * 100_000, "." * 900_000, "VM.get_all" * 100):
                    with self.subTest(name[:30], length=len(name), protocol=protocol):
                        answer = self.call(protocol, name)
                        self.assertEqual(answer.fault, "the method's name is too long", answer)

    def test_what_is_no_call_is_a_fault_and_no_notification_is_run(self):
        me = self.client.session
        make = f'"method":"network.create","params":["{me}",{{"name_label":"made"}}]'
        bodies = ("", " ", "null", "true", "1", '"VM.get_all"', "[]", "{}", "[[]]",
                  f'[{{"jsonrpc":"2.0","id":1,{make}}}]', f'{{"jsonrpc":"2.0",{make}}}',
                  f'{{"jsonrpc":"2.0","id":null,{make}}}', f'{{"jsonrpc":"2.0","id":[],{make}}}',
                  f'{{"jsonrpc":"2.0","id":true,{make}}}', f'{{"jsonrpc":"2.1","id":1,{make}}}',
                  f'{{"jsonrpc":2.0,"id":1,{make}}}', f'{{"jsonrpc":"2.0","id":1,{make}}}x',
                  f'{{"jsonrpc":"2.0","id":1,{make}', f"{{'jsonrpc':'2.0'}}",
                  f'{{"jsonrpc":"2.0","id":1,{make},}}', f'// c\n{{"jsonrpc":"2.0","id":1,{make}}}',
                  '{"jsonrpc":"2.0","id":1,"method":["VM.get_all"],"params":[]}',
                  '{"jsonrpc":"2.0","id":1,"method":"VM.get_all","params":"x"}')
        with self.unharmed():
            for body in bodies:
                with self.subTest(body):
                    self.assert_fault(self.post("json2", body.encode()))
            answer = self.post("json1", b'{"id":null,"method":"VM.get_all","params":[]}')
            self.assert_error(answer, "INVALID_VALUE", "request")
            for inside in ("<params/>", "<methodName>a</methodName><methodName>b</methodName>",
                           "<methodName>VM.get_all</methodName><params><param/><param/></params>x"
                           "<params/>", "<methodName/><params><value/></params>"):
                self.post("xml", f"<methodCall>{inside}</methodCall>".encode())

    def test_many_parameters_and_many_values_are_refused(self):
        me = self.client.session
        with self.unharmed():
            for protocol in PROTOCOLS:
                for n in (63, 64, 1000, 100_000):
                    body = encode(protocol, "VM.get_all", [me] + [""] * n)
                    answer = self.post(protocol, body[:MAX_BODY])
                    if n == 63:
                        self.assert_error(answer, "MESSAGE_PARAMETER_COUNT_MISMATCH",
                                          "VM.get_all", "0", "63")
                    else:
                        self.assert_fault(answer)
                for huge in ([0] * 1_000_000, {f"{i:x}": "" for i in range(100_000)},
                             [[]] * 500_000, ["x" * (MAX_BODY - 1000)]):
                    body = encode(protocol, "VM.get_all", [me, huge])[:MAX_BODY]
                    answer = self.post(protocol, body)
                    self.assertTrue(answer.fault or answer.error, answer)

    def test_before_a_login_it_is_the_same(self):
        """None of it takes a session to be refused, nor makes the loop stand still."""
        with self.unharmed():
            for protocol in PROTOCOLS:
                for huge in ({f"{i:x}": "v" for i in range(5_000)}, ["x"] * 5_000,
                             "\u00e9" * 400_000):
                    answer = self.post(protocol, encode(
                        protocol, "VM.set_other_config", ["nobody", NULL, huge]))
                    self.assertIn(answer.error[0], ("SESSION_INVALID", "FIELD_TYPE_ERROR"))


class Xml(HostileCase):
    def test_document_types_are_a_fault_whatever_they_declare(self):
        laughs = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(10))
        types = (f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]>',
                 '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
                 '<!DOCTYPE x [<!ENTITY % e SYSTEM "http://127.0.0.1:1/x.dtd"> %e;]>',
                 '<!DOCTYPE x SYSTEM "file:///etc/passwd">', '<!DOCTYPE x PUBLIC "a" "b">',
                 "<!DOCTYPE x>", '<!DOCTYPE x [<!ENTITY e "' + "e" * (MAX_BODY - 1000) + '">]>',
                 '<!DOCTYPE x [<!ATTLIST methodCall a CDATA "v">]>')
        with self.unharmed():
            for doctype in types:
                for entity in ("&l10;", "&e;", ""):
                    body = f"<?xml version='1.0'?>{doctype}<methodCall><methodName>VM.get_all" \
                           f"</methodName><params><param><value>{entity}</value></param></params>" \
                           "</methodCall>"
                    self.assert_fault(self.post("xml", body.encode()))

    def test_one_tag_of_megabytes_is_a_fault(self):
        attributes = " ".join(f'a{i}=""' for i in range(80_000))
        with self.unharmed():
            for body in (f"<methodCall {attributes}/>", "<" + "a" * (MAX_BODY - 1000) + "/>",
                         "<methodCall a='" + "x" * (MAX_BODY - 1000) + "'/>",
                         "<!--" + "x" * (MAX_BODY - 1000) + "-->", "<?x " + "y" * (MAX_BODY - 1000) + "?>",
                         "<a:" + "b:" * 400_000 + "/>"):
                self.assert_fault(self.post("xml", body.encode()))


if __name__ == "__main__":
    main()
