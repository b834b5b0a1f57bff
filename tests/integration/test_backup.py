"""A backup of a daemon under load, restored elsewhere; who may have one; what a wrong file does."""
import base64
import http.client
import json
import os
import shutil
import subprocess
import threading
import unittest

import harness
from harness import PASSWORD, Events


class Backup(harness.TestCase):
    def run_command(self, *arguments):
        return subprocess.run([harness.XENOLITHD, *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)

    def backup(self):
        path = os.path.join(self.daemon.folder, "backup")
        done = self.run_command("--backup", path, "--socket", self.daemon.socket)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("the database at generation", done.stdout)
        return path

    def restored(self, path, start=True):
        """A daemon on what the file holds."""
        other = harness.Daemon()
        self.addCleanup(other.clear)
        done = self.run_command("--restore", path, "--state-dir", other.state)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        done = self.run_command("--check-db", "--state-dir", other.state)
        self.assertEqual(done.returncode, 0, done.stdout)
        if start:
            other.start()
        self.addCleanup(other.close_clients)
        return other

    def count_up(self, client, vm, over):
        """The label is always one ahead of the description, or equal."""
        n = 0
        while not over.is_set():
            n += 1
            client("VM.set_name_label", vm, str(n))
            client("VM.set_name_description", vm, str(n))
        return n

    def test_it_is_one_moment_of_a_busy_daemon(self):
        template = self.client("VM.get_by_name_label", "Other install media")[0]
        vms = [self.client("VM.clone", template, "0") for _ in range(4)]
        for vm in vms:
            self.client("VM.set_name_description", vm, "0")
        over = threading.Event()
        writers = [threading.Thread(target=self.count_up, args=(self.client.another(), vm, over))
                   for vm in vms]
        for writer in writers:
            writer.start()
        before = {vm: int(self.client("VM.get_name_label", vm)) for vm in vms}
        path = self.backup()
        after = {vm: int(self.client("VM.get_name_label", vm)) for vm in vms}
        late = Events(self.client, ["vm"])
        over.set()
        for writer in writers:
            writer.join()
        records = self.restored(path).client()("VM.get_all_records")
        for vm in vms:
            label = int(records[vm]["name_label"])
            self.assertIn(label - int(records[vm]["name_description"]), (0, 1))
            self.assertTrue(before[vm] <= label <= after[vm], (before, label, after))
        self.assertTrue(late.token)

    def test_tokens_and_logins_of_later_are_worth_nothing_on_the_restored(self):
        pool = self.client("pool.get_all")[0]
        path = self.backup()
        self.client("pool.set_name_label", pool, "later")
        token = Events(self.client, ["pool"]).token
        client = self.restored(path).json()
        client.session = self.client.session
        with self.fails("SESSION_INVALID"):
            client("pool.get_all")
        client.login()
        self.assertNotEqual(client("pool.get_name_label", pool), "later")
        with self.fails("EVENTS_LOST"):
            client("event.from", ["pool"], token, 0.0)

    def history(self, other, query):
        done = self.run_command("--state-dir", other.state, "--history", query + " json")
        return [json.loads(line) for line in done.stdout.splitlines()], done.stderr

    def test_history_begins_with_what_was_restored(self):
        template = self.client("VM.get_by_name_label", "Other install media")[0]
        vm = self.client("VM.clone", template, "backed up")
        generation = self.client("History.get_bounds")["newest"]["generation"]
        other = self.restored(self.backup(), start=False)
        records, _ = self.history(other, "at=now class=VM")
        self.assertEqual({ref for line in records for ref in line},
                         set(self.client("VM.get_all")))
        other.start()
        client = other.client()
        self.assertEqual(client("History.get_all_records", "VM", "now", {}),
                         client("VM.get_all_records"))
        bounds = client("History.get_bounds")
        self.assertFalse(bounds["complete"])
        self.assertFalse(bounds["since_the_beginning"])
        self.assertEqual(bounds["gaps"], [])
        for at in (str(generation), bounds["oldest"]["time"][:10]):
            with self.fails("VALUE_NOT_SUPPORTED") as caught:
                client("History.get_record", vm, at)
            self.assertIn("older than what is kept", caught.exception.params[2])
        client("VM.set_name_label", vm, "changed")
        for _ in range(2):
            answer = client("History.get_changes", {"ref": vm, "field": "name_label"})
            self.assertEqual([(c["old"], c["new"]) for c in answer["changes"]],
                             [("backed up", "changed")])
            self.assertFalse(answer["complete"])
            self.assertEqual(client("History.get_record", vm, "now")["name_label"], "changed")
            other.crash_and_restart()
            client = other.client()

    def test_without_its_first_files_history_says_that_there_is_none_yet(self):
        other = self.restored(self.backup(), start=False)
        shutil.rmtree(os.path.join(other.state, "history"))
        records, said = self.history(other, "at=now class=VM")
        self.assertEqual(records, [])
        self.assertIn("there is no history yet", said)

    def get(self, headers):
        connection = http.client.HTTPConnection(*self.daemon.address, timeout=harness.DEADLINE)
        self.addCleanup(connection.close)
        connection.request("GET", "/backup", headers=headers)
        response = connection.getresponse()
        return response.status, response.read()

    def test_over_tcp_it_takes_a_login(self):
        self.assertEqual(self.get({})[0], 401)
        login = base64.b64encode(f"root:{PASSWORD}".encode()).decode()
        status, body = self.get({"Authorization": "Basic " + login})
        self.assertEqual((status, body[:8]), (200, b"XNBACKUP"))
        status, body = self.get({"Cookie": "session_id=" + self.client.session})
        self.assertEqual((status, body[:8]), (200, b"XNBACKUP"))

    def test_a_damaged_file_changes_nothing(self):
        path = self.backup()
        with open(path, "r+b") as file:
            file.seek(2000)
            byte = file.read(1)
            file.seek(2000)
            file.write(bytes([byte[0] ^ 1]))
        target = os.path.join(self.daemon.folder, "nothing")
        done = self.run_command("--restore", path, "--state-dir", target)
        self.assertEqual(done.returncode, 1)
        self.assertIn("is not restored: a checksum is wrong", done.stderr)
        self.assertFalse(os.path.exists(target))

    def test_without_a_daemon_no_file_is_left(self):
        path = os.path.join(self.daemon.folder, "none")
        done = self.run_command("--backup", path, "--socket", "/nowhere")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no daemon answers on /nowhere", done.stderr)
        self.assertFalse(os.path.exists(path))


if __name__ == "__main__":
    unittest.main(verbosity=2)
