#!/usr/bin/env python3
"""How large the daemon is without symbols: it stays below the limit that the README tells.

    tests/lint/size.py XENOLITHD
"""
import os
import subprocess
import sys
import tempfile

LIMIT = 2_000_000

with tempfile.TemporaryDirectory() as folder:
    stripped = os.path.join(folder, "xenolithd")
    subprocess.run(["strip", "-o", stripped, sys.argv[1]], check=True)
    size = os.path.getsize(stripped)
print(f"{size} bytes, {LIMIT} at most")
sys.exit(size >= LIMIT)
