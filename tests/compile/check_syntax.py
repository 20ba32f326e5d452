#!/usr/bin/env python3
"""Shows a compiler the files of a build, without making anything of them: does it take them, and without a warning?

    cmake --preset clang-19 && tests/compile/check_syntax.py build/clang-19             all files
    cmake --preset clang-19 && tests/compile/check_syntax.py build/clang-19 'lz4|zstd'  those whose names match

The build must have been configured with CMAKE_EXPORT_COMPILE_COMMANDS.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys


def errors_in(entry: dict[str, str]) -> str:
    """What the compiler has to say of one file; nothing if it takes it."""
    arguments = shlex.split(entry["command"])
    output = arguments.index("-o")
    del arguments[output:output + 2]
    result = subprocess.run([*arguments, "-fsyntax-only"], cwd=entry["directory"], stderr=subprocess.PIPE, text=True)
    return result.stderr if result.returncode != 0 else ""


def main() -> int:
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    wanted = re.compile(sys.argv[2] if len(sys.argv) == 3 else "")
    entries = json.loads((pathlib.Path(sys.argv[1]) / "compile_commands.json").read_text())
    entries = [entry for entry in entries if wanted.search(entry["file"])]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        failures = [text for text in pool.map(errors_in, entries) if text]
    for text in failures:
        print(text)
    print(f"{len(entries) - len(failures)} files compile, {len(failures)} do not")
    return 1 if failures or not entries else 0


if __name__ == "__main__":
    sys.exit(main())
