#!/usr/bin/env python3
"""Tests what makes the site: links lead somewhere, and a site with a broken one, or with a public name without a docstring, is
refused."""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "site"))
sys.dont_write_bytecode = True
import check  # pylint: disable=wrong-import-position
import pages  # pylint: disable=wrong-import-position
import reference  # pylint: disable=wrong-import-position

README = "# A library\n\nWhat it is.\n\n```cpp\nint main() {}\n```\n\n## Is it for me?\n\nYes: [more](docs/more.md).\n"
SETTINGS = {"repo_url": "", "extra": {"repo_file": "/file/", "repo_directory": "/directory/"}}


class Pages(unittest.TestCase):

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.source = pathlib.Path(directory.name) / "source"
        (self.source / "docs").mkdir(parents=True)
        (self.source / "README.md").write_text(README)

    def page(self, text: str, settings: dict) -> str:
        """docs/more.md, as the site shows it."""
        (self.source / "docs" / "more.md").write_text(text)
        made = pages.Pages(self.source, self.source.parent / "made", settings)
        made.write_page("more.md", "docs/more.md", made.text["docs/more.md"])
        return (self.source.parent / "made" / "more.md").read_text()

    def test_a_link_to_the_readme_leads_to_its_page(self):
        self.assertIn("(start.md#is-it-for-me)", self.page("[x](../README.md#is-it-for-me)\n", SETTINGS))

    def test_a_source_file_comes_along_where_the_repository_has_no_address(self):
        (self.source / ".ci").mkdir()
        (self.source / ".ci" / "run").write_text("text\n")
        self.assertIn("(source/dot-ci/run.txt)", self.page("[x](../.ci/run)\n", SETTINGS))
        self.assertEqual((self.source.parent / "made" / "source" / "dot-ci" / "run.txt").read_text(), "text\n")

    def test_a_source_file_is_linked_at_the_address_of_the_repository(self):
        (self.source / "code.cpp").write_text("int a;\n")
        text = self.page("[x](../code.cpp) [y](../docs)\n", {**SETTINGS, "repo_url": "https://code.example/a/"})
        self.assertIn("(https://code.example/a/file/code.cpp)", text)
        self.assertIn("(https://code.example/a/directory/docs)", text)

    def test_a_link_to_nothing_is_refused(self):
        with self.assertRaisesRegex(pages.Broken, "nothing at none.cpp"):
            self.page("[x](../none.cpp)\n", SETTINGS)

    def test_code_stays_as_it_is(self):
        text = "`[a](b)` and\n\n```cpp\nf[0](index);\n- x\n```\n"
        self.assertEqual(self.page(text, SETTINGS), text)

    def test_what_belongs_to_a_point_of_a_list_is_indented_by_four(self):
        self.assertEqual(self.page("Text:\n- a\n  b\n\n  ```sh\n  c\n  ```\n- d\n\nend\n", SETTINGS),
                         "Text:\n\n- a\n    b\n\n    ```sh\n    c\n    ```\n- d\n\nend\n")

    def test_a_page_for_a_library_has_nothing_of_another_alone(self):
        text = ("# You use hnswlib, faiss or usearch\n\nAll.\n\n- hnswlib is a\n- faiss is b\n\n| | x |\n| --- | --- |\n| hnswlib | 1 |\n"
                "| faiss | 2 |\n\n## hnswlib\n\nOnly.\n\n### Inner\n\nThis too.\n\n## Both\n\nfaiss and hnswlib.\n")
        (self.source / "docs" / "more.md").write_text(text)
        shown = pages.Pages(self.source, self.source.parent / "made", SETTINGS).of_library(text, "faiss")
        self.assertIn("faiss is b", shown)
        self.assertIn("| faiss | 2 |", shown)
        self.assertIn("faiss and hnswlib.", shown)
        for left_out in ["hnswlib is a", "| hnswlib | 1 |", "Only.", "This too."]:
            self.assertNotIn(left_out, shown)


HEADER = """
namespace iqdb {

/// A thing.
struct Thing {
  /// How many.
  int count = 0;
};

/// Makes a Thing. Throws nothing.
Thing make_thing(int count);

/// Nobody names it.
int unnamed();

}  // namespace iqdb
"""


@unittest.skipUnless(shutil.which("doxygen"), "Doxygen, which reads the docstrings, is not installed")
class Reference(unittest.TestCase):

    def api(self, header: str) -> pathlib.Path:
        """The pages of the API of a library with this header."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        source, made = pathlib.Path(directory.name) / "source", pathlib.Path(directory.name) / "made"
        (source / "docs").mkdir(parents=True)
        (source / "include" / "iqdb").mkdir(parents=True)
        (source / "include" / "iqdb" / "thing.hpp").write_text(header)
        (source / "README.md").write_text(README)
        for page in ("adapters", "object-store", "testing"):
            (source / "docs" / f"{page}.md").write_text("# A page\n")
        (source / "docs" / "api.md").write_text("# The interface\n\nA `Thing` is made by `make_thing(count)`.\n")
        settings = (SOURCE / "site" / "Doxyfile").read_text() + f'\nINPUT = include\nOUTPUT_DIRECTORY = "{directory.name}"\n'
        subprocess.run(["doxygen", "-"], input=settings, text=True, cwd=source, check=True)
        reference.Reference(pathlib.Path(directory.name) / "xml", pages.Pages(source, made, SETTINGS)).write()
        return made / "reference"

    def test_names_that_the_pages_name_are_shown_with_their_docstrings(self):
        text = (self.api(HEADER) / "vectors.md").read_text()
        self.assertIn("## `Thing` { #Thing }", text)
        self.assertIn("| `int count = 0`{ #Thing-count } | How many. |", text)
        self.assertIn("Thing make_thing(int count)", text)
        self.assertIn("**Throws** nothing.", text)
        self.assertNotIn("unnamed", text)

    def test_a_public_name_without_a_docstring_is_refused(self):
        with self.assertRaisesRegex(reference.Undocumented, "iqdb/thing.hpp:10: make_thing"):
            self.api(HEADER.replace("/// Makes a Thing. Throws nothing.\n", ""))

    def test_a_member_without_a_docstring_is_refused(self):
        with self.assertRaisesRegex(reference.Undocumented, "iqdb/thing.hpp:6: Thing::count"):
            self.api(HEADER.replace("  /// How many.\n", ""))


class Check(unittest.TestCase):

    def problems(self, body: str) -> list:
        """What is wrong with a site of a page with this text, and another page."""
        with tempfile.TemporaryDirectory() as directory:
            (pathlib.Path(directory) / "page.html").write_text(body)
            (pathlib.Path(directory) / "other.html").write_text('<h1 id="here">x</h1>')
            return [problem for problem in check.check(pathlib.Path(directory))[0] if "whole site" not in problem]

    def test_links_that_lead_somewhere_are_no_problem(self):
        self.assertEqual(self.problems('<a href="other.html#here">x</a><a href="https://elsewhere.example">y</a>'), [])

    def test_a_link_to_a_page_that_is_not_there_is_found(self):
        self.assertEqual(self.problems('<a href="none.html">x</a>'), ["page.html: nothing at none.html"])

    def test_a_link_to_a_heading_that_is_not_there_is_found(self):
        self.assertEqual(self.problems('<a href="other.html#there">x</a>'), ["page.html: no heading for other.html#there"])

    def test_what_is_fetched_from_another_host_is_found(self):
        self.assertEqual(self.problems('<script src="https://elsewhere.example/a.js"></script>'),
                         ["page.html: fetches https://elsewhere.example/a.js"])

    def test_less_than_the_whole_site_is_found(self):
        with tempfile.TemporaryDirectory() as directory:
            self.assertIn("this is not the whole site", check.check(pathlib.Path(directory))[0][0])


if __name__ == "__main__":
    unittest.main()
