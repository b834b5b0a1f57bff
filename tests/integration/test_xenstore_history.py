"""The xenstore's history as clients, flags and git tell it: who changed what, the tree at a moment."""
import json
import os
import random
import struct
import subprocess
import socket
import tempfile
import unittest

import harness
from harness import Failure
from xenstore_git import Repository

READ, TRANSACTION_START, TRANSACTION_END, WRITE, MKDIR, RM, SET_PERMS, ERROR = 2, 6, 7, 11, 12, 13, 14, 16


class Xenstore:
    """A connection to the daemon's xenstore, as domain 0."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(harness.DEADLINE)
        self.socket.connect(path)

    def take(self, n):
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            if not more:
                raise AssertionError("the connection was closed")
            data += more
        return data

    def send(self, kind, body, transaction=0):
        self.socket.sendall(struct.pack("=IIII", kind, 0, transaction, len(body)) + body)

    def reply(self):
        kind, _, _, length = struct.unpack("=IIII", self.take(16))
        body = self.take(length)
        if kind == ERROR:
            raise Failure(body.rstrip(b"\0").decode(), [])
        return body

    def ask(self, kind, body, transaction=0):
        self.send(kind, body, transaction)
        return self.reply()

    def write(self, path, value, transaction=0):
        self.ask(WRITE, path.encode() + b"\0" + value, transaction)

    def remove(self, path, transaction=0):
        self.ask(RM, path.encode() + b"\0", transaction)

    def begin(self):
        return int(self.ask(TRANSACTION_START, b"\0").rstrip(b"\0"))

    def end(self, transaction, commit=True):
        self.ask(TRANSACTION_END, b"T\0" if commit else b"F\0", transaction)

    def close(self):
        self.socket.close()


class XenstoreCase(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = harness.Daemon(*cls.daemon_options)
        cls.address = cls.daemon.serve_xenstore()
        cls.addClassCleanup(cls.daemon.clear)
        cls.daemon.start()

    def setUp(self):
        super().setUp()
        self.store = self.connect()

    def connect(self):
        store = Xenstore(self.address)
        self.addCleanup(store.close)
        return store

    def changes(self, **query):
        """All of them, through all pages."""
        found, after = [], ""
        while True:
            answer = self.client("History.get_xenstore_changes", {**query, "after": after})
            found += answer["changes"]
            after = answer["next"]
            if not after:
                return found

    def flag(self, *flag, fails=False):
        run = subprocess.run([harness.XENOLITHD, "--state-dir", self.daemon.state, *flag],
                             capture_output=True, timeout=harness.DEADLINE, check=False)
        self.assertEqual(run.returncode != 0, fails, run.stderr)
        return run.stderr.decode() if fails else run.stdout

    def flag_json(self, query):
        return [json.loads(line) for line in
                self.flag("--xenstore-history", query + " json").splitlines()]

    def bounds(self):
        return self.client("History.get_xenstore_bounds")

    def generation(self):
        return self.bounds()["newest"]["generation"]

    def listed(self, *path):
        """What xenstore-ls shows."""
        return subprocess.run(["xenstore-ls", "-f", "-p", *path], capture_output=True, check=True,
                              timeout=harness.DEADLINE,
                              env={**os.environ, "XENSTORED_PATH": self.address}).stdout

    def repository(self):
        scratch = tempfile.TemporaryDirectory(prefix="xn-git-")
        self.addCleanup(scratch.cleanup)
        repository = Repository(os.path.join(scratch.name, "git"))
        repository.fast_import(self.flag("--xenstore-export"))
        return repository


class Changes(XenstoreCase):
    def test_a_write_is_told_with_old_and_new_value_and_by_whom_also_after_a_crash(self):
        path = "/tool/blame"
        subprocess.run(["xenstore-write", path, "before"], check=True,
                       env={**os.environ, "XENSTORED_PATH": self.address})
        self.store.write(path, b"after")
        told = self.changes(path=path)
        self.assertEqual([(c["operation"], c["old"], c["new"]) for c in told],
                         [("create", None, "before"), ("set", "before", "after")])
        self.assertEqual({c["domain"] for c in told}, {0})
        self.assertEqual(self.flag_json("path=" + path), told)  # beside the daemon
        self.daemon.kill()
        self.assertEqual(self.flag_json("path=" + path), told)  # without one
        text = self.flag("--xenstore-history", "path=" + path).decode()
        self.assertIn('"before" -> "after"  by domain 0 (birth', text)
        self.daemon.start()
        self.client = self.daemon.client()
        self.assertEqual(self.changes(path=path), told)
        self.connect().write(path, b"later")
        self.assertEqual(self.changes(path=path)[:2], told)
        self.assertEqual(self.changes(path=path)[2]["old"], "after")

    def test_a_transaction_is_one_generation_and_none_when_it_is_given_up(self):
        one, other = self.store.begin(), self.store.begin()
        self.store.write("/tool/tx/a", b"1", one)
        self.store.write("/tool/tx/b", b"2", one)
        self.store.write("/tool/tx/c", b"3", other)
        self.store.end(one)
        self.store.end(other, commit=False)
        told = self.changes(path="/tool/tx")
        self.assertEqual([c["path"] for c in told], ["/tool/tx", "/tool/tx/a", "/tool/tx/b"])
        self.assertEqual({c["transaction"] for c in told}, {one})
        self.assertEqual(len({c["generation"] for c in told}), 1)
        self.assertEqual(self.changes(transaction=str(one), path="/tool/tx"), told)

    def test_between_two_times_and_in_both_protocols(self):
        for i in range(6):
            self.store.write("/tool/times", str(i).encode())
        whole = self.changes(path="/tool/times")
        query = {"path": "/tool/times", "since": whole[2]["time"], "until": whole[4]["time"]}
        wanted = [c for c in whole if whole[2]["time"] <= c["time"] <= whole[4]["time"]]
        self.assertEqual(self.changes(**query), wanted)
        self.assertEqual(self.changes(path="/tool/times", order="newest", limit="2"), whole[::-1])
        xml = self.daemon.xml()
        xml.session = self.client.session
        again = xml("History.get_xenstore_changes", query)["changes"]
        self.assertEqual([c["new"] for c in again], [c["new"] for c in wanted])

    def test_what_is_wrong_is_named(self):
        for code, method, params in (
                ("INVALID_VALUE", "History.get_xenstore_changes", [{"colour": "red"}]),
                ("INVALID_VALUE", "History.get_xenstore_changes", [{"path": "local"}]),
                ("INVALID_VALUE", "History.get_xenstore_changes", [{"at": "now"}]),
                ("INVALID_VALUE", "History.get_xenstore_tree", ["yesterday", {}]),
                ("VALUE_NOT_SUPPORTED", "History.get_xenstore_tree", ["2100-01-01", {}]),
                ("VALUE_NOT_SUPPORTED", "History.get_xenstore_tree", ["1999-01-01", {}])):
            with self.subTest(params=params), self.fails(code):
                self.client(method, *params)
        self.assertIn("INVALID_VALUE", self.flag("--xenstore-history", "colour=red", fails=True))
        self.assertIn("no such node", self.flag("--xenstore-at", "now", "/not/there", fails=True))
        self.assertIn("future", self.flag("--xenstore-at", "2100-01-01", fails=True))


class Trees(XenstoreCase):
    def test_the_flag_prints_what_xenstore_ls_printed_then(self):
        self.store.write("/tool/bin", bytes(range(256)))
        self.store.write("/tool/empty", b"")
        self.store.ask(SET_PERMS, b"/tool/empty\0n0\0r7\0b3\0")
        before, generation = self.listed(), self.generation()
        self.store.write("/tool/bin/below", b"x")
        self.store.remove("/tool/empty")
        after, then = self.listed(), self.bounds()["newest"]["time"]
        self.assertEqual(self.flag("--xenstore-at", str(generation)), before)
        self.assertEqual(self.flag("--xenstore-at", "now"), after)
        self.assertEqual(self.flag("--xenstore-at", then), after)
        self.assertEqual(self.flag("--xenstore-at", "now", "/tool"), self.listed("/tool"))
        self.assertEqual(self.flag("--xenstore-at", "now", "/tool/bin/below"),
                         b'/tool/bin/below = "x"   (n0)\n')

    def test_the_tree_by_the_api_in_pages(self):
        for i in range(7):
            self.store.write(f"/tool/pages/{i}", b"v%d" % i)
        nodes, after = [], ""
        while True:
            page = self.client("History.get_xenstore_tree", "now",
                               {"path": "/tool/pages", "limit": "3", "after": after})
            nodes += page["nodes"]
            after = page["next"]
            if not after:
                break
        self.assertEqual([(n["path"], n["value"]) for n in nodes],
                         [("/tool/pages", "")] + [(f"/tool/pages/{i}", f"v{i}") for i in range(7)])
        self.assertEqual({n["permissions"] for n in nodes}, {"n0"})


class Git(XenstoreCase):
    def change(self, chance, names):
        path = "/tool/git/" + "/".join(chance.choices(names, k=chance.randint(1, 3)))
        transaction = self.store.begin() if chance.random() < 0.2 else 0
        for _ in range(chance.randint(1, 4) if transaction else 1):
            try:
                if chance.random() < 0.25:
                    self.store.remove(path, transaction)
                else:
                    self.store.write(path, chance.randbytes(chance.randint(0, 9)), transaction)
            except Failure as failure:
                self.assertEqual(failure.code, "ENOENT")
            path += chance.choice(["", "/x", "y"])
        if transaction:
            self.store.end(transaction)

    def test_checkouts_are_the_trees_that_were(self):
        seed = int(os.environ.get("XN_TEST_SEED", random.randrange(1 << 31)))
        print("seed", seed)
        chance = random.Random(seed)
        names = ["a", "b", "@value", "HEAD", "L" * 300]
        self.store.write("/tool/git", b"root of it")
        generations = []
        for _ in range(120):
            self.change(chance, names)
            generations.append(self.generation())
            if chance.random() < 0.03:
                self.store.close()
                self.daemon.crash_and_restart()
                self.client = self.daemon.client()
                self.store = self.connect()
        repository = self.repository()
        commits = dict((generation, commit) for commit, generation in repository.commits())
        for generation in chance.sample(sorted(set(generations)), 12):
            tree = repository.tree(commits[generation])
            printed = self.flag("--xenstore-at", str(generation)).decode().splitlines()
            shown = dict(line.split(" = ", 1) for line in printed)
            with self.subTest(seed=seed, generation=generation):
                self.assertEqual(set(tree) - {"/"}, set(shown))
                for path, (value, perms) in tree.items():
                    if path != "/":
                        perms = perms.replace(" ", ",")
                        self.assertEqual(shown[path], f'"{escaped(value)}"   ({perms})')

    def test_log_tells_who_did_what(self):
        self.store.write("/tool/log", b"one\n")
        self.store.write("/tool/log", b"two\n")
        log = self.repository().git("log", "-p", "-1", "--", "tool/log").decode()
        self.assertRegex(log, r"Author: domain 0 \(birth \d+\) <domain-0@xenstore>")
        self.assertIn("set /tool/log", log)
        self.assertIn("-one\n+two\n", log)


def escaped(value):
    """As xenstore-ls does."""
    known = {0x09: "\\t", 0x0a: "\\n", 0x0d: "\\r", 0x5c: "\\\\"}
    return "".join(known.get(c) or (chr(c) if 0x20 <= c <= 0x7e else
                                    f"\\{c:03o}" if c < 8 else f"\\x{c:02x}") for c in value)


class Bounds(XenstoreCase):
    daemon_options = ("--xenstore-history-size", "1M")

    def test_old_history_goes_and_what_is_left_is_right(self):
        self.store.write("/tool/first", b"1")
        early = self.generation()
        value, n = b"x" * 4000, 0
        while self.bounds()["oldest"]["generation"] <= early:
            for i in range(500):
                self.store.send(WRITE, b"/tool/busy/%d\0" % (i % 20) + value[:4000 - i])
            for _ in range(500):
                self.store.reply()
            n += 1
            self.assertLess(n, 60, "history is never cut")
        bounds = self.bounds()
        self.assertFalse(bounds["since_the_beginning"])
        self.assertEqual(bounds["gaps"], [])
        with self.fails("VALUE_NOT_SUPPORTED"):
            self.client("History.get_xenstore_tree", str(early), {})
        self.assertIn("the history begins at", self.flag("--xenstore-at", str(early), fails=True))
        answer = self.client("History.get_xenstore_changes", {"limit": "1"})
        self.assertFalse(answer["complete"])
        self.assertEqual(answer["changes"][0]["generation"], bounds["oldest"]["generation"] + 1)
        self.assertEqual(self.flag("--xenstore-at", "now"), self.listed())
        log = self.repository().git("log", "--reverse", "--format=%s").decode().splitlines()
        self.assertEqual(log[0], "The store as it was")
        self.assertEqual(len(log), self.generation() - bounds["oldest"]["generation"] + 1)


if __name__ == "__main__":
    harness.main()
