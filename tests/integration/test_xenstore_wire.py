"""The server of the xenstore protocol, byte by byte: a table of requests that it and Debian's C
xenstored answer alike, and what no other server is needed for."""
import os
import unittest

import harness
import xs_wire
from xs_wire import (CONTROL, DIRECTORY, DIRECTORY_PART, ERROR, GET_DOMAIN_PATH, GET_FEATURE, GET_PERMS,
                     GET_QUOTA, INTRODUCE, IS_DOMAIN_INTRODUCED, MKDIR, READ, RELEASE, RESET_WATCHES,
                     RESTRICT, RESUME, RM, SET_FEATURE, SET_PERMS, SET_QUOTA, SET_TARGET,
                     TRANSACTION_END, TRANSACTION_START, UNWATCH, WATCH, WATCH_EVENT, WRITE, Wire)

SHIM = os.environ.get("XENSTORED_SHIM", "")

# (operation, body[, transaction]) in this order on one connection: (request, what both answer). A
# transaction is given by its number on the connection.
SAME = [
    # writing and reading
    (WRITE, b"/t/a\0one"), (READ, b"/t/a\0"), (READ, b"/t/a"), (READ, b""), (READ, b"\0"),
    (READ, b"/t/a\0more\0"), (READ, b"/t/a\0\0"), (READ, b"/t/none\0"), (READ, b"/t/none/below\0"),
    (WRITE, b"/t/a"), (WRITE, b""), (WRITE, b"/t/a\0"), (READ, b"/t/a\0"),
    (WRITE, b"/t/bin\0\0\1\xff\0x"), (READ, b"/t/bin\0"),
    (WRITE, b"/t/deep/er/still\0v"), (READ, b"/t/deep/er\0"), (READ, b"/t/deep/er/still\0"),
    (WRITE, b"/t/long\0" + b"v" * 1900), (READ, b"/t/long\0"),
    (WRITE, b"/t/max\0" + b"v" * (4096 - 7)), (READ, b"/t/max\0"), (RM, b"/t/max\0"),
    (RM, b"/t/long\0"),
    # paths
    (WRITE, b"relative\0x"), (READ, b"relative\0"), (READ, b"/local/domain/0/relative\0"),
    (READ, b"//\0"), (READ, b"/t//a\0"), (READ, b"/t/a/\0"), (READ, b"/\0"), (READ, b"a b\0"),
    (READ, b"/t/\xc3\xa4\0"), (READ, b"/t/a.b\0"), (READ, b"@releaseDomain\0"), (READ, b"@nothing\0"),
    (WRITE, b"@releaseDomain\0x"), (WRITE, b"/\0root"), (READ, b"/\0"), (WRITE, b"/\0"),
    (WRITE, b"/t/-_@\0x"), (READ, b"/t/-_@\0"), (RM, b"/t/-_@\0"), (WRITE, b"/t/x@y\0x"),
    (RM, b"/t/x@y\0"), (MKDIR, b"/local/domain/\0"), (READ, b"/local/domain/\0"),
    # directories
    (MKDIR, b"/t/d\0"), (MKDIR, b"/t/d\0"), (MKDIR, b"/t/d"), (MKDIR, b""), (READ, b"/t/d\0"),
    (MKDIR, b"/t/e/f/g\0"), (DIRECTORY, b"/t/e\0"), (DIRECTORY, b"/t\0"), (DIRECTORY, b"/t/d\0"),
    (DIRECTORY, b"/t/none\0"), (DIRECTORY, b"/t"), (DIRECTORY, b"@introduceDomain\0"),
    (DIRECTORY_PART, b"/t/e\0" + b"0\0"), (DIRECTORY_PART, b"/t/e\0"), (DIRECTORY_PART, b"/t/e\0" + b"2\0"),
    (DIRECTORY_PART, b"/t/e\0" + b"99\0"), (DIRECTORY_PART, b"/t/none\0" + b"0\0"),
    (DIRECTORY_PART, b"/t/d\0" + b"0\0"), (DIRECTORY_PART, b"/t/e\0" + b"0\0x\0"), (DIRECTORY_PART, b""),
    (DIRECTORY_PART, b"/t/e\0" + b"x\0"), (DIRECTORY_PART, b"/t/e\0" + b"0\0junk"),
    # removing
    (RM, b"/t/e\0"), (READ, b"/t/e/f\0"), (RM, b"/t/e\0"), (RM, b"/t/e/f\0"), (RM, b"/t/none/none\0"),
    (RM, b"/\0"), (RM, b"/t/d"), (RM, b""), (RM, b"@releaseDomain\0"),
    # permissions
    (GET_PERMS, b"/t/a\0"), (SET_PERMS, b"/t/a\0" + b"n0\0"), (GET_PERMS, b"/t/a\0"),
    (SET_PERMS, b"/t/a\0" + b"r0\0b0\0w0\0n0\0"), (GET_PERMS, b"/t/a\0"), (SET_PERMS, b"/t/a\0"),
    (SET_PERMS, b"/t/a\0x0\0"), (SET_PERMS, b"/t/a\0" + b"0\0"), (SET_PERMS, b"/t/a\0n\0"),
    (SET_PERMS, b"/t/a\0\0"), (SET_PERMS, b"/t/none\0" + b"n0\0"), (SET_PERMS, b""),
    (SET_PERMS, b"/t/a\0" + b"n0"), (SET_PERMS, b"/t/a\0" + b"b0\0r0"), (GET_PERMS, b"/t/a\0"),
    (GET_PERMS, b"/t/none\0"), (GET_PERMS, b"/t/a"), (GET_PERMS, b"@releaseDomain\0"),
    (GET_PERMS, b"@introduceDomain\0"), (SET_PERMS, b"@releaseDomain\0" + b"r0\0"),
    (GET_PERMS, b"@releaseDomain\0"), (SET_PERMS, b"@releaseDomain\0" + b"n0\0"),
    (GET_PERMS, b"/\0"),
    # transactions
    (TRANSACTION_START, b"\0"), (WRITE, b"/t/x\0in", 1), (READ, b"/t/x\0"), (READ, b"/t/x\0", 1),
    (DIRECTORY, b"/t\0", 1), (DIRECTORY, b"/t\0"), (TRANSACTION_START, b"\0", 1),
    (TRANSACTION_START, b"\0", 77), (READ, b"/t/x\0", 77), (TRANSACTION_END, b"\0", 1),
    (TRANSACTION_END, b"X\0", 1), (TRANSACTION_END, b"T", 1), (TRANSACTION_END, b"TT\0", 1),
    (TRANSACTION_END, b"T\0"), (TRANSACTION_END, b"T\0", 77), (TRANSACTION_END, b"T\0", 1),
    (TRANSACTION_END, b"T\0", 1), (READ, b"/t/x\0"), (TRANSACTION_START, b""), (RM, b"/t/x\0", 2),
    (READ, b"/t/x\0", 2), (READ, b"/t/x\0"), (TRANSACTION_END, b"F\0", 2), (READ, b"/t/x\0"),
    (TRANSACTION_START, b"\0"), (READ, b"/t/x\0", 3), (WRITE, b"/t/x\0out"),
    (WRITE, b"/t/y\0y", 3), (TRANSACTION_END, b"T\0", 3), (READ, b"/t/y\0"),
    (TRANSACTION_START, b"\0"), (WRITE, b"/t/z/1\0z", 4), (RM, b"/t/z\0", 4),
    (TRANSACTION_END, b"T\0", 4), (READ, b"/t/z\0"), (TRANSACTION_START, b"junk"),
    (SET_PERMS, b"/t/a\0" + b"n0\0", 5), (GET_PERMS, b"/t/a\0", 5), (GET_PERMS, b"/t/a\0"),
    (TRANSACTION_END, b"T\0", 5), (GET_PERMS, b"/t/a\0"), (DIRECTORY_PART, b"/t/e\0" + b"0\0", 5),
    # watches; an event that the request causes comes before its reply, the first one behind it
    (WATCH, b"/t/a\0tok\0"), (WATCH, b"/t/a\0tok\0"), (WATCH, b"/t/a\0other\0"), (WATCH, b"/t/a\0"),
    (WATCH, b""), (WATCH, b"/t/a\0tok"), (WATCH, b"/t/none/yet\0n\0"), (WRITE, b"/t/a\0two"),
    (WRITE, b"/t/a/below\0two"), (WRITE, b"/t/none/yet/at/all\0x"), (RM, b"/t/none\0"),
    (WATCH, b"rel\0r\0"), (WRITE, b"rel/x\0" + b"1"), (WRITE, b"/local/domain/0/rel\0" + b"1"), (RM, b"rel\0"),
    (WATCH, b"@introduceDomain\0i\0"), (WATCH, b"@releaseDomain\0r\0"), (WATCH, b"bad path\0t\0"),
    (WATCH, b"/t/a/\0t\0"), (SET_PERMS, b"/t/a\0r0\0"), (WATCH, b"/t/a\0\0"), (MKDIR, b"/t/a/d\0"),
    (MKDIR, b"/t/a/d\0"), (RM, b"/t/a/d\0"), (RM, b"/t/a/d\0"), (WATCH, b"/t/q\0q\0", 99),
    (TRANSACTION_START, b"\0"), (WRITE, b"/t/a\0three", 6), (WRITE, b"/t/a/n\0x", 6),
    (TRANSACTION_END, b"T\0", 6), (UNWATCH, b"/t/a\0none\0"), (UNWATCH, b"/t/a\0tok\0"),
    (UNWATCH, b"/t/a\0tok\0"), (UNWATCH, b"/t/a\0"), (UNWATCH, b""), (UNWATCH, b"bad path\0t\0"),
    (UNWATCH, b"/t/a\0other\0", 99), (UNWATCH, b"@releaseDomain\0r\0"), (UNWATCH, b"/t/a\0\0"),
    (WRITE, b"/t/a\0four"), (RESET_WATCHES, b"\0"), (RESET_WATCHES, b""), (WRITE, b"/t/q\0five"),
    (RESET_WATCHES, b"\0", 12345), (TRANSACTION_START, b"\0"), (RESET_WATCHES, b"\0", 7),
    (READ, b"/t/a\0", 7), (WATCH, b"/t/" + b"w" * 2000 + b"\0" + b"t" * 2000 + b"\0"),
    (WRITE, b"/t/" + b"w" * 2000 + b"\0x"), (RM, b"/t/" + b"w" * 2000 + b"\0"), (RESET_WATCHES, b"\0"),
    # domains
    (GET_DOMAIN_PATH, b"5\0"), (GET_DOMAIN_PATH, b"0\0"), (GET_DOMAIN_PATH, b"007\0"),
    (GET_DOMAIN_PATH, b"x\0"), (GET_DOMAIN_PATH, b"5"), (GET_DOMAIN_PATH, b""),
    (GET_DOMAIN_PATH, b"-1\0"), (GET_DOMAIN_PATH, b"5\0\0"), (IS_DOMAIN_INTRODUCED, b"0\0"),
    (IS_DOMAIN_INTRODUCED, b"77\0"), (IS_DOMAIN_INTRODUCED, b"32752\0"), (IS_DOMAIN_INTRODUCED, b"77"),
    (IS_DOMAIN_INTRODUCED, b""), (INTRODUCE, b"77\0" + b"1\0"), (INTRODUCE, b""),
    (INTRODUCE, b"77\0" + b"1\0" + b"0\0"), (INTRODUCE, b"77\0" + b"1\0x\0"),
    (WATCH, b"@introduceDomain\0i\0"), (WATCH, b"@releaseDomain\0r\0"),
    (INTRODUCE, b"77\0" + b"1\0" + b"7\0"), (IS_DOMAIN_INTRODUCED, b"77\0"),
    (INTRODUCE, b"77\0" + b"1\0" + b"7\0"), (INTRODUCE, b"78\0" + b"1\0" + b"8\0\0"),
    (SET_TARGET, b"77\0" + b"78\0"), (SET_TARGET, b"77\0"), (SET_TARGET, b"77\0" + b"79\0"),
    (SET_TARGET, b"79\0" + b"77\0"), (SET_TARGET, b""), (RESUME, b"77\0"), (RESUME, b"79\0"),
    (RESUME, b"0\0"), (RESUME, b""), (RESUME, b"77"), (RELEASE, b"79\0"), (RELEASE, b"0\0"),
    (RELEASE, b""), (RELEASE, b"77"), (MKDIR, b"/local/domain/78\0"),
    (SET_PERMS, b"/local/domain/78\0n78\0r77\0"), (GET_PERMS, b"/local/domain/78\0"),
    (RELEASE, b"77\0"), (IS_DOMAIN_INTRODUCED, b"77\0"), (RELEASE, b"77\0"), (RELEASE, b"78\0"),
    (READ, b"/local/domain/78\0"), (RESET_WATCHES, b"\0"),
    # what is none
    (WATCH_EVENT, b""), (ERROR, b"EIO\0"), (RESTRICT, b"1\0"), (27, b""), (1 << 31, b""),
    (CONTROL, b""), (CONTROL, b"\0"), (CONTROL, b"nonsense\0"), (CONTROL, b"check"),
    (CONTROL, b"check\0"), (CONTROL, b"check\0more\0"), (CONTROL, b"print\0"), (CONTROL, b"log\0maybe\0"),
    (CONTROL, b"quota\0set\0"), (CONTROL, b"quota\0set\0nodes\0x\0"), (CONTROL, b"quota-soft\0get\0"),
    (CONTROL, b"quota\0set\0none\0" + b"5\0"), (CONTROL, b"help\0me\0"),
    (RM, b"/t\0"), (DIRECTORY, b"/local/domain/0\0"),
]

# Where Debian's 4.17 answers what later versions have mended, or a leftover of the request before.
MENDED = {
    (READ, b"/t/a"), (READ, b""), (MKDIR, b"/t/d"), (MKDIR, b""), (DIRECTORY, b"/t"), (RM, b"/t/d"),
    (RM, b""), (GET_PERMS, b"/t/a"), (UNWATCH, b"bad path\0t\0"),
}

NAMES = {value: name for name, value in vars(xs_wire).items()
         if name.isupper() and isinstance(value, int)}


def comparable(kind, frame):
    """Without what may differ: the order of names, generations."""
    reply, body = frame[0], frame[3]
    if reply == DIRECTORY:
        body = b"\0".join(sorted(body.split(b"\0")))
    elif reply == DIRECTORY_PART:
        body = body.split(b"\0", 1)[1]
    return NAMES.get(reply, reply), body


def play(path, answers):
    """Each request's answer with all the frames that came with it. A last request per step makes sure
    that what is to come has come."""
    with Wire(path) as wire:
        for kind, body, *tx in SAME:
            number = wire.send(kind, body, *tx)
            marker = wire.send(GET_DOMAIN_PATH, b"1\0")
            frames = []
            while True:
                frame = wire.frame()
                if frame[0] == GET_DOMAIN_PATH and frame[1] == marker:
                    break
                assert frame[0] == WATCH_EVENT or frame[1] == number, frame
                assert frame[0] == WATCH_EVENT or frame[2] == (tx[0] if tx else 0), frame
                frames.append(comparable(kind, frame))
            answers.append(frames)
    return answers


class SameAsXenstored(unittest.TestCase):
    maxDiff = None

    def test_each_request_is_answered_as_by_the_c_xenstored(self):
        peer = xs_wire.Xenstored(SHIM)
        if not peer.program or not os.path.exists(SHIM):
            self.skipTest("Debian's xen-utils-4.17 is not installed")
        folder_daemon = harness.Daemon()
        self.addCleanup(folder_daemon.clear)
        path = folder_daemon.serve_xenstore()
        folder_daemon.start()
        peer.start()
        self.addCleanup(peer.stop)
        theirs, ours = [], []
        play(path, ours)
        play(peer.socket, theirs)
        for (kind, body, *tx), their, our in zip(SAME, theirs, ours, strict=True):
            with self.subTest(operation=NAMES.get(kind, kind), body=body[:60], tx=tx):
                if (kind, body) in MENDED:
                    self.assertEqual(our, [("ERROR", b"EINVAL\0")])
                elif (kind, body[:1]) == (GET_PERMS, b"@"):  # refused by the old one
                    self.assertEqual(our[0][0], "GET_PERMS")
                else:
                    self.assertEqual(our, their)


class NewerProtocol(unittest.TestCase):
    """What Debian's 4.17 does not know."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = harness.Daemon()
        cls.addClassCleanup(cls.daemon.clear)
        cls.path = cls.daemon.serve_xenstore()
        cls.daemon.start()

    def setUp(self):
        self.wire = Wire(self.path)
        self.addCleanup(self.wire.close)

    def refused(self, name, kind, *strings):
        with self.assertRaises(OSError) as caught:
            self.wire.ask(kind, *strings)
        self.assertEqual(str(caught.exception), name)

    def test_features(self):
        self.assertEqual(self.wire.ask(GET_FEATURE), b"7\0")
        self.assertEqual(self.wire.ask(SET_FEATURE, "90", "3"), b"OK\0")
        self.assertEqual(self.wire.ask(GET_FEATURE, "90"), b"3\0")
        self.refused("EINVAL", SET_FEATURE, "90", "8")
        self.refused("EINVAL", SET_FEATURE, "90")
        self.refused("EINVAL", GET_FEATURE, "90", "91")
        self.refused("ENOENT", GET_FEATURE, "91")
        self.wire.ask(INTRODUCE, "90", "1", "1")
        self.refused("EBUSY", SET_FEATURE, "90", "7")
        self.refused("EBUSY", SET_FEATURE, "0", "7")
        self.wire.ask(RELEASE, "90")

    def test_quotas(self):
        names = self.wire.ask(GET_QUOTA).rstrip(b"\0").split(b" ")
        self.assertLessEqual({b"nodes", b"watches", b"transactions", b"memory", b"node-size", b"path-max",
                              b"node-permissions", b"transaction-nodes", b"soft-memory"}, set(names))
        self.assertEqual(self.wire.ask(GET_QUOTA, "watches"), b"128\0")
        self.assertEqual(self.wire.ask(SET_QUOTA, "watches", "200"), b"OK\0")
        self.assertEqual(self.wire.ask(GET_QUOTA, "watches"), b"200\0")
        self.wire.ask(INTRODUCE, "91", "1", "1")
        self.assertEqual(self.wire.ask(GET_QUOTA, "91", "watches"), b"200\0")
        self.wire.ask(SET_QUOTA, "91", "watches", "7")
        self.wire.ask(SET_QUOTA, "91", "soft-memory", "4096")
        self.wire.ask(SET_QUOTA, "watches", "128")
        self.assertEqual(self.wire.ask(GET_QUOTA, "91", "watches"), b"7\0")
        self.assertEqual(self.wire.ask(GET_QUOTA, "91", "soft-memory"), b"4096\0")
        self.refused("ENOENT", GET_QUOTA, "92", "watches")
        self.refused("EINVAL", GET_QUOTA, "none")
        self.refused("EINVAL", GET_QUOTA, "91", "watches", "more")
        self.refused("EINVAL", SET_QUOTA, "watches", "-1")
        self.refused("EINVAL", SET_QUOTA, "watches")
        self.refused("EINVAL", SET_QUOTA, "x", "watches", "5")
        self.wire.ask(RELEASE, "91")

    def test_watches_with_a_depth(self):
        for depth in ("0", "1", "2"):
            self.wire.ask(WATCH, "/depth", "d" + depth, depth)
        self.refused("EINVAL", WATCH, "/depth", "x", "-1")
        self.refused("EINVAL", WATCH, "/depth", "x", "1", "2")
        for depth in ("0", "1", "2"):
            self.assertEqual(self.wire.event(), b"/depth\0d" + depth.encode() + b"\0")
        for path, told in (("/depth", "012"), ("/depth/a", "12"), ("/depth/a/b", "2"), ("/depth/a/b/c", "")):
            self.wire.ask(WRITE, path, "")
            self.wire.ask(READ, "/")
            self.assertEqual(sorted(self.wire.events),
                             [path.encode() + b"\0d" + d.encode() + b"\0" for d in told])
            self.wire.events.clear()
        self.wire.ask(RM, "/depth")

    def test_special_watches_with_a_depth_tell_the_domain(self):
        self.wire.ask(WATCH, "@introduceDomain", "i", "1")
        self.wire.ask(WATCH, "@releaseDomain", "r", "1")
        self.assertEqual([self.wire.event(), self.wire.event()],
                         [b"@introduceDomain\0i\0", b"@releaseDomain\0r\0"])
        self.wire.ask(INTRODUCE, "93", "1", "1")
        self.assertEqual(self.wire.event(), b"@introduceDomain/93\0i\0")
        self.wire.ask(RELEASE, "93")
        self.assertEqual(self.wire.event(), b"@releaseDomain/93\0r\0")


if __name__ == "__main__":
    harness.main()
