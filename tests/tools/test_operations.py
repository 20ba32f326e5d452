"""docs/operations.md: its commands print what it shows, and its table has every kind of error."""

import re
import subprocess
import unittest

from support import IQDB, SECONDS, TESTS, Case, Writer

PAGE = TESTS.parent / "docs/operations.md"
KINDS = TESTS.parent / "include/iqdb/persist/error.hpp"


def sessions() -> list:
    """The commands of the page, each with the lines that follow it."""
    blocks = re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [tuple(part.split("\n", 1)) for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]


def without_chance(text: str) -> str:
    """What is the same in each run: not times, random numbers and checksums of them, and logs in which times are noted."""
    text = re.sub(r"/snapshot/[\d-]+", "/snapshot/NUMBER", text)
    text = re.sub(r"\.\d{15}\.history", ".NUMBER.history", text)
    text = re.sub(r"^(  log +)\d+ bytes$", r"\1BYTES", text, flags=re.MULTILINE)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME", text)
    return re.sub(r"0x[0-9a-f]{8,16}", "NUMBER", text)


class Operations(Case):
    def test_the_commands_print_what_the_page_shows(self):
        (self.directory / "objects").mkdir()
        for name, older_states in ("vectors.iqdb", 0), ("colours.iqdb", 3), (f"dir:{self.directory}/objects/shop", 0):
            writer = Writer(name if name.startswith("dir:") else self.directory / name, older_states)
            writer.do("insert 1", "insert 2", "checkpoint", "insert 3", "named red", "twice 4", "erase 3")
            writer.kill()
        self.assertGreater(len(sessions()), 4)
        shown, printed = [], []
        for command, output in sessions():
            words = command.split()
            self.assertEqual(words[0], "iqdb")
            process = subprocess.run([IQDB, *words[1:]], cwd=self.directory, capture_output=True, text=True, timeout=SECONDS)
            self.assertEqual((process.returncode, process.stderr), (0, ""), command)
            shown.append(f"$ {command}\n{without_chance(output)}")
            printed.append(f"$ {command}\n{without_chance(process.stdout)}")
        self.maxDiff = None
        self.assertEqual("".join(printed), "".join(shown))

    def test_the_table_has_every_kind_of_error(self):
        kinds = KINDS.read_text().split("enum class PersistErrorKind")[1].split("};")[0]
        known = re.findall(r"^  (\w+),", kinds, re.MULTILINE)
        told = re.findall(r"^\| `(\w+)` \|", PAGE.read_text().split("## What each error means")[1], re.MULTILINE)
        self.assertGreater(len(known), 20)
        self.assertEqual(told, known)


if __name__ == "__main__":
    unittest.main()
