"""What the tests with hostile clients share: bytes sent as they are, and what must be as before.

    class Bad(HostileCase):
        def test_something(self):
            with self.unharmed():
                self.refused(self.wire.call(...))

After each test: the same daemon, the same rows, no callback of the loop over 10 ms of CPU time, memory
back where it was.
"""
import contextlib
import json
import os
import socket
import sys
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

import harness  # noqa: E402 pylint: disable=wrong-import-position

NULL = "OpaqueRef:NULL"
NOBODY = "OpaqueRef:00000000-0000-4000-8000-000000000000"
PROTOCOLS = ("json1", "json2", "xml")
PATHS = {"json1": "/jsonrpc", "json2": "/jsonrpc", "xml": "/"}

MEMORY_KB = 4096  # what may stay behind: caches, the allocator's

# Rows that change without anybody's doing.
RESTLESS = {"session", "task", "host_metrics", "host_cpu", "VM_metrics", "VM_guest_metrics",
            "PIF_metrics", "VIF_metrics", "VBD_metrics"}


class Closed(Exception):
    """The daemon closed the connection."""


class Wire:
    """One connection. Whatever is sent goes out to the letter."""

    def __init__(self, address, timeout=harness.DEADLINE):
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def _more(self):
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed
        self.buffer += data

    def reply(self):
        """(status, headers, body) of the next answer."""
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.split(b"\r\n")
        headers = {name.strip().lower(): value.strip()
                   for name, _, value in (line.partition(b":") for line in lines[1:])}
        length = int(headers.get(b"content-length", 0))
        while len(self.buffer) < length:
            self._more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return int(lines[0].split()[1]), headers, body

    def is_closed(self):
        """Nothing more comes, and the end does."""
        try:
            self._more()
        except Closed:
            return True
        return False

    def post(self, path, body, headers=b""):
        head = b"POST %s HTTP/1.1\r\nHost: h\r\n%sContent-Length: %d\r\n\r\n" % (
            path if isinstance(path, bytes) else path.encode(), headers, len(body))
        self.send(head + body)
        return self.reply()


# ---- calls, by hand ----

def xml_text(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") \
               .replace("\r", "&#13;")


def xml_value(value):
    if isinstance(value, Raw):
        return value.xml
    if isinstance(value, bool):
        return f"<value><boolean>{int(value)}</boolean></value>"
    if isinstance(value, int):
        return f"<value><i8>{value}</i8></value>"
    if isinstance(value, float):
        return f"<value><double>{value!r}</double></value>"
    if isinstance(value, str):
        return f"<value>{xml_text(value)}</value>"
    if isinstance(value, list):
        return "<value><array><data>" + "".join(map(xml_value, value)) + \
            "</data></array></value>"
    return "<value><struct>" + "".join(
        f"<member><name>{xml_text(key)}</name>{xml_value(item)}</member>"
        for key, item in value.items()) + "</struct></value>"


class Raw:
    """A value that is written as it stands, for each protocol."""

    def __init__(self, json_text, xml):
        self.json, self.xml = json_text, xml


def json_value(value):
    if isinstance(value, Raw):
        return value.json
    if isinstance(value, list):
        return "[" + ",".join(map(json_value, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(json.dumps(key, ensure_ascii=False) + ":" + json_value(item)
                              for key, item in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def encode(protocol, method, params):
    """The body of a call. Lone surrogates of a text become bytes that are no UTF-8."""
    if protocol == "xml":
        text = f"<methodCall><methodName>{xml_text(method)}</methodName><params>" + \
            "".join(f"<param>{xml_value(param)}</param>" for param in params) + \
            "</params></methodCall>"
    else:
        version = '"jsonrpc":"2.0",' if protocol == "json2" else ""
        text = f'{{{version}"id":1,"method":{json.dumps(method)},' \
               f'"params":{json_value(list(params))}}}'
    return text.encode("utf-8", "surrogateescape")


class Answer:
    """What came back: .fault (a sentence), .error ([code, params...]) or .value."""

    def __init__(self, protocol, body):
        self.fault = self.error = self.value = None
        text = body.decode("utf-8")  # whatever was sent, this must be clean
        if protocol == "xml":
            self._xml(ElementTree.fromstring(text))
            return
        reply = json.loads(text)
        error = reply.get("error")
        if error is None:
            self.value = reply["result"]
        elif isinstance(error, list):  # JSON-RPC 1.0 has no place of its own for faults
            self.error = error
            if error[:2] == ["INVALID_VALUE", "request"]:
                self.fault = error[2]
        elif error["code"] == 1:
            self.error = [error["message"], *error["data"]]
        else:
            self.fault = error["message"]

    def _xml(self, reply):
        members = {m.find("name").text: m.find("value") for m in reply.iter("member")}
        if reply.find("fault") is not None:
            self.fault = "".join(members["faultString"].itertext())
        elif members.get("Status") is not None and members["Status"].text != "Success":
            self.error = ["".join(v.itertext())
                          for v in members["ErrorDescription"].find("array/data")]
        else:
            self.value = members.get("Value")

    def __repr__(self):
        return repr(self.fault or self.error or self.value)[:300]


# ---- cases ----

class HostileCase(harness.TestCase):
    """The daemon is the class's; self.client is a friend, self.wire the enemy's connection."""

    def setUp(self):
        super().setUp()
        self.wire = Wire(self.daemon.address)
        self.addCleanup(lambda: self.wire.close())  # the one that is then

    def call(self, protocol, method, *params, session=None):
        """An Answer. The session goes first by itself unless there is none to be (False)."""
        if session is not False:
            params = (session or self.client.session, *params)
        return self.post(protocol, encode(protocol, method, params))

    def post(self, protocol, body):
        status, headers, reply = self.wire.post(PATHS[protocol], body)
        self.assertEqual(status, 200, reply[:200])
        wanted = b"text/xml" if protocol == "xml" else b"application/json"
        self.assertEqual(headers[b"content-type"], wanted)
        return Answer(protocol, reply)

    def assert_fault(self, answer):
        self.assertTrue(answer.fault, answer)

    def assert_error(self, answer, code, *params):
        self.assertIsNotNone(answer.error, answer)
        self.assertEqual(answer.error[:1 + len(params)], [code, *params])

    # -- what must be as before --

    def rows(self):
        """Every row that only changes when somebody changes it."""
        state = {}
        for event in self.client("event.from", ["*"], "", 5.0)["events"]:
            if event["class"] not in {name.lower() for name in RESTLESS} and \
                    event["class"] not in RESTLESS:
                snapshot = event["snapshot"]
                for restless in ("memory_free", "last_updated", "physical_utilisation"):
                    snapshot.pop(restless, None)
                state[event["class"], event["ref"]] = snapshot
        return state

    def stalls(self):
        return json.loads(self.client("Diagnostics.get"))["loop"]["over_10ms"]

    def memory_kb(self):
        with open(f"/proc/{self.daemon.process.pid}/status", encoding="ascii") as status:
            return int(next(line for line in status if line.startswith("VmRSS")).split()[1])

    @contextlib.contextmanager
    def unharmed(self, memory_kb=MEMORY_KB):
        rows, stalls, files = self.rows(), self.stalls(), self.daemon.open_files()
        memory = self.memory_kb()
        yield
        self.assertEqual(self.rows(), rows)
        self.assertLessEqual(self.daemon.open_files(), files + 4)  # the journal's come and go
        if not harness.IS_SANITIZED:
            self.assertEqual(self.stalls() - stalls, 0, "the loop stood still")
            self.assertLess(self.memory_kb() - memory, memory_kb, "memory stays behind")


main = harness.main
