#!/usr/bin/env python3
"""
HTTP that two readers could take for different requests, paths that lead out of where they should,
and text that is none in request lines and headers. XENOLITHD: the daemon.
"""
import base64

from hostile import harness, Closed, HostileCase, Wire, encode, main

BAD_BYTES = (b"\xff", b"\x80", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
             b"\xe2\x82", b"\x00", b"\x01", b"\x7f", b"\x0b")


class HttpCase(HostileCase):
    def attempt(self, data, wire=None):
        """What the daemon says to it: statuses until it closes or has nothing more to say."""
        wire = wire or Wire(self.daemon.address)
        statuses = []
        try:
            wire.send(data)
            while True:
                statuses.append(wire.reply()[0])
                if statuses[-1] >= 400:
                    break
                if not wire.buffer:  # one more that it must answer: all before it is answered then
                    wire.send(b"GET /marker HTTP/1.1\r\nHost: h\r\n\r\n")
        except (Closed, BrokenPipeError):
            pass
        finally:
            wire.close()
        return statuses

    def create(self, name):
        """A call that leaves a trace."""
        return encode("json2", "network.create", [self.client.session, {
            "name_label": name, "name_description": "", "other_config": {}}])


class Smuggling(HttpCase):
    def post(self, body, *headers, version=b"1.1", path=b"/jsonrpc"):
        return b"POST %s HTTP/%s\r\nHost: h\r\n%s\r\n%s" % (
            path, version, b"".join(h + b"\r\n" for h in headers), body)

    def hidden(self):
        """A whole request that is meant to look like a body, or like none."""
        body = self.create("smuggled")
        return self.post(body, b"Content-Length: %d" % len(body))

    def test_what_is_hidden_would_leave_a_trace(self):
        """So that the others cannot pass for want of it."""
        self.assertEqual(self.attempt(self.hidden()), [200, 404])
        (ref,) = self.client("network.get_by_name_label", "smuggled")
        self.client("network.destroy", ref)

    def test_lengths_that_contradict_are_refused_and_nothing_hidden_runs(self):
        hidden = self.hidden()
        n = b"%d" % len(hidden)
        chunked = b"0\r\n\r\n" + hidden
        shapes = (
            (hidden, b"Content-Length: 0", b"Content-Length: " + n),
            (hidden, b"Content-Length: " + n, b"Content-Length: 0"),
            (hidden, b"Content-Length: 0, " + n), (hidden, b"Content-Length: " + n + b", 0"),
            (hidden, b"Content-Length: +0"), (hidden, b"Content-Length: -0"),
            (hidden, b"Content-Length: 0x0"), (hidden, b"Content-Length: 0 " + n),
            (hidden, b"Content-Length: 18446744073709551616"),
            (hidden, b"Content-Length: \xc2\xa00"), (hidden, b"Content-Length:"),
            (hidden, b"Content-Length : 0"), (hidden, b" Content-Length: 0"),
            (hidden, b"X: y\r\n Content-Length: 0"), (hidden, b"X: y\r\n\tContent-Length: 0"),
            (chunked, b"Content-Length: %d" % len(chunked), b"Transfer-Encoding: chunked"),
            (chunked, b"Transfer-Encoding: chunked", b"Content-Length: 5"),
            (chunked, b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
            (chunked, b"Transfer-Encoding: identity, chunked"),
            (chunked, b"Transfer-Encoding: chunked, identity"),
            (chunked, b"Transfer-Encoding: xchunked"), (chunked, b"Transfer-Encoding: chunked;x"),
            (chunked, b"Transfer-Encoding: \"chunked\""), (chunked, b"Transfer-Encoding:"),
            (chunked, b"Transfer-Encoding : chunked"), (chunked, b"Transfer-Encoding: chunked\x0b"),
            (chunked, b"Transfer_Encoding: chunked\r\nTransfer-Encoding: gzip"),
        )
        with self.unharmed():
            for body, *headers in shapes:
                with self.subTest(headers):
                    statuses = self.attempt(self.post(body, *headers))
                    self.assertEqual([s // 100 for s in statuses[-1:]], [4] if statuses[-1] != 501
                                     else [5], statuses)
                    self.assertEqual(len(statuses), 1, "more than one request was seen")

    def test_chunks_that_contradict_are_refused_and_nothing_hidden_runs(self):
        hidden = self.hidden()
        bodies = (b"0\n\n" + hidden, b"0x0\r\n\r\n" + hidden, b"-0\r\n\r\n" + hidden,
                  b"+0\r\n\r\n" + hidden, b" 0\r\n\r\n" + hidden, b"\r\n\r\n" + hidden,
                  b"10000000000000000\r\n" + hidden, b"fffffffffffffffe\r\n" + hidden,
                  b"1\r\na" + hidden, b"2\r\na\r\n0\r\n\r\n" + hidden, b"1\r\nab\r\n0\r\n\r\n" + hidden,
                  b"0;" + b"x" * 100_000 + b"\r\n\r\n" + hidden,
                  b"0\r\n" + b"X: y\r\n" * 100_000 + b"\r\n" + hidden)
        with self.unharmed():
            for body in bodies:
                with self.subTest(body[:20]):
                    statuses = self.attempt(self.post(body, b"Transfer-Encoding: chunked"))
                    self.assertEqual(len(statuses), 1, statuses)
                    self.assertIn(statuses[0], (400, 413, 431))

    def test_line_ends_are_what_they_are(self):
        hidden = self.hidden()
        with self.unharmed():
            for data in (b"GET / HTTP/1.1\nHost: h\n\n" + hidden,
                         b"GET / HTTP/1.1\rHost: h\r\r" + hidden,
                         b"GET / HTTP/1.1\r\nHost: h\n\r\n" + hidden,
                         b"GET / HTTP/1.1\r\nHost: h\r\n\n" + hidden,
                         b"GET / HTTP/1.1\r\nX: a\rContent-Length: 5\r\n\r\n" + hidden,
                         b"GET / HTTP/1.1\r\nX: a\nContent-Length: 5\r\n\r\n" + hidden,
                         b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n" + hidden,
                         b"GET /\r\nX HTTP/1.1\r\n\r\n" + hidden,
                         b"GET / HTTP/1.1\r\n\r\r\n\r\n" + hidden, b"\x16\x03\x01\x02\x00" + hidden,
                         b"\x00" + hidden, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hidden):
                with self.subTest(data[:40]):
                    statuses = self.attempt(data)
                    self.assertNotIn("smuggled", self.names())
                    self.assertTrue(not statuses or statuses[-1] >= 400, statuses)

    def names(self):
        return [r["name_label"] for r in self.client("network.get_all_records").values()]

    def test_a_body_that_looks_like_a_request_is_a_body(self):
        """Two requests on one connection, the first with the second's like as its body."""
        hidden = self.hidden()
        with self.unharmed():
            wire = Wire(self.daemon.address)
            wire.send(self.post(hidden, b"Content-Length: %d" % len(hidden)) +
                      b"GET /marker HTTP/1.1\r\nHost: h\r\n\r\n")
            self.assertEqual([wire.reply()[0], wire.reply()[0]], [200, 404])
            wire.close()

    def test_a_body_that_ends_early_is_never_a_call(self):
        body = self.create("cut short")
        with self.unharmed():
            for sent in (0, 1, len(body) // 2, len(body) - 1):
                for close in ("half", "whole"):
                    wire = Wire(self.daemon.address)
                    wire.send(self.post(body[:sent], b"Content-Length: %d" % len(body)))
                    if close == "half":
                        wire.socket.shutdown(1)
                        self.assertTrue(wire.is_closed() or wire.buffer.startswith(b"HTTP/1.1 4"))
                    wire.close()


class Paths(HttpCase):
    """XSA-271: a path was checked before it was decoded, and named any file of the host."""

    SECRET = "root:"  # in /etc/passwd

    def test_no_path_leads_to_a_file(self):
        ups = ("../", "..%2f", "%2e%2e/", "%2e%2e%2f", "%252e%252e%252f", "..\\", "..%5c", ".%2e/",
               "....//", "..;/", "..%c0%af", "..%00/", "%u002e%u002e/", "..%ef%bc%8f", "/")
        starts = ("/", "//", "/jsonrpc/", "/json/", "/metrics/", "/RPC2/", "/xenolith/", "/./")
        with self.unharmed():
            for up in ups:
                for start in starts:
                    for end in ("etc/passwd", "etc%2fpasswd"):
                        for method in ("GET", "HEAD", "PUT"):
                            self.leads_nowhere(method, start + up * 8 + end)

    def leads_nowhere(self, method, path):
        wire = Wire(self.daemon.address)
        wire.send(f"{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n"
                  f"Connection: close\r\n\r\n".encode())
        try:
            while True:
                wire._more()  # pylint: disable=protected-access
        except Closed:
            pass
        wire.close()
        self.assertRegex(wire.buffer, rb"^HTTP/1.1 [45]\d\d ", path)
        self.assertNotIn(self.SECRET.encode(), wire.buffer)


class Text(HttpCase):
    """XSA-474: what is no UTF-8 reached the database, and nobody could read it any more."""

    def test_request_lines_and_headers_are_text(self):
        call = encode("json2", "session.get_uuid", [self.client.session, self.client.session])
        length = b"Content-Length: %d\r\n" % len(call)
        with self.unharmed():
            for bad in BAD_BYTES:
                for head in (b"POST /%s HTTP/1.1\r\n", b"POST /?a=%s HTTP/1.1\r\n",
                             b"POST%s / HTTP/1.1\r\n", b"POST / HTTP/1.1%s\r\n",
                             b"POST / HTTP/1.1\r\nUser-Agent: x%s\r\n",
                             b"POST / HTTP/1.1\r\nX%s: y\r\n",
                             b"POST / HTTP/1.1\r\nHost: %s\r\n",
                             b"POST / HTTP/1.1\r\nCookie: session_id=%s\r\n",
                             b"POST / HTTP/1.1\r\nAuthorization: Basic %s\r\n",
                             b"POST / HTTP/1.1\r\nTraceparent: %s\r\n"):
                    with self.subTest(head, bad=bad):
                        (status,) = self.attempt(head % bad + length + b"\r\n" + call)
                        self.assertIn(status, (400, 501, 505))

    def test_what_is_encoded_is_text_too(self):
        """Percent-encoded in a path or query, base64 in a login."""
        with self.unharmed():
            for bad in BAD_BYTES:
                quoted = b"".join(b"%%%02x" % byte for byte in bad)
                for target in (b"/" + quoted, b"/metrics?session_id=" + quoted,
                               b"/metrics?" + quoted + b"=1"):
                    (status,) = self.attempt(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % target)
                    self.assertIn(status, (400, 401, 403, 404), target)
                for login in (b"root:" + bad, bad + b":x", bad):
                    (status,) = self.attempt(
                        b"GET /metrics HTTP/1.1\r\nHost: h\r\nAuthorization: Basic %s\r\n\r\n"
                        % base64.b64encode(login))
                    self.assertIn(status, (400, 401, 403))

    def test_no_secret_of_a_request_reaches_the_log(self):
        secret = self.client.session
        password = base64.b64encode(b"root:" + harness.PASSWORD.encode()).decode()
        for head in (f"GET /metrics?session_id={secret} HTTP/1.1\r\n",
                     f"GET /nothing?session_id={secret} HTTP/1.1\r\n",
                     f"GET /metrics HTTP/1.1\r\nCookie: session_id={secret}\r\n",
                     f"GET /metrics HTTP/1.1\r\nAuthorization: Basic {password}\r\n",
                     f"GET /session_id={secret} HTTP/1.0\r\nX y\r\n"):
            self.attempt(head.encode() + b"Host: h\r\n\r\n")
        self.client("session.get_uuid", self.client.session)
        log = "".join(self.daemon.log)
        for word in (secret, harness.PASSWORD, password):
            self.assertNotIn(word, log)


if __name__ == "__main__":
    main()
