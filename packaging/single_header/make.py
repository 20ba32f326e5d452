#!/usr/bin/env python3
"""Makes one header of the library: persist_single.hpp.

    make.py [--with HEADER]... OUTPUT

OUTPUT holds everything that <iqdb/persist.hpp> and <iqdb/index/flat.hpp> give. `--with` adds another header and what it includes,
for example iqdb/persist/shared_index.hpp, or iqdb/index/hnswlib.hpp, which then needs hnswlib.

The same sources give the same bytes. Codecs and ISA-L stay optional: their includes stand under the macros
IQDB_PERSIST_HAS_ZSTD, IQDB_PERSIST_HAS_LZ4 and IQDB_PERSIST_HAS_ISAL, as in the headers.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = REPOSITORY / "include"
ROOTS = ["iqdb/index/flat.hpp", "iqdb/persist.hpp"]

OWN = re.compile(r'\s*#\s*include\s+"(iqdb/[^"]+)"')
SYSTEM = re.compile(r"\s*#\s*include\s+<([^>]+)>")
BEGIN_OF_CONDITION = re.compile(r"\s*#\s*if")
END_OF_CONDITION = re.compile(r"\s*#\s*endif")
RULE = "=" * 112

HEAD = """\
// iqdb-persist {version}: durable storage for any in-memory vector index, as one header of C++20.
//
// Made of the library's headers by packaging/single_header/make.py: change those, and not this file. It holds everything of
{roots}.
//
// It needs zlib: link with -lz -pthread. To read and write compressed snapshots, and to compute checksums several times as fast,
// define the following for the whole program and link to the library of each:
//
//   -DIQDB_PERSIST_HAS_ZSTD=1 -lzstd     -DIQDB_PERSIST_HAS_LZ4=1 -llz4     -DIQDB_PERSIST_HAS_ISAL=1 -lisal
//
// A program uses either this file or the library's headers: both define the same names.
//
// SPDX-License-Identifier: MIT OR Apache-2.0
//
{licence}
#pragma once

#ifdef IQDB_PERSIST_VERSION_MAJOR
#error "a header of iqdb-persist is included before its single header: a program uses either the headers or the single one"
#endif
"""


def lines_of(header: str) -> list[str]:
    return (INCLUDE / header).read_text(encoding="utf-8").splitlines()


def order_of_headers() -> list[str]:
    """Every header of the library, each behind those that it includes: cmake/headers.cmake keeps that order, and a test checks it."""
    text = (REPOSITORY / "cmake" / "headers.cmake").read_text(encoding="utf-8")
    listed = re.search(r"set\(iqdb_persist_headers\n(.*?)\)", text, re.DOTALL)
    if listed is None:
        sys.exit("cmake/headers.cmake has no list iqdb_persist_headers")
    return [line.strip() for line in listed[1].splitlines() if line.strip() and not line.strip().startswith("#")]


def needed(roots: list[str]) -> set[str]:
    """The headers, and all headers that they include."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        header = waiting.pop()
        if header in found:
            continue
        if not (INCLUDE / header).is_file():
            sys.exit(f"there is no header {header} in {INCLUDE}")
        found.add(header)
        waiting += [match[1] for line in lines_of(header) if (match := OWN.match(line))]
    return found


def condition_of(header: str) -> str:
    """On which systems the other headers include this one; empty for all. Its name says it."""
    parts = pathlib.PurePath(header).parts
    if any(part == "windows" or part.startswith("windows_") for part in parts):
        return "defined(_WIN32)"
    return "!defined(_WIN32)" if parts[-1].startswith("posix_") else ""


def body(header: str, included: set[str]) -> list[str]:
    """The lines of a header without what one file does not need: its own `#pragma once`, and includes that stand further up.

    `included` are the headers of others that every compiler has seen by then. An include under a condition stays where it is.
    """
    kept: list[str] = []
    condition = condition_of(header)
    depth = 1 if condition else 0
    for line in lines_of(header):
        if line.strip() == "#pragma once" or OWN.match(line):
            continue
        if BEGIN_OF_CONDITION.match(line):
            depth += 1
        elif END_OF_CONDITION.match(line):
            depth -= 1
        elif match := SYSTEM.match(line):
            if match[1] in included:
                continue
            if depth == 0:
                included.add(match[1])
        if line.strip() == "" and (not kept or kept[-1].strip() == ""):
            continue
        kept.append(line.rstrip())
    while kept and kept[-1] == "":
        kept.pop()
    return [f"#if {condition}", *kept, "#endif"] if condition else kept


def version() -> str:
    text = (INCLUDE / "iqdb/persist/version.hpp").read_text(encoding="utf-8")
    return ".".join(re.search(rf"#define IQDB_PERSIST_VERSION_{part} (\d+)", text)[1] for part in ("MAJOR", "MINOR", "PATCH"))


def single_header(roots: list[str]) -> str:
    wanted = needed(roots)
    order = [header for header in order_of_headers() if header in wanted]
    if missing := wanted - set(order):
        sys.exit(f"not in cmake/headers.cmake: {', '.join(sorted(missing))}")
    licence = (REPOSITORY / "LICENSE-MIT").read_text(encoding="utf-8").rstrip("\n").splitlines()
    parts = [
        HEAD.format(
            version=version(),
            roots="\n".join(f"// <{root}>{',' if root != roots[-1] else ''}" for root in roots),
            licence="\n".join(f"// {line}".rstrip() for line in licence),
        )
    ]
    included: set[str] = set()
    for header in order:
        parts.append(f"\n// {RULE}\n// <{header}>\n// {RULE}\n")
        parts.append("\n".join(body(header, included)) + "\n")
    return "".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with", dest="added", metavar="HEADER", action="append", default=[])
    parser.add_argument("output", metavar="OUTPUT", type=pathlib.Path)
    arguments = parser.parse_args()
    roots = ROOTS + [header for header in arguments.added if header not in ROOTS]
    arguments.output.write_text(single_header(roots), encoding="utf-8")


if __name__ == "__main__":
    main()
