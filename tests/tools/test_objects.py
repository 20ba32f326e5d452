"""Indexes on object stores: each command with an address, beside a writer and behind one that was killed.

Where S3_ENDPOINT is set, the store is the bucket that it and S3_BUCKET name, with S3_ACCESS_KEY, S3_SECRET_KEY and S3_REGION; else a
directory.
"""

import os
import signal
import subprocess
import tempfile
import time
import unittest
import uuid

from support import FILES, HAS_S3, IQDB, SECONDS, Case, Writer, run
from test_following import Follower, inserted

ON_S3 = "S3_ENDPOINT" in os.environ
if ON_S3:
    os.environ.update({"AWS_ENDPOINT_URL": os.environ["S3_ENDPOINT"], "AWS_ACCESS_KEY_ID": os.environ["S3_ACCESS_KEY"],
                       "AWS_SECRET_ACCESS_KEY": os.environ["S3_SECRET_KEY"], "AWS_REGION": os.environ["S3_REGION"]})
NOBODY = 65534
only_in_a_directory = unittest.skipIf(ON_S3, "objects are changed as files")


class ObjectCase(Case):
    def setUp(self) -> None:
        super().setUp()
        self.objects = self.directory / "objects"
        self.objects.mkdir()
        self.address = self.address_of("vectors")

    def address_of(self, name: str) -> str:
        if ON_S3:
            self.prefix = getattr(self, "prefix", f"tool-{uuid.uuid4()}")
            return f"s3://{os.environ['S3_BUCKET']}/{self.prefix}/{name}"
        return f"dir:{self.objects}/{name}"

    def write(self, *lines: str) -> None:
        Writer(self.address).do(*lines).kill()

    def content(self) -> dict:
        return {str(each): each.read_bytes() for each in sorted(self.objects.rglob("*")) if each.is_file()}

    def object(self, kind: str, at: int):
        """One of the files that are objects of the log, or snapshots."""
        return sorted(each for each in (self.objects / "vectors" / kind).iterdir() if each.is_file())[at]

    def ids(self, path, row=1) -> list:
        answer = run("search", path, "--row", row, "-k", 1000, "--json")
        self.assertEqual((answer.code, answer.err), (0, ""), answer.out)
        return sorted(str(hit["id"]) for hit in answer.json["hits"])


class Looking(ObjectCase):
    def test_info_says_what_a_load_finds(self):
        self.write("insert 1", "checkpoint", "insert 2", "twice 3", "erase 1")
        answer = run("info", self.address, "--json")
        self.assertEqual((answer.code, answer.err), (0, ""))
        told = answer.json
        self.assertEqual((told["path"], told["kind"], told["problems"]), (self.address, "object_index", []))
        snapshot = told["snapshot"]
        self.assertEqual((snapshot["type"], snapshot["dimensions"], snapshot["metric"]), ("flat", 4, "euclidean"))
        self.assertEqual((snapshot["vectors"], snapshot["codec"]), (1, "none"))
        self.assertTrue(snapshot["key"].startswith("vectors/snapshot/"))
        log = told["log"]
        self.assertEqual((log["base_lsn"], log["lsn"], log["mutations"], log["aborted"]), (1, 5, 3, 1))
        self.assertEqual((log["closed"], log["writer"]), (False, 0))
        self.assertEqual(told["stored"]["snapshots"], 2)
        text = run("info", self.address + ".wal").out
        self.assertIn("3 behind the snapshot, and 1 aborted", text)
        self.assertIn("is at work or was killed", text)

    def test_info_tells_a_log_that_was_closed(self):
        Writer(self.address).do("insert 1", "close").end()
        told = run("info", self.address, "--json").json
        self.assertTrue(told["log"]["closed"])
        self.assertIn("in order", run("info", self.address).out)

    @only_in_a_directory
    def test_an_index_whose_writer_died_before_it_stored_anything(self):
        self.write("insert 1")
        fence = self.object("log", 0)
        other = self.objects / "other/log"
        other.mkdir(parents=True)
        (other / fence.name).write_bytes(fence.read_bytes())
        self.address = self.address_of("other")
        answer = run("info", self.address)
        self.assertEqual((answer.code, answer.err), (0, ""))
        self.assertIn("nothing was stored yet", answer.out)
        self.assertIsNone(run("info", self.address, "--json").json["snapshot"])
        self.assertEqual(run("verify", self.address).code, 0)
        self.assertEqual(run("checkpoint", self.address, "--json").json["folded"], False)
        self.check_error(run("search", self.address, "--row", 1), 3, "[io]")
        self.write("insert 2")
        self.assertEqual(self.ids(self.address, 2), ["2"])

    def test_verify_reads_log_and_snapshot(self):
        self.write("insert 1", "checkpoint", "insert 2")
        answer = run("verify", self.address, "--json")
        self.assertEqual((answer.code, answer.err), (0, ""))
        file = answer.json["files"][0]
        self.assertEqual((file["path"], file["ok"], file["snapshot"]["decoded"]), (self.address, True, True))
        self.assertEqual((file["snapshot"]["vectors"], file["log"]["mutations"]), (1, 1))
        self.assertIn("fine; 1 vectors, decoded; 1 mutations in the log", run("verify", self.address).out)
        self.assertIn("not decoded", run("verify", self.address, "--no-decode").out)

    @only_in_a_directory
    def test_verify_finds_damage_wherever_it_is(self):
        self.write("insert 1", "checkpoint", "insert 2", "insert 3")
        for kind, at, error in [("log", -1, "log_corrupted"), ("snapshot", -1, "checksum_mismatch")]:
            with self.subTest(kind):
                path = self.object(kind, at)
                if kind == "snapshot":  # names are random: the one that the log names
                    path = self.objects / run("info", self.address, "--json").json["snapshot"]["key"]
                before = path.read_bytes()
                self.flip(path, len(before) - 3)
                answer = run("verify", self.address, "--json")
                self.assertEqual((answer.code, answer.json["files"][0]["problems"][0]["kind"]), (1, error))
                path.write_bytes(before)
        path.unlink()
        answer = run("verify", self.address, "--json")
        self.assertEqual((answer.code, answer.json["files"][0]["problems"][0]["kind"]), (1, "log_mismatch"))
        self.assertEqual(run("info", self.address).code, 1)
        path.write_bytes(before)
        self.object("log", -2).unlink()
        self.check_error(run("info", self.address), 1, "lacks its object", "[log_corrupted]")
        self.assertEqual(run("verify", self.address).code, 1)

    @only_in_a_directory
    def test_another_snapshot_in_the_place_of_the_published_one_is_damage(self):
        self.write("insert 1", "checkpoint")
        other = self.address_of("other")
        Writer(other).do("insert 2", "checkpoint").kill()
        path = self.objects / run("info", self.address, "--json").json["snapshot"]["key"]
        path.write_bytes((self.objects / run("info", other, "--json").json["snapshot"]["key"]).read_bytes())
        for command in "info", "verify":
            answer = run(command, self.address)
            self.assertEqual(answer.code, 1)
            self.assertIn("not the snapshot that the log names", answer.out)

    def test_log_lists_mutations_by_their_objects(self):
        self.write("insert 1", "checkpoint", "insert 2", "twice 3")
        Writer(self.address).do("erase 1").kill()
        answer = run("log", self.address, "--json")
        self.assertEqual((answer.code, answer.err), (0, ""))
        lines = [(each["lsn"], each["op"]) for each in answer.json_lines]
        mutations = [each for each in answer.json_lines if "aborted" in each]
        self.assertEqual([(each["lsn"], each["op"], each["aborted"]) for each in mutations],
                         [(2, "insert", False), (3, "insert", False), (4, "insert", True), (5, "erase", False)])
        self.assertEqual([line for line in lines if line[1] in ("checkpoint", "fence")], [(2, "checkpoint"), (5, "fence")])
        numbers = [each["object"] for each in answer.json_lines]
        self.assertEqual(numbers, sorted(numbers))
        self.assertEqual([each["lsn"] for each in run("log", self.address, "--id", 1, "--json").json_lines], [5])
        self.assertEqual([each["lsn"] for each in run("log", self.address, "--op", "insert", "--from", 3, "--json").json_lines],
                         [3, 4])
        text = run("log", self.address).out
        self.assertIn("takes back 4", text)
        self.assertIn("a writer opened the log", text)
        frames = run("log", self.address, "--frames", "--json").json_lines
        self.assertTrue(all(each["bytes"] > 0 for each in frames if "bytes" in each))

    def test_follow_lists_what_a_writer_does_over_checkpoints_and_take_overs(self):
        writer = Writer(self.address).do("insert 1")
        follower = Follower(self.address)
        try:
            follower.until(lambda lines: inserted(lines) == [1])
            for number in range(2, 8):
                writer.do(f"insert {number}", "checkpoint") if number % 2 == 0 else writer.do(f"insert {number}")
                follower.until(lambda lines: len(inserted(lines)) >= number)
            writer.kill()
            writer = Writer(self.address).do("insert 8", "close")
            follower.until(lambda lines: lines[-1]["op"] == "close")
        finally:
            self.assertEqual(follower.end(), -signal.SIGINT)
        writer.end()
        self.assertEqual(inserted(follower.lines), list(range(1, 9)))
        self.assertEqual([each["op"] for each in follower.lines if each["op"] in ("fence", "close")], ["fence", "close"])

    def test_search_finds_what_the_log_holds_too(self):
        self.write("batch 1 20", "checkpoint", "batch 100 5", "erase 3")
        self.assertEqual(len(self.ids(self.address, 104)), 24)
        self.check_error(run("search", self.address, "--row", 3), 1, "holds no vector 3", "[not_found]")

    def test_an_index_of_an_object_store_is_converted(self):
        self.write("batch 1 5", "checkpoint", "insert 9")
        made = run("convert", self.address, self.directory / "rows.npy", "--json")
        self.assertEqual(made.code, 0, made.err + made.out)
        self.assertEqual(made.json["vectors"], 6)

    @only_in_a_directory
    def test_commands_that_look_need_no_right_to_write_and_change_nothing(self):
        self.write("insert 1", "checkpoint", "insert 2")
        before = self.content()
        self.directory.chmod(0o755)
        for each in [self.objects, *self.objects.rglob("*")]:
            each.chmod(0o555 if each.is_dir() else 0o444)
        target = tempfile.TemporaryDirectory(prefix="iqdb_tool_")
        self.addCleanup(target.cleanup)
        as_reader = {}
        if os.geteuid() == 0:
            os.chown(target.name, NOBODY, NOBODY)
            as_reader = {"user": NOBODY}
        try:
            for words in [("info", self.address), ("verify", self.address), ("log", self.address),
                          ("search", self.address, "--row", "1"), ("backup", self.address, target.name + "/backup"),
                          ("restore", self.address, target.name + "/restored"),
                          ("convert", self.address, target.name + "/rows.npy")]:
                with self.subTest(words[0]):
                    answer = run(*words, **as_reader)
                    self.assertEqual((answer.code, answer.err), (0, ""))
            # The refusal of the system is what is told where something is to be stored.
            self.check_error(run("checkpoint", self.address, "--take-over", **as_reader), 3, "[io]")
        finally:
            for each in [self.objects, *self.objects.rglob("*")]:
                each.chmod(0o755 if each.is_dir() else 0o644)
        self.assertEqual(self.content(), before)


@unittest.skipUnless("CEPH_DIRECTORY" in os.environ, "there is no Ceph whose user could be changed")
class LookingWithoutTheRightToWrite(ObjectCase):
    def let(self, operations: str) -> None:
        """Lets the user of the store do only this."""
        configuration = os.environ["CEPH_DIRECTORY"] + "/ceph.conf"
        subprocess.run(["radosgw-admin", "-c", configuration, "user", "modify", "--uid=test", f"--op-mask={operations}"], check=True,
                       capture_output=True, timeout=SECONDS)

    def test_the_right_to_read_is_enough_for_commands_that_look(self):
        self.write("insert 1", "checkpoint", "insert 2")
        self.addCleanup(self.let, "read, write, delete")
        self.let("read")
        for words in [("info",), ("verify",), ("log",), ("search", "--row", "1")]:
            answer = run(words[0], self.address, *words[1:])
            self.assertEqual((answer.code, answer.err), (0, ""), words)
        self.assertEqual(run("backup", self.address, self.directory / "backup", "--verify").code, 0)
        self.check_error(run("checkpoint", self.address, "--take-over"), 2, "403", "[invalid_config]")


class Copying(ObjectCase):
    def test_a_backup_is_an_index_of_files(self):
        writer = Writer(self.address).do("insert 1", "checkpoint", "insert 2", "twice 3")
        answer = run("backup", self.address, self.directory / "monday", "--verify", "--json")
        self.assertEqual((answer.code, answer.err), (0, ""))
        writer.do("insert 4").end()
        path = self.directory / "monday/vectors"
        self.assertEqual((answer.json["path"], answer.json["lsn"], answer.json["linked"]), (str(path), 4, False))
        self.assertEqual(run("verify", path).code, 0)
        self.assertEqual(self.ids(path), ["1", "2", "3"])
        Writer(path).do("insert 7").end()
        self.assertEqual(self.ids(path), ["1", "2", "3", "7"])

    def test_a_backup_of_a_mutation_that_the_log_holds(self):
        self.write("insert 1", "checkpoint", "insert 2", "insert 3", "insert 4")
        made = run("restore", self.address, self.directory / "earlier", "--up-to", 3, "--json")
        self.assertEqual((made.code, made.json["lsn"]), (0, 3))
        self.assertEqual(self.ids(self.directory / "earlier"), ["1", "2", "3"])
        self.assertEqual(run("restore", self.address, self.directory / "later", "--up-to", 9).code, 2)
        self.assertFalse((self.directory / "later").exists())

    def test_files_are_restored_to_an_object_store(self):
        Writer(self.path).do("insert 1", "checkpoint", "insert 2", "erase 1").end()
        answer = run("restore", self.path, self.address, "--verify", "--json")
        self.assertEqual((answer.code, answer.err), (0, ""))
        self.assertEqual(answer.json["path"], self.address)
        self.assertEqual(self.ids(self.address, 2), ["2"])
        self.assertEqual(run("verify", self.address).code, 0)
        self.assertTrue(run("info", self.address, "--json").json["log"]["closed"])
        Writer(self.address).do("insert 5").end()
        self.assertEqual(self.ids(self.address, 2), ["2", "5"])

    def test_an_earlier_state_is_restored_to_an_object_store(self):
        Writer(self.path).do("insert 1", "checkpoint", "insert 2", "insert 3").end()
        self.assertEqual(run("restore", self.path, self.address, "--up-to", 2).code, 0)
        self.assertEqual(self.ids(self.address), ["1", "2"])

    def test_an_index_is_copied_from_one_name_to_another(self):
        self.write("insert 1", "checkpoint", "insert 2")
        other = self.address_of("other")
        self.assertEqual(run("restore", self.address, other).code, 0)
        self.assertEqual(self.ids(other), ["1", "2"])

    def test_nothing_that_is_there_is_replaced(self):
        self.write("insert 1", "checkpoint", "insert 2")
        Writer(self.path).do("insert 3").end()
        before = self.content()
        answer = run("restore", self.path, self.address, "--json")
        self.assertEqual((answer.code, answer.json["error"]["kind"]), (1, "would_discard_snapshot"))
        self.assertEqual(run("restore", self.address, self.path).code, 1)
        self.assertEqual(self.content(), before)
        self.assertEqual(self.ids(self.address), ["1", "2"])

    def test_a_backup_to_an_object_store_is_refused_with_what_does_it(self):
        Writer(self.path).do("insert 1").end()
        self.check_error(run("backup", self.path, self.address), 1, "iqdb restore", "[unsupported]")


class Checkpointing(ObjectCase):
    def test_a_log_that_was_closed_is_folded(self):
        Writer(self.address).do("insert 1", "checkpoint", "insert 2", "insert 3", "twice 4", "erase 2", "close").end()
        answer = run("checkpoint", self.address, "--json")
        self.assertEqual((answer.code, answer.err), (0, ""))
        made = answer.json
        self.assertEqual((made["folded"], made["vectors"], made["lsn"]), (True, 3, 6))
        self.assertEqual((made["mutations"], made["aborted"]), (4, 1))
        log = run("info", self.address, "--json").json["log"]
        self.assertEqual((log["mutations"], log["closed"]), (0, True))
        self.assertEqual(self.ids(self.address), ["1", "3", "4"])

    def test_nothing_is_stored_where_there_is_nothing_to_fold(self):
        Writer(self.address).do("insert 1", "checkpoint", "close").end()
        before = self.content()
        answer = run("checkpoint", self.address, "--json")
        self.assertEqual((answer.code, answer.json["folded"], answer.json["lsn"]), (0, False, 1))
        self.assertEqual(self.content(), before)

    def test_a_writer_is_ended_only_where_that_is_asked_for(self):
        writer = Writer(self.address).do("insert 1")
        before = self.content()
        self.check_error(run("checkpoint", self.address), 1, "--take-over", "[locked]")
        self.assertEqual(self.content(), before)
        writer.do("insert 2")
        self.assertEqual(run("checkpoint", self.address, "--take-over").code, 0)
        with self.assertRaises(AssertionError):
            writer.do("insert 3")  # it is displaced, and ends
        writer.kill()
        self.assertEqual(self.ids(self.address), ["1", "2"])

    def test_taking_over_files_is_refused(self):
        Writer(self.path).do("insert 1").end()
        self.check_error(run("checkpoint", self.path, "--take-over"), 2, "for an index on an object store")


class Refusals(ObjectCase):
    def test_what_is_not_there_is_told(self):
        for command in "info", "log", "checkpoint":
            self.check_error(run(command, self.address), 3, "no index of this name", "[io]")
        self.assertEqual(run("verify", self.address).code, 3)
        self.check_error(run("search", self.address, "--row", 1), 3, "[io]")

    @only_in_a_directory
    def test_a_store_that_is_not_there_is_told(self):
        for command in "info", "log", "checkpoint":
            self.check_error(run(command, f"dir:{self.directory}/none/vectors"), 3, "[io]")

    def test_recover_says_what_to_do_instead(self):
        self.write("insert 1")
        self.check_error(run("recover", self.address, "-o", self.directory / "new"), 1, "iqdb verify names them", "[unsupported]")

    def test_older_states_are_listed_searched_and_copied(self):
        Writer(self.address, older_states=2).do("insert 1", "insert 2", "checkpoint", "erase 1", "checkpoint", "insert 3").kill()
        answer = run("history", self.address, "--json")
        self.assertEqual((answer.code, answer.err), (0, ""))
        states = answer.json["states"]
        self.assertEqual([(each["first_lsn"], each["last_lsn"]) for each in states], [(3, 4), (2, 3), (0, 2)])
        self.assertEqual([each["replaced_at_ms"] is None for each in states], [True, False, False])
        self.assertEqual(states[0]["path"], self.address)
        self.assertIn("the index as it is", run("history", self.address).out)
        self.assertEqual(run("info", self.address, "--json").json["older_states"], 2)
        self.assertEqual(self.ids(states[2]["path"]), ["1", "2"])
        self.check_error(run("info", states[2]["path"]), 1, "older state", "[unsupported]")
        for lsn, ids in (1, ["1"]), (2, ["1", "2"]), (3, ["2"]), (4, ["2", "3"]):
            copy = self.directory / f"copy-{lsn}"
            self.assertEqual(run("restore", self.address, copy, "--up-to", lsn).code, 0)
            self.assertEqual(self.ids(copy, ids[-1]), ids)
        copy = self.directory / "copy-of-then"
        last = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(states[0]["last_time_ms"] // 1000))
        self.assertEqual(run("restore", self.address, copy, "--up-to-time", last).code, 0)
        self.assertEqual(self.ids(copy, 2), ["2", "3"])
        other = self.address_of("other")
        self.assertEqual(run("restore", self.address, other, "--up-to", 1).code, 0)
        self.assertEqual(self.ids(other), ["1"])

    def test_a_checkpoint_keeps_the_history(self):
        Writer(self.address, older_states=5).do("insert 1", "checkpoint", "insert 2", "checkpoint", "insert 3").end()
        self.assertEqual(run("checkpoint", self.address).code, 0)
        states = run("history", self.address, "--json").json["states"]
        self.assertEqual([each["first_lsn"] for each in states], [3, 2, 1, 0])

    @only_in_a_directory
    def test_a_list_of_older_states_that_is_damaged_is_told(self):
        Writer(self.address, older_states=5).do("insert 1", "checkpoint").end()
        for each in (self.objects / "vectors" / "snapshot" / "history").iterdir():
            each.write_bytes(each.read_bytes()[:-1])
        answer = run("info", self.address, "--json")
        self.assertEqual((answer.code, [each["kind"] for each in answer.json["problems"]]), (1, ["log_corrupted"]))
        self.check_error(run("history", self.address), 1, "older states", "[log_corrupted]")
        self.assertEqual(self.ids(self.address), ["1"])

    def test_an_address_that_is_none_is_wrong_usage(self):
        for address in "dir:", "dir://objects/vectors", "s3://", "s3://bucket", "dir:objects/":
            self.check_error(run("info", address), 2, "s3://BUCKET/PREFIX/NAME")

    @only_in_a_directory
    def test_a_name_with_slashes_begins_behind_a_double_one(self):
        self.address = f"dir:{self.objects}//shop/vectors"
        self.write("insert 1", "checkpoint", "insert 2")
        self.assertEqual(self.ids(self.address), ["1", "2"])
        for command in "info", "log", "checkpoint":
            self.check_error(run(command, f"dir:{self.objects}/shop/vectors"), 2, f"write dir:{self.objects}//shop/vectors")

    @unittest.skipIf(HAS_S3, "it was built with S3")
    def test_without_s3_it_says_what_is_missing(self):
        self.check_error(run("info", "s3://bucket/vectors"), 1, "libcurl4-openssl-dev", "[unsupported]")

    @unittest.skipUnless(HAS_S3, "it was built without S3")
    def test_where_the_store_is_must_be_known(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment["HOME"] = str(self.directory)
        self.check_error(run("info", "s3://bucket/vectors", env=environment), 2, "AWS_ENDPOINT_URL", "[invalid_config]")
        self.check_error(run("info", "s3://bucket/vectors", "--region", "eu", env=environment), 2, "AWS_ACCESS_KEY_ID")
        keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "verysecret", "NO_PROXY": "*"}
        answer = run("info", "s3://bucket/vectors", "--endpoint", "http://127.0.0.1:1", env={**environment, **keys})
        self.check_error(answer, 3, "127.0.0.1:1", "[io]")
        self.assertNotIn("verysecret", answer.err)
        self.assertEqual(run("info", "s3://bucket/vectors", "--style", "other", env=environment).code, 2)


if __name__ == "__main__":
    unittest.main()
