"""What the client xe is made of: a small program without the daemon's libraries, and a manual page that
formats cleanly and names every option.

    XE    the program to test; without it: build/xe
"""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
XE = os.environ.get("XE") or os.path.join(ROOT, "build", "xe")
FOLDER = os.path.join(ROOT, "rpc", "xe", "client")
MANUAL = os.path.join(FOLDER, "xe.1")
SMALL = 150000
SANITIZERS = re.compile(r"lib(asan|ubsan|tsan|lsan|clang_rt[\w.]*|stdc\+\+|m|gcc_s|pthread|dl|rt|resolv)\.so")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Program(unittest.TestCase):
    def test_it_needs_libc_and_mbedtls_only(self):
        names = re.findall(r"^\s*(lib\S+)", output("ldd", XE), re.M)
        self.assertTrue(any(name.startswith("libmbedtls") for name in names), names)
        others = [name for name in names if not re.match(r"lib(c\.|mbed(tls|x509|crypto)\.)", name)
                  and not SANITIZERS.match(name)]
        self.assertEqual(others, [])

    def test_it_is_small(self):
        if SANITIZERS.search(output("ldd", XE)) or "__asan_init" in output("nm", XE):
            self.skipTest("instrumented")
        with tempfile.TemporaryDirectory() as folder:
            stripped = os.path.join(folder, "xe")
            subprocess.run(["strip", "-o", stripped, XE], check=True)
            self.assertLess(os.path.getsize(stripped), SMALL)


class Manual(unittest.TestCase):
    def test_it_formats_cleanly(self):
        if shutil.which("mandoc"):
            told = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", MANUAL], capture_output=True, text=True,
                                  check=False).stdout
        elif shutil.which("man"):
            told = subprocess.run(["man", "--warnings", "-l", MANUAL], capture_output=True, text=True, check=False,
                                  env={**os.environ, "LC_ALL": "C.UTF-8"}).stderr
        else:
            self.skipTest("neither mandoc nor man")
        self.assertEqual(told, "")

    def test_it_names_every_option_and_variable(self):
        with open(MANUAL, encoding="utf-8") as file:
            manual = file.read()
        with open(os.path.join(FOLDER, "settings.c"), encoding="utf-8") as file:
            source = file.read()
        shown = set(re.findall(r"\bFl (-?[\w-]+)", manual))
        options = set(re.findall(r'^\t\{"-(-?[\w-]+)"', source, re.M)) - {"-colour"}  # as -color
        self.assertGreater(len(options), 10)
        self.assertEqual(options - shown, set())
        variables = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)*)"', source)) - {"HOME"}
        self.assertIn("XE_EXTRA_ARGS", variables)
        for name in variables:
            self.assertIn(name, manual)


if __name__ == "__main__":
    unittest.main()
