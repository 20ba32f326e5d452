"""iqdb bench: what it prints, and that nothing stays behind. No test compares times."""

import signal
import subprocess
import time
import unittest

from support import IQDB, SECONDS, Case, run


class Bench(Case):
    def left(self) -> list:
        return [each.name for each in self.directory.iterdir()]

    def test_every_measurement_has_both_sides_and_a_ratio(self):
        answer = run("bench", self.directory, "--seconds", 0.5, "--json")
        self.assertEqual((answer.code, answer.err), (0, ""))
        measured = answer.json
        self.assertGreater(measured["snapshot_bytes"], 2**22)
        self.assertGreater(measured["record_bytes"], 512)
        for name in ("write_bytes_per_second", "read_bytes_per_second", "appends_per_second", "append_median_seconds",
                     "append_p99_seconds"):
            pair = measured[name]
            self.assertGreater(min(pair["raw"], pair["library"]), 0, name)
            self.assertAlmostEqual(pair["ratio"], pair["library"] / pair["raw"])
        self.assertEqual(self.left(), [])

    def test_the_table_has_a_row_for_each(self):
        answer = run("bench", self.directory, "--seconds", 0.5)
        self.assertEqual((answer.code, answer.err), (0, ""))
        lines = answer.out.splitlines()
        self.assertEqual(lines[0], str(self.directory))
        for line in lines[2:7]:
            self.assertRegex(line, r"^  .{34}( +[\d.]+){3}$")
        self.assertEqual(len(lines), 8)

    def test_an_interruption_leaves_nothing(self):
        for kind in (signal.SIGINT, signal.SIGTERM):
            for wait in (0.0, 0.3, 1.0, 2.5):
                process = subprocess.Popen([IQDB, "bench", self.directory, "--seconds", "4"], stdout=subprocess.PIPE)
                end = time.monotonic() + SECONDS
                while not self.left() and time.monotonic() < end:
                    time.sleep(0.01)
                time.sleep(wait)
                process.send_signal(kind)
                out, _ = process.communicate(timeout=SECONDS)
                self.assertEqual((process.returncode, out), (-kind, b""))
                self.assertEqual(self.left(), [])

    def test_a_place_that_cannot_be_used_is_refused(self):
        self.check_error(run("bench", self.directory / "none"), 3, "[io]")
        self.path.write_text("a file")
        self.check_error(run("bench", self.path), 3, "[io]")
        self.assertEqual(run("bench", self.directory, "--seconds", "0").code, 2)
        self.assertEqual(self.left(), [self.path.name])

    def test_a_disk_with_little_space_is_refused(self):
        small = self.directory / "small"
        small.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], capture_output=True).returncode != 0:
            self.skipTest("this user cannot mount a small disk")
        try:
            self.check_error(run("bench", small), 3, "are free", "[io]")
            self.assertEqual(list(small.iterdir()), [])
        finally:
            subprocess.run(["umount", small], check=True)


if __name__ == "__main__":
    unittest.main()
