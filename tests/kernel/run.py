#!/usr/bin/env python3
"""Cuts the power of real file systems under lives of durable indexes, and shows that nothing is lost.

    tests/kernel/run.py --program P                 500 cuts of each file system
    tests/kernel/run.py --without log-sync          the same of headers without this defence (a mutant of tests/mutation)

Each file system is made in an image of its own, on a loop device, which needs root; its power is cut by the shutdown ioctl,
which throws away what it has not written to its device yet. The exit code is 0 if nothing was lost, or, with --without, if
something was; 77 if power cannot be cut on this system (with --skip-is-success 0); another one if the examination failed.
"""

from __future__ import annotations

import argparse
import collections.abc
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent
INCLUDE = TESTS.parent / "include"

CANNOT_RUN = 77
IMAGE_BYTES = 512 * 1024**2

FLAGS = ["-std=c++20", "-O1", "-w", "-DIQDB_PERSIST_HAS_ZSTD=1", "-DIQDB_PERSIST_HAS_LZ4=1", "-pthread"]
LIBRARIES = ["-lzstd", "-llz4", "-lz"]


@dataclasses.dataclass(frozen=True)
class FileSystem:
    """A kind of file system, and how it is made and mounted."""

    type: str
    make: list[str]
    package: str
    options: str = ""


FILE_SYSTEMS = {
    "ext4": FileSystem("ext4", ["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"], "e2fsprogs"),
    # Without this help for programs that forget a sync before a rename.
    "ext4-noauto_da_alloc": FileSystem(
        "ext4", ["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"], "e2fsprogs", "noauto_da_alloc"
    ),
    "xfs": FileSystem("xfs", ["mkfs.xfs", "-q"], "xfsprogs"),
}


class CannotRun(Exception):
    """Why power cannot be cut here."""


def require(command: str, package: str) -> None:
    if shutil.which(command) is None:
        raise CannotRun(f"{command} is not installed (on Debian: apt-get install {package})")


@contextlib.contextmanager
def loop_device(image: pathlib.Path) -> collections.abc.Iterator[str]:
    """A block device whose bytes are those of `image`."""
    done = subprocess.run(
        ["losetup", "--direct-io=on", "--find", "--show", str(image)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise CannotRun(f"there is no loop device: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def examine(program: pathlib.Path, file_system: FileSystem, directory: pathlib.Path, cuts: int, seed: int) -> dict:
    """The program's report."""
    require(file_system.make[0], file_system.package)
    with tempfile.TemporaryDirectory(dir=directory, prefix="iqdb_power_cuts.") as scratch:
        image = pathlib.Path(scratch) / "image"
        point = pathlib.Path(scratch) / "mounted"
        point.mkdir()
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        with loop_device(image) as device:
            subprocess.run([*file_system.make, device], check=True)
            arguments = [device, str(point), file_system.type, file_system.options, str(cuts), str(seed)]
            with subprocess.Popen([str(program), *arguments], stdout=subprocess.PIPE, text=True) as process:
                try:
                    last = ""
                    for last in process.stdout:
                        if not last.startswith("{"):
                            print(f"  {last}", end="", flush=True)
                    code = process.wait()
                finally:
                    process.kill()
    if code == CANNOT_RUN:
        raise CannotRun("see above")
    if code not in (0, 1):
        raise subprocess.CalledProcessError(code, str(program))
    return json.loads(last)


def build_without(mutant_name: str, scratch: pathlib.Path) -> pathlib.Path:
    """The program, compiled with headers from which a defence was taken out."""
    with (TESTS / "mutation" / "mutants.toml").open("rb") as file:
        mutants = [(header, each) for header, all_of_it in tomllib.load(file).items() for each in all_of_it]
    found = [(header, each) for header, each in mutants if each["name"] == mutant_name]
    if not found:
        sys.exit(f"tests/mutation has no mutant {mutant_name}")
    header, mutant = found[0]
    text = (INCLUDE / "iqdb" / header).read_text()
    if text.count(mutant["find"]) != 1:
        sys.exit(f"the mutant {mutant_name} does not apply")
    include = scratch / "include"
    shutil.copytree(INCLUDE, include)
    (include / "iqdb" / header).write_text(text.replace(mutant["find"], mutant["replace"]))
    program = scratch / "power_cuts"
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    source = HERE / "power_cuts.cpp"
    subprocess.run(
        [*compiler, *FLAGS, f"-I{include}", f"-I{TESTS}", str(source), "-o", str(program), *LIBRARIES], check=True
    )
    return program


COLUMNS = {
    "cuts": "cuts",
    "with a loss": "cuts_with_loss",
    "a minute": "cuts_a_minute",
    "lives": "lives",
    "loads after a cut": "loads",
    "cut again while they recovered": "loads_cut",
    "durable mutations found": "durable_mutations",
    "durable saves found, log off": "durable_saves",
    "mutations acknowledged without a sync": "other_mutations",
    "of which lost": "other_mutations_lost",
}


def print_table(reports: dict[str, dict]) -> None:
    print("\n| file system | " + " | ".join(COLUMNS) + " |\n" + "| --- " * (len(COLUMNS) + 1) + "|")
    for name, report in reports.items():
        report["cuts_a_minute"] = round(report["cuts"] * 60 / report["seconds"])
        print(f"| {name} | " + " | ".join(f"{report[key]:,}" for key in COLUMNS.values()) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--program", type=pathlib.Path, help="the program power_cuts")
    chosen.add_argument("--without", metavar="MUTANT", help="build it without a defence")
    parser.add_argument("--file-systems", nargs="+", choices=FILE_SYSTEMS, default=["ext4", "xfs"])
    parser.add_argument("--cuts", type=int, default=500, help="of each file system")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31),
                        help="of the lives; the moments of the cuts do not repeat")
    parser.add_argument("--directory", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()),
                        help="where the image lies")
    parser.add_argument("--skip-is-success", action="store_true", help="end with 0 where power cannot be cut")
    arguments = parser.parse_args()

    # An end by a signal is to clean up as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if os.geteuid() != 0:
            raise CannotRun("it takes root to mount a file system")
        require("losetup", "mount")
        with tempfile.TemporaryDirectory(prefix="iqdb_power_cuts.") as scratch:
            program = arguments.program or build_without(arguments.without, pathlib.Path(scratch))
            print(f"seed {arguments.seed}", flush=True)
            reports = {}
            for name in arguments.file_systems:
                print(f"{name}:", flush=True)
                file_system = FILE_SYSTEMS[name]
                reports[name] = examine(program, file_system, arguments.directory, arguments.cuts, arguments.seed)
    except CannotRun as reason:
        print(f"not run: {reason}", file=sys.stderr)
        return 0 if arguments.skip_is_success else CANNOT_RUN
    print_table(reports)
    lost = sum(report["violations"] for report in reports.values())
    print(f"\n{lost} promises broken")
    return 0 if (lost > 0) == (arguments.without is not None) else 1


if __name__ == "__main__":
    sys.exit(main())
