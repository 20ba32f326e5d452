#!/usr/bin/env python3
"""Holds what a program pays the compiler for the headers to the numbers in budget.json.

    tests/compile/check_budget.py g++ [FLAG...]

Counted are lines behind the preprocessor that are not blank, and the functions of a program that is compiled without
optimisation: each that the program uses and the headers, or the standard library's headers, define. Both depend on the
compiler and its library alone, so the numbers hold for the compiler that budget.json names. With another one, and for a
header whose library is missing, nothing is checked. The flags say where the libraries of the adapters are.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUDGET = pathlib.Path(__file__).with_name("budget.json")
# With the codecs, as by default.
FLAGS = ["-std=c++20", f"-I{ROOT / 'include'}", "-DIQDB_PERSIST_HAS_ZSTD=1", "-DIQDB_PERSIST_HAS_LZ4=1"]
CANNOT_CHECK = 77


def preprocessed_lines(compiler: list[str], source: str) -> int | None:
    """The lines that are not blank of `source`, a header or a program; nothing where it includes what is not there."""
    text = (ROOT / source).read_text() if source.endswith(".cpp") else f"#include <{source}>\n"
    result = subprocess.run([*compiler, "-E", "-P", "-x", "c++", "-"], input=text, capture_output=True, text=True)
    return sum(1 for line in result.stdout.splitlines() if line.strip()) if result.returncode == 0 else None


def functions(compiler: list[str], source: str) -> int:
    """How many functions the object file of `source` defines."""
    with tempfile.TemporaryDirectory() as directory:
        object_file = pathlib.Path(directory) / "program.o"
        subprocess.run([*compiler, "-O0", "-c", str(ROOT / source), "-o", str(object_file)], check=True)
        symbols = subprocess.run(["nm", "--defined-only", str(object_file)], check=True, capture_output=True, text=True)
    return sum(1 for line in symbols.stdout.splitlines() if line.split()[-2] in "tTwW")


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    budget = json.loads(BUDGET.read_text())
    compiler = [sys.argv[1], *FLAGS, *sys.argv[2:]]
    macros = subprocess.run([*compiler, "-dM", "-E", "-x", "c++", "/dev/null"], check=True, capture_output=True, text=True)
    defined = dict(line.split(maxsplit=2)[1:] for line in macros.stdout.splitlines() if len(line.split(maxsplit=2)) == 3)
    if "__clang__" in defined or f"g++ {defined['__GNUC__']}" != budget["compiler"]:
        print(f"not checked: the numbers of {BUDGET.name} are those of {budget['compiler']}")
        return CANNOT_CHECK

    found = {
        "lines": {name: preprocessed_lines(compiler, name) for name in budget["lines"]},
        "functions": {name: functions(compiler, name) for name in budget["functions"]},
        "functions_with_compiled_library": {
            name: functions([*compiler, "-DIQDB_PERSIST_COMPILED=1"], name)
            for name in budget["functions_with_compiled_library"]
        },
    }
    over = 0
    for kind, numbers in found.items():
        for name, number in numbers.items():
            most = budget[kind][name]
            if number is None:
                print(f"{kind} of {name}: not checked, its library is not installed")
                continue
            print(f"{kind} of {name}: {number} of at most {most}{'  OVER' if number > most else ''}")
            over += number > most
    if over:
        print(f"\n{over} over the budget. What has come in: an include, a standard algorithm over ranges, a new\n"
              "instantiation? g++ -H and nm -C show it. If it is worth its price to every program, write the new number into\n"
              f"{BUDGET.relative_to(ROOT)} in the same change, and say in its message what it buys.")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
