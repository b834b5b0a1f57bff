"""All tests of this folder in one lab: booting one for each file would double the time."""
import sys
import time
import unittest

import guests
import test_bench_start
import test_foreign
import test_kills
import test_life

if __name__ == "__main__":
    guests.boot()
    try:
        begun = time.monotonic()
        suite = unittest.TestSuite(
            unittest.defaultTestLoader.loadTestsFromModule(module)
            for module in (test_life, test_kills, test_foreign, test_bench_start))
        passed = unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful()
        print(f"{time.monotonic() - begun:.0f} s", flush=True)
    finally:
        guests.clear()
    sys.exit(0 if passed else 1)
