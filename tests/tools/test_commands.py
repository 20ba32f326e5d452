"""The commands of iqdb: answers, exit codes, JSON."""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import unittest

from support import ADAPTERS, GOLDEN, IQDB, FILES, SANITIZED, Case, Writer, run


class CommandLine(Case):
    def test_usage_errors_end_with_2(self):
        self.check_error(run(), 2, "iqdb --help")
        self.check_error(run("infoo"), 2, 'there is no command "infoo"')
        self.check_error(run("info"), 2, "path is required", "iqdb info --help")
        self.check_error(run("info", "--wrong", "x"), 2, "--wrong")
        self.check_error(run("info", ""), 2, "the path is empty")
        self.check_error(run("log", "--op", "nothing", "x"), 2, "nothing")
        self.check_error(run("log", "--from", "x", "y"), 2, "--from")
        self.check_error(run("log", "--id", '"\\x4"', GOLDEN / "wal2/batch.iqdb"), 2, "identifier")

    def test_usage_errors_are_json_where_that_is_asked_for(self):
        for words in (["--json"], ["--json", "infoo"], ["info", "--json"], ["info", "--json", ""]):
            answer = run(*words)
            self.assertEqual(answer.code, 2)
            self.assertIn(answer.json["error"]["kind"], ("usage", "invalid_config"))
            self.assertEqual(answer.err, "")

    def test_help_and_version_end_with_0(self):
        for words in (["--help"], ["info", "--help"], ["verify", "-h"], ["log", "--help"]):
            answer = run(*words)
            self.assertEqual((answer.code, answer.err), (0, ""))
            self.assertIn("--json", answer.out)
        self.assertTrue(run("--version").out.startswith("iqdb "))
        for library in ADAPTERS:
            self.assertIn(library, run("--version").out)

    def test_paths_that_are_no_files_end_with_3(self):
        for command in ("info", "log"):
            self.check_error(run(command, self.directory / "none"), 3, "none", "No such file")
            self.check_error(run(command, self.directory), 3, "Is a directory")
            os.mkfifo(self.directory / "pipe") if command == "info" else None
            self.check_error(run(command, self.directory / "pipe"), 3, "regular file")
        answer = run("verify", self.directory / "none", self.directory)
        self.assertEqual(answer.code, 3)
        self.assertIn("No such file", answer.out)
        self.assertIn("Is a directory", answer.out)

    @unittest.skipIf(os.geteuid() == 0, "the superuser may read everything")
    def test_a_file_without_permission_ends_with_3(self):
        path = self.copy("snap/edge_ids_none.iqdb")
        path.chmod(0)
        self.check_error(run("info", path), 3, "Permission denied")

    def test_an_empty_file_is_named_as_one(self):
        self.path.touch()
        self.check_error(run("info", self.path), 1, "empty")
        lock = self.directory / "index.iqdb.lock"
        lock.touch()
        self.check_error(run("info", lock), 1, "lock file", "'index.iqdb'")

    def test_control_characters_of_a_name_do_not_reach_the_terminal(self):
        answer = run("info", self.directory / "\x1b[31mred\n")
        self.assertNotIn("\x1b", answer.err)
        self.assertEqual(answer.err.count("\n"), 1)

    def test_an_output_that_takes_nothing_ends_with_3(self):
        with open("/dev/full", "wb") as full:
            process = subprocess.run([IQDB, "info", str(GOLDEN / "wal2/batch.iqdb")], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(process.returncode, 3)
        self.assertIn(b"No space left", process.stderr)

    def test_nothing_is_written_beside_the_files(self):
        path = self.copy("wal2/batch.iqdb")
        before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in self.directory.iterdir()}
        for command in ("info", "verify", "log"):
            run(command, path)
        after = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in self.directory.iterdir()}
        self.assertEqual(before, after)


class Info(Case):
    def test_snapshot_and_log_of_a_killed_process(self):
        self.write("insert 1", "insert 2", "checkpoint", "insert 3", "twice 4", "erase 1")
        answer = run("info", "--json", self.path)
        self.assertEqual(answer.code, 0)
        document = answer.json
        self.assertEqual(document["kind"], "index")
        snapshot = document["snapshot"]
        self.assertEqual((snapshot["type"], snapshot["dimensions"], snapshot["metric"], snapshot["vectors"]),
                         ("flat", 4, "euclidean", 2))
        self.assertEqual(snapshot["file_bytes"], self.path.stat().st_size)
        self.assertEqual(snapshot["codec"], "none")
        log = document["log"]
        self.assertEqual((log["base_lsn"], log["lsn"], log["mutations"], log["aborted"]), (2, 6, 3, 1))
        self.assertEqual((log["closed"], log["continues"], log["format_version"]), (False, True, 3))
        self.assertEqual(document["lock"], {"held": False, "holders": []})
        self.assertEqual(document["problems"], [])
        text = run("info", self.path).out
        self.assertIn("3 behind the snapshot, and 1 aborted", text)
        self.assertIn("not in order", text)

    def test_a_log_that_was_closed(self):
        writer = Writer(self.path).do("insert 1", "close")
        writer.end()
        self.assertTrue(run("info", "--json", self.path).json["log"]["closed"])

    def test_the_name_of_the_log_stands_for_the_index(self):
        self.write("insert 1")
        self.assertEqual(run("info", "--json", self.log).json["path"], str(self.path))
        self.assertEqual(run("verify", "--json", self.log).json["files"][0]["snapshot"]["type"], "flat")

    def test_who_holds_the_lock(self):
        writer = Writer(self.path).do("insert 1")
        try:
            document = run("info", "--json", self.path).json
            self.assertTrue(document["lock"]["held"])
            self.assertEqual(document["lock"]["holders"][0]["process"], writer.process.pid)
            self.assertIn("by process " + str(writer.process.pid), run("info", self.path).out)
            writer.do("insert 2")  # the lock was left alone
        finally:
            writer.end()

    def test_a_log_without_its_snapshot(self):
        self.write("insert 1", "insert 2")
        self.path.unlink()
        self.check_error(run("info", self.path), 3, "there is no snapshot, but its log")
        answer = run("info", "--json", self.log)
        self.assertEqual(answer.code, 1)
        self.assertEqual(answer.json["kind"], "log")
        self.assertEqual(answer.json["log"]["mutations"], 2)
        self.assertIn("put it back", answer.json["problems"][0]["message"])

    def test_a_log_of_another_snapshot(self):
        self.write("insert 1")
        shutil.copy(GOLDEN / "snap/edge_ids_none.iqdb", self.path)
        answer = run("info", "--json", self.path)
        self.assertEqual(answer.code, 1)
        self.assertEqual(answer.json["problems"][0]["kind"], "log_mismatch")
        self.assertFalse(answer.json["log"]["continues"])

    def test_a_damaged_log(self):
        self.write("insert 1", "insert 2", "insert 3")
        self.flip(self.log, 64 + 30)
        answer = run("info", "--json", self.path)
        self.assertEqual(answer.code, 1)
        problem = answer.json["problems"][0]
        self.assertEqual((problem["kind"], problem["offset"], problem["path"]), ("log_corrupted", 64, str(self.log)))
        self.assertIn("PROBLEM", run("info", self.path).out)

    def test_a_damaged_header_that_the_payload_contradicts(self):
        answer = run("info", "--json", GOLDEN / "bad/flip_dim.iqdb")
        self.assertEqual(answer.code, 1)
        self.assertEqual(answer.json["problems"][0]["kind"], "invalid_payload")

    def test_other_files_beside_an_index(self):
        self.write("insert 1")
        (self.directory / "index.iqdb.tmp").write_bytes(b"half a snapshot")
        shutil.copy(self.log, self.directory / "index.iqdb.wal.torn")
        beside = {pathlib.Path(each["path"]).name: each for each in run("info", "--json", self.path).json["beside"]}
        self.assertEqual(set(beside), {"index.iqdb.tmp", "index.iqdb.wal.torn"})
        self.assertIn("killed", beside["index.iqdb.tmp"]["what"])
        torn = run("info", "--json", self.directory / "index.iqdb.wal.torn").json
        self.assertEqual((torn["kind"], torn["log"]["mutations"]), ("torn_log", 1))

    def test_a_large_log_is_not_read_whole(self):
        writer = Writer(self.path)
        writer.do("batch 0 300000", "batch 300000 300000", "erase 5")
        writer.kill()
        self.assertGreater(self.log.stat().st_size, 16 << 20)
        log = run("info", "--json", self.path).json["log"]
        self.assertEqual((log["lsn"], log["mutations"], log["mutations_exact"], log["read_whole"]),
                         (600001, 600001, False, False))
        full = run("info", "--json", "--full", self.path).json["log"]
        self.assertEqual((full["mutations"], full["mutations_exact"], full["frames"]), (600001, True, 3))

    def test_version_1_of_a_log(self):
        log = run("info", "--json", GOLDEN / "core/c13.iqdb").json["log"]
        self.assertEqual((log["format_version"], log["mutations"], log["closed"], log["history_id"]), (1, 150, None, None))


class Samples(Case):
    def setUp(self):
        super().setUp()
        subprocess.run([FILES, "samples", str(self.directory)], check=True, timeout=120)

    def test_every_type_is_described_and_verified(self):
        types = {"hnswlib": "hnsw", "faiss": "faiss", "usearch": "usearch"}
        expected = {"flat"} | {types[library] for library in ADAPTERS}
        seen = set()
        for path in sorted(self.directory.glob("*.iqdb")):
            with self.subTest(path=path.name):
                document = run("info", "--json", path).json
                self.assertEqual((document["snapshot"]["vectors"], document["snapshot"]["dimensions"]), (20, 4))
                self.assertEqual(document["log"]["mutations"], 1)
                self.assertEqual(document["problems"], [])
                seen.add(document["snapshot"]["type"])
                verified = run("verify", "--json", path)
                self.assertEqual(verified.code, 0, verified.out)
                self.assertTrue(verified.json["files"][0]["snapshot"]["decoded"])
        self.assertEqual(seen, expected)

    def test_settings_of_an_index(self):
        if "hnswlib" in ADAPTERS:
            self.assertIn("links", run("info", "--json", self.directory / "hnsw.iqdb").json["snapshot"]["settings"])
        if "usearch" in ADAPTERS:
            self.assertEqual(run("info", "--json", self.directory / "usearch.iqdb").json["snapshot"]["kind"], "f32")

    def test_files_of_other_libraries_are_named(self):
        vectors = {"hnswlib": 2, "faiss": 1, "usearch": 1}
        for library in ADAPTERS:
            with self.subTest(library=library):
                path = self.directory / f"{library}.bin"
                document = run("info", "--json", path).json
                self.assertEqual((document["kind"], document["library"]), ("foreign", library))
                self.assertEqual((document["dimensions"], document["vectors"]), (4, vectors[library]))
                self.assertIn(library + "'s own", run("info", path).out)
                refused = run("verify", "--json", path)
                self.assertEqual(refused.code, 1)
                self.assertEqual(refused.json["files"][0]["problems"][0]["kind"], "unsupported")
                self.assertEqual(run("log", path).code, 1)


class Foreign(Case):
    """Files of other libraries, made by hand: none of the libraries need be there."""

    def test_a_file_of_hnswlib(self):
        links, dim, vectors = 16, 8, 3
        vector_offset = 2 * links * 4 + 4
        label_offset = vector_offset + dim * 4
        head = struct.pack("<QQQQQQiIQQQdQ", 0, 10, vectors, label_offset + 8, label_offset, vector_offset, 0, 0, links,
                           2 * links, links, 0.36, 200)
        self.path.write_bytes(head + bytes(vectors * (label_offset + 8 + 4)))
        document = run("info", "--json", self.path).json
        self.assertEqual((document["library"], document["dimensions"], document["vectors"]), ("hnswlib", 8, 3))
        self.path.write_bytes(head)  # its vectors are missing
        self.check_error(run("info", self.path), 1, "no file of")

    def test_a_file_of_faiss(self):
        head = b"IxFI" + struct.pack("<iqqqBi", 7, 5, 1 << 20, 1 << 20, 1, 0)
        self.path.write_bytes(b"IxMp" + head[4:] + head)
        document = run("info", "--json", self.path).json
        self.assertEqual((document["library"], document["dimensions"], document["metric"]), ("faiss", 7, "inner product"))
        self.assertEqual(document["what"], "an id map (IxMp) around flat (IxFI)")

    def test_a_file_of_usearch(self):
        head = b"usearch" + struct.pack("<HHHBBBBQQQB", 2, 25, 3, ord("c"), 12, 14, 15, 6, 1, 9, 0)
        self.path.write_bytes(struct.pack("<II", 6, 18) + bytes(6 * 18) + head.ljust(64, b"\0"))
        document = run("info", "--json", self.path).json
        self.assertEqual((document["library"], document["dimensions"], document["vectors"]), ("usearch", 9, 6))
        self.assertEqual((document["deleted"], document["metric"], document["scalar"]), (1, "cos", "f16"))


class Verify(Case):
    def test_golden_files_are_fine(self):
        paths = sorted((GOLDEN / "snap").glob("*.iqdb"))
        answer = run("verify", "--json", *paths)
        self.assertEqual(answer.code, 0)
        self.assertTrue(answer.json["ok"])
        self.assertEqual([each["path"] for each in answer.json["files"]], [str(path) for path in paths])

    def test_damaged_golden_files_are_found(self):
        for path in sorted((GOLDEN / "bad").glob("*.iqdb")):
            if "InvalidIndexType" in (GOLDEN / "bad" / (path.name + ".err")).read_text():
                continue  # whole, but for a type that the index which loads it does not have
            with self.subTest(path=path.name):
                answer = run("verify", "--json", path)
                self.assertEqual(answer.code, 1, answer.out)
                self.assertFalse(answer.json["ok"])
                self.assertIn("DAMAGED", run("verify", path).out)

    def test_a_flipped_bit_anywhere_in_the_contents_is_found(self):
        whole = self.copy("snap/allmeta_euclidean_none.iqdb")
        data = whole.read_bytes()
        copies = []
        for at in range(45, len(data), 97):
            path = self.directory / f"flipped_{at}.iqdb"
            path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1:])
            copies.append(path)
        answer = run("verify", "--json", *copies)
        self.assertEqual(answer.code, 1)
        self.assertEqual({each["problems"][0]["kind"] for each in answer.json["files"]}, {"checksum_mismatch"})
        answer = run("verify", "--json", "--no-decode", *copies)
        self.assertEqual({each["problems"][0]["kind"] for each in answer.json["files"]}, {"checksum_mismatch"})

    def test_the_log_is_verified_too(self):
        self.write("insert 1", "insert 2", "insert 3")
        self.assertEqual(run("verify", self.path).code, 0)
        self.flip(self.log, 64 + 30)
        answer = run("verify", "--json", self.path)
        self.assertEqual(answer.code, 1)
        self.assertEqual(answer.json["files"][0]["problems"][0]["offset"], 64)

    def test_a_torn_tail_is_no_damage(self):
        self.write("insert 1", "insert 2")
        data = self.log.read_bytes().rstrip(b"\0")
        self.log.write_bytes(data[:-5])
        answer = run("verify", "--json", self.path)
        self.assertEqual(answer.code, 0, answer.out)
        self.assertGreater(answer.json["files"][0]["log"]["torn_bytes"], 0)
        self.assertIn("torn tail", run("verify", self.path).out)

    def test_one_bad_path_does_not_hide_the_others(self):
        fine = self.copy("snap/edge_ids_none.iqdb")
        answer = run("verify", "--json", "-j", "3", self.directory / "none", fine, GOLDEN / "bad/flip_crc.iqdb")
        self.assertEqual(answer.code, 3)
        self.assertEqual([each["ok"] for each in answer.json["files"]], [False, True, False])

    def test_a_type_that_is_not_known_is_verified_without_decoding(self):
        path = self.copy("snap/edge_ids_none.iqdb")
        data = path.read_bytes()
        path.write_bytes(data.replace(b"flat", b"mine", 1))
        answer = run("verify", "--json", path)
        self.assertEqual(answer.code, 0)
        self.assertFalse(answer.json["files"][0]["snapshot"]["decoded"])
        self.assertIn("mine", answer.json["files"][0]["snapshot"]["why_not_decoded"])

    def test_beside_a_writer(self):
        writer = Writer(self.path)
        try:
            for at in range(20):
                writer.do(f"insert {at}", *(["checkpoint"] if at % 5 == 4 else []))
                self.assertEqual(run("verify", self.path).code, 0)
        finally:
            writer.end()


class Log(Case):
    def setUp(self):
        super().setUp()
        self.write("insert 1", "named seven", "batch 10 3", "twice 20", "erase 1", "save", "insert 2")

    def test_mutations_one_a_line(self):
        lines = run("log", "--json", self.path).json_lines
        self.assertEqual([(each["lsn"], each["op"]) for each in lines],
                         [(1, "insert"), (2, "insert"), (3, "insert"), (4, "insert"), (5, "insert"), (6, "insert"),
                          (7, "insert"), (8, "abort"), (8, "erase"), (9, "checkpoint"), (9, "insert")])
        self.assertEqual([each["lsn"] for each in lines if each.get("aborted")], [7])
        self.assertEqual(lines[1]["id"], "seven")
        self.assertEqual(lines[1]["metadata_bytes"], 1 + 4 + 4 + 4 + 1 + 4 + 5)
        self.assertEqual(lines[2]["batch"], {"number": 1, "of": 3})
        self.assertEqual(lines[7]["aborts"], [{"first": 7, "last": 7}])
        self.assertEqual(lines[9]["snapshot"]["lsn"], 8)
        text = run("log", self.path).out.splitlines()
        self.assertEqual(len(text), len(lines))
        self.assertIn("aborted", text[6])

    def test_filters(self):
        def lsns(*words):
            return [each["lsn"] for each in run("log", "--json", *words, self.path).json_lines]

        self.assertEqual(lsns("--from", "8"), [8, 8, 9, 9])
        self.assertEqual(lsns("--to", "2"), [1, 2])
        self.assertEqual(lsns("--from", "4", "--to", "5"), [4, 5])
        self.assertEqual(lsns("--id", "1"), [1, 8])
        self.assertEqual(lsns("--id", "seven"), [2])
        self.assertEqual(lsns("--id", '"s\\x65ven"'), [2])
        self.assertEqual(lsns("--id", '"1"'), [])
        self.assertEqual(lsns("--op", "erase"), [8])
        self.assertEqual(lsns("--op", "erase", "--op", "checkpoint"), [8, 9])

    def test_frames(self):
        lines = run("log", "--json", "--frames", self.path).json_lines
        self.assertEqual([(each["op"], each["mutations"]) for each in lines],
                         [("insert", 1), ("insert", 1), ("batch", 3), ("batch", 2), ("abort", 0), ("erase", 1),
                          ("checkpoint", 0), ("insert", 1)])
        self.assertEqual(lines[3]["aborted"], 1)
        for before, after in zip(lines, lines[1:]):
            self.assertEqual(before["offset"] + before["bytes"], after["offset"])
        self.assertEqual([each["lsn"] for each in run("log", "--json", "--frames", "--id", "11", self.path).json_lines], [3])

    def test_values(self):
        line = run("log", "--json", "--values", "--id", "seven", self.path).json_lines[0]
        self.assertEqual(line["metadata"], {"name": "seven"})
        self.assertEqual(len(line["vector"]), 4)
        self.assertIn('{"name":"seven"}', run("log", "--values", self.path).out)

    def test_what_is_whole_before_the_damage_is_listed(self):
        second = run("log", "--json", "--frames", self.path).json_lines[1]["offset"]
        self.flip(self.log, second + 26)
        answer = run("log", self.path)
        self.assertEqual(answer.code, 1)
        self.assertEqual(len(answer.out.splitlines()), 1)
        self.assertIn(f"at byte {second}", answer.err)
        lines = run("log", "--json", self.path).json_lines
        self.assertEqual((lines[0]["lsn"], lines[-1]["error"]["offset"]), (1, second))

    def test_a_torn_tail_is_told(self):
        data = self.log.read_bytes().rstrip(b"\0")
        self.log.write_bytes(data[:-5])
        answer = run("log", self.path)
        self.assertEqual(answer.code, 0)
        self.assertIn("cut off", answer.err)
        self.assertIn("torn_bytes", run("log", "--json", self.path).json_lines[-1])

    def test_an_index_without_a_log(self):
        self.log.unlink()
        self.check_error(run("log", self.path), 3, "saved with the log off")

    def test_golden_logs(self):
        for path in sorted(GOLDEN.glob("wal2/*.wal")) + sorted(GOLDEN.glob("core/*.wal")):
            with self.subTest(path=path.name):
                answer = run("log", "--json", path)
                self.assertEqual(answer.code, 0, answer.out)
                for line in answer.out.splitlines():
                    json.loads(line)


if __name__ == "__main__":
    unittest.main()
