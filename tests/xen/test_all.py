"""All tests of this folder in one lab: booting one for each file would double the time.

Emulation has faults of its own (a PVH guest dies early now and then, see lab/README.md), so a case that
fails runs a second time, which is said; one that fails twice fails.
"""
import sys
import time
import unittest

import guests
import test_foreign
import test_kills
import test_life


def cases_of(suite):
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            yield from cases_of(part)
        else:
            yield part


class Result(unittest.TextTestResult):
    """Tells how long each took: half of the default run is spent here."""

    def startTest(self, test):
        self.begun = time.monotonic()
        super().startTest(test)

    def stopTest(self, test):
        print(f"    {time.monotonic() - self.begun:.0f} s in all", flush=True)
        super().stopTest(test)


def run(cases):
    """Which of them failed."""
    runner = unittest.TextTestRunner(verbosity=2, resultclass=Result)
    result = runner.run(unittest.TestSuite(cases))
    return [case for case, _ in result.failures + result.errors]


def again(case):
    """As new: a case object keeps what its first run left in it."""
    if not hasattr(case, "_testMethodName"):  # a module's or a class's set-up
        sys.exit(f"{case}: failed")
    return type(case)(case._testMethodName)  # pylint: disable=protected-access


if __name__ == "__main__":
    loader = unittest.defaultTestLoader
    guests.boot()
    try:
        begun = time.monotonic()
        failed = run(cases_of(unittest.TestSuite(
            loader.loadTestsFromModule(module)
            for module in (test_life, test_kills, test_foreign))))
        if failed:
            print("A second time:", *failed, sep="\n    ", flush=True)
            failed = run([again(case) for case in failed])
        print(f"{time.monotonic() - begun:.0f} s", flush=True)
    finally:
        guests.clear()
    sys.exit(1 if failed else 0)
