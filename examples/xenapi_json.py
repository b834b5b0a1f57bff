"""A XenAPI client over JSON-RPC in one screen, for the examples: standard library only.

    api = XenAPI("http://127.0.0.1:8080", "root", "secret")
    for ref, vm in api.VM.get_all_records().items(): ...
    api.call("VM.start", ref, False, False)
"""
import http.client
import json
import urllib.parse


class Failure(Exception):
    """A XenAPI error: .code, .params."""

    def __init__(self, code, params):
        super().__init__(" ".join([code, *params]))
        self.code, self.params = code, params


class XenAPI:
    def __init__(self, url, user, password):
        parts = urllib.parse.urlsplit(url)
        self._conn = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=300)
        self.session = None
        self.session = self.call("session.login_with_password", user, password)

    def call(self, method, *params):
        if self.session is not None:
            params = (self.session, *params)
        request = {"jsonrpc": "2.0", "method": method, "params": list(params), "id": 0}
        self._conn.request("POST", "/jsonrpc", json.dumps(request),
                           {"Content-Type": "application/json"})
        reply = json.loads(self._conn.getresponse().read())
        if "error" in reply:
            raise Failure(reply["error"]["message"], reply["error"]["data"])
        return reply["result"]

    def __getattr__(self, cls):
        return _Class(self, cls)


class _Class:
    def __init__(self, api, name):
        self._api, self._name = api, name

    def __getattr__(self, message):
        if self._name == "Async":
            return _Class(self._api, "Async." + message)
        return lambda *params: self._api.call(self._name + "." + message, *params)
