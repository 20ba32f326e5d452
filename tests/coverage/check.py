#!/usr/bin/env python3
"""Is every branch of the headers that decode and recover taken by some test?

    check.py --scratch DIRECTORY PROGRAM...

Runs test programs that Clang has built with -fcoverage-mapping, and prints a table: a line for each header, then each
condition that was never true, or never false. Conditions are those that are written: Clang counts no branches of its own to
where an exception goes. (GCC 12 does, and gcov does not say any more which they are.) A condition in a template is one, however
many types it is compiled for. None are those that the compiler decides, of an `if constexpr`, and those that it makes, of a
defaulted comparison: Clang counts them as always true. Of a header that is read as a part of
a precompiled one Clang counts nothing, and says nothing of it: the programs are to be built without.

What cannot be reached stands in unreachable.json beside this file, with the reason: a condition is known by its header, the text
of its line, and what it never is. The check fails for one that was not taken both ways and is not listed, for an entry of the
list that was taken or is not there any more, and for a header of which no program has counted anything.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
HEADERS_ROOT = HERE.parent.parent / "include" / "iqdb"

# What turns bytes of files into an index: a mistake here loads what was never written, or loses what was.
HEADERS = [
    "index/flat.hpp",
    "index/support/argument_checks.hpp",
    "index/support/direction.hpp",
    "index/support/foreign_index.hpp",
    "index/support/nearest.hpp",
    "index/support/payload.hpp",
    "index/support/slot_index.hpp",
    "index/support/slot_table.hpp",
    "persist/bytes/checksum.hpp",
    "persist/bytes/row_format.hpp",
    "persist/bytes/stream.hpp",
    "persist/codec/codec.hpp",
    "persist/codec/codec_workers.hpp",
    "persist/codec/compression.hpp",
    "persist/codec/compression_scheme.hpp",
    "persist/codec/lz4_codec.hpp",
    "persist/codec/zstd_codec.hpp",
    "persist/inspect.hpp",
    "persist/snapshot/snapshot.hpp",
    "persist/snapshot/snapshot_format.hpp",
    "persist/storage/file_window.hpp",
    "persist/storage/parallel_read.hpp",
    "persist/storage/part_checksums.hpp",
    "persist/wal/frame_body.hpp",
    "persist/wal/frame_encoder.hpp",
    "persist/wal/frame_reader.hpp",
    "persist/wal/log_frame.hpp",
    "persist/wal/log_guard.hpp",
    "persist/wal/log_identity.hpp",
    "persist/wal/recovery.hpp",
    "persist/wal/replay.hpp",
    "persist/wal/torn_tail.hpp",
    "persist/wal/wal_format.hpp",
    "persist/wal/wal_reader.hpp",
]

VERSION = "-14"  # of Clang, and so of the tools that read what its programs write


# How often each condition of each header was true and false, by line and column.
Counts = dict[str, dict[tuple[int, int], list[int]]]


def run(program: pathlib.Path, scratch: pathlib.Path) -> pathlib.Path:
    """Runs the tests; gives the file with what they have counted."""
    raw = scratch / f"{program.name}.profraw"
    print(f"running {program.name}", flush=True)
    subprocess.run([program], check=True, cwd=scratch, env={**os.environ, "LLVM_PROFILE_FILE": str(raw)})
    profile = scratch / f"{program.name}.profdata"
    subprocess.run([f"llvm-profdata{VERSION}", "merge", "-o", profile, raw], check=True)
    return profile


def add_counts(found: Counts, program: pathlib.Path, profile: pathlib.Path) -> None:
    """Adds what a program has counted. Each is read for itself: together, llvm-cov takes a function that one of them includes and
    does not use for one whose counts do not belong to it."""
    headers = [HEADERS_ROOT / header for header in HEADERS]
    exported = subprocess.run([f"llvm-cov{VERSION}", "export", "-instr-profile", profile, program, *headers],
                              check=True, stdout=subprocess.PIPE)
    for file in json.loads(exported.stdout)["data"][0]["files"]:
        of_header = found[str(pathlib.Path(file["filename"]).relative_to(HEADERS_ROOT))]
        for line, column, _, _, true, false, *_ in file["branches"]:
            of_header[line, column][0] += true
            of_header[line, column][1] += false


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    path = lambda text: pathlib.Path(text).resolve()
    parser.add_argument("--scratch", type=path, required=True, help="where files may be left")
    parser.add_argument("programs", type=path, nargs="+")
    arguments = parser.parse_args()

    found: Counts = {header: collections.defaultdict(lambda: [0, 0]) for header in HEADERS}
    for program in arguments.programs:
        add_counts(found, program, run(program, arguments.scratch))
    unreachable = {(entry["header"], entry["line"], entry["never"]): False
                   for entry in json.loads((HERE / "unreachable.json").read_text())}
    failures = []
    rows = []
    for header in HEADERS:
        source = (HEADERS_ROOT / header).read_text().splitlines()
        branches = taken = listed = 0
        for (line, column), counts in sorted(found[header].items()):
            text = source[line - 1].strip()
            if "if constexpr" in text or text.endswith("= default;"):
                continue
            branches += 2
            for way, count in zip(("true", "false"), counts):
                if count > 0:
                    taken += 1
                elif (header, text, way) in unreachable:
                    unreachable[header, text, way] = True
                    listed += 1
                else:
                    failures.append(f"{header}:{line}:{column}: never {way}: {text}")
        if branches == 0:
            failures.append(f"{header}: no program has counted anything in it")
        rows.append((header, branches, taken, listed))
    rows.append(("all", *(sum(column) for column in list(zip(*rows))[1:])))
    for row in [("header", "branches", "taken", "listed"), *rows]:
        print("{:28} {:>8} {:>8} {:>8}".format(*row))
    failures += [f"{header}: listed as never {way}, but taken or not there: {line}"
                 for (header, line, way), used in unreachable.items() if not used]
    print("\n" + "\n".join(failures) if failures else "\nevery branch is taken, but for those listed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
