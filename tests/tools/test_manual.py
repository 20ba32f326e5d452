"""The manual page and the completions know every command and option of --help."""

import pathlib
import re
import shutil
import subprocess
import unittest

from support import IQDB, TESTS, run

PAGE = TESTS.parent / "tools/iqdb/iqdb.1"


def commands() -> list:
    listed = run("--help").out.split("Subcommands:\n")[1].split("\n\n")[0]
    return re.findall(r"^  (\S+)", listed, re.MULTILINE)


def options_of(*command) -> set:
    return set(re.findall(r"(?<![\w-])(--?[a-zA-Z][a-z-]*)", run(*command, "--help").out.split("Exit codes")[0]))


class Manual(unittest.TestCase):
    def setUp(self):
        self.page = PAGE.read_text().replace("\\-", "-")

    def sections(self) -> dict:
        found = re.split(r"^\.SS (\w+)", self.page, flags=re.MULTILINE)
        return dict(zip(found[1::2], found[2::2]))

    def test_every_command_and_option_is_in_the_manual(self):
        general = self.page.split(".SH COMMANDS")[0]
        self.assertEqual(sorted(self.sections()), sorted(commands()))
        for option in options_of():
            self.assertIn(option, general)
        for command in commands():
            for option in options_of(command) - options_of():
                self.assertRegex(self.sections()[command], r"(?<![\w-])" + option + r"(?![\w-])", command)

    def test_the_manual_has_no_option_that_there_is_not(self):
        known = set.union(options_of(), *(options_of(command) for command in commands()))
        for option in re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", self.page):
            self.assertIn(option, known)

    def test_the_manual_names_the_exit_codes(self):
        self.assertEqual(re.findall(r"^\.B (\d)$", self.page, re.MULTILINE), ["0", "1", "2", "3"])

    @unittest.skipUnless(shutil.which("man"), "man is not installed")
    def test_man_reads_it_without_a_warning(self):
        read = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(PAGE)], capture_output=True)
        self.assertEqual((read.returncode, read.stderr), (0, b""))


class Completions(unittest.TestCase):
    def completed(self, *words) -> list:
        """What bash offers for the last of these words."""
        script = pathlib.Path(IQDB).parent / "iqdb.bash"
        asking = f"""
          source {script}
          COMP_WORDS=(iqdb {' '.join(repr(word) for word in words)}) COMP_CWORD={len(words)}
          _iqdb
          printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        answer = subprocess.run(["bash", "-c", asking], capture_output=True, text=True, cwd=TESTS)
        self.assertEqual(answer.stderr, "")
        return answer.stdout.split()

    def test_bash_offers_commands_options_values_and_files(self):
        self.assertEqual(sorted(self.completed("")), sorted(commands()))
        self.assertEqual(self.completed("ver"), ["verify"])
        for command in commands():
            self.assertEqual(set(self.completed(command, "-")), options_of(command))
        self.assertEqual(self.completed("log", "--op", "ch"), ["checkpoint"])
        self.assertEqual(self.completed("--color", "n"), ["never"])
        self.assertEqual(self.completed("info", "CMakeL"), ["CMakeLists.txt"])

    def test_zsh_knows_every_command_and_option(self):
        script = run("completion", "zsh").out
        for command in commands():
            part = script.split(f"      {command})\n")[1].split(";;")[0]
            for option in options_of(command):
                self.assertIn(f"'{option}[", part)

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_zsh_reads_its_script(self):
        script = pathlib.Path(IQDB).parent / "_iqdb"
        self.assertEqual(subprocess.run(["zsh", "-n", str(script)], capture_output=True).stderr, b"")

    def test_another_shell_is_refused(self):
        self.assertEqual(run("completion", "csh").code, 2)


if __name__ == "__main__":
    unittest.main()
