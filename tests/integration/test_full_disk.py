"""A disk that takes nothing more: changes are refused, reads and events go on, and nothing is lost."""
import resource
import signal
import time
import unittest

import harness
from harness import Events, Failure, begin


class FullDisk(harness.TestCase):
    """The size that the daemon's files may have is limited, which fails each of its writes."""

    @classmethod
    def setUpClass(cls):
        cls.enterClassContext(cls.full_disk_is_an_error())
        super().setUpClass()

    @classmethod
    @harness.contextlib.contextmanager
    def full_disk_is_an_error(cls):
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # not a signal that ends the daemon
        harness.Daemon.popen = {"restore_signals": False}
        try:
            yield
        finally:
            harness.Daemon.popen = {}
            signal.signal(signal.SIGXFSZ, before)

    def limit(self, size):
        hard = resource.prlimit(self.daemon.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.daemon.process.pid, resource.RLIMIT_FSIZE, (size, hard))

    def set_label_once_possible(self, pool, label):
        end = time.monotonic() + harness.DEADLINE
        while True:
            try:
                return self.client("pool.set_name_label", pool, label)
            except Failure as failure:
                if failure.code != "INTERNAL_ERROR" or time.monotonic() > end:
                    raise

    def test_changes_are_refused_and_reads_and_events_go_on(self):
        pool = self.client("pool.get_all")[0]
        self.client("pool.set_name_label", pool, "before")
        token = Events(self.client, ["pool"]).token
        self.limit(0)
        self.addCleanup(self.limit, resource.RLIM_INFINITY)
        for label in ("lost", "lost too"):
            with self.fails("INTERNAL_ERROR"):
                self.client("pool.set_name_label", pool, label)
        self.assertEqual(self.client("pool.get_record", pool)["name_label"], "before")
        events = self.client("event.from", ["pool"], "", 0.0)["events"]
        self.assertEqual([e["snapshot"]["name_label"] for e in events], ["before"])
        waiting = begin(self.client, "event.from", ["pool"], token, harness.DEADLINE)
        self.limit(resource.RLIM_INFINITY)
        self.set_label_once_possible(pool, "after")
        events = waiting.finish()["events"]
        self.assertEqual([e["snapshot"]["name_label"] for e in events], ["after"])
        self.daemon.crash_and_restart()
        self.client.close()
        self.assertEqual(self.client("pool.get_name_label", pool), "after")


if __name__ == "__main__":
    unittest.main(verbosity=2)
