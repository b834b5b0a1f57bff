"""HTTPS as stock clients speak it, and the certificate: made, installed, configured, changed."""
import hashlib
import http.client
import json
import os
import re
import resource
import signal
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
import time
import unittest
import xmlrpc.client

import harness

LOGIN = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "session.login_with_password",
                    "params": ["root", harness.PASSWORD]})
HTTPS = ("--https", "127.0.0.1:0")


def openssl(*arguments, text=""):
    return subprocess.run(["openssl", *arguments], input=text, capture_output=True, text=True,
                          timeout=harness.DEADLINE, check=False)


def make_certificate(folder, name, *more, key=("-newkey", "rsa:2048"), digest="-sha256"):
    """(certificate, key): paths of PEM files."""
    paths = [os.path.join(folder, name + end) for end in (".crt", ".key")]
    made = openssl("req", "-x509", "-nodes", *key, digest, "-subj", f"/CN={name}", "-out", paths[0],
                   "-keyout", paths[1], *(more or ("-days", "30")))
    if made.returncode:
        raise AssertionError(made.stderr)
    return paths


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class TlsCase(harness.TestCase):
    daemon_options = HTTPS

    def connect(self, context=None, **more):
        context = context or ssl._create_unverified_context()
        plain = socket.create_connection(self.daemon.https_address, timeout=harness.DEADLINE)
        wrapped = context.wrap_socket(plain, **more)
        self.addCleanup(wrapped.close)
        return wrapped

    def url(self, path=""):
        return "https://%s:%d/%s" % (*self.daemon.https_address, path)

    def shown(self):
        """SHA-256 of the certificate that a new connection is shown, as the API prints it."""
        digest = hashlib.sha256(self.connect().getpeercert(True)).hexdigest().upper()
        return ":".join(re.findall("..", digest))

    def curl(self, *options):
        return subprocess.run(
            ["curl", "-sS", "--max-time", str(harness.DEADLINE), *options, self.url("jsonrpc"),
             "-d", LOGIN], capture_output=True, text=True, check=False)

    def s_client(self, *options, text=""):
        return openssl("s_client", "-connect", "%s:%d" % self.daemon.https_address, *options,
                       text=text)

    def wait_until_shown(self, fingerprint):
        end = time.monotonic() + harness.DEADLINE
        while self.shown() != fingerprint:
            self.assertLess(time.monotonic(), end)


class Clients(TlsCase):
    def test_curl_with_what_the_fields_xe_offers(self):
        for cipher in "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256":
            for curve in "P-384", "P-256":
                done = self.curl("-k", "--tls-max", "1.2", "--ciphers", cipher, "--curves", curve)
                self.assertIn('"result":"OpaqueRef:', done.stdout, done.stderr)

    def test_curl_trusts_the_daemons_own_certificate_by_address_and_by_name(self):
        own = os.path.join(self.daemon.state, "tls-own.pem")
        self.assertIn("OpaqueRef:", self.curl("--cacert", own).stdout)
        port = self.daemon.https_address[1]
        name = f"localhost:{port}:127.0.0.1"
        done = subprocess.run(["curl", "-sS", "--cacert", own, "--resolve", name,
                               f"https://localhost:{port}/"], capture_output=True, text=True,
                              check=False)
        self.assertIn("XenAPI", done.stdout, done.stderr)

    def test_what_is_old_or_weak_is_refused(self):
        for options in (("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), ("-tls1_3",),
                        ("-tls1_2", "-cipher", "ECDHE-RSA-AES256-SHA384"),
                        ("-tls1_2", "-cipher", "AES256-GCM-SHA384"),
                        ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256", "-curves", "P-521")):
            done = self.s_client(*options)
            self.assertIn("Cipher is (NONE)", done.stdout + done.stderr, options)

    def test_a_session_is_http_1_1_without_compression_or_renegotiation(self):
        done = self.s_client("-tls1_2", "-alpn", "h2,http/1.1", "-legacy_renegotiation",
                             text="R\n")
        self.assertIn("ALPN protocol: http/1.1", done.stdout)
        self.assertIn("Compression: NONE", done.stdout)
        self.assertIn("no renegotiation", done.stderr)

    def test_a_second_connection_resumes_by_ticket(self):
        context = ssl._create_unverified_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        first = self.connect(context)
        self.assertFalse(first.session_reused)
        self.assertTrue(self.connect(context, session=first.session).session_reused)

    def test_xml_rpc_of_pythons_own_library_with_a_verified_certificate(self):
        context = ssl.create_default_context(cafile=os.path.join(self.daemon.state, "tls-own.pem"))
        with xmlrpc.client.ServerProxy(self.url(), context=context) as proxy:
            reply = proxy.session.login_with_password("root", harness.PASSWORD)
            self.assertEqual(reply["Status"], "Success")
            vms = proxy.VM.get_all_records(reply["Value"])["Value"]
            self.assertEqual(vms.keys(), self.client("VM.get_all_records").keys())

    def test_event_from_waits_over_tls(self):
        client = self.https_client()
        client.login()
        events = harness.Events(client, ["pool"])
        waiting = harness.begin(self.client, "event.from", ["pool"], events.token, 30.0)
        over_tls = events.client
        over_tls.begin("event.from", ["pool"], events.token, 30.0)
        pool = self.client("pool.get_all")[0]
        self.client("pool.set_name_label", pool, "changed")
        for reply in over_tls.finish(), waiting.finish():
            self.assertEqual(reply["events"][0]["snapshot"]["name_label"], "changed")

    def https_client(self):
        class Client(harness.JsonClient):
            def connect(self):
                return http.client.HTTPSConnection(*self.address, timeout=self.timeout,
                                                   context=ssl._create_unverified_context())
        return Client(self.daemon.https_address, self.daemon.clients)

    def test_megabytes_reach_a_slow_reader_whole(self):
        pool = self.client("pool.get_uuid", self.client("pool.get_all")[0])
        for i in range(100):
            self.client("message.create", f"m{i}", 5, "Pool", pool, f"{i:3} " * 14000)
        expected = self.client("message.get_all_records")
        tls = self.connect()
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "message.get_all_records",
                           "params": [self.client.session]})
        tls.sendall(b"POST /jsonrpc HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
                    % (len(body), body.encode()))
        got = bytearray()
        while piece := tls.recv(3000 if len(got) < 300000 else 1 << 20):
            got += piece
            if len(got) % 7 == 0 and len(got) < 300000:
                self.client("session.get_uuid", self.client.session)  # others are served meanwhile
        self.assertGreater(len(got), 5000000)
        self.assertEqual(json.loads(got.split(b"\r\n\r\n", 1)[1])["result"], expected)

    def test_the_end_is_said_with_close_notify(self):
        plain = socket.create_connection(self.daemon.https_address, timeout=harness.DEADLINE)
        tls = ssl._create_unverified_context().wrap_socket(plain, suppress_ragged_eofs=False)
        self.addCleanup(tls.close)
        tls.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        while tls.recv(65536):  # SSLEOFError without it
            pass

    def test_a_peer_that_says_close_notify_first_gets_its_answer_and_ours(self):
        tls = self.connect()
        tls.sendall(b"GET / HTTP/1.1\r\n\r\n")
        self.assertIn(b"200 OK", tls.recv(65536))
        tls.unwrap()  # waits for the daemon's close_notify

    def test_pipelined_requests_and_single_bytes(self):
        tls = self.connect()
        request = b"GET / HTTP/1.1\r\nX-Pad: %s\r\n\r\n" % (b"x" * 700)
        tls.sendall(request * 40)
        got = b""
        while got.count(b"HTTP/1.1 200 OK") < 40:
            got += tls.recv(65536)
        for byte in request:
            tls.sendall(bytes([byte]))
        self.assertIn(b"200 OK", tls.recv(65536))

    def test_plain_http_on_the_tls_port_is_told_so(self):
        with socket.create_connection(self.daemon.https_address, timeout=harness.DEADLINE) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            reply = b"".join(iter(lambda: plain.recv(4096), b""))
        self.assertIn(b"HTTP/1.1 400 ", reply)
        self.assertIn(b"HTTPS", reply)

    def test_the_limits_and_the_certificates_end_are_at_metrics(self):
        local = harness.UnixConnection(self.daemon.socket, harness.DEADLINE)
        self.addCleanup(local.close)
        local.request("GET", "/metrics")
        page = local.getresponse().read().decode()
        for name in ("xenolith_limit_http_connections_tls 1200", "xenolith_http_connections{by=\"tls\"}",
                     "xenolith_limit_http_header_time_seconds 60", "xenolith_tls_handshakes_total",
                     "xenolith_tls_certificate_expiry_seconds", "xenolith_limit_rpc_body_bytes"):
            self.assertIn(name, page)


class Certificates(TlsCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = tempfile.mkdtemp(prefix="xn-pem-")
        cls.addClassCleanup(harness.shutil.rmtree, cls.folder)

    def make(self, name, *more, **key):
        return make_certificate(self.folder, name, *more, **key)

    def setUp(self):
        super().setUp()
        self.host = self.client("host.get_all")[0]

    def row(self):
        rows = self.client("Certificate.get_all_records")
        self.assertEqual(len(rows), 1)
        (ref, row), = rows.items()
        self.assertEqual(self.client("host.get_certificates", self.host), [ref])
        return row

    def install(self, paths, chain=""):
        self.client("host.install_server_certificate", self.host, read(paths[0]), read(paths[1]),
                    chain)

    def assert_all_tell(self, fingerprint):
        self.assertEqual(self.shown(), fingerprint)
        row = self.row()
        self.assertEqual((row["type"], row["host"]), ("host", self.host))
        self.assertEqual(row["fingerprint"], fingerprint)
        self.assertEqual(row["fingerprint_sha256"], fingerprint)
        pem = self.client("host.get_server_certificate", self.host)
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
        self.assertEqual(":".join(re.findall("..", digest)), fingerprint)

    def test_one_of_its_own_is_made_and_kept(self):
        own = os.path.join(self.daemon.state, "tls-own.pem")
        self.assertEqual(stat.S_IMODE(os.stat(own).st_mode), 0o600)
        first = self.shown()
        self.assert_all_tell(first)
        row = self.row()
        self.assertLess(row["not_before"], time.strftime("%Y%m%dT%H:%M:%SZ", time.gmtime()))
        self.assertGreater(row["not_after"], time.strftime("%Y%m%dT%H:%M:%SZ",
                                                           time.gmtime(time.time() + 86400 * 365)))
        text = openssl("x509", "-in", own, "-noout", "-text").stdout
        self.assertIn("CN = " + re.sub("[^A-Za-z0-9._-]", "-", socket.gethostname()), text)
        self.assertIn("IP Address:127.0.0.1", text)
        self.daemon.restart()
        self.client = self.daemon.client()
        self.assert_all_tell(first)

    def test_an_installed_one_is_shown_at_once_survives_restart_and_goes_at_reset(self):
        old = self.connect()
        paths = self.make("installed")
        self.install(paths)
        installed = self.shown()
        self.assertNotEqual(old.getpeercert(True), self.connect().getpeercert(True))
        self.assert_all_tell(installed)
        self.assertEqual(self.row()["not_after"][:8],
                         time.strftime("%Y%m%d", time.gmtime(time.time() + 30 * 86400)))
        old.sendall(b"GET / HTTP/1.1\r\n\r\n")  # goes on with the old one
        self.assertIn(b"200 OK", old.recv(65536))
        self.daemon.crash_and_restart()
        self.client = self.daemon.client()
        self.assert_all_tell(installed)
        self.client("host.refresh_server_certificate", self.host)
        self.assert_all_tell(installed)  # somebody else's is not ours to make
        self.client("host.reset_server_certificate", self.host)
        own = self.shown()
        self.assertNotEqual(own, installed)
        self.assert_all_tell(own)
        self.client("host.refresh_server_certificate", self.host)
        self.assertNotEqual(self.shown(), own)
        self.assert_all_tell(self.shown())
        self.install(paths)
        self.client("host.emergency_reset_server_certificate")
        self.assertNotEqual(self.shown(), installed)

    def test_what_is_no_good_is_refused_with_the_reason(self):
        good, key = map(read, self.make("good"))
        other = read(self.make("other")[1])
        expired = self.make("expired", "-not_before", "20200101000000Z", "-not_after",
                            "20210101000000Z") if self.openssl_has_dates() else None
        small, small_key = map(read, self.make("small", key=("-newkey", "rsa:1024")))
        curve, curve_key = map(read, self.make(
            "curve", key=("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")))
        sha1, sha1_key = map(read, self.make("sha1", digest="-sha1"))
        before = self.shown()
        for code, params, texts in (
                ("SERVER_CERTIFICATE_KEY_INVALID", [], (good, "", "")),
                ("SERVER_CERTIFICATE_KEY_INVALID", [], (good, "-----BEGIN PRIVATE KEY-----\n", "")),
                ("SERVER_CERTIFICATE_KEY_INVALID", [], (good, good, "")),
                ("SERVER_CERTIFICATE_KEY_INVALID", [], (good, "x" * 100000, "")),
                ("SERVER_CERTIFICATE_KEY_MISMATCH", [], (good, other, "")),
                ("SERVER_CERTIFICATE_KEY_RSA_LENGTH_NOT_SUPPORTED", ["1024"],
                 (small, small_key, "")),
                ("SERVER_CERTIFICATE_KEY_ALGORITHM_NOT_SUPPORTED", ["1.2.840.10045.2.1"],
                 (curve, curve_key, "")),
                ("SERVER_CERTIFICATE_SIGNATURE_NOT_SUPPORTED", [], (sha1, sha1_key, "")),
                ("SERVER_CERTIFICATE_INVALID", [], ("", key, "")),
                ("SERVER_CERTIFICATE_INVALID", [], (key, key, "")),
                ("SERVER_CERTIFICATE_INVALID", [], (good[:-200], key, "")),
                ("SERVER_CERTIFICATE_INVALID", [], (good + good[:-200], key, "")),
                ("SERVER_CERTIFICATE_CHAIN_INVALID", [], (good, key, "no chain")),
                ("SERVER_CERTIFICATE_CHAIN_INVALID", [], (good, key, good[:-200])),
                ("SERVER_CERTIFICATE_CHAIN_INVALID", [], (good, key, good + good[:-200])),
                ("SERVER_CERTIFICATE_CHAIN_INVALID", [], (good, key, good + good[:20])),
                ("SERVER_CERTIFICATE_CHAIN_INVALID", [], (good, key, good * 11))):
            with self.subTest(code=code), self.fails(code, *params):
                self.client("host.install_server_certificate", self.host, *texts)
        if expired:
            with self.fails("SERVER_CERTIFICATE_EXPIRED") as caught:
                self.install(expired)
            self.assertEqual(caught.exception.params[1], "20210101T00:00:00Z")
        with self.fails("HANDLE_INVALID", "host", "OpaqueRef:none"):
            self.client("host.install_server_certificate", "OpaqueRef:none", good, key, "")
        self.assert_all_tell(before)

    @staticmethod
    def openssl_has_dates():
        return "not_before" in openssl("req", "-help").stderr

    def test_a_chain_is_sent_with_the_certificate(self):
        paths = self.make("leaf")
        self.install(paths, chain=read(self.make("issuer")[0]))
        done = self.s_client("-tls1_2", "-showcerts")
        self.assertEqual(done.stdout.count("BEGIN CERTIFICATE"), 2)
        self.client("host.reset_server_certificate", self.host)

    def test_connections_do_not_notice_a_change_under_traffic(self):
        stop = threading.Event()
        failures = []
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "VM.get_all",
                           "params": [self.client.session]})

        def call():
            try:
                connection = http.client.HTTPSConnection(
                    *self.daemon.https_address, timeout=harness.DEADLINE,
                    context=ssl._create_unverified_context())
                while not stop.is_set():
                    connection.request("POST", "/jsonrpc", body)
                    if b"OpaqueRef:" not in connection.getresponse().read():
                        failures.append("no answer")
                connection.close()
            except Exception as error:  # whatever it is, the test shows it
                failures.append(error)

        callers = [threading.Thread(target=call) for _ in range(4)]
        for caller in callers:
            caller.start()
        for i in range(6):
            self.install(self.make(f"round{i % 2}"))
        stop.set()
        for caller in callers:
            caller.join()
        self.assertEqual(failures, [])
        self.client("host.reset_server_certificate", self.host)


class ConfiguredCase(TlsCase):
    """tls-certificate and tls-key, changed under the daemon."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="xn-pem-")
        cls.addClassCleanup(harness.shutil.rmtree, cls.folder)
        cls.paths = make_certificate(cls.folder, "configured")
        cls.daemon_options = (*HTTPS, "--tls-certificate", cls.paths[0], "--tls-key", cls.paths[1])
        super().setUpClass()

    def fingerprint(self, path):
        text = openssl("x509", "-in", path, "-noout", "-fingerprint", "-sha256").stdout
        return text.strip().split("=")[1]

    def replace(self, index, text):
        with open(self.paths[index], "w", encoding="utf-8") as file:
            file.write(text)

    def reload(self):
        self.daemon.process.send_signal(signal.SIGHUP)

    def wait_for_log(self, words, times=1):
        end = time.monotonic() + harness.DEADLINE
        while self.daemon.log_text().count(words) < times:
            self.assertLess(time.monotonic(), end, self.daemon.log_text())
            time.sleep(0.01)


class Configured(ConfiguredCase):
    def test_it_is_shown_and_changed_by_sighup_without_dropping_a_connection(self):
        self.assertEqual(self.shown(), self.fingerprint(self.paths[0]))
        old = self.connect()
        fresh = make_certificate(self.folder, "fresh")
        self.replace(0, read(fresh[0]))
        self.reload()  # the key is another's still
        self.wait_for_log("the certificate is not changed: SERVER_CERTIFICATE_KEY_MISMATCH")
        self.assertNotEqual(self.shown(), self.fingerprint(fresh[0]))
        self.replace(1, read(fresh[1]))
        self.reload()
        self.wait_until_shown(self.fingerprint(fresh[0]))
        self.replace(1, "rubbish")
        host = self.client("host.get_all")[0]
        with self.fails("SERVER_CERTIFICATE_KEY_INVALID"):
            self.client("host.refresh_server_certificate", host)
        self.replace(1, read(fresh[1]))
        self.client("host.refresh_server_certificate", host)
        self.assertEqual(self.shown(), self.fingerprint(fresh[0]))
        with self.fails("OPERATION_NOT_ALLOWED"):
            self.client("host.reset_server_certificate", host)
        old.sendall(b"GET / HTTP/1.1\r\n\r\n")
        self.assertIn(b"200 OK", old.recv(65536))

    def test_a_chain_that_is_cut_off_changes_nothing(self):
        leaf, issuer = map(read, (self.paths[0], make_certificate(self.folder, "issuer")[0]))
        before = self.shown()
        for cut in len(issuer) // 2, 5, 60, len(issuer) - 3:
            logged = self.daemon.log_text().count("SERVER_CERTIFICATE_INVALID")
            self.replace(0, leaf + issuer[:cut])
            self.reload()
            self.wait_for_log("the certificate is not changed: SERVER_CERTIFICATE_INVALID",
                              times=logged + 1)
        self.assertEqual(self.s_client("-showcerts").stdout.count("BEGIN CERTIFICATE"), 1)
        self.replace(0, leaf + issuer)
        self.client("host.refresh_server_certificate", self.client("host.get_all")[0])
        self.assertEqual(self.s_client("-showcerts").stdout.count("BEGIN CERTIFICATE"), 2)
        self.assertEqual(self.shown(), before)
        self.replace(0, leaf)

    def test_a_daemon_with_bad_files_says_why_and_does_not_start(self):
        done = subprocess.run(
            [harness.XENOLITHD, "--state-dir", os.path.join(self.folder, "state"), "--hypervisor",
             "sim", "--https", "127.0.0.1:0", "--tls-certificate", "/no/such/file"],
            capture_output=True, text=True, timeout=harness.DEADLINE, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("tls-certificate: INTERNAL_ERROR /no/such/file: No such file", done.stderr)


class ConfiguredRow(ConfiguredCase, harness.FullDiskCase):
    def rows(self):
        return [row["fingerprint"] for row in self.client("Certificate.get_all_records").values()]

    def test_it_is_there_from_the_first_start_on_and_follows_after_a_full_disk(self):
        self.assertEqual(self.rows(), [self.shown()])
        fresh = make_certificate(self.folder, "fresh")
        self.fill_the_disk()
        self.replace(0, read(fresh[0]))
        self.replace(1, read(fresh[1]))
        self.reload()
        self.wait_until_shown(self.fingerprint(fresh[0]))
        self.assertNotEqual(self.rows(), [self.shown()])
        self.limit(resource.RLIM_INFINITY)
        self.set_label_once_possible(self.client("pool.get_all")[0], "there is room")
        end = time.monotonic() + harness.DEADLINE
        while self.rows() != [self.shown()]:
            self.assertLess(time.monotonic(), end)



if __name__ == "__main__":
    harness.main()
