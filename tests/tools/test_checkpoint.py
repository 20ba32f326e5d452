"""iqdb checkpoint: the log of an index is folded into its snapshot."""

import subprocess
import unittest

from support import FILES, Case, Writer, run


class Checkpoint(Case):
    def vectors(self) -> int:
        self.assertEqual(run("verify", self.path).code, 0)
        return run("info", self.path, "--json").json["snapshot"]["vectors"]

    def content(self) -> dict:
        return {each.name: each.read_bytes() for each in self.directory.iterdir() if not each.name.endswith(".lock")}

    def test_the_log_becomes_a_part_of_the_snapshot(self):
        self.write("insert 1", "checkpoint", "insert 2", "insert 3", "twice 4", "erase 2")
        answer = run("checkpoint", self.path, "--json")
        self.assertEqual((answer.code, answer.err), (0, ""))
        made = answer.json
        self.assertEqual((made["folded"], made["vectors"], made["lsn"]), (True, 3, 6))
        self.assertEqual((made["mutations"], made["aborted"]), (4, 1))
        self.assertEqual(made["log_bytes"], self.log.stat().st_size)
        self.assertLess(made["log_bytes"], made["log_bytes_before"])
        self.assertEqual(self.vectors(), 3)
        Writer(self.path).do("insert 9").end()
        self.assertEqual(run("log", self.path, "--json").json_lines[0]["lsn"], 7)

    def test_an_index_of_every_type_and_codec(self):
        subprocess.run([FILES, "samples", self.directory], check=True)
        samples = sorted(self.directory.glob("*.iqdb"))
        self.assertGreater(len(samples), 0)
        for self.path in samples:
            with self.subTest(self.path.name):
                compression = run("info", self.path, "--json").json["snapshot"]["codec"]
                made = run("checkpoint", self.path, "--json").json
                self.assertEqual((made["vectors"], made["mutations"]), (21, 1))
                self.assertEqual(self.vectors(), 21)
                self.assertEqual(run("info", self.path, "--json").json["snapshot"]["codec"], compression)

    def test_older_states_are_kept_and_the_replaced_one_is_added(self):
        Writer(self.path, older_states=2).do("insert 1", "checkpoint", "insert 2", "checkpoint", "insert 3").kill()
        before = run("history", self.path, "--json").json["states"]
        self.assertEqual(len(before), 3)
        self.assertEqual(run("checkpoint", self.path).code, 0)
        states = run("history", self.path, "--json").json["states"]
        self.assertEqual([(each["first_lsn"], each["last_lsn"]) for each in states], [(3, 3), (2, 3), (1, 2), (0, 1)])

    def test_no_history_is_begun(self):
        self.write("insert 1")
        self.assertEqual(run("checkpoint", self.path).code, 0)
        self.assertEqual(len(run("history", self.path, "--json").json["states"]), 1)

    def test_without_mutations_nothing_is_touched(self):
        self.write("insert 1", "checkpoint")
        before = self.content()
        answer = run("checkpoint", self.path, "--json")
        self.assertEqual((answer.code, answer.json["folded"], answer.json["lsn"]), (0, False, 1))
        self.log.unlink()
        answer = run("checkpoint", self.path)
        self.assertEqual(answer.code, 0)
        self.assertIn("there is no log", answer.out)
        before.pop(self.log.name)
        self.assertEqual(self.content(), before)

    def test_a_writer_is_named_and_not_disturbed(self):
        writer = Writer(self.path).do("insert 1")
        before = self.content()
        self.check_error(run("checkpoint", self.path), 1, f"process {writer.process.pid}", "[locked]")
        self.assertEqual(self.content(), before)
        writer.do("insert 2").end()

    def test_a_snapshot_must_be_there(self):
        self.check_error(run("checkpoint", self.path), 3, "there is no such file")
        self.write("insert 1")
        self.path.unlink()
        before = self.content()
        self.check_error(run("checkpoint", self.path), 3, "there is no snapshot")
        self.assertEqual(self.content(), before)

    def test_damage_is_refused_and_stays_as_it_is(self):
        self.write("insert 1", "insert 2", "close")
        self.flip(self.log, run("log", self.path, "--json").json_lines[0]["offset"] + 30)
        before = self.content()
        self.check_error(run("checkpoint", self.path), 1, "[log_corrupted]")
        self.assertEqual(self.content(), before)

    def test_an_unknown_type_is_refused(self):
        self.write("insert 1")
        data = self.path.read_bytes()
        self.path.write_bytes(data.replace(b"flat", b"flot"))
        self.check_error(run("checkpoint", self.path), 1, '"flot"', "[unsupported]")


if __name__ == "__main__":
    unittest.main()
