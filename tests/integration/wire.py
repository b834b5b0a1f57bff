"""
Both protocols of the XenAPI, told apart on purpose: nothing here is forgiving. Standard library
only.

    api = JsonRpc("127.0.0.1", 8080)    # or XmlRpc(...)
    api.login("root", "secret")
    api.call("VM.get_all_records")      # the session goes first by itself

Results come as they were on the wire. `typed(schema type, result)` holds one against the data model
and returns it in a form that is the same for both protocols; it raises WrongType.
"""
import http.client
import json
import re
import xml.etree.ElementTree as ElementTree

DATE = re.compile(r"\d{8}T\d\d:\d\d:\d\dZ$")
REF = re.compile(r"OpaqueRef:([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|NULL)$")


class Failure(Exception):
    """A XenAPI error."""

    def __init__(self, description):
        super().__init__(" | ".join(text[:200] for text in description))
        self.code, self.params = description[0], description[1:]


class WrongType(AssertionError):
    pass


class Date(str):
    """A date in the XenAPI's form, where XML-RPC must see that it is one."""


class _Api:
    def __init__(self, host, port):
        self._connection = http.client.HTTPConnection(host, port, timeout=120)
        self.session = None

    def login(self, user, password):
        self.session = None
        self.session = self.call("session.login_with_password", user, password)
        return self.session

    def call(self, method, *params):
        if self.session is not None:
            params = (self.session, *params)
        return self.raw(method, params)

    def post(self, path, content_type, body):
        try:
            self._connection.request("POST", path, body, {"Content-Type": content_type})
            reply = self._connection.getresponse()
            body = reply.read()
        except (http.client.HTTPException, OSError):
            self._connection.close()
            raise
        if reply.status != 200:
            raise AssertionError(f"HTTP {reply.status}: {body[:200]!r}")
        return body

    def close(self):
        self._connection.close()

    def typed(self, type_, value):
        """type_: as in schema.json."""
        kind = type_["kind"]
        if kind == "set":
            return [self.typed(type_["value"], item) for item in self._of(list, type_, value)]
        if kind == "map":
            entries = self._of(dict, type_, value)
            for key in entries:
                self._check_key(type_["key"], key)
            return {key: self.typed(type_["value"], item) for key, item in entries.items()}
        if kind in ("string", "enum", "ref"):
            return self._check_text(type_, self._of(str, type_, value))
        if kind == "bool":
            return self._of(bool, type_, value)
        if kind == "float":
            return self._of(float, type_, value)
        if kind == "void":
            if value != "":
                raise WrongType(f"{value!r} is not void")
            return None
        return {"int": self._int, "datetime": self._date}[kind](type_, value)

    @staticmethod
    def _of(python_type, type_, value):
        if type(value) is not python_type:
            raise WrongType(f"{str(value)[:200]!r} is no {type_['text']}")
        return value

    def _check_text(self, type_, value):
        if type_["kind"] == "ref" and value and not REF.match(value):
            raise WrongType(f"{value!r} is no reference")
        if type_["kind"] == "enum" and value not in self.enums[type_["name"]]:
            raise WrongType(f"{value!r} is no {type_['text']}")
        return value

    def _check_key(self, type_, key):
        if type_["kind"] == "int" and not re.match(r"-?\d+$", key):
            raise WrongType(f"{key!r} is no integer key")
        if type_["kind"] in ("enum", "ref"):
            self._check_text(type_, key)

    def _date_text(self, type_, value):
        if not DATE.match(value):
            raise WrongType(f"{value!r} is no date")
        return str(value)


class JsonRpc(_Api):
    name = "JSON-RPC"

    def raw(self, method, params):
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": list(params), "id": 7},
                          ensure_ascii=False).encode()
        reply = json.loads(self.post("/jsonrpc", "application/json", body))
        assert reply["id"] == 7 and reply["jsonrpc"] == "2.0", reply
        if "error" in reply:
            error = reply["error"]
            assert error["code"] == 1, error
            raise Failure([error["message"], *error["data"]])
        return reply["result"]

    def _int(self, type_, value):
        return self._of(int, type_, value)

    def _date(self, type_, value):
        return self._date_text(type_, self._of(str, type_, value))


ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}


class XmlRpc(_Api):
    name = "XML-RPC"

    def raw(self, method, params):
        parts = ["<?xml version='1.0'?><methodCall><methodName>", self._escape(method),
                 "</methodName><params>"]
        for param in params:
            parts.append("<param>")
            self._write(param, parts)
            parts.append("</param>")
        parts.append("</params></methodCall>")
        reply = ElementTree.fromstring(self.post("/", "text/xml", "".join(parts).encode()))
        assert reply.tag == "methodResponse", reply.tag
        answer = self._read(reply.find("params/param/value"))
        if type(answer) is not dict or "Status" not in answer:
            return answer  # system.listMethods
        if answer["Status"] == "Success":
            assert set(answer) == {"Status", "Value"}, list(answer)
            return answer["Value"]
        assert set(answer) == {"Status", "ErrorDescription"}, answer
        raise Failure(answer["ErrorDescription"])

    @staticmethod
    def _escape(text):
        return re.sub("[&<>\r]", lambda match: ESCAPES[match[0]], text)

    def _write(self, value, out):
        out.append("<value>")
        if isinstance(value, Date):
            out += ["<dateTime.iso8601>", value, "</dateTime.iso8601>"]
        elif isinstance(value, str):
            out += ["<string>", self._escape(value), "</string>"]
        elif isinstance(value, bool):
            out.append(f"<boolean>{int(value)}</boolean>")
        elif isinstance(value, int):
            out.append(f"<i8>{value}</i8>")
        elif isinstance(value, float):
            out.append(f"<double>{value!r}</double>")
        elif isinstance(value, list):
            out.append("<array><data>")
            for item in value:
                self._write(item, out)
            out.append("</data></array>")
        elif isinstance(value, dict):
            out.append("<struct>")
            for key, item in value.items():
                out += ["<member><name>", self._escape(key), "</name>"]
                self._write(item, out)
                out.append("</member>")
            out.append("</struct>")
        else:
            raise TypeError(type(value))
        out.append("</value>")

    def _read(self, value):
        if len(value) == 0:
            return value.text or ""
        (element,) = value
        if element.tag == "struct":
            members = [(member.find("name").text or "", self._read(member.find("value")))
                       for member in element]
            assert len(dict(members)) == len(members), "a member twice"
            return dict(members)
        if element.tag == "array":
            return [self._read(item) for item in element.find("data")]
        return {"boolean": lambda text: bool(int(text)), "double": float, "i4": int,
                "dateTime.iso8601": Date}[element.tag](element.text)

    def _int(self, type_, value):
        if not re.match(r"-?\d+$", self._of(str, type_, value)):
            raise WrongType(f"{value!r} is no int")
        return int(value)

    def _date(self, type_, value):
        return self._date_text(type_, self._of(Date, type_, value))
