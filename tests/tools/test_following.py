"""iqdb log --follow beside a writer: nothing is missed, nothing is listed twice."""

import json
import signal
import subprocess
import threading
import unittest

from support import IQDB, SECONDS, Case, Writer


class Follower:
    """iqdb log --follow --json, and the lines that it has printed."""

    def __init__(self, path, *words) -> None:
        self.process = subprocess.Popen([IQDB, "log", "--follow", "--json", *words, str(path)], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(json.loads(line))
                self.changed.notify_all()

    def until(self, holds) -> None:
        """Waits until the lines are as they should be."""
        with self.changed:
            if not self.changed.wait_for(lambda: holds(self.lines), SECONDS):
                raise AssertionError(f"still only these lines: {self.lines}")

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(SECONDS)
        self.reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return code


def inserted(lines) -> list:
    return [line["lsn"] for line in lines if line.get("op") == "insert"]


class Following(Case):
    def test_mutations_appear_over_checkpoints_and_restarts(self):
        writer = Writer(self.path).do("insert 1")
        follower = Follower(self.path)
        try:
            follower.until(lambda lines: inserted(lines) == [1])
            number = 1
            for turn in range(6):
                for _ in range(5):
                    number += 1
                    writer.do(f"insert {number}")
                # A log that is replaced twice between two looks is gone.
                follower.until(lambda lines: len(inserted(lines)) >= number)
                if turn % 3 == 0:
                    writer.do("checkpoint")
                elif turn % 3 == 1:
                    writer.kill()
                    writer = Writer(self.path)
                else:
                    writer.do("save")
            follower.until(lambda lines: len(inserted(lines)) >= number)
            writer.do("insert 1000")
            follower.until(lambda lines: len(inserted(lines)) > number)
        finally:
            writer.end()
            code = follower.end()
        self.assertEqual(inserted(follower.lines), list(range(1, number + 2)))
        self.assertEqual(code, -signal.SIGINT)

    def test_a_mutation_that_is_taken_back_is_followed_by_its_abort(self):
        writer = Writer(self.path)
        follower = Follower(self.path)
        try:
            writer.do("twice 5", "insert 6")
            follower.until(lambda lines: 3 in inserted(lines))
        finally:
            writer.end()
            follower.end()
        aborts = [line["aborts"] for line in follower.lines if line.get("op") == "abort"]
        self.assertEqual(aborts, [[{"first": 2, "last": 2}]])

    def test_filters_hold_while_it_follows(self):
        writer = Writer(self.path)
        follower = Follower(self.path, "--op", "erase")
        try:
            writer.do("insert 1", "insert 2", "erase 1")
            follower.until(lambda lines: len(lines) == 1)
            writer.do("checkpoint", "erase 2")
            follower.until(lambda lines: len(lines) == 2)
        finally:
            writer.end()
            follower.end()
        self.assertEqual([(line["op"], line["lsn"]) for line in follower.lines], [("erase", 3), ("erase", 4)])

    def test_another_history_is_announced(self):
        writer = Writer(self.path).do("insert 1", "insert 2")
        follower = Follower(self.path)
        try:
            follower.until(lambda lines: inserted(lines) == [1, 2])
            writer.kill()
            self.log.unlink()  # the log that the next process begins has nothing to do with this one
            writer = Writer(self.path).do("insert 1")
            follower.until(lambda lines: inserted(lines) == [1, 2, 1])
        finally:
            writer.end()
            follower.end()
        self.assertEqual(sum("history_id" in line for line in follower.lines), 1)


if __name__ == "__main__":
    unittest.main()
