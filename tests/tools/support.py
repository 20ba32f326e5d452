"""What the tests of the program iqdb share: running it, and a process that writes an index meanwhile."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

IQDB = os.environ["IQDB"]
FILES = os.environ["IQDB_FILES"]
ADAPTERS = os.environ.get("IQDB_ADAPTERS", "").split()
HAS_S3 = os.environ.get("IQDB_S3") == "ON"
SANITIZED = os.environ.get("IQDB_SANITIZED") == "ON"
TESTS = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = TESTS / "golden"
SECONDS = 120  # longer than anything takes, on any machine


class Answer:
    """How a run of iqdb ended, and what it printed."""

    def __init__(self, process: subprocess.CompletedProcess) -> None:
        self.code = process.returncode
        self.out = process.stdout.decode()
        self.err = process.stderr.decode()

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def json_lines(self) -> list:
        return [json.loads(line) for line in self.out.splitlines()]


def run(*words, **options) -> Answer:
    """Runs iqdb with these words, in a pipe."""
    command = [IQDB, *map(str, words)]
    return Answer(subprocess.run(command, capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL, **options))


class Writer:
    """A process that has an index of the type flat open, and does to it what it is told."""

    def __init__(self, path: pathlib.Path, older_states: int = 0) -> None:
        self.process = subprocess.Popen(
            [FILES, "write", str(path), str(older_states)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.await_line("ready")

    def await_line(self, expected: str) -> None:
        line = self.process.stdout.readline().rstrip("\n")
        if line != expected:
            raise AssertionError(f"the writer said {line!r}; expected {expected!r}")

    def do(self, *lines: str) -> Writer:
        for line in lines:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            self.await_line("done " + line)
        return self

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(SECONDS)
        self.process.stdout.close()


class Case(unittest.TestCase):
    """A test in a directory of its own."""

    def setUp(self) -> None:
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="iqdb_tool_"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.path = self.directory / "index.iqdb"
        self.log = self.directory / "index.iqdb.wal"

    def write(self, *lines: str) -> None:
        """Makes an index, and lets a process write to it that is then killed."""
        writer = Writer(self.path)
        writer.do(*lines)
        writer.kill()

    def copy(self, golden: str) -> pathlib.Path:
        """A copy of a golden file and the files beside it."""
        source = GOLDEN / golden
        for file in source.parent.glob(source.name + "*"):
            shutil.copy(file, self.directory / file.name)
        return self.directory / source.name

    def flip(self, path: pathlib.Path, at: int) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)

    def check_error(self, answer: Answer, code: int, *texts: str) -> None:
        """The run ended with this code and a message of one line that has these texts, and printed nothing else."""
        self.assertEqual(answer.code, code, answer.err + answer.out)
        self.assertEqual(answer.out, "")
        self.assertEqual(answer.err.count("\n"), 1, answer.err)
        self.assertTrue(answer.err.startswith("iqdb: error: "), answer.err)
        for text in texts:
            self.assertIn(text, answer.err)
