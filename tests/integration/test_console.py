#!/usr/bin/env python3
"""CONNECT /console: a client's bytes and a guest's, from the daemon's side."""
import os
import pty
import select
import socket
import ssl
import threading
import unittest

import harness
import xs_wire


class Consoles(harness.TestCase):
    def setUp(self):
        super().setUp()
        template, = self.client("VM.get_by_name_label", "Other install media")
        self.vm = self.client("VM.clone", template, "pv")
        self.client("VM.provision", self.vm)
        self.client("VM.set_domain_type", self.vm, "pv")
        self.client("VM.start", self.vm, False, False)
        console, = self.client("VM.get_consoles", self.vm)
        self.uuid = self.client("console.get_uuid", console)
        self.addCleanup(self.stop)

    def stop(self):
        if self.client("VM.get_power_state", self.vm) == "Running":
            self.client("VM.hard_shutdown", self.vm)
        self.client("VM.destroy", self.vm)

    def connect(self, query, tls=False, early=b""):
        sock = socket.create_connection(self.daemon.https_address if tls else self.daemon.address,
                                        harness.DEADLINE)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(sock)
        self.addCleanup(sock.close)
        sock.sendall(f"CONNECT /console?{query} HTTP/1.0\r\ncontent-length: 0\r\n\r\n".encode() + early)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = sock.recv(1)  # the guest's first words come behind it
            self.assertTrue(piece, head)
            head += piece
        return sock, int(head.split()[1])

    def open(self, tls=False, early=b""):
        """The guest's first words are still to come."""
        sock, status = self.connect(f"ref={self.vm}&session_id={self.client.session}", tls, early)
        self.assertEqual(status, 200)
        return sock

    def greeted(self, sock):
        line = b""
        while not line.endswith(b"\n"):
            line += sock.recv(1)
        self.assertIn(b"pv: a simulated guest", line)
        return sock

    def read_to_end(self, sock):
        return b"".join(iter(lambda: sock.recv(1 << 16), b""))


class Console(Consoles):
    daemon_options = ("--https", "127.0.0.1:0")

    def test_bytes_go_both_ways(self):
        for tls in (False, True):
            sock, sent, got = self.greeted(self.open(tls)), os.urandom(1 << 20), bytearray()
            thread = threading.Thread(target=sock.sendall, args=(sent,))
            thread.start()
            while len(got) < len(sent):
                got += sock.recv(1 << 16)
            thread.join()
            self.assertEqual(bytes(got), sent)

    def test_who_speaks_first_is_heard(self):
        for tls in (False, True):
            sock = self.greeted(self.open(tls, b"early"))
            sock.sendall(b" and late")
            got = b""
            while len(got) < len("early and late"):
                got += sock.recv(100)
            self.assertEqual(got, b"early and late")

    def test_who_speaks_first_leaves_its_place(self):
        socks = [self.open(early=b"early") for _ in range(64)]
        for sock in socks:
            sock.shutdown(socket.SHUT_WR)
            self.assertTrue(self.read_to_end(sock).endswith(b"\r\nearly"))
        self.greeted(self.open())

    def test_it_ends_with_the_guest(self):
        for end in ("VM.hard_reboot", "VM.suspend", "VM.hard_shutdown"):
            sock = self.greeted(self.open())
            self.client(end, self.vm)
            self.assertEqual(self.read_to_end(sock), b"")
            if end == "VM.suspend":
                self.client("VM.resume", self.vm, False, False)
        self.assertEqual(self.connect(f"uuid={self.uuid}&session_id={self.client.session}")[1], 404)

    def test_who_may_not_and_what_is_not_there(self):
        session = f"session_id={self.client.session}"
        self.assertEqual(self.connect(f"uuid={self.uuid}")[1], 401)
        self.assertEqual(self.connect(f"uuid={self.uuid}&session_id=none")[1], 401)
        self.assertEqual(self.connect(f"uuid=none&{session}")[1], 404)
        self.assertEqual(self.connect(f"ref=none&{session}")[1], 404)
        self.assertEqual(self.connect(session)[1], 404)

    def test_more_than_there_is_room_for_is_refused_and_room_comes_back(self):
        query = f"uuid={self.uuid}&session_id={self.client.session}"
        socks = [self.connect(query)[0] for _ in range(64)]
        self.assertEqual(self.connect(query)[1], 503)
        for sock in socks:
            self.greeted(sock).sendall(b"x")
            self.assertEqual(sock.recv(1), b"x")
        socks[0].shutdown(socket.SHUT_WR)
        self.assertEqual(socks[0].recv(1), b"")
        self.greeted(self.open())


class Deaf(Consoles):
    """A side that does not take what the other says; meanwhile that one is not seen to hang up."""

    daemon_options = ("--http-write-idle", "1")

    @classmethod
    def setUpClass(cls):
        cls.daemon = harness.Daemon(*cls.daemon_options)
        cls.addClassCleanup(cls.daemon.clear)
        cls.xenstore = cls.daemon.serve_xenstore()
        cls.daemon.start()

    def poll(self, fd, events=0):
        """With 0: the other end has gone, whatever is still to be read."""
        poll = select.poll()
        poll.register(fd, events)
        return poll.poll(harness.DEADLINE * 1000)

    def speak_on(self, sock):
        """Until nobody takes more."""
        sock.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            while True:
                sock.sendall(bytes(1 << 16))

    def test_a_client_that_does_not_read_has_its_place_for_a_while_only(self):
        sock = self.open()
        self.speak_on(sock)
        self.assertTrue(self.poll(sock))

    def test_who_hangs_up_on_a_guest_that_does_not_read_leaves_its_place(self):
        guest, terminal = pty.openpty()
        self.addCleanup(os.close, guest)
        domid = self.client("VM.get_domid", self.vm)
        with xs_wire.Wire(self.xenstore) as store:
            kind, _ = store.call(xs_wire.WRITE, f"/local/domain/{domid}/console/tty\0".encode() +
                                 os.ttyname(terminal).encode())
        self.assertEqual(kind, xs_wire.WRITE)
        sock = self.open(early=b"early\r")
        self.assertTrue(self.poll(guest, select.POLLIN))
        os.close(terminal)
        self.speak_on(sock)
        sock.close()
        self.assertTrue(self.poll(guest))


if __name__ == "__main__":
    unittest.main()
