"""Random histories of the xenstore through its export and git: each checkout is the tree of its time.

    XENSTORE_HISTORY_PLAY    the program that makes them
    XN_TEST_SEED             the same one again
    XN_TEST_STEPS            how long it is
"""
import os
import random
import re
import subprocess
import tempfile
import unittest

from xenstore_git import Repository

PLAY = os.environ.get("XENSTORE_HISTORY_PLAY") or os.path.join(
    os.path.dirname(__file__), "..", "..", "build", "tests", "unit", "xenstore_history_play")
LINE = re.compile(r'(\S+) = "([0-9a-f]*)"   \((.*)\)')


def told_trees(path):
    """{generation: {path: (value, permissions)}}"""
    trees = {}
    with open(path, encoding="ascii") as file:
        for line in file:
            if line.startswith("generation "):
                tree = trees.setdefault(int(line.split()[1]), {})
                continue
            node, value, perms = LINE.fullmatch(line.rstrip("\n")).groups()
            tree[node] = (bytes.fromhex(value), perms.replace(",", " "))
    return trees


class Git(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="xn-git-")
        self.addCleanup(scratch.cleanup)
        self.folder = scratch.name

    def play(self, seed, steps):
        subprocess.run([PLAY, self.folder, str(seed), str(steps)], check=True, timeout=60)
        with open(os.path.join(self.folder, "stream"), "rb") as file:
            return file.read(), told_trees(os.path.join(self.folder, "trees"))

    def test_each_checkout_is_the_tree_of_its_time(self):
        seed = int(os.environ.get("XN_TEST_SEED", random.randrange(1 << 31)))
        print("seed", seed)
        stream, trees = self.play(seed, int(os.environ.get("XN_TEST_STEPS", "500")))
        repository = Repository(os.path.join(self.folder, "git"))
        repository.fast_import(stream)
        commits = dict((generation, commit) for commit, generation in repository.commits())
        self.assertGreater(len(commits), len(trees) // 2)
        self.assertLessEqual(set(trees), set(commits))
        for generation in random.Random(seed).sample(sorted(trees), len(trees) // 20) + [max(trees)]:
            with self.subTest(seed=seed, generation=generation):
                self.assertEqual(repository.tree(commits[generation]), trees[generation])

    def test_the_same_history_gives_the_same_commits_and_a_longer_one_adds_to_them(self):
        first, _ = self.play(7, 100)
        again, _ = self.play(7, 100)
        longer, _ = self.play(7, 200)
        self.assertEqual(first, again)
        repository = Repository(os.path.join(self.folder, "git"))
        repository.fast_import(first)
        before = repository.commits()
        repository.fast_import(longer)  # git refuses what does not add to what is there
        self.assertEqual(repository.commits()[:len(before)], before)
        self.assertGreater(len(repository.commits()), len(before))

    def test_a_stream_that_was_cut_off_is_refused(self):
        stream, _ = self.play(3, 50)
        repository = Repository(os.path.join(self.folder, "git"))
        with self.assertRaises(AssertionError):
            repository.fast_import(stream[:len(stream) // 2])
        with self.assertRaises(AssertionError):
            repository.fast_import(stream[:stream.rindex(b"done\n")])


if __name__ == "__main__":
    unittest.main(verbosity=2)
