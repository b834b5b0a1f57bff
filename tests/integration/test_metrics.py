#!/usr/bin/env python3
"""GET /metrics as a scraper sees it: who may, in which format, and that a real parser reads it."""
import base64
import http.client
import os
import socket
import stat
import subprocess
import sys
import unittest

import harness

try:
    import prometheus_client  # noqa: F401
except ImportError:  # Debian's package, for a Python that is not Debian's; it is plain Python
    sys.path.append("/usr/lib/python3/dist-packages")
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"


class Scrape:
    """One answer of /metrics."""

    def __init__(self, daemon, address=None, **headers):
        address = address or daemon.address
        connection = (harness.UnixConnection(address, harness.DEADLINE)
                      if isinstance(address, str)
                      else http.client.HTTPConnection(*address, timeout=harness.DEADLINE))
        connection.request("GET", "/metrics", headers=headers)
        response = connection.getresponse()
        self.status = response.status
        self.headers = response.headers
        self.text = response.read().decode()
        connection.close()

    def families(self):
        return {family.name: family for family in openmetrics(self.text)}

    def value(self, sample_name, **labels):
        for family in openmetrics(self.text):
            for sample in family.samples:
                if sample.name == sample_name and sample.labels == labels:
                    return sample.value
        raise AssertionError(f"no {sample_name}{labels} in\n{self.text}")


def token_of(daemon):
    with open(os.path.join(daemon.state, "metrics-token"), encoding="utf-8") as file:
        return file.read().strip()


class Access(harness.TestCase):
    def test_the_unix_socket_needs_no_login(self):
        self.assertEqual(Scrape(self.daemon, self.daemon.socket).status, 200)

    def test_over_tcp_nobody_gets_anything_without_the_token(self):
        for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer x" * 20},
                        {"Authorization": "Bearer " + token_of(self.daemon)[:-1]},
                        {"Authorization": token_of(self.daemon)}):
            answer = Scrape(self.daemon, **headers)
            self.assertEqual(answer.status, 401, headers)
            self.assertIn("realm=", answer.headers["WWW-Authenticate"])
            self.assertNotIn("xenolith_", answer.text)

    def test_the_token_in_the_state_folder_opens(self):
        headers = {"Authorization": "Bearer " + token_of(self.daemon)}
        self.assertEqual(Scrape(self.daemon, **headers).status, 200)

    def test_so_does_a_session_or_the_password(self):
        secret = base64.b64encode(b"root:" + harness.PASSWORD.encode()).decode()
        self.assertEqual(Scrape(self.daemon, Authorization="Basic " + secret).status, 200)
        self.assertEqual(Scrape(self.daemon, Cookie="session_id=" + self.client.session).status,
                         200)
        secret = base64.b64encode(b"root:wrong").decode()
        self.assertEqual(Scrape(self.daemon, Authorization="Basic " + secret).status, 401)

    def test_the_token_is_for_the_daemon_s_user_only(self):
        mode = os.stat(os.path.join(self.daemon.state, "metrics-token")).st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)

    def test_it_is_the_same_after_a_restart(self):
        token = token_of(self.daemon)
        self.daemon.restart()
        self.assertEqual(token_of(self.daemon), token)

    def test_only_get_is_answered(self):
        connection = harness.UnixConnection(self.daemon.socket, harness.DEADLINE)
        connection.request("PUT", "/metrics", "x")
        self.assertEqual(connection.getresponse().status, 405)
        connection.close()


class Places(harness.TestCase):
    """What is served only so many times at once: the number of it, and its limit, stand on the page."""

    LIMITS = {"transfers": 3, "consoles": 2, "backups": 1, "audit-downloads": 2, "metrics-scrapes": 5,
              "history-questions-pending": 6, "xenstore-history-questions-pending": 7,
              "backup-backlog": 1 << 25}
    daemon_options = [word for key, n in LIMITS.items() for word in ("--" + key, str(n))]

    def begin(self, head, more=""):
        """The status of an answer, of which nobody reads more."""
        sock = socket.socket()
        sock.settimeout(harness.DEADLINE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.addCleanup(sock.close)
        sock.connect(self.daemon.address)
        sock.sendall(f"{head} HTTP/1.1\r\nCookie: session_id={self.client.session}\r\n{more}\r\n".encode())
        return int(sock.recv(100).split()[1])

    def test_every_limit_is_told(self):
        numbers = self.daemon.metrics()
        for key, limit in self.LIMITS.items():
            name = "xenolith_limit_" + key.replace("-", "_") + ("_bytes" if key == "backup-backlog" else "")
            self.assertEqual(numbers[name], limit)
        self.assertEqual(numbers["xenolith_metrics_scrapes_under_way"], 1)
        self.assertEqual(numbers["xenolith_audit_downloads"], 0)
        self.assertEqual(numbers["xenolith_backups"], 0)

    def test_places_are_counted_and_no_more_are_taken(self):
        sr = next(ref for ref, record in self.client("SR.get_all_records").items() if record["type"] == "file")
        vm = self.client("VM.clone", self.client("VM.get_by_name_label", "Other install media")[0], "pv")
        self.client("VM.provision", vm)
        self.client("VM.set_domain_type", vm, "pv")
        self.client("VM.start", vm, False, False)
        self.addCleanup(self.client, "VM.hard_shutdown", vm)
        disks = [self.client("VDI.create", {
            "name_label": "d", "name_description": "", "SR": sr, "virtual_size": 1 << 20, "type": "user",
            "sharable": False, "read_only": False, "other_config": {}}) for _ in range(4)]
        uploads = [self.begin(f"PUT /import_raw_vdi?vdi={disk}", "Transfer-Encoding: chunked\r\n")
                   for disk in disks]
        self.assertEqual(uploads, [200, 200, 200, 503])
        consoles = [self.begin(f"CONNECT /console?ref={vm}") for _ in range(3)]
        self.assertEqual(consoles, [200, 200, 503])
        numbers = self.daemon.metrics()
        self.assertEqual(numbers["xenolith_transfers"], 3)
        self.assertEqual(numbers["xenolith_consoles"], 2)


class OwnToken(unittest.TestCase):
    def test_a_token_file_of_one_s_own_is_read_again_at_each_request(self):
        daemon = harness.Daemon()
        self.addCleanup(daemon.clear)
        path = os.path.join(daemon.folder, "token")
        daemon.options = ("--metrics-token-file", path)
        for token in ("a token of one's own", "and another, 2 days later"):
            with open(path, "w", encoding="utf-8") as out:
                out.write(token + "\n")
            if daemon.process is None:
                daemon.start()
            answer = Scrape(daemon, **{"Authorization": "Bearer " + token})
            self.assertEqual(answer.status, 200)
        self.assertFalse(os.path.exists(os.path.join(daemon.state, "metrics-token")))
        answer = Scrape(daemon, **{"Authorization": "Bearer a token of one's own"})
        self.assertEqual(answer.status, 401)

    def test_a_token_that_can_be_guessed_opens_nothing(self):
        daemon = harness.Daemon()
        self.addCleanup(daemon.clear)
        path = os.path.join(daemon.folder, "token")
        daemon.options = ("--metrics-token-file", path)
        with open(path, "w", encoding="utf-8") as out:
            out.write("short\n")
        daemon.start()
        self.assertEqual(Scrape(daemon, **{"Authorization": "Bearer short"}).status, 401)


class Page(harness.TestCase):
    def scrape(self, **headers):
        answer = Scrape(self.daemon, self.daemon.socket, **headers)
        self.assertEqual(answer.status, 200)
        return answer

    def test_it_is_openmetrics_unless_the_client_knows_only_the_older_format(self):
        wants = {
            None: OPENMETRICS,
            "*/*": OPENMETRICS,
            "text/plain": PLAIN,
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1": PLAIN,
            # what Prometheus sends
            "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5":
                OPENMETRICS,
        }
        for accept, content_type in wants.items():
            answer = self.scrape(**({"Accept": accept} if accept else {}))
            self.assertEqual(answer.headers["Content-Type"], content_type, accept)

    def test_a_parser_of_openmetrics_reads_it(self):
        """It refuses interleaved families, names that do not fit types, buckets that shrink ..."""
        families = self.scrape().families()
        self.assertGreater(len(families), 60)
        for family in families.values():
            self.assertRegex(family.name, r"^(xenolith|process)_[a-z0-9_]+$")
            self.assertTrue(family.documentation.endswith("."), family)
            self.assertTrue(family.samples or family.name, family)

    def test_a_parser_of_the_older_format_reads_it(self):
        names = [family.name for family in prometheus(self.scrape(Accept="text/plain").text)]
        self.assertEqual(len(names), len(set(names)))
        self.assertIn("process_cpu_seconds", names)

    def test_both_formats_tell_the_same_families(self):
        new = {name for name, family in self.scrape().families().items()
               if family.type != "info"}
        old = {family.name for family in prometheus(self.scrape(Accept="text/plain").text)
               if not family.name.endswith("_info")}
        self.assertEqual(new, old)

    def test_every_part_of_the_daemon_tells(self):
        wanted = {
                "xenolith_loop_callback_seconds", "xenolith_loop_turn_seconds",
                "xenolith_loop_lag_seconds", "xenolith_loop_stalls", "xenolith_call_seconds",
                "xenolith_http_connections", "xenolith_http_refused",
                "xenolith_sessions", "xenolith_logins", "xenolith_rows", "xenolith_db_commits",
                "xenolith_db_sync_seconds", "xenolith_db_journal_bytes",
                "xenolith_db_backlog_bytes", "xenolith_db_cache_bytes", "xenolith_event_waits",
                "xenolith_operations_running", "xenolith_operations_ended",
                "xenolith_operation_seconds", "xenolith_operations_deadlines",
                "xenolith_claims_waiting", "xenolith_workers_running", "xenolith_workers_queued",
                "xenolith_updates_pending", "xenolith_updates_coalesced",
                "xenolith_updates_behind_seconds", "xenolith_xenstore_nodes",
                "xenolith_xenstore_watches", "xenolith_xenstore_connections", "xenolith_xenstore_served",
                "xenolith_xenstore_turn_seconds", "xenolith_xenstore_held_starts", "xenolith_xenstore_transactions",
                "xenolith_domains", "xenolith_vms", "xenolith_tasks",
                "xenolith_storage_used_bytes", "xenolith_audit_head", "xenolith_build",
                "process_start_time_seconds", "process_open_fds"}
        self.assertEqual(wanted - set(self.scrape().families()), set())

    def test_each_configured_number_has_its_limit(self):
        told = subprocess.run([harness.XENOLITHD, "--help"], capture_output=True, text=True,
                              check=True).stdout
        families = self.scrape().families()
        for key in ("audit-size", "plug-width", "http-connections"):
            self.assertIn("--" + key, told)
            name = "xenolith_limit_" + key.replace("-", "_")
            self.assertTrue(name in families or name + "_bytes" in families, name)
        self.assertEqual(self.scrape().value("xenolith_limit_audit_keep_seconds"), 366 * 86400)
        self.assertEqual(self.scrape().value("xenolith_limit_history_age_seconds"), 90 * 86400)

    def test_each_configured_number_is_there_once(self):
        limits = {name for name in self.scrape().families() if name.startswith("xenolith_limit_")}
        self.assertEqual(limits & {"xenolith_limit_history_age", "xenolith_limit_history_bytes"}, set())
        for name in limits:
            for unit in ("_seconds", "_bytes"):
                self.assertNotIn(name + unit, limits)

    def test_what_happened_is_counted(self):
        before = self.scrape()
        pool = self.client("pool.get_all")[0]
        for i in range(10):
            self.client("pool.set_name_description", pool, str(i))
        after = self.scrape()
        for name in ("xenolith_db_commits_total", "xenolith_db_syncs_total",
                     "xenolith_db_sync_seconds_count"):
            self.assertGreater(after.value(name), before.value(name), name)
        self.assertEqual(after.value("xenolith_audit_lines_total", event="call"),
                         before.value("xenolith_audit_lines_total", event="call") + 10)

    def test_counters_count(self):
        before = self.scrape().value("xenolith_metrics_scrapes_total", result="served")
        after = self.scrape().value("xenolith_metrics_scrapes_total", result="served")
        self.assertEqual(after, before + 1)

    def test_configured_limits_are_there(self):
        page = self.scrape()
        self.assertEqual(page.value("xenolith_limit_plug_limit"), 40)

    def test_the_process_is_this_daemon(self):
        page = self.scrape()
        self.assertGreater(page.value("process_resident_memory_bytes"), 1 << 20)
        self.assertGreater(page.value("process_cpu_seconds_total"), 0)
        self.assertAlmostEqual(page.value("process_open_fds"), self.daemon.open_files(), delta=3)


if __name__ == "__main__":
    harness.main()
