"""iqdb recover: a new index of what is whole of damaged files."""

import subprocess
import unittest

from support import ADAPTERS, FILES, Case, Writer, run


class Recover(Case):
    def setUp(self) -> None:
        super().setUp()
        self.new = self.directory / "recovered.iqdb"

    def vectors(self) -> int:
        """The vectors of the new index, which must be whole and have no log yet."""
        self.assertEqual(run("verify", self.new).code, 0)
        return run("info", self.new, "--json").json["snapshot"]["vectors"]

    def recover(self, *words, code=1):
        before = {each.name: each.read_bytes() for each in self.directory.iterdir()}
        answer = run("recover", self.path, "-o", self.new, "--json", *words)
        self.assertEqual((answer.code, answer.err), (code, ""), answer.out)
        for name, content in before.items():
            self.assertEqual((self.directory / name).read_bytes(), content, name)
        return answer.json

    def kinds(self, report) -> list:
        return [each["kind"] for each in report["problems"]]

    def frames(self) -> list:
        return [each for each in run("log", self.path, "--frames", "--json").json_lines]

    def overwrite(self, path, at: int, count: int) -> None:
        data = bytearray(path.read_bytes())
        data[at : at + count] = bytes(each ^ 0x5A for each in data[at : at + count])
        path.write_bytes(data)

    def test_files_that_are_whole_come_back_whole(self):
        self.write("insert 1", "checkpoint", "insert 2", "erase 1", "close")
        report = self.recover(code=0)
        self.assertEqual((report["ok"], report["vectors"], report["problems"]), (True, 1, []))
        self.assertEqual(self.vectors(), 1)
        Writer(self.new).do("insert 7").end()

    def test_a_flipped_bit_of_either_file_is_corrected(self):
        self.write("insert 1", "insert 2", "checkpoint", "insert 3", "close")
        self.flip(self.path, self.path.stat().st_size - 20)
        self.flip(self.log, 100)
        report = self.recover(code=0)
        self.assertEqual(report["snapshot"]["corrected"], [{"offset": self.path.stat().st_size - 20, "bit": 0}])
        self.assertEqual(report["log"]["corrected"], [{"offset": 100, "bit": 0}])
        self.assertEqual(self.vectors(), 3)

    def test_what_stands_before_damage_to_the_log_is_made_and_what_stands_behind_on_request(self):
        self.write("insert 1", "insert 2", "insert 3", "insert 4", "close")
        second = self.frames()[1]
        self.overwrite(self.log, second["offset"] + 30, 9)
        report = self.recover()
        self.assertEqual(report["vectors"], 1)
        self.assertEqual(self.kinds(report), ["log_damaged", "unsettled", "left_out"])
        damaged, _, left_out = report["problems"]
        self.assertEqual((damaged["first_lsn"], damaged["last_lsn"]), (2, 2))
        self.assertEqual((left_out["first_lsn"], left_out["last_lsn"]), (3, 4))
        self.new = self.directory / "more.iqdb"
        report = self.recover("--also-behind")
        self.assertEqual((report["vectors"], report["log"]["mutations_behind_damage"]), (3, 2))
        self.assertIn("behind_damage", self.kinds(report))
        self.assertEqual(self.vectors(), 3)

    def test_rows_of_a_damaged_snapshot_are_given_only_on_request(self):
        self.write("insert 1", "insert 2", "insert 3", "checkpoint", "insert 4", "close")
        self.path.write_bytes(self.path.read_bytes()[:-19])
        report = self.recover()
        self.assertEqual((report["vectors"], self.kinds(report)), (1, ["snapshot_lost"]))
        self.assertEqual(report["snapshot"]["vectors_stated"], 3)
        self.new = self.directory / "unchecked.iqdb"
        report = self.recover("--unchecked-rows")
        self.assertEqual((report["vectors"], report["snapshot"]["vectors_taken"]), (3, 2))
        self.assertEqual(self.kinds(report), ["rows_unchecked", "vectors_lost", "metadata_lost"])
        self.assertEqual(report["problems"][1]["vectors"], [3])
        self.assertEqual(report["problems"][2]["vectors"], [1, 2])

    def test_an_older_state_and_the_logs_that_lead_from_it_take_the_place_of_a_snapshot(self):
        writer = Writer(self.path, older_states=3)
        writer.do("insert 1", "checkpoint", "insert 2", "checkpoint", "insert 3").end()
        self.path.write_bytes(self.path.read_bytes()[:-19])
        report = self.recover(code=0)
        self.assertEqual((report["ok"], report["vectors"], report["problems"]), (True, 3, []))
        self.assertEqual(report["snapshot"]["state"], "older")
        self.assertRegex(report["snapshot"]["older_state"], r"^index\.iqdb\.\d{15}\.history$")
        self.assertEqual(self.vectors(), 3)
        self.path.unlink()
        self.new = self.directory / "again.iqdb"
        self.assertEqual(self.recover(code=0)["vectors"], 3)
        self.log.unlink()
        self.new = self.directory / "without-log.iqdb"
        report = self.recover()
        self.assertEqual((report["vectors"], self.kinds(report)), (2, ["log_missing"]))

    def test_a_log_without_its_snapshot_needs_the_type_and_the_metric(self):
        self.write("insert 1", "checkpoint", "insert 2", "erase 1", "close")
        self.path.unlink()
        answer = run("recover", self.path, "-o", self.new)
        self.assertEqual(answer.code, 2)
        self.assertIn("--type", answer.err)
        report = self.recover("--type", "flat", "--metric", "euclidean")
        self.assertEqual((report["vectors"], self.kinds(report)), (1, ["snapshot_missing"]))
        self.assertEqual(report["log"]["unknown_erased"], 1)

    def test_a_header_of_a_snapshot_that_is_lost_is_made_again_from_the_log(self):
        self.write("insert 1", "insert 2", "checkpoint", "insert 3", "close")
        self.overwrite(self.path, 0, 45 - 4)
        report = self.recover(code=0)
        self.assertTrue(report["snapshot"]["header_rebuilt"])
        self.assertEqual(self.vectors(), 3)

    def test_a_log_whose_header_is_lost_is_read_by_its_frames(self):
        self.write("insert 1", "checkpoint", "insert 2", "insert 3", "close")
        self.overwrite(self.log, 0, 64)
        report = self.recover()
        self.assertEqual((report["vectors"], self.kinds(report)), (3, ["log_assumed_to_fit"]))

    def test_a_log_of_another_snapshot_is_not_mixed_in(self):
        self.write("insert 1", "checkpoint")
        earlier = self.path.read_bytes()
        self.write("insert 2", "checkpoint", "insert 3", "close")
        self.path.write_bytes(earlier)
        report = self.recover()
        self.assertEqual((report["vectors"], self.kinds(report)), (1, ["log_foreign"]))

    def tear(self) -> None:
        """Leaves what a load leaves that finds the second of four records torn: a log up to there, and the torn one."""
        self.write("insert 1", "insert 2", "insert 3", "insert 4")
        second = self.frames()[1]["offset"]
        whole = self.log.read_bytes()
        self.overwrite(self.log, second + 30, 9)
        (self.directory / "index.iqdb.wal.torn").write_bytes(self.log.read_bytes())
        self.log.write_bytes(whole[:second])

    def test_what_a_torn_log_holds_is_told_and_made_on_request(self):
        self.tear()
        report = self.recover(code=0)
        self.assertEqual((report["vectors"], report["problems"]), (1, []))
        self.assertEqual(report["torn_log"]["state"], "left_out")
        self.assertEqual(report["torn_log"]["behind_tear"], [{"first_lsn": 3, "last_lsn": 4}])
        self.new = self.directory / "told.iqdb"
        self.assertIn("--also-behind makes them", run("recover", self.path, "-o", self.new).out)
        self.new = self.directory / "more.iqdb"
        report = self.recover("--also-behind")
        self.assertEqual((report["vectors"], self.kinds(report)), (3, ["behind_tear"]))
        self.assertEqual((report["torn_log"]["state"], report["torn_log"]["mutations_made"]), ("taken", 2))
        self.assertEqual(self.vectors(), 3)

    def test_a_torn_log_takes_the_place_of_a_log_that_is_lost(self):
        self.tear()
        self.log.unlink()
        report = self.recover()
        self.assertEqual((report["vectors"], report["torn_log"]["state"]), (1, "instead"))
        self.assertIn("log_replaced", self.kinds(report))
        self.new = self.directory / "named.iqdb"
        self.path = self.directory / "index.iqdb.wal.torn"
        self.assertEqual(self.recover()["vectors"], 1)

    def test_files_that_a_program_holds_open_are_refused_and_a_backup_of_them_is_not(self):
        writer = Writer(self.path).do("insert 1", "insert 2")
        self.addCleanup(writer.end)
        answer = run("recover", self.path, "-o", self.new)
        self.check_error(answer, 1, f"process {writer.process.pid}", "end it first", "iqdb backup")
        self.assertFalse(self.new.exists())
        backup = self.directory / "backup"
        self.assertEqual(run("backup", self.path, backup).code, 0)
        self.assertEqual(run("recover", backup / "index.iqdb", "-o", self.new).code, 0)
        self.assertEqual(self.vectors(), 2)

    def test_a_file_that_no_program_holds_stays_unlocked_behind_a_recovery(self):
        self.write("insert 1", "close")
        self.recover(code=0)
        Writer(self.path).do("insert 2").end()

    def test_nothing_that_is_there_is_replaced(self):
        self.write("insert 1", "close")
        self.new.write_text("mine")
        self.assertEqual(run("recover", self.path, "-o", self.new).code, 1)
        self.assertEqual(self.new.read_text(), "mine")
        for place in (self.path, self.log, self.directory):
            self.assertEqual(run("recover", self.path, "-o", place).code, 2, place)
        self.assertEqual(run("recover", self.directory / "none", "-o", self.directory / "x").code, 3)

    def test_nothing_is_written_where_nothing_comes_back(self):
        self.write("insert 1", "checkpoint", "close")
        self.log.unlink()
        self.path.write_bytes(self.path.read_bytes()[:30] + bytes(9))
        report = self.recover("--type", "flat")
        self.assertEqual((report["path"], self.kinds(report)[0]), (None, "nothing_recovered"))
        self.assertFalse(self.new.exists())

    def test_rows_of_every_type_come_back_without_their_links(self):
        subprocess.run([FILES, "samples", str(self.directory)], check=True)
        for type_name in ["flat", *("hnsw" if each == "hnswlib" else each for each in ADAPTERS)]:
            with self.subTest(type_name):
                self.path = self.directory / f"{type_name}.iqdb"
                self.new = self.directory / f"{type_name}.recovered"
                data = bytearray(self.path.read_bytes())
                data[-1] ^= 3  # two bits: not corrected
                self.path.write_bytes(data)
                report = self.recover("--unchecked-rows")
                self.assertGreaterEqual(report["snapshot"]["vectors_taken"], 19)
                self.assertEqual(report["log"]["mutations_made"], 1)
                self.assertGreaterEqual(self.vectors(), 20)

    def test_the_report_is_told_in_words(self):
        self.write("insert 1", "insert 2", "close")
        self.path.unlink()
        answer = run("recover", self.path, "-o", self.new, "--type", "flat", "--metric", "euclidean")
        self.assertEqual(answer.code, 1)
        self.assertIn("which vectors it held cannot be known [snapshot_missing]", answer.out)


if __name__ == "__main__":
    unittest.main()
