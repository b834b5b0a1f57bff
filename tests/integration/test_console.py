#!/usr/bin/env python3
"""CONNECT /console: a client's bytes and a guest's, from the daemon's side."""
import os
import socket
import ssl
import threading
import unittest

import harness


class Console(harness.TestCase):
    daemon_options = ("--https", "127.0.0.1:0")

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

    def connect(self, query, tls=False):
        sock = socket.create_connection(self.daemon.https_address if tls else self.daemon.address,
                                        harness.DEADLINE)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(sock)
        self.addCleanup(sock.close)
        sock.sendall(f"CONNECT /console?{query} HTTP/1.0\r\ncontent-length: 0\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = sock.recv(1)  # the guest's first words come behind it
            self.assertTrue(piece, head)
            head += piece
        return sock, int(head.split()[1])

    def open(self, tls=False):
        sock, status = self.connect(f"uuid={self.uuid}&session_id={self.client.session}", tls)
        self.assertEqual(status, 200)
        return self.greeted(sock)

    def greeted(self, sock):
        line = b""
        while not line.endswith(b"\n"):
            line += sock.recv(1)
        self.assertIn(b"pv: a simulated guest", line)
        return sock

    def test_bytes_go_both_ways(self):
        for tls in (False, True):
            sock, sent, got = self.open(tls), os.urandom(1 << 20), bytearray()
            thread = threading.Thread(target=sock.sendall, args=(sent,))
            thread.start()
            while len(got) < len(sent):
                got += sock.recv(1 << 16)
            thread.join()
            self.assertEqual(bytes(got), sent)

    def test_it_ends_with_the_guest(self):
        sock = self.open()
        self.client("VM.hard_shutdown", self.vm)
        sock.sendall(b"are you there?")
        while sock.recv(100):
            pass
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
        self.open()


if __name__ == "__main__":
    unittest.main()
