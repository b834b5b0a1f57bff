#!/usr/bin/env python3
"""The same seed gives the same state, whatever the machine: other addresses, another folder, locale,
time zone, host name, number of processors, compiler. test_same_everywhere.py SIM SEED...

    XN_OTHER_SIM    the same program from another compiler
"""

import os
import shutil
import subprocess
import sys

SIM = os.path.abspath(sys.argv[1])
SEEDS = sys.argv[2:]


def surroundings():
    """(name, command before the simulation, how it is run)"""
    yield "as it is", [], {}
    if os.environ.get("XN_OTHER_SIM"):
        yield "another compiler", [], {"executable": os.path.abspath(os.environ["XN_OTHER_SIM"])}
    yield "elsewhere", [], {"cwd": "/", "env": {"TZ": "Asia/Kathmandu", "LC_ALL": "tr_TR.UTF-8"}}
    if shutil.which("setarch"):
        yield "fixed addresses", ["setarch", os.uname().machine, "-R"], {}
    if shutil.which("taskset"):
        yield "one processor", ["taskset", "-c", str(min(os.sched_getaffinity(0)))], {}
    if shutil.which("unshare") and os.geteuid() == 0:
        yield "another host", ["unshare", "-u", "sh", "-c", 'hostname elsewhere; exec "$@"', "sh"], {}


def told(seed, before, how):
    ran = subprocess.run(
        before + [SIM, "--seed", seed], capture_output=True, text=True, timeout=300, **how
    )
    lines = [line for line in ran.stdout.splitlines() if line.startswith("seed ")]
    assert ran.returncode == 0 and lines, f"{before}: {ran.stdout} {ran.stderr}"
    return lines[0]


def works(before):
    return not before or subprocess.run(before + ["true"], capture_output=True).returncode == 0


def main():
    tried = 0
    for name, before, how in surroundings():
        if not works(before):
            print(f"left out: {name}")
            continue
        tried += 1
        for seed in SEEDS:
            here, there = told(seed, [], {}), told(seed, before, how)
            assert here == there, f"{name}: {there}, else {here}"
    assert tried > 2
    print(f"{len(SEEDS)} seeds are the same in {tried} surroundings")


main()
