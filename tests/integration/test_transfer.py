"""Files over HTTP, plain and TLS: virtual machines as archives, disks, the database as XML."""
import base64
import contextlib
import http.client
import re
import socket
import ssl
import threading
import unittest
import xml.etree.ElementTree
from urllib.parse import urlencode

import harness
from harness import DEADLINE, PASSWORD, wait_for_task

MIB = 1 << 20


def unprotected(text):
    """White space as attributes of the dump carry it."""
    return re.sub("%(.)", lambda m: {".": " ", "t": "\t", "n": "\n", "r": "\r", "%": "%"}[m[1]], text)


def sexpr(text):
    """A set or map of the dump: nested lists of texts."""
    stack = [[]]
    for quoted, bracket in re.findall(r"'((?:[^'\\]|\\.)*)'|([()])", text, re.S):
        if bracket == "(":
            stack.append([])
        elif bracket == ")":
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(re.sub(r"\\(.)", r"\1", quoted, flags=re.S))
    return stack[0][0]


class Transfers(harness.TestCase):
    daemon_options = ("--https", "127.0.0.1:0")

    def connection(self, tls=False):
        if not tls:
            return http.client.HTTPConnection(*self.daemon.address, timeout=4 * DEADLINE)
        anybody = ssl.create_default_context()
        anybody.check_hostname = False
        anybody.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(*self.daemon.https_address, timeout=4 * DEADLINE,
                                           context=anybody)

    def get(self, path, tls=False, **query):
        """Status, headers and the whole body."""
        query.setdefault("session_id", self.client.session)
        with contextlib.closing(self.connection(tls)) as connection:
            connection.request("GET", path + "?" + urlencode(query))
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def get_as_xe_does(self, path, tls=False, **query):
        """HTTP/1.0 without any header: the body ends where the connection does."""
        query.setdefault("session_id", self.client.session)
        connection = self.connection(tls)
        connection.connect()
        with contextlib.closing(connection.sock) as sock:
            sock.sendall(f"GET {path}?{urlencode(query)} HTTP/1.0\r\n\r\n".encode())
            answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        head, body = answer.split(b"\r\n\r\n", 1)
        return int(head.split()[1]), head, body

    def new_task(self):
        return self.client("task.create", "transfer", "")

    def ended(self, task):
        return wait_for_task(self.client, task)


class Dump(Transfers):
    def rows(self, text):
        root = xml.etree.ElementTree.fromstring(text)
        self.assertEqual(root.tag, "database")
        manifest = {pair.get("key"): pair.get("value") for pair in root.find("manifest")}
        self.assertEqual(manifest["schema_major_vsn"], "5")
        self.assertGreater(int(manifest["generation_count"]), 0)
        return {table.get("name"): {row.get("ref"): row.attrib for row in table}
                for table in root.findall("table")}

    def test_all_rows_come_whole_over_tcp_and_tls(self):
        template = self.client("VM.get_by_name_label", "Other install media")[0]
        vm = self.client("VM.clone", template, "it's <a> 100% \"new\" &\tone\\")
        self.client("VM.set_tags", vm, ["it's", "back\\slash", "two words"])
        self.client("VM.add_to_other_config", vm, "key of 'it'", "line\nline")
        records = self.client("VM.get_all_records")
        for tls in (False, True):
            for get in (self.get, self.get_as_xe_does):
                status, _, body = get("/pool/xmldbdump", tls)
                self.assertEqual(status, 200)
                tables = self.rows(body)
                self.assertEqual(tables["VM"].keys(), records.keys())
        row = {key: unprotected(value) for key, value in tables["VM"][vm].items()}
        self.assertEqual(list(row)[:3], ["ref", "__ctime", "__mtime"])
        self.assertEqual(list(row)[3:], sorted(list(row)[3:]))
        record = records[vm]
        self.assertEqual(row["_ref"], vm)
        self.assertEqual(row["uuid"], record["uuid"])
        self.assertEqual(row["name__label"], record["name_label"])
        self.assertEqual(row["is_a_template"], "true")
        self.assertEqual(row["memory__static_max"], str(record["memory_static_max"]))
        self.assertEqual(sorted(sexpr(row["tags"])), sorted(record["tags"]))
        self.assertEqual(dict(sexpr(row["other_config"])), record["other_config"])
        self.assertEqual(tables["session"], {})
        self.assertEqual(tables["pool"].keys(), set(self.client("pool.get_all")))

    def test_it_is_one_moment(self):
        """The label is always one ahead of the description, or equal."""
        template = self.client("VM.get_by_name_label", "Other install media")[0]
        vm = self.client("VM.clone", template, "0")
        self.client("VM.set_name_description", vm, "0")
        over = threading.Event()

        def count_up(client):
            n = 0
            while not over.is_set():
                n += 1
                client("VM.set_name_label", vm, str(n))
                client("VM.set_name_description", vm, str(n))
        writer = threading.Thread(target=count_up, args=(self.client.another(),))
        writer.start()
        try:
            for _ in range(10):
                row = self.rows(self.get("/pool/xmldbdump")[2])["VM"][vm]
                self.assertIn(int(row["name__label"]) - int(row["name__description"]), (0, 1))
        finally:
            over.set()
            writer.join()

    def test_a_clients_task_succeeds_with_it(self):
        task = self.new_task()
        status, headers, _ = self.get("/pool/xmldbdump", task_id=task)
        self.assertEqual((status, headers["task-id"]), (200, task))
        record = self.ended(task)
        self.assertEqual((record["status"], record["result"]), ("success", "<value></value>"))

    def test_only_admins_get_it(self):
        status, headers, _ = self.get("/pool/xmldbdump", session_id="OpaqueRef:nobody")
        self.assertEqual(status, 401)
        self.assertIn("get_pool_xml_db_sync", headers["WWW-Authenticate"])
        with contextlib.closing(self.connection()) as connection:
            login = base64.b64encode(f"root:{PASSWORD}".encode()).decode()
            connection.request("GET", "/pool/xmldbdump", headers={"Authorization": "Basic " + login})
            self.assertEqual(connection.getresponse().status, 200)

    def test_who_hangs_up_fails_the_task(self):
        template = self.client("VM.get_by_name_label", "Other install media")[0]
        for _ in range(40):
            self.client("VM.set_name_description", self.client("VM.clone", template, "large"),
                        "x" * 60000)
        task = self.new_task()
        query = urlencode({"session_id": self.client.session, "task_id": task})
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(self.daemon.address)
        sock.sendall(f"GET /pool/xmldbdump?{query} HTTP/1.0\r\n\r\n".encode())
        sock.recv(100)
        sock.close()
        self.assertEqual(self.ended(task)["error_info"][0], "CLIENT_ERROR")


if __name__ == "__main__":
    harness.main()
