#!/usr/bin/env python3
"""Draws mutants of the headers at random, and shows which of them no test notices.

    tests/mutation/random_mutants.py --seed 7 --count 200       these mutants, with all tests of the floors
    tests/mutation/random_mutants.py --sample 20 --seed today   a few of one floor, with its own tests
    tests/mutation/random_mutants.py --seed 7 --count 200 --list
    tests/mutation/random_mutants.py --seed 7 --count 200 --only 12,31

A seed draws places in the headers. All are written into one copy of the headers, each behind a question that the
environment variable IQDB_MUTANT answers at run time, so that everything is compiled once. A first run says which test
reaches which place. Then each mutant is run with the tests that reach it, the quick ones first, until one fails, crashes
or does not end. A mutant that none notices survives. Those of equivalent_mutants.toml are counted apart: they change
nothing that a caller can see. The exit code is 1 if fewer of the others are killed than --at-least says.
"""

from __future__ import annotations

import argparse
import bisect
import dataclasses
import datetime
import itertools
import pathlib
import random
import re
import sys
import time
import tomllib
from collections.abc import Iterable

import run as listed

FLOORS = ("wal", "storage", "snapshot", "codec", "bytes")  # of the tests; face and index are two more
DRAWN_FROM = (
    "iqdb/*.hpp",
    "iqdb/persist/*.hpp",
    "iqdb/index/core.hpp",
    "iqdb/index/flat.hpp",
    "iqdb/index/support/*.hpp",
    *(f"iqdb/persist/{floor}/*.hpp" for floor in FLOORS),
)
TESTS_OF = {
    **{floor: f"persist/{floor}/" for floor in FLOORS},
    "face": r"persist/[a-z_]+[.]cpp$",
    "index": r"(index/(core|flat)_test|index/support/[a-z_]+|[a-z_]+)[.]cpp$",
}
MOST_PLACES = 4096  # as in random_mutants.hpp
SPARE_PLACES = 1.5  # so many are drawn for each that is wanted, because some do not compile
QUICK_SECONDS = 2  # a mutant is first tried with the quickest tests of each program, for so long
SLOW_SECONDS = 1  # tests that take longer are run in the end, with what all others let pass
NAMESPACE = "iqdb_mutation::"
# The order of the arguments that rapidcheck draws must be the same in each run.
RAPIDCHECK = {"RC_PARAMS": "seed=1"}

OTHER = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "+": "-", "-": "+"}


# ---- Places ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Place:
    """A place in a header, and what is written there. Each piece of text is put around a range, or in place of one."""

    header: str  # below include/
    line: int
    text: str  # of the line
    nth: int  # of the places of this change in this line
    change: str
    fixed: bool = False  # decided when it is compiled: drawn, and passed over
    around: tuple[tuple[int, int, str, str], ...] = ()  # begin, end, text before, text behind; # is the number
    instead: tuple[tuple[int, int, str], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.header.removeprefix('iqdb/')}:{self.line}: {self.change}: {self.text}"

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What stays the same if other lines change."""
        return self.header, self.text, self.change, self.nth


def code_of(text: str) -> str:
    """The text with blanks in place of comments, literals and preprocessor lines. All else keeps its place."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    pattern = r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|(?<![\w])'(?:\\.|[^'\\\n])+'|^#(?:[^\n]*\\\n)*[^\n]*"
    return re.sub(pattern, blank, text, flags=re.S | re.M)


# The values of an enumeration, and what is asserted when it is compiled.
ASKED_BY_THE_COMPILER = re.compile(r"\benum class [^;{]*\{[^}]*\}|\bstatic_assert\(")

NO_CALL = re.compile(r"(if|for|while|switch|return)\b")
OPENING, CLOSING = "([{", ")]}"
# In these a place could not be asked at run time, or is no expression.
NEVER_MUTATED = re.compile(
    r"\b(constexpr|constinit|static_assert|template|requires|concept|using|case|enum|operator|noexcept)\b"
)


def beginning_of_statement(code: str, at: int) -> int:
    return max(code.rfind(mark, 0, at) for mark in ";{}") + 1


def end_of_bracket(code: str, opening: int) -> int:
    """The place of the bracket that closes this one."""
    depth = 0
    for at in range(opening, len(code)):
        depth += (code[at] in OPENING) - (code[at] in CLOSING)
        if depth == 0:
            return at
    return len(code)


def is_assignment(code: str, at: int) -> bool:
    return code[at] == "=" and code[at + 1] != "=" and code[at - 1] not in "=!<>"


def ends_operand(code: str, at: int, stops: tuple[str, ...]) -> bool:
    if code[at] in ";,?" or is_assignment(code, at) or code.startswith(stops, at):
        return True
    return code[at] == ":" and code[at - 1] != ":" and code[at + 1] != ":"


def operand_before(code: str, at: int, stops: tuple[str, ...]) -> int:
    depth = 0
    while at > 0:
        before = at - 1
        if code[before] in CLOSING:
            depth += 1
        elif code[before] in OPENING:
            if depth == 0:
                break
            depth -= 1
        elif depth == 0 and (ends_operand(code, before, stops) or code[:at].endswith(("return ", *stops))):
            break
        at -= 1
    while code[at].isspace():
        at += 1
    return at


def operand_behind(code: str, at: int, stops: tuple[str, ...]) -> int:
    depth = 0
    while at < len(code):
        if code[at] in OPENING:
            depth += 1
        elif code[at] in CLOSING:
            if depth == 0:
                break
            depth -= 1
        elif depth == 0 and ends_operand(code, at, stops):
            break
        at += 1
    while code[at - 1].isspace():
        at -= 1
    return at


def places_of(header: str, text: str) -> list[Place]:
    """All places of a header, in a fixed order."""
    code = code_of(text)
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    found: dict[tuple[int, str], int] = {}
    places: list[Place] = []
    fixed = [
        (match.start(), max(match.end(), end_of_bracket(code, match.end() - 1)))
        for match in ASKED_BY_THE_COMPILER.finditer(code)
    ]

    def add(at: int, change: str, **what: tuple) -> None:
        if NEVER_MUTATED.search(code, beginning_of_statement(code, at), at):
            return
        line = bisect.bisect_right(starts, at)
        nth = found.get((line, change), 0)
        found[line, change] = nth + 1
        written = text[starts[line - 1] :].split("\n", 1)[0].strip()
        is_fixed = any(begin <= at < end for begin, end in fixed)
        places.append(Place(header, line, written, nth, change, is_fixed, **what))

    flip, boolean = f"{NAMESPACE}flip(#, ", "static_cast<bool>("
    for match in re.finditer(r" (<=?|>=?|==|!=|\+|-) ", code):
        own = match[1]
        infix = f"{own} {NAMESPACE}Infix(#) {own}"
        add(match.start(1), f"{own} to {OTHER[own]}", instead=((match.start(1), match.end(1), infix),))
    for match in re.finditer(r" (&&|\|\|)\s", code):
        at, end = match.span(1)
        left = operand_before(code, at, ("||",) if match[1] == "&&" else ())
        right = operand_behind(code, end, ("||", "&&") if match[1] == "&&" else ("||",))
        first = end + len(code[end:]) - len(code[end:].lstrip())
        last = at - (len(code[:at]) - len(code[:at].rstrip()))
        around = (
            (left, right, flip, ")"),
            (left, last, flip + boolean, "))"),
            (first, right, flip + boolean, "))"),
        )
        add(at, f"{match[1]} to {'||' if match[1] == '&&' else '&&'}", around=around)
    for match in re.finditer(r"(?<![\w.'])([01])(?![\w.'])", code):
        other = "1" if match[1] == "0" else "0"
        literal = f"{NAMESPACE}literal(#, {match[1]}, {other})"
        add(match.start(), f"{match[1]} to {other}", instead=((*match.span(), literal),))
    for match in re.finditer(r"\b(true|false)\b", code):
        other = "false" if match[1] == "true" else "true"
        add(match.start(), f"{match[1]} to {other}", instead=((*match.span(), f"{NAMESPACE}flip(#, {match[1]})"),))
    for match in re.finditer(r"\b(if|while) \(", code):
        begin, end = match.end(), end_of_bracket(code, match.end() - 1)
        begin = max(begin, code.rfind(";", begin, end) + 1)
        begin += len(code[begin:end]) - len(code[begin:end].lstrip())
        add(match.start(), f"{match[1]} negated", around=((begin, end, flip + boolean, "))"),))
    for match in re.finditer(r"\bstd::(min|max)(<[^()]*>)?\(", code):
        other = "max" if match[1] == "min" else "min"
        ours = f"{NAMESPACE}{'least' if match[1] == 'min' else 'most'}{match[2] or ''}(#, "
        add(match.start(), f"{match[1]} to {other}", instead=((*match.span(), ours),))
    statement = r"(?<=[;{}])\s+((?:\+\+|--)?(?:\*|\()*[\w:.\->]+[^;{}\n]*?(?:\)|\w|\]|\*/)?;)"
    kept = f"if ({NAMESPACE}kept(#)) "
    for match in re.finditer(statement, code):
        body = match[1]
        dropped = is_single(body)
        if dropped:
            add(match.start(1), f"{dropped} dropped", around=((*match.span(1), kept, ""),))
    # A statement of several lines, or with braces in it, that begins with a call.
    for match in re.finditer(r"(?<=[;{}])\s+((?:[\w:]|\.|->)+\()", code):
        closing = end_of_bracket(code, match.end() - 1)
        whole = code[match.start(1) : closing + 2]
        is_listed = "\n" not in whole and "{" not in whole
        if whole.endswith(");") and not is_listed and not NO_CALL.match(whole):
            add(match.start(1), "call dropped", around=((match.start(1), closing + 2, kept, ""),))
    return sorted(places, key=lambda place: (place.line, place.change, place.nth))


def is_single(statement: str) -> str:
    """What a statement is that can be dropped: a call, an assignment or a step; empty if none."""
    name = r"(?:[\w:]|\.|->|\[[^\[\]]*\]|\*(?=\w))+"
    if re.fullmatch(rf"(\+\+|--){name};", statement):
        return "step"
    if re.match(rf"{name} (\+|-|\||&|\^|\*|/)?= ", statement):
        return "assignment"
    called = re.match(rf"{name}\(", statement)
    if called and not NO_CALL.match(statement):
        closing = end_of_bracket(statement, called.end() - 1)
        if statement[closing:] == ");":
            return "call"
    return ""


def with_places(text: str, places: Iterable[tuple[int, Place]]) -> str:
    """The text with these places written into it. No line is added: a message of the compiler names the right one."""
    instead = {begin: (end, new.replace("#", str(number))) for number, p in places for begin, end, new in p.instead}
    # Of the texts that are written at one offset, those that close an inner range are the first, and those that open an
    # outer range are before the inner ones.
    closing: dict[int, list[tuple[tuple[int, int, int], str]]] = {}
    opening: dict[int, list[tuple[tuple[int, int, int], str]]] = {}
    for number, place in places:
        for order, (begin, end, before, behind) in enumerate(place.around):
            # A statement is the outermost of what begins where it does.
            reach = end + (len(text) if before.startswith("if") else 0)
            opening.setdefault(begin, []).append(((-reach, number, order), before.replace("#", str(number))))
            closing.setdefault(end, []).append(((-begin, -number, -order), behind))
    result, at = [], 0
    while at <= len(text):
        result += [piece for _, piece in sorted(closing.get(at, []))]
        result += [piece for _, piece in sorted(opening.get(at, []))]
        if at in instead:
            at, piece = instead[at]
            result.append(piece)
        elif at < len(text):
            result.append(text[at])
            at += 1
        else:
            break
    return "".join(result)


def drawn(seed: int, headers: list[str]) -> list[Place]:
    """All places of these headers in the order of the seed."""
    places = [place for header in headers for place in places_of(header, (listed.INCLUDE / header).read_text())]
    random.Random(seed).shuffle(places)
    return [place for place in places if not place.fixed]


# ---- Laboratory ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Reach:
    """A test, and the places that it reaches."""

    program: str
    name: str
    seconds: float
    places: frozenset[int]


class Laboratory(listed.Laboratory):
    """Compiles the tests of floors once, with all mutants in their headers."""

    def __init__(self, scratch: pathlib.Path, floors: list[str]) -> None:
        super().__init__(scratch)
        self.floors = floors
        self.programs: dict[str, pathlib.Path] = {}
        self.reaches: list[Reach] = []
        self.listener = scratch / "reached_listener.o"
        # A literal that is asked for at run time is narrowed where the same constant is not.
        is_clang = "clang" in self.compiler[0]
        allowed = ["-Wno-c++11-narrowing", "-ferror-limit=0"] if is_clang else ["-Wno-narrowing"]
        self.runtime = ["-I", str(listed.HERE), "-include", "random_mutants.hpp", *allowed]
        self.compile(["-O0", *self.runtime, "-c", str(listed.HERE / "reached_listener.cpp"), "-o", str(self.listener)])

    def units(self, floor: str) -> list[pathlib.Path]:
        """The files of tests that are compiled together, as tests/CMakeLists.txt joins them."""
        together = (listed.TESTS / "CMakeLists.txt").read_text()
        second = set(re.search(r"set\(second_unit\s([^)]*)\)", together)[1].split())
        sources = sorted(str(path.relative_to(listed.TESTS)) for path in listed.TESTS.rglob("*_test.cpp"))
        sources = [source for source in sources if re.match(TESTS_OF[floor], source)]
        units = []
        for number, unit in enumerate(([s for s in sources if s not in second], [s for s in sources if s in second])):
            if unit:
                path = self.scratch / f"{floor}_{number}.cpp"
                path.write_text("".join(f'#include "{listed.TESTS / source}"\n' for source in unit))
                units.append(path)
        return units

    def write(self, places: list[tuple[int, Place]]) -> None:
        for header in {place.header for _, place in places}:
            its_own = [(number, place) for number, place in places if place.header == header]
            (self.include / header).write_text(with_places((listed.INCLUDE / header).read_text(), its_own))

    def without_errors(
        self, source: pathlib.Path, places: list[tuple[int, Place]], how: list[str]
    ) -> list[tuple[int, Place]]:
        """Those of the places with which the source compiles: the compiler names the lines of the others."""
        while True:
            self.write(places)
            try:
                self.compile([*how, *self.runtime, str(source)])
                return places
            except listed.CompileFailure as failure:
                lines = re.findall(rf"{re.escape(str(self.include))}/([^:\s]+):(\d+):\d+: (error|note)", failure.output)
                of_errors = {(header, int(line)) for header, line, kind in lines if kind == "error"}
                of_all = {(header, int(line)) for header, line, _ in lines}
                for refused in (of_errors, of_all):
                    # An expression can go on in the next lines.
                    near = {(header, line + more) for header, line in refused for more in (-2, -1, 0, 1, 2)}
                    exact = [place for place in places if (place[1].header, place[1].line) in refused]
                    taken = exact or [place for place in places if (place[1].header, place[1].line) in near]
                    if taken:
                        break
                if not taken:
                    raise listed.Failure("does not compile, and no place is named:\n" + failure.output[:4000])
                gone = {number for number, _ in taken}
                print(f"{source.name}: {len(gone)} places do not compile", flush=True)
                stale = {place.header for _, place in taken}
                places = [place for place in places if place[0] not in gone]
                for header in stale:
                    (self.include / header).write_text((listed.INCLUDE / header).read_text())

    def build_all(self, wanted: list[Place], count: int) -> list[tuple[int, Place]]:
        """Builds the programs, and returns the first `count` places that compile, with their numbers."""
        places = list(enumerate(wanted[: min(MOST_PLACES, int(count * SPARE_PLACES) + 20)]))
        everything = self.scratch / "everything.cpp"
        headers = sorted({place.header for _, place in places})
        everything.write_text("".join(f'#include "{header}"\n' for header in headers))
        places = self.without_errors(everything, places, ["-fsyntax-only"])
        kept = places[: count + count // 10]
        for _, place in places[len(kept) :]:
            (self.include / place.header).write_text((listed.INCLUDE / place.header).read_text())
        self.write(kept)
        pch = ["-include", str(self.precompiled)]
        for floor in self.floors:
            for unit in self.units(floor):
                kept = self.without_errors(unit, kept, ["-O0", *pch, "-c", "-o", str(unit.with_suffix(".o"))])
                print(f"{unit.name} is compiled", flush=True)
        for floor in self.floors:
            objects = [str(unit.with_suffix(".o")) for unit in self.units(floor)]
            program = self.scratch / f"{floor}_tests"
            objects += [str(self.listener), str(self.operator_new), *self.catch_main]
            self.compile([*objects, "-o", str(program), *listed.LIBRARIES])
            self.programs[floor] = program
        return kept[:count]

    def run_tests(
        self, program: str, tests: list[Reach], mutant: int | None, reached: pathlib.Path | None = None
    ) -> tuple[int | None, str]:
        """Exit code, none if they did not end, and output. Ends at the first that fails."""
        environment = dict(RAPIDCHECK)
        if mutant is not None:
            environment["IQDB_MUTANT"] = str(mutant)
        if reached is not None:
            environment["IQDB_MUTATION_REACHED"] = str(reached)
        names = [",".join(listed.escaped(test.name) for test in tests)] if tests else []
        seconds = 10 + 10 * sum(test.seconds for test in tests) if tests else listed.PROGRAM_SECONDS
        return listed.run_limited(self.programs[program], ["--abort", *names], seconds, environment)

    def find_reaches(self) -> None:
        """Runs all tests without a mutant, where they must pass."""
        for program in self.programs:
            path = self.scratch / f"{program}.reached"
            path.touch()
            path.chmod(0o666)
            code, output = self.run_tests(program, [], None, path)
            if code != 0:
                raise listed.Failure(f"{program}: the tests do not pass without a mutant:\n" + output[-4000:])
            for line in path.read_text().splitlines():
                seconds, numbers, name = line.split("\t")
                self.reaches.append(Reach(program, name, float(seconds), frozenset(map(int, numbers.split()))))

    def verdict_of(self, number: int, header: str, slow: bool) -> tuple[str, str]:
        """How a mutant was killed, empty if it was not, and by which test, or how many let it pass."""
        reaching = [test for test in self.reaches if number in test.places and (test.seconds >= SLOW_SECONDS) == slow]

        def of_other_floor(program: str) -> tuple[bool, float]:
            return f"/{program}/" not in header, sum(test.seconds for test in reaching if test.program == program)

        first: list[tuple[str, list[Reach]]] = []
        later: list[tuple[str, list[Reach]]] = []
        for program in sorted({test.program for test in reaching}, key=of_other_floor):
            tests = sorted((test for test in reaching if test.program == program), key=lambda test: test.seconds)
            so_far = list(itertools.accumulate(test.seconds for test in tests))
            quick = max(1, bisect.bisect(so_far, QUICK_SECONDS))
            first.append((program, tests[:quick]))
            later.append((program, tests[quick:]))
        for program, tests in [*first, *later]:
            if tests:
                code, output = self.run_tests(program, tests, number)
                if code != 0:
                    return listed.outcome_of(code), failed_test(program, output)
        return "", f"{len(reaching)} {'slow' if slow else 'quick'} tests reach it"


def failed_test(program: str, output: str) -> str:
    """The program, and the test whose name Catch2 writes between two lines."""
    named = re.search(r"^-{20,}\n(.*?)\n-{20,}$", output, re.M | re.S)
    return f"{program}: {' '.join(named[1].split())}" if named else program


# ---- Command line ----------------------------------------------------------------------------------------------------


def read_equivalent(path: pathlib.Path) -> dict[tuple[str, str, str, int], str]:
    """Why each of these changes nothing that a caller can see."""
    with path.open("rb") as file:
        table = tomllib.load(file)
    return {
        (header, each["text"], each["change"], each.get("nth", 0)): each["reason"]
        for header, its_own in table.items()
        for each in its_own
    }


def seed_of(text: str) -> int:
    return int(datetime.date.today().strftime("%Y%m%d")) if text == "today" else int(text)


def headers_of(patterns: Iterable[str]) -> list[str]:
    found = {path for pattern in patterns for path in listed.INCLUDE.glob(pattern)}
    return sorted(str(path.relative_to(listed.INCLUDE)) for path in found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=seed_of, default="today", help="a number; today: the date")
    parser.add_argument("--count", type=int, default=200, metavar="N", help="how many mutants")
    parser.add_argument("--sample", type=int, metavar="N", help="N mutants of the one floor that the seed draws")
    parser.add_argument("--floor", choices=FLOORS, help="of the sample, in place of the one that the seed draws")
    parser.add_argument("--only", metavar="N,N", help="of these mutants, those of these numbers")
    parser.add_argument("--at-least", type=float, default=0, metavar="PERCENT", help="fail if fewer are killed")
    parser.add_argument("--list", action="store_true", help="list the places in the order of the seed, and try none")
    parser.add_argument("--check", action="store_true", help="compile nothing: are the equivalent ones still there?")
    arguments = parser.parse_args()

    equivalent = read_equivalent(listed.HERE / "equivalent_mutants.toml")
    if arguments.check:
        there = {place.key for place in drawn(0, headers_of(DRAWN_FROM))}
        gone = [key for key in equivalent if key not in there]
        for header, text, change, nth in gone:
            print(f"not in {header}: {change}: {text} ({nth})")
        print(f"{len(equivalent) - len(gone)} of {len(equivalent)} equivalent mutants are in the headers")
        return 1 if gone else 0
    floors, patterns, count = list(TESTS_OF), DRAWN_FROM, arguments.count
    if arguments.sample is not None:
        floor = arguments.floor or random.Random(arguments.seed).choice(FLOORS)
        floors, patterns, count = [floor], (f"iqdb/persist/{floor}/*.hpp",), arguments.sample
    print(f"seed {arguments.seed}, floors: {', '.join(floors)}", flush=True)
    places = drawn(arguments.seed, headers_of(patterns))
    if arguments.list:
        for number, place in enumerate(places):
            print(f"{number}: {place.name}")
        return 0

    began = time.monotonic()
    with listed.scratch_directory() as scratch:
        laboratory = Laboratory(pathlib.Path(scratch), floors)
        try:
            mutants = laboratory.build_all(places, count)
            print(f"built in {time.monotonic() - began:.0f} s", flush=True)
            laboratory.find_reaches()
        except listed.Failure as failure:
            print(failure)
            return 1
        seconds = time.monotonic() - began
        print(f"{len(laboratory.reaches)} tests pass without a mutant, after {seconds:.0f} s", flush=True)
        if arguments.only is not None:
            wanted = {int(number) for number in arguments.only.split(",")}
            mutants = [(number, place) for number, place in mutants if number in wanted]
        known = [place for _, place in mutants if place.key in equivalent]
        left = [(number, place) for number, place in mutants if place.key not in equivalent]
        tried = len(left)
        for slow in (False, True):
            if slow and arguments.sample is not None:
                break
            survivors = []
            for number, place in left:
                how, by = laboratory.verdict_of(number, place.header, slow)
                if not how:
                    survivors.append((number, place))
                print(f"{number}: {how or 'SURVIVES'}: {place.name} ({by})", flush=True)
            left = survivors
    killed = tried - len(left)
    for number, place in left:
        print(f"survives: {number}: {place.name}")
    percent = 100 * killed / tried if tried else 100
    print(
        f"\nseed {arguments.seed}: {len(mutants)} mutants, {len(known)} known to be equivalent, "
        f"{killed} of {tried} others killed ({percent:.1f} %) in {time.monotonic() - began:.0f} s"
    )
    return 1 if percent < arguments.at_least else 0


if __name__ == "__main__":
    sys.exit(main())
