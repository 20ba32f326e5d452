"""iqdb search: the nearest vectors, from each kind of query, also beside a writer."""

import subprocess
import unittest

from support import FILES, IQDB, SECONDS, Case, Writer, run
from vectors import npy, vecs


class Search(Case):
    def ids(self, *words) -> list:
        answer = run("search", self.path, "--json", *words)
        self.assertEqual((answer.code, answer.err), (0, ""), answer.out)
        return [[hit["id"] for hit in each["hits"]] for each in answer.json_lines]

    def vector_of(self, id: int) -> list:
        lines = run("log", self.path, "--values", "--json", "--id", id).json_lines
        return lines[0]["vector"]

    def test_a_row_is_nearest_to_itself(self):
        self.write("batch 1 20", "checkpoint", "batch 100 5", "erase 3")
        self.assertEqual([each[0] for each in self.ids("--row", 7, "-k", 3)], [7])
        self.assertEqual(len(self.ids("--row", 104)[0]), 10)
        self.assertEqual(len(self.ids("--row", 104, "-k", 1000)[0]), 24)
        self.check_error(run("search", self.path, "--row", 3), 1, "holds no vector 3", "[not_found]")

    def test_lines_have_identifier_and_distance_and_metadata(self):
        self.write("insert 1", "named red", "insert 2")
        lines = run("search", self.path, "--row", "red", "--metadata").out.splitlines()
        self.assertEqual(lines[0].split(), ['"red"', "0", '{"name":"red"}'])
        self.assertEqual(len(lines), 3)
        hit = run("search", self.path, "--row", "red", "--metadata", "-k", 1, "--json").json["hits"][0]
        self.assertEqual(hit, {"id": "red", "distance": 0.0, "metadata": {"name": "red"}})

    def test_only_vectors_that_meet_every_condition_are_found(self):
        self.write("batch 1 20", "named red", "named blue")
        self.assertEqual(self.ids("--row", 7, "--where", "name=red"), [["red"]])
        self.assertEqual(self.ids("--row", 7, "--where", "name=red", "--where", "name=blue"), [[]])
        self.assertEqual(self.ids("--row", 7, "--where", "name="), [[]])
        self.check_error(run("search", self.path, "--row", 7, "--where", "red"), 2, "a condition is KEY=VALUE; found 'red'")

    def test_a_condition_knows_each_kind_of_value(self):
        self.write("values")
        kinds = {"text=7": 1, "count=7": 1, "count=7.0": 0, "share=0.5": 1, "share=5e-1": 1, "share=half": 0, "good=true": 1,
                 "good=false": 0, "none=null": 1, "none=": 0, "absent=null": 0, "count=": 0, "text=a=b": 0}
        for condition, hits in kinds.items():
            with self.subTest(condition):
                self.assertEqual(len(self.ids("--row", 1, "--where", condition)[0]), hits)

    def test_a_radius_bounds_how_far_a_hit_is(self):
        self.write("batch 1 40")
        query = ",".join(map(str, self.vector_of(5)))
        every = run("search", self.path, "--vector", query, "-k", 40, "--json").json["hits"]
        radius = every[14]["distance"]
        near = [hit["id"] for hit in every if hit["distance"] <= radius]
        self.assertEqual(self.ids("--vector", query, "--radius", radius), [near])
        self.assertEqual(self.ids("--vector", query, "--radius", radius, "-k", 3), [near[:3]])

    def test_every_way_to_give_a_query_finds_the_same(self):
        self.write("batch 1 20")
        queries = [self.vector_of(id) for id in (5, 11)]
        expected = [self.ids("--row", id)[0] for id in (5, 11)]
        self.assertEqual(self.ids("--vector", ",".join(map(str, queries[0]))), expected[:1])
        (self.directory / "q.npy").write_bytes(npy(queries))
        (self.directory / "q.fvecs").write_bytes(vecs(queries))
        (self.directory / "double").write_bytes(npy(queries, "<f8", version=2))
        for name in ("q.npy", "q.fvecs", "double"):
            self.assertEqual(self.ids("--file", self.directory / name), expected, name)
        text = f"{queries[0]}\n\n{' '.join(map(str, queries[1]))}\n"
        asked = subprocess.run([IQDB, "search", self.path], input=text, capture_output=True, text=True, timeout=SECONDS)
        self.assertEqual((asked.returncode, asked.stderr), (0, ""))
        self.assertEqual([int(line.split()[0]) for line in asked.stdout.splitlines()], [0] * 10 + [1] * 10)
        self.assertEqual([int(line.split()[1]) for line in asked.stdout.splitlines()], expected[0] + expected[1])

    def test_a_query_is_answered_before_the_next_one_comes(self):
        self.write("batch 1 3")
        process = subprocess.Popen([IQDB, "search", self.path, "-k", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2):
            process.stdin.write("1 2 3 4\n")
            process.stdin.flush()
            self.assertEqual(len(process.stdout.readline().split()), 3)
        process.stdin.close()
        process.stdout.close()
        self.assertEqual(process.wait(SECONDS), 0)

    def test_a_writer_is_not_disturbed(self):
        writer = Writer(self.path).do("insert 1", "checkpoint", "insert 2")
        self.assertEqual(self.ids("--row", 2, "-k", 1), [[2]])
        writer.do("insert 3")
        self.assertEqual(self.ids("--row", 3, "-k", 1), [[3]])
        writer.end()

    def test_an_index_of_every_type(self):
        subprocess.run([FILES, "samples", self.directory], check=True)
        for self.path in sorted(self.directory.glob("*.iqdb")):
            with self.subTest(self.path.name):
                self.assertEqual(self.ids("--row", 100, "-k", 1, "--ef", 40), [[100]])

    def test_what_is_wrong_with_a_query_is_told(self):
        self.write("insert 1")
        wrong = {
            ("--vector", "1,2,3"): (1, "--vector has 3 components", "have 4", "[dimension_mismatch]"),
            ("--vector", ""): (1, "--vector has 0 components"),
            ("--vector", "1,2,x,4"): (2, '"x" as its component 3'),
            ("--vector", "1,2,3,1e99"): (2, '"1e99"'),
            ("--row", ""): (2, "is empty"),
            ("--row", "1", "--vector", "1"): (2, "excludes"),
            ("-k", "0", "--row", "1"): (2, "-k"),
            ("--file", self.directory / "none.npy"): (3, "there is no such file"),
        }
        for words, (code, *texts) in wrong.items():
            with self.subTest(words):
                self.check_error(run("search", self.path, *words), code, *texts)
        asked = subprocess.run([IQDB, "search", self.path], input="1 2 3 4\n1 2\n", capture_output=True, text=True, timeout=SECONDS)
        self.assertEqual(asked.returncode, 1)
        self.assertIn("line 2 of standard input has 2 components", asked.stderr)
        self.assertEqual(len(asked.stdout.splitlines()), 1)

    def test_files_that_are_damaged_or_of_another_kind_are_refused(self):
        self.write("insert 1")
        rows = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]
        huge = 2**62
        files = {
            "empty.npy": (b"", "truncated_header"),
            "text.npy": (b"no numpy file", "bad_magic"),
            "cut.npy": (npy(rows)[:-1], "truncated_payload"),
            "head.npy": (npy(rows)[:40], "truncated_header"),
            "more.npy": (npy(rows) + b"x", "truncated_payload"),
            "huge.npy": (npy(rows, shape=f"({huge}, {huge})"), "truncated_payload"),
            "shape.npy": (npy(rows, shape="(8,)"), "unsupported"),
            "broken.npy": (npy(rows, shape="(2, x)"), "invalid_payload"),
            "endless.npy": (npy(rows, shape="(2, 4"), "invalid_payload"),
            "order.npy": (npy(rows, order="True"), "unsupported"),
            "big.npy": (npy(rows, ">f4"), "unsupported"),
            "ints.npy": (npy(rows, "<i4"), "unsupported"),
            "version.npy": (npy(rows, version=9), "unsupported_version"),
            "overflow.npy": (npy([[1e300, 1.0, 1.0, 1.0]], "<f8"), "unsupported"),
            "empty.fvecs": (b"", "truncated_header"),
            "short.fvecs": (b"\1\0", "truncated_header"),
            "cut.fvecs": (vecs(rows)[:-1], "truncated_payload"),
            "huge.fvecs": (b"\xff\xff\xff\x7f" + vecs(rows), "invalid_payload"),
            "zero.fvecs": (b"\0\0\0\0", "invalid_payload"),
            "mixed.fvecs": (vecs([rows[0]]) + b"\3\0\0\0" + vecs(rows)[-16:], "invalid_payload"),
            "digits.ivecs": (vecs([[2**24 + 1, 0, 0, 0]], "i"), "unsupported"),
        }
        for name, (content, kind) in files.items():
            with self.subTest(name):
                path = self.directory / name
                path.write_bytes(content)
                answer = run("search", self.path, "--file", path)
                self.assertEqual(answer.code, 1, answer.err)
                self.assertIn(f"[{kind}]", answer.err)
                self.assertIn(name, answer.err)

    def test_a_file_without_queries_has_no_answers(self):
        self.write("insert 1")
        path = self.directory / "none.npy"
        path.write_bytes(npy([], shape=f"(0, {2**62})"))
        answer = run("search", self.path, "--file", path)
        self.assertEqual((answer.code, answer.out, answer.err), (0, "", ""))

    def test_what_is_no_index_is_refused(self):
        self.check_error(run("search", self.path, "--row", 1), 3, "there is no such file")
        self.path.write_text("no index")
        self.check_error(run("search", self.path, "--row", 1), 1, "[bad_magic]")


if __name__ == "__main__":
    unittest.main()
