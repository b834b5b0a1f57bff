"""Connections that do not behave, in numbers: idle, slow, half, broken, deaf."""
import json
import os
import resource
import socket
import ssl
import time
import unittest

import siege
from siege import call, harness, read_reply, read_to_end, request

HURRY = ("--http-header-idle", "1", "--http-header-time", "2", "--http-body-idle", "1",
         "--http-body-time", "2", "--http-handshake-time", "5", "--http-write-idle", "2",
         "--http-linger", "1")


def client_hello():
    """What a client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl._create_unverified_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    session = context.wrap_bio(incoming, outgoing)
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


class Idle(siege.TestCase):
    daemon_options = ("--https", "127.0.0.1:0")

    def test_ten_thousand_idle_connections_cost_little_and_are_all_kept(self):
        number = min(10000, siege.raise_descriptor_limit() - 1000)
        before = self.rss()
        ask = call("session.get_uuid", "none")
        socks = []
        for _ in range(number):
            sock = self.connect()
            sock.sendall(ask)
            socks.append(sock)
            if len(socks) % 100 == 0:
                for late in socks[-100:]:
                    self.assertEqual(read_reply(late)[0], 200)
        if not harness.IS_SANITIZED:
            self.assertLess((self.rss() - before) / number, 4096)
        for i in range(0, number, 100):
            for sock in socks[i:i + 100]:
                sock.sendall(ask)
            for sock in socks[i:i + 100]:
                self.assertEqual(read_reply(sock)[0], 200)
        self.lift_siege()
        self.wait_until(lambda: self.daemon.open_files() < 100, "they are closed")
        self.assert_back_to(before)

    def test_idle_tls_connections_cost_less_than_40_kb_and_are_all_kept(self):
        number = 300
        self.connect_tls()  # what the first one allocates for all
        before = self.rss()
        ask = call("session.get_uuid", "none")
        socks = []
        for _ in range(number):
            sock = self.connect_tls()
            sock.sendall(ask)
            self.assertEqual(read_reply(sock)[0], 200)
            socks.append(sock)
        if not harness.IS_SANITIZED:
            self.assertLess((self.rss() - before) / number, 40 << 10)
        for sock in socks:
            sock.sendall(ask)
            self.assertEqual(read_reply(sock)[0], 200)
        self.lift_siege()
        self.wait_until(lambda: self.daemon.open_files() < 100, "they are closed")
        self.assert_back_to(before)


class Capped(siege.TestCase):
    daemon_options = ("--https", "127.0.0.1:0", "--http-connections-tls", "20",
                      "--http-strangers-tcp", "50")

    def test_beyond_the_cap_tls_is_refused_and_room_is_there_again_afterwards(self):
        for _ in range(20):
            self.connect_tls()
        for _ in range(5):
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                self.connect_tls()
        self.besiegers[0].close()
        self.lift_siege()
        self.wait_until(lambda: self.daemon.open_files() < 60, "they are closed")
        self.connect_tls()

    def test_at_the_cap_of_strangers_the_longest_idle_goes_and_sessions_stay(self):
        for _ in range(300):
            sock = self.connect()
            sock.sendall(call("session.get_uuid", "none"))
            self.assertEqual(read_reply(sock)[0], 200)
        self.assertLess(self.daemon.open_files(), 120)

    def test_who_logged_in_and_called_nothing_yet_is_no_stranger(self):
        sock = self.connect()
        sock.sendall(call("session.login_with_password", "root", harness.PASSWORD, "1.0", "quiet"))
        session = json.loads(read_reply(sock)[1])["result"]
        for _ in range(100):
            read_reply(self.ask("session.get_uuid", "none"))
        sock.sendall(call("session.get_uuid", session, session))
        self.assertIn("result", json.loads(read_reply(sock)[1]))

    def ask(self, *words):
        sock = self.connect()
        sock.sendall(call(*words))
        return sock


class FewDescriptors(unittest.TestCase):
    """A daemon that may open 256 files, and 600 who want a connection."""

    def test_the_daemons_own_user_reaches_it_over_the_unix_socket(self):
        class Daemon(harness.Daemon):
            popen = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))}

        daemon = Daemon("--https", "127.0.0.1:0")
        self.addCleanup(daemon.clear)
        daemon.start()
        self.assertIn("the limit of open files allows", daemon.log_text())
        crowd = []
        for i in range(600):
            sock = socket.create_connection(daemon.address if i % 2 else daemon.https_address,
                                            timeout=harness.DEADLINE)
            self.addCleanup(sock.close)
            crowd.append(sock)
            try:  # a half of each kind is in the middle of something
                sock.sendall(b"POST / HTTP/1.1\r\nX-" if i % 2 else client_hello())
            except OSError:
                pass
        for _ in range(20):
            local = daemon.local()
            local.login("root", harness.PASSWORD)
            self.assertEqual(len(local("host.get_all")), 1)
        self.assertLess(daemon.open_files(), 240)
        client = daemon.client()  # the longest idle of the crowd goes for it
        self.assertEqual(len(client("host.get_all")), 1)
        daemon.close_clients()


class Slow(siege.TestCase):
    daemon_options = ("--https", "127.0.0.1:0", *HURRY)

    def assert_all_are_told_or_cut(self, socks, status):
        """Each gets this status, or is closed without one (None), within the deadline."""
        for sock in socks:
            sock.settimeout(harness.DEADLINE)
            got = read_to_end(sock)
            if status:
                self.assertIn(b" %d " % status, got[:20])
                self.assertIn(b"Connection: close", got)
            else:
                self.assertEqual(got, b"")

    def drip(self, socks, rounds):
        """A byte on each, again and again, never a whole request."""
        for _ in range(rounds):
            for sock in socks:
                try:
                    sock.send(b"a")
                except OSError:
                    pass
            time.sleep(0.3)

    def test_heads_that_come_byte_by_byte_are_answered_408(self):
        socks = [self.connect() for _ in range(300)]
        for sock in socks:
            sock.sendall(b"POST /jsonrpc HTTP/1.1\r\nX-Slow: ")
        self.drip(socks, 8)
        self.assert_all_are_told_or_cut(socks, 408)

    def test_bodies_that_come_byte_by_byte_are_answered_408(self):
        socks = [self.connect() for _ in range(150)]
        for sock in socks:
            sock.sendall(b"POST /jsonrpc HTTP/1.1\r\nContent-Length: 500000\r\n\r\n")
        more = [self.connect() for _ in range(150)]
        for sock in more:
            sock.sendall(b"POST /jsonrpc HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n")
        self.drip(socks + more, 8)
        self.assert_all_are_told_or_cut(socks + more, 408)

    def test_those_that_say_nothing_at_all_are_closed(self):
        self.assert_all_are_told_or_cut([self.connect() for _ in range(300)], None)

    def test_a_thousand_half_handshakes_do_not_keep_others_out(self):
        hello = client_hello()
        before = self.rss()
        socks = []
        for i in range(1000):
            sock = self.connect(self.daemon.https_address)
            # Nothing, a part of the first record, all of it, or no TLS at all.
            sock.sendall((b"", hello[:40], hello, b"\x16\x03\x01\xff\xff" + os.urandom(50))[i % 4])
            socks.append(sock)
            if i % 200 == 100:
                good = self.connect_tls()
                good.sendall(call("session.get_uuid", "none"))
                self.assertEqual(read_reply(good)[0], 200)
        for sock in socks:
            read_to_end(sock)  # a half answer may come; what counts is that it ends
        self.lift_siege()
        self.wait_until(lambda: self.daemon.open_files() < 60, "they are closed")
        self.assert_back_to(before)

    def test_noise_on_the_tls_port_is_closed_at_once(self):
        for noise in (b"\x00" * 100, os.urandom(300) + b"\xff", b"\x16\x03\x01\x00\x05hello",
                      b"\x80\x2e\x01\x00\x02", b"\x15\x03\x03\x00\x02\x02\x28", b"\xff"):
            sock = self.connect(self.daemon.https_address)
            sock.sendall(noise)
            read_to_end(sock)


class Deaf(siege.TestCase):
    """Who asks for 100 MB and reads none of it."""

    daemon_options = ("--https", "127.0.0.1:0", *HURRY)
    number, size = 100, 56000

    def setUp(self):
        super().setUp()
        if len(self.client("message.get_all")) < self.number:
            pool = self.client("pool.get_uuid", self.client("pool.get_all")[0])
            for i in range(self.number):
                self.client("message.create", f"m{i}", 5, "Pool", pool, "x" * self.size)
            self.files_before = self.daemon.open_files()

    def assert_deaf_is_cut(self, sock):
        ask = call("message.get_all_records", self.client.session)
        before = self.rss()
        most = 0
        sock.setblocking(False)
        left = ask * 20  # 5.6 MB each
        end = time.monotonic() + harness.DEADLINE
        while True:
            self.assertLess(time.monotonic(), end, "it is never cut")
            try:
                if left:
                    left = left[sock.send(left):]
                else:
                    if self.is_reset(sock):
                        break
            except (BlockingIOError, ssl.SSLWantWriteError):
                pass
            except OSError:
                break
            most = max(most, self.rss() - before)
            time.sleep(0.02)
        if not harness.IS_SANITIZED:
            self.assertLess(most, 30 << 20)

    @staticmethod
    def is_reset(sock):
        """Whether the daemon has gone, although what it sent before is still unread."""
        established = 1
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != established

    def test_in_plain(self):
        self.assert_deaf_is_cut(self.connect())

    def test_over_tls(self):
        self.assert_deaf_is_cut(self.connect_tls())


class Broken(siege.TestCase):
    daemon_options = ("--https", "127.0.0.1:0", *HURRY)

    def ask(self, raw, connect=None, end=False):
        sock = (connect or self.connect)()
        sock.sendall(raw)
        if end:
            sock.shutdown(socket.SHUT_WR)
        return read_to_end(sock)

    def test_bodies_that_are_not_what_they_say(self):
        head = b"POST /jsonrpc HTTP/1.1\r\n"
        for status, raw in (
                (413, head + b"Content-Length: 99999999999\r\n\r\n"),
                (400, head + b"Content-Length: 99999999999999999999999\r\n\r\n"),
                (400, head + b"Content-Length: -5\r\n\r\n"),
                (400, head + b"Content-Length: 5x\r\n\r\nhello"),
                (400, head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
                (400, head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                (400, head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
                (400, head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n"),
                (413, head + b"Transfer-Encoding: chunked\r\n\r\n7fffffff\r\n"),
                (400, head + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"),
                (431, head + b"X: " + b"y" * 20000),
                (431, head + b"X: y\r\n" * 200 + b"\r\n"),
                (414, b"GET /" + b"y" * 20000),
                (400, b"\x00\x01\x02\x03\r\n\r\n"),
                (505, b"GET / HTTP/9.9\r\n\r\n")):
            for connect in self.connect, self.connect_tls:
                got = self.ask(raw, connect)
                self.assertIn(b" %d " % status, got[:20], raw[:80])

    def test_bodies_that_end_too_early_get_no_answer_and_do_no_harm(self):
        whole = call("session.get_uuid", "none")
        for raw in (whole[:-1], whole[:30], b"POST /jsonrpc HTTP/1.1\r\nContent-Length: 1000\r\n\r\nx",
                    b"POST /jsonrpc HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"):
            self.assertEqual(self.ask(raw, end=True), b"", raw)
            sock = self.connect_tls()  # and TLS without a farewell
            sock.sendall(raw)
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def test_many_requests_in_one_go_are_answered_in_order(self):
        raw = b"".join(request({"jsonrpc": "2.0", "id": i, "method": "session.get_uuid",
                                "params": ["none"]}) for i in range(500))
        for connect in self.connect, self.connect_tls:
            sock = connect()
            sock.sendall(raw)
            got = b""
            while got.count(b'"id":') < 500:
                got += sock.recv(65536)
            self.assertEqual([int(part.split(b"}", 1)[0]) for part in got.split(b'"id":')[1:]],
                             list(range(500)))

    def test_connections_reset_in_the_middle_leave_nothing(self):
        whole = call("message.get_all_records", self.client.session)
        for i in range(300):
            sock = self.connect()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.sendall(whole[:i % len(whole) + 1] * (1 + i % 3))
            sock.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
