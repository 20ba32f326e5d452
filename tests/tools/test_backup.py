"""iqdb backup and iqdb restore: copies of an index, also beside a writer."""

import os
import time
import unittest

from support import Case, Writer, run


class Backup(Case):
    def index(self) -> Writer:
        self.path = self.directory / "vectors.iqdb"
        return Writer(self.path)

    def mutations(self, path) -> list:
        return [(each["op"], each["id"]) for each in run("log", path, "--json").json_lines if "id" in each]

    def test_a_backup_beside_a_writer_holds_what_it_had_written(self):
        writer = self.index().do("insert 1", "checkpoint", "insert 2", "insert 3")
        answer = run("backup", self.path, self.directory / "monday", "--verify", "--json")
        self.assertEqual((answer.code, answer.err), (0, ""))
        writer.do("insert 4")
        made = answer.json
        self.assertEqual(made["path"], str(self.directory / "monday/vectors.iqdb"))
        self.assertEqual((made["lsn"], made["linked"], made["verified"]), (3, True, True))
        self.assertEqual(run("verify", made["path"]).code, 0)
        self.assertEqual(len(self.mutations(made["path"])), 2)
        writer.end()

    def test_the_bytes_are_copied_where_that_is_asked_for(self):
        self.index().do("insert 1", "checkpoint").end()
        made = run("backup", self.path, self.directory / "copy", "--copy", "--json").json
        self.assertFalse(made["linked"])
        self.assertNotEqual(os.stat(made["path"]).st_ino, os.stat(self.path).st_ino)

    def test_nothing_that_is_there_is_replaced(self):
        self.index().do("insert 1").end()
        place = self.directory / "place"
        self.assertEqual(run("backup", self.path, place).code, 0)
        before = sorted((each.name, each.read_bytes()) for each in place.iterdir())
        answer = run("backup", self.path, place, "--json")
        self.assertEqual((answer.code, answer.json["error"]["kind"]), (1, "would_discard_snapshot"))
        self.assertEqual(sorted((each.name, each.read_bytes()) for each in place.iterdir()), before)
        self.assertEqual(run("backup", self.path, self.directory).code, 2)
        self.assertEqual(run("restore", place / "vectors.iqdb", self.path).code, 1)

    def test_an_index_is_restored_up_to_a_mutation(self):
        self.index().do("insert 1", "insert 2", "insert 3").end()
        restored = self.directory / "earlier.iqdb"
        answer = run("restore", self.path, restored, "--up-to", 2, "--json")
        self.assertEqual((answer.code, answer.json["lsn"]), (0, 2))
        self.assertEqual([number for _, number in self.mutations(restored)], [number for _, number in self.mutations(self.path)][:2])
        writer = Writer(restored).do("insert 7")
        writer.end()
        self.assertEqual(run("restore", self.path, self.directory / "later", "--up-to", 4).code, 2)
        self.assertFalse((self.directory / "later").exists())

    def test_older_states_are_listed_and_restored(self):
        path = self.directory / "vectors.iqdb"
        writer = Writer(path, older_states=2)
        writer.do("insert 1", "insert 2", "checkpoint", "erase 1", "checkpoint", "insert 3")
        states = run("history", path, "--json").json["states"]
        self.assertEqual([(each["first_lsn"], each["last_lsn"]) for each in states], [(3, 4), (2, 3), (0, 2)])
        self.assertEqual([each["replaced_at_ms"] is None for each in states], [True, False, False])
        self.assertEqual(run("info", path, "--json").json["older_states"], 2)
        restored = self.directory / "earlier.iqdb"
        answer = run("restore", path, restored, "--up-to", 1, "--json")
        self.assertEqual((answer.code, answer.json["lsn"]), (0, 1))
        self.assertEqual(self.mutations(restored), [("insert", 1)])
        self.assertEqual(run("verify", states[2]["path"]).code, 0)
        writer.end()
        self.assertIn("the index as it is", run("history", path).out)
        self.assertEqual(run("history", self.directory / "none").code, 3)

    def test_an_index_is_restored_up_to_a_second(self):
        path = self.directory / "vectors.iqdb"
        Writer(path, older_states=2).do("insert 1", "checkpoint", "insert 2").end()
        states = run("history", path, "--json").json["states"]
        first, last = states[-1]["first_time_ms"], states[0]["last_time_ms"]
        self.assertLessEqual(first, last)
        self.assertIn(time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(first // 1000)), run("history", path).out)
        for number, form in enumerate(["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S UTC"]):
            to = self.directory / f"now-{number}.iqdb"
            text = time.strftime(form, time.gmtime(last // 1000))
            answer = run("restore", path, to, "--up-to-time", text, "--json")
            self.assertEqual((answer.code, answer.json["lsn"]), (0, 2))
        earlier = run("restore", path, self.directory / "earlier", "--up-to-time", "2001-02-03 04:05:06", "--json")
        self.assertEqual((earlier.code, earlier.json["error"]["kind"]), (2, "invalid_config"))
        self.assertIn("2001-02-03 04:05:06 UTC", earlier.json["error"]["message"])
        for text in ["yesterday", "2026-13-01 00:00:00", "2026-02-30 00:00:00", "2026-02-03 04:05:06 CET", ""]:
            self.assertEqual(run("restore", path, self.directory / "earlier", "--up-to-time", text).code, 2, text)
        both = run("restore", path, self.directory / "earlier", "--up-to-time", "2099-02-03 04:05:06", "--up-to", 1)
        self.assertEqual(both.code, 2)
        self.assertFalse((self.directory / "earlier").exists())

    def test_a_directory_is_no_place_for_an_index(self):
        self.index().do("insert 1").end()
        answer = run("restore", self.path, self.directory)
        self.assertEqual(answer.code, 2)
        self.assertIn("name the file", answer.err)

    def test_damage_is_not_passed_on_unseen(self):
        self.index().do("insert 1", "checkpoint").end()
        damaged = bytearray(self.path.read_bytes())
        damaged[-1] ^= 1
        self.path.write_bytes(damaged)
        answer = run("backup", self.path, self.directory / "place", "--verify", "--json")
        self.assertEqual((answer.code, answer.json["error"]["kind"]), (1, "checksum_mismatch"))
        self.assertEqual([each.name for each in (self.directory / "place").iterdir() if each.suffix != ".lock"], [])

    def test_what_is_no_index_is_refused(self):
        (self.directory / "text").write_text("no index")
        self.assertEqual(run("backup", self.directory / "text", self.directory / "place").code, 1)
        self.assertEqual(run("backup", self.directory / "none", self.directory / "place").code, 3)
        self.assertFalse((self.directory / "place").exists())


if __name__ == "__main__":
    unittest.main()
