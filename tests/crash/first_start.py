#!/usr/bin/env python3
"""The disk fails at each write in turn while a daemon makes its folder: it serves all that a new database
has, or says why and ends; and the next start, on a disk that works, finds nothing in its way.

    XENOLITHD=BUILD/xenolithd first_start.py SHIM     (disk_shim.so)
"""
import errno
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))

import harness  # noqa: E402 pylint: disable=wrong-import-position

CLASSES = ("pool", "host", "SR", "PBD", "network", "VM", "host_metrics", "VM_metrics")


def counts(daemon):
    client = daemon.client()
    found = {name: len(client(f"{name}.get_all")) for name in CLASSES}
    daemon.close_clients()
    return found


def environment(folder, shim, after):
    fault = os.path.join(folder, "fault")
    with open(fault, "wb") as file:
        file.write(bytes((errno.EIO, errno.EIO)))
    return {**os.environ, "LD_PRELOAD": shim, "XN_DISK_FAULT": fault, "XN_DISK_FAULT_AFTER": str(after),
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}


def start(daemon, **popen):
    """Whether it serves; else it has said why."""
    daemon.popen = popen
    try:
        daemon.start()
    except AssertionError as problem:
        if "Input/output error" not in str(problem):
            raise
        return False
    return True


def failing_after(n, shim, whole):
    """Whether the daemon served although the disk took only the first n writes."""
    daemon = harness.Daemon()
    try:
        served = start(daemon, env=environment(daemon.folder, shim, n))
        if served and (found := counts(daemon)) != whole:
            sys.exit(f"after {n} writes it served {found}, not {whole}:\n{daemon.log_text()}")
        daemon.kill()
        subprocess.run([harness.XENOLITHD, "--check-db", "--state-dir", daemon.state],
                       stdout=subprocess.DEVNULL, check=served)
        assert start(daemon) and counts(daemon) == whole, (n, daemon.log_text())
        return served
    finally:
        daemon.clear()


def main():
    daemon = harness.Daemon()
    whole = counts(daemon.start())
    daemon.clear()
    assert all(whole.values()), whole
    n = 0
    while not failing_after(n, os.path.abspath(sys.argv[1]), whole):
        n += 1
    assert n > 5, n  # it was the disk that ended the others
    for more in range(1, 10):
        failing_after(n + more, os.path.abspath(sys.argv[1]), whole)
    print(f"the first {n} writes are needed")


main()
