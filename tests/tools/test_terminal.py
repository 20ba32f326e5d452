"""iqdb in a terminal: colours, progress bars, Ctrl-C. In pipes there is none of these."""

import os
import pathlib
import pty
import select
import signal
import subprocess
import tempfile
import time
import unittest

from support import FILES, GOLDEN, IQDB, SECONDS, Case, run

WIPED = "\r\x1b[K"


def in_terminal(*words, environment=None, interrupt_at=None) -> tuple[int, str]:
    """Runs iqdb in a terminal of its own, to which both its outputs go. Ctrl-C is typed when a text has appeared."""
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", **(environment or {})}
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(IQDB, [IQDB, *map(str, words)], environment)
    text = b""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            more = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not more:
            break
        text += more
        if interrupt_at and interrupt_at.encode() in text:
            os.write(terminal, b"\x03")
            interrupt_at = None
    status = os.waitpid(pid, 0)[1]
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), text.decode()


class Colours(Case):
    golden = GOLDEN / "wal2/batch.iqdb"

    def test_on_a_terminal_and_nowhere_else(self):
        code, text = in_terminal("info", self.golden)
        self.assertEqual(code, 0)
        self.assertIn("\x1b[1m", text)
        self.assertNotIn("\x1b", run("info", self.golden).out)
        self.assertNotIn("\x1b", run("info", "none").err)
        self.assertIn("\x1b[31m", in_terminal("info", "none")[1])

    def test_only_where_they_are_wanted(self):
        self.assertNotIn("\x1b", in_terminal("info", "--color", "never", self.golden)[1])
        self.assertNotIn("\x1b", in_terminal("info", self.golden, environment={"NO_COLOR": "1"})[1])
        self.assertNotIn("\x1b", in_terminal("info", self.golden, environment={"TERM": "dumb"})[1])
        self.assertNotIn("\x1b", in_terminal("info", "--json", self.golden)[1])
        self.assertIn("\x1b[1m", run("info", "--color", "always", self.golden).out)

    def test_a_list_has_a_head_on_a_terminal_alone(self):
        self.assertIn("LSN", in_terminal("log", self.golden)[1])
        self.assertNotIn("LSN", run("log", self.golden).out)


class Bars(Case):
    """A bar appears after a second: a file is verified so many times that it takes a few."""

    @classmethod
    def setUpClass(cls):
        cls.made = tempfile.TemporaryDirectory(prefix="iqdb_tool_")
        cls.addClassCleanup(cls.made.cleanup)
        cls.path = pathlib.Path(cls.made.name) / "index.iqdb"
        subprocess.run([FILES, "large", str(cls.path), "32"], check=True, timeout=SECONDS)
        begin = time.monotonic()
        run("verify", "-j", "1", *[cls.path] * 8)
        cls.paths = [cls.path] * max(16, int(8 * 2.5 / (time.monotonic() - begin)))

    def setUp(self):
        pass  # all of them look at the same file

    def test_a_bar_is_drawn_and_wiped_out(self):
        code, text = in_terminal("verify", "-j", "1", *self.paths)
        self.assertEqual(code, 0)
        self.assertIn("verify [", text)
        self.assertIn("MiB/s", text)
        bars, answer = text.rsplit(WIPED, 1)
        self.assertNotIn("verify [", answer)
        self.assertEqual(answer.count("fine"), len(self.paths))

    def test_a_pipe_has_no_bar(self):
        answer = run("verify", "-j", "1", *self.paths)
        self.assertEqual((answer.code, answer.err), (0, ""))
        self.assertNotIn("MiB/s", answer.out)

    def test_ctrl_c_ends_it_and_leaves_a_clean_line(self):
        code, text = in_terminal("verify", "-j", "1", *self.paths * 20, interrupt_at="verify [")
        self.assertEqual(code, -signal.SIGINT)
        self.assertTrue(text.replace("^C", "").endswith(WIPED), repr(text[-80:]))
        self.assertEqual(sorted(file.name for file in self.path.parent.iterdir()), ["index.iqdb", "index.iqdb.lock"])


if __name__ == "__main__":
    unittest.main()
