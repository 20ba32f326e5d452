"""Every file of the fuzzers' corpora and every damaged golden file, through each command: never a signal, never an answer
that is no answer, never more than a bound of memory."""

import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from support import GOLDEN, IQDB, SANITIZED, TESTS

# What one of these files may make the program take, beside the program itself. The largest bomb decodes to 16 MiB and is not
# kept; a window of zstd takes up to 128 MiB; LZ4's block is decoded whole.
MOST_KIBIBYTES = 512 * 1024

COMMANDS = (
    ("info",), ("info", "--full"), ("verify",), ("log",), ("log", "--frames"), ("history",), ("search", "--vector", "1,2"),
    ("backup",), ("restore",), ("checkpoint",), ("convert",), ("recover",),
    ("recover", "--also-behind", "--unchecked-rows", "--type", "flat", "--metric", "euclidean"))


def measured(command: list) -> tuple[int, bytes, bytes, int]:
    """Runs a command. Returns its code, its outputs, and the most memory that it had, in KiB."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        out, err = process.stdout.read(), process.stderr.read()
    finally:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        process.stderr.close()
    return process.returncode, out, err, usage.ru_maxrss


def problem_with(path: pathlib.Path, command: tuple) -> str:
    """What is wrong with the answer to a command; nothing if it is right."""
    with tempfile.TemporaryDirectory(prefix="iqdb_hostile_") as directory:
        made = directory + "/made"
        place = {"recover": ["-o", made], "backup": [made], "restore": [made], "convert": [made]}.get(command[0], [])
        given = shutil.copy(path, directory)  # a checkpoint changes it, and a lock file may come to lie beside it
        code, out, err, memory = measured([IQDB, *command, "--json", given, *place])
    what = f"iqdb {' '.join(command)} {path.relative_to(TESTS)}: "
    # Of a log alone nothing says which index it is of, and of rows nothing how their distances are measured.
    if code not in ((0, 1, 2, 3) if command in (("recover",), ("convert",)) else (0, 1, 3)):
        return what + f"ended with {code}: {err.decode(errors='replace')[-500:]}"
    if not SANITIZED and memory > MOST_KIBIBYTES:
        return what + f"took {memory // 1024} MiB"
    if err:
        return what + f"said {err[:300]!r}"
    try:
        documents = [json.loads(line) for line in out.splitlines()] if command[0] in ("log", "search") else [json.loads(out)]
    except ValueError as error:
        return what + f"answered what is no JSON: {error}"
    if code != 0 and command[0] != "verify":
        last = documents[-1]
        if not any(each.get("error") or each.get("problems") for each in [last, *last.get("states", [])]):
            return what + "ended with an error and does not say which"
    return ""


class Hostile(unittest.TestCase):
    def check(self, paths: list) -> None:
        self.assertGreater(len(paths), 20)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            found = pool.map(lambda work: problem_with(*work), [(path, each) for path in paths for each in COMMANDS])
            problems = [problem for problem in found if problem]
        self.assertEqual(problems, [])

    def test_regressions_of_the_fuzzers(self):
        self.check(sorted(path for path in (TESTS / "fuzz/regressions").rglob("*") if path.is_file()))

    def test_damaged_golden_files(self):
        self.check(sorted(path for folder in ("bad", "codec") for path in (GOLDEN / folder).glob("*.iqdb")))


if __name__ == "__main__":
    unittest.main()
