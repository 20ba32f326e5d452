"""iqdb convert: between the types of indexes, files of other libraries, and files of rows."""

import os
import signal
import struct
import subprocess
import time
import unittest

from support import ADAPTERS, FILES, IQDB, SECONDS, Case, Writer, run
from vectors import npy, read_npy, read_vecs, vecs

ROWS = [[0.5, 1.0, 2.0], [4.0, -0.25, 8.0], [1.5, 3.0, 0.125]]


class Convert(Case):
    def setUp(self) -> None:
        super().setUp()
        self.new = self.directory / "new.iqdb"

    def convert(self, source, to, *words) -> dict:
        answer = run("convert", source, to, "--json", *words)
        self.assertEqual((answer.code, answer.err), (0, ""), answer.out)
        return answer.json

    def put(self, name: str, content: bytes):
        (self.directory / name).write_bytes(content)
        return self.directory / name

    def hits(self, path, *words) -> list:
        answer = run("search", path, "--metadata", "--json", *words)
        self.assertEqual(answer.code, 0, answer.out)
        return [each["hits"] for each in answer.json_lines]

    def names(self) -> list:
        return sorted(each.name for each in self.directory.iterdir() if not each.name.endswith(".lock"))

    def kinds(self) -> list:
        exact = ["flat", "core"]
        exact += ["hnsw"] if "hnswlib" in ADAPTERS else []
        exact += ["faiss-flat", "faiss-hnsw", "faiss-ivf"] if "faiss" in ADAPTERS else []
        return exact + (["usearch"] if "usearch" in ADAPTERS else [])


class Indexes(Convert):
    def test_every_type_becomes_every_other_with_its_log(self):
        subprocess.run([FILES, "samples", self.directory], check=True)
        for source in sorted(self.directory.glob("*.iqdb")):
            for kind in self.kinds():
                with self.subTest(f"{source.name} to {kind}"):
                    made = self.convert(source, self.new, "--type", kind, "--force")
                    self.assertEqual((made["vectors"], made["without_metadata"], made["without_id"]), (21, 0, 0))
                    self.assertEqual(run("verify", self.new).code, 0)
                    self.assertEqual(run("info", self.new, "--json").json["log"], None)
                    nearest = self.hits(self.new, "--row", 100, "-k", 1)[0][0]
                    self.assertEqual(nearest["id"], 100)

    def test_identifiers_and_metadata_go_with_the_vectors(self):
        self.write("insert 1", "checkpoint", "named red", "insert 7", "erase 1")
        before = self.hits(self.path, "--row", "red")
        for kind in self.kinds():
            with self.subTest(kind):
                self.convert(self.path, self.new, "--type", kind, "--force")
                self.assertEqual([(hit["id"], hit["metadata"]) for hit in self.hits(self.new, "--row", "red")[0]],
                                 [(hit["id"], hit["metadata"]) for hit in before[0]])
        self.convert(self.path, self.new, "--type", "flat", "--force")
        Writer(self.new).do("insert 9").end()

    def test_the_codec_is_that_of_the_source_or_what_is_asked_for(self):
        subprocess.run([FILES, "samples", self.directory], check=True)
        for source in sorted(self.directory.glob("flat*.iqdb")):
            codec = run("info", source, "--json").json["snapshot"]["codec"]
            self.convert(source, self.new, "--type", "core", "--force")
            self.assertEqual(run("info", self.new, "--json").json["snapshot"]["codec"], codec)
            self.convert(source, self.new, "--compression", "none", "--force")
            self.assertEqual(run("info", self.new, "--json").json["snapshot"]["codec"], "none")

    def test_another_metric_builds_the_index_anew(self):
        self.write("batch 1 20")
        self.assertEqual(self.convert(self.path, self.new, "--metric", "manhattan")["metric"], "manhattan")
        self.assertEqual(run("info", self.new, "--json").json["snapshot"]["metric"], "manhattan")

    def test_files_of_other_libraries_are_read_and_written(self):
        subprocess.run([FILES, "samples", self.directory], check=True)
        for library in ADAPTERS:
            with self.subTest(library):
                words = ["--metric", "euclidean"] if library == "hnswlib" else []
                theirs = self.directory / f"{library}.bin"
                self.convert(theirs, self.new, "--force", *words)
                again = self.directory / f"again.{library}"
                self.convert(self.new, again)
                self.assertEqual(run("info", again, "--json").json["library"], library)
                self.convert(again, self.new, "--type", "flat", "--force", *words)
                self.assertEqual(self.hits(self.new, "--row", 1, "-k", 1)[0][0]["id"], 1)
        if "hnswlib" in ADAPTERS:
            self.check_error(run("convert", self.directory / "hnswlib.bin", self.new, "--force"), 2, "--metric")

    def test_a_writer_is_read_and_not_disturbed(self):
        writer = Writer(self.path).do("insert 1", "checkpoint", "insert 2")
        self.assertEqual(self.convert(self.path, self.new)["vectors"], 2)
        writer.do("insert 3")
        self.check_error(run("convert", self.new, self.path, "--force"), 1, f"process {writer.process.pid}", "[locked]")
        writer.do("insert 4").end()


class Rows(Convert):
    def test_rows_become_an_index_and_rows_again(self):
        for name, content in {"f.npy": npy(ROWS), "d.npy": npy(ROWS, "<f8"), "h.npy": npy(ROWS, "<f2"),
                              "v.npy": npy(ROWS, version=2), "f.fvecs": vecs(ROWS)}.items():
            with self.subTest(name):
                source = self.put(name, content)
                made = self.convert(source, self.new, "--metric", "euclidean", "--force")
                self.assertEqual((made["vectors"], made["dimensions"], made["metric"]), (3, 3, "euclidean"))
                self.assertEqual([hit["id"] for hit in self.hits(self.new, "--vector", "4,0,8")[0]], [1, 0, 2])
                back = self.convert(self.new, self.directory / "back.npy", "--force")
                self.assertEqual((back["without_id"], back["without_metadata"]), (0, 0))
                self.assertEqual(read_npy(self.directory / "back.npy"), ROWS)
                self.convert(source, self.directory / "back.fvecs", "--force")
                self.assertEqual(read_vecs(self.directory / "back.fvecs"), ROWS)

    def test_halves_of_every_kind(self):
        rows = [[0.0, -0.0, 1.0, -2.0, 65504.0, 6.103515625e-05, 5.960464477539063e-08, 0.333251953125]]
        self.convert(self.put("h.npy", npy(rows, "<f2")), self.directory / "f.npy")
        self.assertEqual(read_npy(self.directory / "f.npy"), rows)
        special = self.put("s.npy", npy([[float("inf"), float("-inf"), float("nan")]], "<f2"))
        self.convert(special, self.directory / "s.fvecs")
        row = read_vecs(self.directory / "s.fvecs")[0]
        self.assertEqual(row[:2], [float("inf"), float("-inf")])
        self.assertNotEqual(row[2], row[2])

    def test_floats_keep_all_their_bits(self):
        bits = struct.pack("<4I", 0x7FA00001, 0xFFBFFFFF, 0x7FC00000, 0x00000001)  # a signalling NaN is one that a copy may change
        vectors = self.put("bits.fvecs", struct.pack("<i", 4) + bits)
        self.convert(vectors, self.directory / "bits.npy")
        self.assertTrue((self.directory / "bits.npy").read_bytes().endswith(bits))
        self.convert(self.directory / "bits.npy", self.directory / "back.fvecs")
        self.assertEqual((self.directory / "back.fvecs").read_bytes(), vectors.read_bytes())

    def test_integers(self):
        rows = [[1, -2, 2**24], [0, 7, -(2**31)]]
        self.convert(self.put("i.ivecs", vecs(rows, "i")), self.directory / "f.npy")
        self.assertEqual(read_npy(self.directory / "f.npy"), rows)
        self.convert(self.directory / "f.npy", self.directory / "back.ivecs")
        self.assertEqual(read_vecs(self.directory / "back.ivecs", "i"), rows)
        self.check_error(run("convert", self.put("f.fvecs", vecs(ROWS)), self.directory / "no.ivecs"), 1, "0.5", "[unsupported]")
        self.assertNotIn("no.ivecs", self.names())
        self.assertNotIn("no.ivecs.tmp", self.names())

    def test_what_rows_cannot_hold_is_told_and_identifiers_go_to_a_file(self):
        self.write("insert 0", "named red", "insert 12")
        rows, ids = self.directory / "rows.npy", self.directory / "ids"
        made = self.convert(self.path, rows)
        self.assertEqual((made["without_id"], made["without_metadata"]), (2, 1))
        told = run("convert", self.path, rows, "--force").out
        self.assertIn("the metadata of 1 vector\n", told)
        self.assertIn("the identifiers of 2 vectors", told)
        self.assertEqual(self.convert(self.path, rows, "--ids", ids, "--force")["without_id"], 0)
        self.assertEqual(ids.read_text(), '0\n"red"\n12\n')
        self.convert(rows, self.new, "--ids", ids, "--metric", "euclidean")
        self.assertEqual([hit["id"] for hit in self.hits(self.new, "--row", "red", "-k", 1)[0]], ["red"])

    def test_identifiers_must_be_as_many_and_different(self):
        source = self.put("rows.npy", npy(ROWS))
        wrong = {"1\n2\n": (2, "2 identifiers", "3 vectors"), "1\n2\n3\n4\n": (2, "more than 3 identifiers"),
                 "1\n\n3\n": (2, "line 2"), "1\n2\n1\n": (1, "two vectors have the identifier 1", "[duplicate]")}
        for text, (code, *told) in wrong.items():
            ids = self.put("ids", text.encode())
            for kind in self.kinds():
                answer = run("convert", source, self.new, "--ids", ids, "--metric", "euclidean", "--type", kind)
                self.check_error(answer, code, *told)
        self.check_error(run("convert", source, self.new, "--ids", self.directory / "none", "--metric", "euclidean"), 3)
        self.check_error(run("convert", source, self.directory / "x.fvecs", "--ids", self.directory / "ids"), 2, "--ids")
        self.assertEqual(self.names(), ["ids", "rows.npy"])

    def test_no_rows(self):
        empty = self.put("none.npy", npy([], shape="(0, 5)"))
        self.assertEqual(self.convert(empty, self.new, "--metric", "cosine")["vectors"], 0)
        self.assertEqual(run("info", self.new, "--json").json["snapshot"]["dimensions"], 5)
        self.convert(self.new, self.directory / "back.npy")
        self.assertEqual(self.convert(self.directory / "back.npy", self.directory / "index", "--metric", "cosine")["dimensions"], 5)
        self.check_error(run("convert", self.new, self.directory / "x.fvecs"), 1, "[unsupported]")
        self.check_error(run("convert", self.put("none.fvecs", b""), self.directory / "y.npy"), 1, "[truncated_header]")

    def test_a_metric_must_be_named(self):
        source = self.put("rows.npy", npy(ROWS))
        self.check_error(run("convert", source, self.new), 2, "--metric")
        self.assertEqual([each.name for each in self.directory.iterdir() if each.name.startswith("new.iqdb")], [])

    def test_a_vector_that_a_type_does_not_take_is_named(self):
        source = self.put("nan.npy", npy([ROWS[0], [1.0, float("nan"), 2.0]]))
        self.convert(source, self.directory / "flat", "--metric", "euclidean")
        for kind in set(self.kinds()) - {"flat", "core", "faiss-ivf"}:
            answer = run("convert", source, self.new, "--metric", "euclidean", "--type", kind)
            self.check_error(answer, 1, "the vector 1 cannot", "[invalid_vector]")
        self.assertNotIn("new.iqdb", self.names())

    def test_hostile_files_end_in_an_error(self):
        whole = {"a.npy": npy(ROWS), "a.fvecs": vecs(ROWS), "a.ivecs": vecs([[1, 2, 3]], "i")}
        for name, content in whole.items():
            for at in range(len(content)):
                if name == "a.npy" and 20 < at < 50:
                    continue  # any text will do there
                data = bytearray(content)
                data[at] ^= 0xFF
                for hostile in (bytes(data), content[:at]) if at % 4 == 0 else (bytes(data),):
                    answer = run("convert", self.put(name, hostile), self.directory / "out.npy", "--force")
                    self.assertIn(answer.code, (0, 1), answer.err)
        self.assertEqual([name for name in self.names() if name.endswith(".tmp")], [])


class Safety(Convert):
    def test_nothing_is_replaced_without_force(self):
        self.write("insert 1", "close")
        for name in ("new.iqdb", "new.npy", "new.fvecs"):
            target = self.put(name, b"precious")
            self.check_error(run("convert", self.path, target), 1, "--force", "[would_discard_snapshot]")
            self.assertEqual(target.read_bytes(), b"precious")
            self.assertGreater(self.convert(self.path, target, "--force")["file_bytes"], 8)
        ids = self.put("ids", b"precious")
        self.check_error(run("convert", self.path, self.directory / "x.npy", "--ids", ids), 1, "--force")
        self.assertEqual(ids.read_bytes(), b"precious")

    def test_a_log_with_mutations_and_older_states_are_never_replaced(self):
        source = self.put("rows.npy", npy(ROWS))
        self.write("insert 1")
        before = self.path.read_bytes()
        for told, words in {"1 mutation": [], "there is a log": ["--to", "npy"]}.items():
            answer = run("convert", source, self.path, "--force", "--metric", "euclidean", *words)
            self.check_error(answer, 1, told, "[would_discard_log]")
            self.assertEqual(self.path.read_bytes(), before)
        self.assertEqual(run("checkpoint", self.path).code, 0)
        self.convert(source, self.path, "--force", "--metric", "euclidean")
        self.assertFalse(self.log.exists())
        self.assertEqual(run("verify", self.path).code, 0)
        kept = self.directory / "kept.iqdb"
        Writer(kept, older_states=2).do("insert 1", "checkpoint", "close").end()
        self.check_error(run("convert", source, kept, "--force", "--metric", "euclidean"), 1, "older states")

    def test_a_file_is_not_converted_into_itself(self):
        self.write("insert 1")
        os.symlink(self.path, self.directory / "link")
        for target in (self.path, self.log, self.directory / "link", self.directory):
            self.check_error(run("convert", self.path, target, "--force"), 2, "[invalid_config]")

    def test_wrong_options_are_told_before_anything_is_read(self):
        self.write("insert 1", "close")
        wrong = [["x.npy", "--type", "flat"], ["x.fvecs", "--compression", "zstd"], ["x", "--type", "flut"],
                 ["x", "--to", "xyz"], ["x", "--metric", "far"], ["x", "--ids", "y"], ["x.wal"], ["x.lock"]]
        wrong += [["x", "--type", "hnsw", "--metric", "hamming"]] if "hnswlib" in ADAPTERS else []
        wrong += [["x.faiss", "--type", "flat"]] if "faiss" in ADAPTERS else []
        before = self.names()
        for to, *words in wrong:
            with self.subTest((to, *words)):
                self.assertEqual(run("convert", self.path, self.directory / to, *words).code, 2)
                self.assertEqual(self.names(), before)

    def test_what_is_nothing_of_all_this_is_refused(self):
        self.check_error(run("convert", self.directory / "none", self.new), 3, "no such file")
        self.check_error(run("convert", self.put("text", b"some text"), self.new), 1, "[bad_magic]")
        self.check_error(run("convert", self.put("empty", b""), self.new), 1, "[truncated_header]")
        self.write("insert 1", "insert 2", "close")
        self.flip(self.log, run("log", self.path, "--json").json_lines[0]["offset"] + 30)
        self.check_error(run("convert", self.path, self.new), 1, "[log_corrupted]")
        self.assertNotIn("new.iqdb", self.names())

    def test_an_interrupted_conversion_leaves_nothing(self):
        subprocess.run([FILES, "large", self.path, "96"], check=True)
        before = self.names()
        for target, *words in (["new.iqdb", "--metric", "manhattan"], ["new.npy", "--ids", self.directory / "ids"]):
            for wait in (0.05, 0.3, 0.6):
                process = subprocess.Popen([IQDB, "convert", self.path, self.directory / target, *words],
                                           stdout=subprocess.PIPE)
                time.sleep(wait)
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=SECONDS)
                if process.returncode != 0:  # else it was faster
                    self.assertEqual(process.returncode, -signal.SIGINT)
                    self.assertEqual(self.names(), before)
                for name in set(self.names()) - set(before):
                    (self.directory / name).unlink()


if __name__ == "__main__":
    unittest.main()
