#!/usr/bin/env python3
"""Does the module export every public name that it should?

    check_names.py [--print]

It should export the names that docs/api.md names of the headers that packaging/module/iqdb.cppm includes: those of the interface, of
the ground and of FlatIndex. A public name stands at the left margin of a header behind a comment of three slashes. Names of
namespaces within the library's are not for users. `--print` writes the declarations that the module should have.
"""

from __future__ import annotations

import pathlib
import re
import sys

sys.dont_write_bytecode = True
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
MODULE = REPOSITORY / "packaging" / "module" / "iqdb.cppm"
sys.path.insert(0, str(REPOSITORY / "packaging" / "single_header"))
import make  # noqa: E402

# Of the headers of lower floors, only what the page names as code: the page of the building blocks has the others.
LOWER_FLOORS = re.compile(r"iqdb/persist/(bytes|codec|storage|snapshot|wal|salvage)/")
# What the page names for those who read the library's code, and words of it that are names by chance.
NOT_FOR_USERS = set(
    """std CommitDelay SharedCall SharedStepCall SharedMutationCall SharedEntry SharedCheckpoints SharedState SharedReads
    throw_forked ProcessMark LeftInFork CallUnderWay ThreadInCall duplicate log_version CompressionScheme is_admitted
    validate""".split()
)


def public_names(header: str) -> list[str]:
    text = (make.INCLUDE / header).read_text(encoding="utf-8")
    text = re.sub(r"\[\[[^]]*\]\] *", "", text)
    while inner := re.search(r"\nnamespace (\w+) \{\n.*?\n\}  // namespace \1\n", text, re.DOTALL):
        if inner[1] == "iqdb":
            break
        text = text[: inner.start()] + "\n" + text[inner.end() :]
    # The library's own namespace encloses all; what is left within it are public names and definitions.
    names = []
    for declaration in re.findall(r"\n///[^\n]*\n((?:[^/\n }#][^\n]*\n)+)", text):
        declaration = re.sub(r"^template [^\n]*\n(  requires [^\n]*\n)?", "", declaration)
        if match := re.match(r"(?:struct|class|enum class|concept|using) (\w+)", declaration):
            names.append(match[1])
        elif match := re.match(r"[^(={]*[ &]([a-z_0-9]+)(?:\(| =|\{)", declaration):
            names.append(match[1])
    return names


def main() -> None:
    text = MODULE.read_text(encoding="utf-8") if MODULE.exists() else ""
    roots = re.findall(r"^#include <(iqdb/[^>]+)>", text, re.MULTILINE)
    page = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
    wanted: dict[str, str] = {}
    needed = make.needed(roots or make.ROOTS)
    for header in make.order_of_headers():
        if header not in needed:
            continue
        for name in public_names(header):
            if name in NOT_FOR_USERS:
                continue
            if re.search(rf"[`: <{{(]{name}[`(<>,): ]", page) and not (
                LOWER_FLOORS.match(header) and not re.search(rf"`{name}[`(<]", page)
            ):
                wanted.setdefault(name, header)
    if "--print" in sys.argv:
        last = ""
        for name, header in wanted.items():
            if header != last:
                print(f"// {header}")
                last = header
            print(f"using iqdb::{name};")
        return
    exported = re.findall(r"^using iqdb::(\w+);$", text, re.MULTILINE)
    missing = [f"{name} ({header})" for name, header in wanted.items() if name not in exported]
    if missing or len(wanted) < 60:
        sys.exit("the module does not export, of {}:\n  {}".format(len(wanted), "\n  ".join(missing)))
    print(f"{len(wanted)} names, and {len(exported) - len(wanted)} more")


if __name__ == "__main__":
    main()
