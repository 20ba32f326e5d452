#!/usr/bin/env python3
"""Takes the defences out of the headers, one at a time, and shows that a test turns red each time.

    tests/mutation/run.py                  all mutants of mutants.toml
    tests/mutation/run.py --part today       a fortieth of them, others each day
    tests/mutation/run.py --source FILE    those that a test of this file must notice
    tests/mutation/run.py --only NAME      this one, with the output of its test
    tests/mutation/run.py --check          compiles nothing: does each mutant still apply, and is its test still there?

Each test is first run against the headers as they are, where it must pass. A mutant is killed where its test then fails,
crashes, or does not end. The exit code is 0 only if all are killed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent
INCLUDE = TESTS.parent / "include"
USEARCH = TESTS.parent / "build/node_modules/usearch/include"  # where the README has it installed

PARTS = 40
PROGRAM_WORK = 5  # to compile and run a program of its own takes about as long as so many tests
TEST_SECONDS = 60
PROGRAM_SECONDS = 300  # a program of its own does more than a test
TEST_MEMORY_BYTES = 8 * 1024**3  # of addresses: a mutant that allocates without end must not take the machine with it

FLAGS = ["-std=c++20", "-w", "-D_GLIBCXX_ASSERTIONS", "-DIQDB_PERSIST_HAS_ZSTD=1", "-DIQDB_PERSIST_HAS_LZ4=1", "-pthread"]
LIBRARIES = ["-lrapidcheck", "-lzstd", "-llz4", "-lz"]

# libcurl's headers lie in a folder of the processor's on Debian.
CURL = next(pathlib.Path("/usr/include").glob("*/curl/curl.h"), pathlib.Path("/usr/include/curl/curl.h"))

# What the tests of an adapter need beside that, by the beginning of their paths, and the file that shows it is installed.
ADAPTERS = {
    "persist/storage/s3": (CURL, ["-lcurl", "-lcrypto"]),
    "index/faiss": (pathlib.Path("/usr/include/faiss/Index.h"), ["-lfaiss", "-llapack", "-lblas", "-lgomp"]),
    "index/usearch": (USEARCH / "usearch/index_dense.hpp", [f"-isystem{USEARCH}"]),
}


class Failure(Exception):
    """Why a mutant is not killed, or could not be tried."""


class CompileFailure(Failure):
    """What the compiler said, all of it."""

    def __init__(self, output: str) -> None:
        super().__init__("does not compile:\n" + output[:4000])
        self.output = output


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A defence, how to take it out, and the test that must notice."""

    name: str
    defence: str
    header: str  # below include/iqdb
    find: str  # stands there exactly once
    replace: str
    source: str  # below tests/
    test: str  # the name of a test, or the arguments of a program that has its own main function

    @property
    def is_program(self) -> bool:
        return not self.source.endswith("_test.cpp")

    @property
    def adapter(self) -> tuple[pathlib.Path | None, list[str]]:
        """The file without which its test cannot be compiled, and the flags with which it is."""
        return next((needs for path, needs in ADAPTERS.items() if self.source.startswith(path)), (None, []))

    @property
    def can_be_tried(self) -> bool:
        file, _ = self.adapter
        return file is None or file.is_file()

    @property
    def caught_by(self) -> str:
        return f"{pathlib.Path(self.source).stem}: {self.test}"

    def mutated(self, headers: pathlib.Path) -> str:
        text = (headers / "iqdb" / self.header).read_text()
        count = text.count(self.find)
        if count != 1:
            raise Failure(f"does not apply: its text stands {count} times in {self.header}, expected once")
        return text.replace(self.find, self.replace)

    def source_with(self, tests: set[str]) -> str:
        """Its source with no others than these tests in it, which compiles faster. Lines keep their numbers."""

        def kept(test: re.Match[str]) -> str:
            is_wanted = any(f'TEST_CASE("{name}"' in test[0] for name in tests)
            return test[0] if is_wanted else "\n" * test[0].count("\n")

        # A test ends with a brace at the beginning of a line, or on its only one.
        return re.sub(r"^TEST_CASE\((?:[^\n]*\}|.*?^\})$", kept, (TESTS / self.source).read_text(), flags=re.M | re.S)

    def check(self) -> None:
        """Throws Failure unless the mutant applies and its test is there."""
        if self.find == self.replace:
            raise Failure("changes nothing")
        self.mutated(INCLUDE)
        source = TESTS / self.source
        if not source.is_file():
            raise Failure(f"there is no {self.source}")
        if not self.is_program and f'TEST_CASE("{self.test}"' not in source.read_text():
            raise Failure(f"{self.source} has no test of the name: {self.test}")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    seconds: float
    how: str = ""  # it was killed
    failure: str = ""
    output: str = ""


def read_mutants(path: pathlib.Path) -> list[Mutant]:
    """The file is a table of headers, each with its mutants."""
    with path.open("rb") as file:
        mutants = [
            Mutant(header=header, **fields) for header, each in tomllib.load(file).items() for fields in each
        ]
    names = [mutant.name for mutant in mutants]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        sys.exit(f"{path}: two mutants of one name: {', '.join(sorted(twice))}")
    return mutants


def run(command: list[str], **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)


@contextlib.contextmanager
def scratch_directory(parent: pathlib.Path | None = None) -> Iterator[str]:
    """A directory that is gone in the end."""
    with tempfile.TemporaryDirectory(prefix="iqdb_mutation_", dir=parent) as directory:
        # Tests have children that are another user.
        os.chmod(directory, 0o755)
        yield directory


def escaped(test: str) -> str:
    """The name of a test as an argument: to Catch2 a comma is "or" and a bracket begins a tag."""
    return test.replace(",", "\\,").replace("[", "\\[")


def run_limited(
    program: pathlib.Path, arguments: list[str], seconds: float, environment: dict[str, str] | None = None
) -> tuple[int | None, str]:
    """Exit code, none if it did not end, and output."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (TEST_MEMORY_BYTES, TEST_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    with scratch_directory(program.parent) as files:
        process = subprocess.Popen(
            [str(program), *arguments],
            cwd=files,
            env={**os.environ, "TMPDIR": files, **(environment or {})},
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=limit,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=seconds)
            return process.returncode, output
        except subprocess.TimeoutExpired:
            # With the children that a test may have.
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return None, output


def outcome_of(code: int | None) -> str:
    """How a mutant was killed."""
    return "did not end" if code is None else f"crashed: {signal.Signals(-code).name}" if code < 0 else "failed"


class Laboratory:
    """Compiles and runs tests against headers, in a scratch directory."""

    def __init__(self, scratch: pathlib.Path) -> None:
        self.scratch = scratch
        self.seconds_without_mutant: dict[tuple[str, str], float] = {}  # by source and test
        self.compiler = shlex.split(os.environ.get("CXX", "g++"))
        # What is compiled must not change while other things are compiled.
        self.include = scratch / "include"
        shutil.copytree(INCLUDE, self.include)
        self.catch_main = self.find_catch_main()
        # Without it nothing that a test says of allocations would be examined.
        self.operator_new = scratch / "operator_new.o"
        self.compile(["-O0", "-x", "c++", "-c", str(TESTS / "support" / "operator_new.hpp"), "-o", str(self.operator_new)])
        self.precompiled = scratch / "precompiled.hpp"
        self.precompiled.write_text(self.what_does_not_change())
        self.compile(["-O0", "-x", "c++-header", str(self.precompiled), "-o", f"{self.precompiled}.gch"])

    def what_does_not_change(self) -> str:
        """What every test includes that no mutant can touch: Catch2 and the standard library."""
        headers = [header.read_text() for header in (self.include / "iqdb" / "persist").glob("*.hpp")]
        of_the_standard_library = {name for text in headers for name in re.findall(r"^#include (<[a-z_]+>)", text, re.M)}
        includes = ['"support/catch.hpp"', *sorted(of_the_standard_library)]
        return "".join(f"#include {name}\n" for name in includes)

    def find_catch_main(self) -> list[str]:
        """Catch2 3 has a library with a main function, Catch2 2 a header that makes one."""
        pkg_config = shutil.which("pkg-config")
        if pkg_config and (found := run([pkg_config, "--libs", "catch2-with-main"])).returncode == 0:
            return found.stdout.split()
        object_file = str(self.scratch / "main.o")
        self.compile(["-O0", "-c", str(TESTS / "support" / "main.cpp"), "-o", object_file])
        return [object_file]

    def compile(self, arguments: list[str], overlay: pathlib.Path | None = None) -> None:
        overlays = [] if overlay is None else [f"-I{overlay}"]
        golden = f'-DTEST_GOLDEN_DIR="{TESTS / "golden"}"'
        includes = [*overlays, f"-I{self.include}", f"-I{TESTS}"]
        done = run([*self.compiler, *FLAGS, golden, *includes, *arguments])
        if done.returncode != 0:
            raise CompileFailure(done.stdout)

    def build(
        self, mutant: Mutant, tests: set[str], directory: pathlib.Path, overlay: pathlib.Path | None = None
    ) -> pathlib.Path:
        """The program of these tests in a mutant's file; without an overlay against the headers as they are."""
        directory.mkdir(parents=True, exist_ok=True)
        program = directory / "program"
        source = TESTS / mutant.source
        if mutant.is_program:
            # They do much: to optimise them costs less than not to.
            arguments = ["-O1", str(source)]
        else:
            source = directory / source.name
            source.write_text(mutant.source_with(tests))
            arguments = ["-O0", "-include", str(self.precompiled), str(source), *self.catch_main]
            if '"support/operator_new.hpp"' not in source.read_text():
                arguments.append(str(self.operator_new))
        self.compile([*arguments, "-o", str(program), *mutant.adapter[1], *LIBRARIES], overlay)
        return program

    def run_test(self, mutant: Mutant, program: pathlib.Path) -> tuple[int | None, str]:
        """Exit code, none if it did not end, and output."""
        longest = PROGRAM_SECONDS if mutant.is_program else TEST_SECONDS
        without = self.seconds_without_mutant.get((mutant.source, mutant.test), longest)
        arguments = mutant.test.split() if mutant.is_program else [escaped(mutant.test)]
        return run_limited(program, arguments, min(longest, 10 + 10 * without))

    def require_pass(self, mutant: Mutant, program: pathlib.Path) -> None:
        """Throws Failure unless the test passes without the mutant. Catch2 takes it for a success that no test ran."""
        began = time.monotonic()
        code, output = self.run_test(mutant, program)
        self.seconds_without_mutant[mutant.source, mutant.test] = time.monotonic() - began
        if code != 0 or not (mutant.is_program or "All tests passed" in output):
            raise Failure(f"its test does not pass without it: {mutant.caught_by}\n" + output[-4000:])

    def try_mutant(self, mutant: Mutant) -> Verdict:
        began = time.monotonic()
        directory = self.scratch / "mutants" / mutant.name
        overlay = directory / "include"
        header = overlay / "iqdb" / mutant.header
        output = ""
        try:
            header.parent.mkdir(parents=True)
            header.write_text(mutant.mutated(self.include))
            code, output = self.run_test(mutant, self.build(mutant, {mutant.test}, directory, overlay))
            if code == 0:
                raise Failure(f"survives: {mutant.caught_by}")
            return Verdict(mutant, time.monotonic() - began, how=outcome_of(code), output=output)
        except Failure as failure:
            return Verdict(mutant, time.monotonic() - began, failure=str(failure), output=output)
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def try_all(laboratory: Laboratory, mutants: list[Mutant], jobs: int) -> list[Verdict]:
    """First every test without mutants, then the mutants whose test passed."""

    def passes(source: str) -> list[Verdict]:
        its_own = [mutant for mutant in mutants if mutant.source == source]
        directory = laboratory.scratch / "without" / source
        failures: dict[str, str] = {}
        try:
            program = laboratory.build(its_own[0], {mutant.test for mutant in its_own}, directory)
            for test, mutant in {mutant.test: mutant for mutant in its_own}.items():
                try:
                    laboratory.require_pass(mutant, program)
                except Failure as failure:
                    failures[test] = str(failure)
        except Failure as failure:
            failures = {mutant.test: f"without it, {failure}" for mutant in its_own}
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return [Verdict(mutant, 0, failure=failures[mutant.test]) for mutant in its_own if mutant.test in failures]

    with concurrent.futures.ThreadPoolExecutor(jobs) as workers:
        sources = sorted({mutant.source for mutant in mutants})
        verdicts = [verdict for failed in workers.map(passes, sources) for verdict in failed]
        for verdict in verdicts:
            print(f"{verdict.mutant.name}: {verdict.failure}")
        untried = [verdict.mutant for verdict in verdicts]
        tried = [mutant for mutant in mutants if mutant not in untried]
        print(f"{len(sources)} test programs examined without mutants", flush=True)
        for number, verdict in enumerate(workers.map(laboratory.try_mutant, tried), 1):
            print(f"[{number}/{len(tried)}] {verdict.mutant.name}: {verdict.how or verdict.failure}", flush=True)
            verdicts.append(verdict)
    return sorted(verdicts, key=lambda verdict: mutants.index(verdict.mutant))


def print_table(verdicts: list[Verdict]) -> None:
    print("\n| defence | header | test that caught it | | seconds |\n| --- | --- | --- | --- | --- |")
    for verdict in verdicts:
        mutant = verdict.mutant
        outcome = verdict.how or "NOT KILLED"
        print(f"| {mutant.defence} | {mutant.header} | {mutant.caught_by} | {outcome} | {verdict.seconds:.1f} |")


def parts_of(mutants: list[Mutant]) -> list[list[Mutant]]:
    """Parts of about the same work. The mutants of one source stay together: it is compiled without them as well."""

    def work(part: list[Mutant]) -> int:
        return sum(PROGRAM_WORK if mutant.is_program else 1 for mutant in part)

    by_source: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        by_source.setdefault(mutant.source, []).append(mutant)
    parts: list[list[Mutant]] = [[] for _ in range(PARTS)]
    for its_own in sorted(by_source.values(), key=work, reverse=True):
        min(parts, key=work).extend(its_own)
    return parts


def part(text: str) -> int:
    number = int(time.time() // 86400) % PARTS if text == "today" else int(text)
    if not 0 <= number < PARTS:
        raise argparse.ArgumentTypeError(f"expected 0 to {PARTS - 1}, or today")
    return number


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME", help="try this mutant alone")
    parser.add_argument("--source", metavar="FILE", help="those whose test is in this file, below tests/")
    parser.add_argument("--part", metavar="N", type=part, help="the fortieth of this number, 0 to 39; today: by the date")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many are tried at the same time")
    parser.add_argument("--list", action="store_true", help="list them, and try none")
    parser.add_argument("--check", action="store_true", help="compile nothing")
    arguments = parser.parse_args()

    mutants = read_mutants(HERE / "mutants.toml")
    if arguments.only is not None:
        mutants = [mutant for mutant in mutants if mutant.name == arguments.only]
        if not mutants:
            parser.error(f"there is no mutant {arguments.only}")
    if arguments.source is not None:
        mutants = [mutant for mutant in mutants if mutant.source == arguments.source]
        if not mutants:
            parser.error(f"no mutant has its test in {arguments.source}")
    if arguments.part is not None:
        mutants = parts_of(mutants)[arguments.part]
        print(f"part {arguments.part} of {PARTS}: {len(mutants)} mutants")
    if arguments.list:
        for mutant in mutants:
            print(f"{mutant.name:32}  {mutant.header:28}  {mutant.defence}")
        return 0

    stale: list[Verdict] = []
    for mutant in mutants:
        try:
            mutant.check()
        except Failure as failure:
            stale.append(Verdict(mutant, 0, failure=str(failure)))
    if arguments.check or stale:
        for verdict in stale:
            print(f"{verdict.mutant.name}: {verdict.failure}")
        print(f"{len(mutants) - len(stale)} of {len(mutants)} mutants apply")
        return 1 if stale else 0

    for mutant in mutants:
        if not mutant.can_be_tried:
            print(f"{mutant.name}: not tried: the library of {mutant.source} is not installed")
    mutants = [mutant for mutant in mutants if mutant.can_be_tried]
    began = time.monotonic()
    with scratch_directory() as scratch:
        verdicts = try_all(Laboratory(pathlib.Path(scratch)), mutants, arguments.jobs)
    if arguments.only is not None and verdicts:
        print(verdicts[0].output)
    print_table(verdicts)
    failed = [verdict for verdict in verdicts if verdict.failure]
    for verdict in failed:
        print(f"\n{verdict.mutant.name}: {verdict.failure}")
    print(f"\n{len(verdicts) - len(failed)} of {len(verdicts)} mutants killed in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
