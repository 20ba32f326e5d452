#!/usr/bin/env python3
"""Is the version the same wherever it is written by hand? include/iqdb/persist/version.hpp has it."""

from __future__ import annotations

import pathlib
import re
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]

# File, a pattern whose first group is the version there, and how many of its parts it has.
WRITTEN = [
    ("MODULE.bazel", r'^    version = "([^"]+)"', 3),
    ("packaging/vcpkg/ports/iqdb-persist/vcpkg.json", r'"version-semver": "([^"]+)"', 3),
    ("packaging/meson/iqdb-persist.wrap", r"^revision = v(.+)$", 3),
    ("README.md", r"find_package\(iqdb-persist ([0-9.]+)", 2),
    ("docs/adapters.md", r"find_package\(iqdb-persist ([0-9.]+)", 2),
    ("packaging/README.md", r"find_package\(iqdb-persist ([0-9.]+)", 2),
    ("packaging/README.md", r"(?:GIT_TAG v|GIT_TAG \"v|iqdb-persist/|version = \")(\d+\.\d+\.\d+)", 3),
    ("SECURITY.md", r"newest minor version: ([0-9.]+)\.", 2),
    ("CHANGELOG.md", r"\A.*?^## \[(\d[0-9.]+)\]", 3),
]


def main() -> None:
    header = (REPOSITORY / "include/iqdb/persist/version.hpp").read_text(encoding="utf-8")
    parts = re.findall(r"^#define IQDB_PERSIST_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$", header, re.MULTILINE)
    wrong = []
    for name, pattern, count in WRITTEN:
        found = re.findall(pattern, (REPOSITORY / name).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL if "\\A" in pattern else re.MULTILINE)
        if not found:
            wrong.append(f"{name}: nothing matches {pattern}")
        wrong += [f"{name}: {version}" for version in found if version != ".".join(parts[:count])]
    if wrong:
        sys.exit(f"the version is {'.'.join(parts)}, but there is\n  " + "\n  ".join(wrong))


if __name__ == "__main__":
    main()
