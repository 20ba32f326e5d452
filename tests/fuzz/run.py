#!/usr/bin/env python3
"""Runs the fuzzers, two at a time, and says how many inputs each has tried. Fails if one of them has found something.

run.py --programs DIRECTORY [--runs N] [--jobs N] TARGET...

What they have learnt is kept in DIRECTORY/corpus, and the next run begins with it; what they have found is in
DIRECTORY/findings. A finding that was understood goes to regressions/<target>/ under a name that says what it is.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden"

LARGEST_INPUT = 4096  # bytes: all that the formats have fits, and short inputs are fast
LONGEST_SECONDS = 10  # for one input; what takes longer is a finding
MOST_RESIDENT_MIB = 2048  # of a fuzzer; what a single input may take it measures itself
# Memory that was given back is kept from being used again for about as long as an input takes. The sanitizer's default,
# 256 MiB, means fresh pages for each input, which take most of the time.
SANITIZER = {"ASAN_OPTIONS": "quarantine_size_mb=2:thread_local_quarantine_size_kb=64"}


@dataclass
class Outcome:
    """What came of one fuzzer."""

    target: str
    executions: int
    seconds: float
    edges: int
    failed: bool
    output: str


def run(programs: Path, target: str, runs: int) -> Outcome:
    """Runs one fuzzer to its end."""
    corpus = programs / "corpus" / target
    findings = programs / "findings" / target
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    done = subprocess.run(
        [
            programs / f"fuzz_{target}",
            f"-runs={runs}",
            f"-max_len={LARGEST_INPUT}",
            f"-timeout={LONGEST_SECONDS}",
            f"-rss_limit_mb={MOST_RESIDENT_MIB}",
            f"-artifact_prefix={findings}/",
            "-print_final_stats=1",
            corpus,
            programs / "seeds" / target,
            HERE / "regressions" / target,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | SANITIZER,
        check=False,
    )
    output = done.stdout.decode(errors="replace")

    def last_number(pattern: str) -> int:
        found = re.findall(pattern, output)
        return int(found[-1]) if found else 0

    return Outcome(
        target=target,
        executions=last_number(r"stat::number_of_executed_units:\s+(\d+)"),
        seconds=time.monotonic() - started,
        edges=last_number(r" cov: (\d+)"),
        failed=done.returncode != 0,
        output=output,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=Path, required=True, help="where the fuzzers are")
    parser.add_argument("--runs", type=int, default=100_000, help="inputs for each")
    parser.add_argument("--jobs", type=int, default=2, help="fuzzers at a time")
    parser.add_argument("target", nargs="+", help="what is fuzzed: a folder of regressions")
    arguments = parser.parse_args()

    targets = sorted(arguments.target)
    seeds = arguments.programs / "seeds"
    subprocess.run([sys.executable, "-B", HERE / "make_seeds.py", GOLDEN, seeds], check=True)
    for target in targets:
        (seeds / target).mkdir(exist_ok=True)  # of LZ4 frames and of the adapters there is no golden file

    with ThreadPoolExecutor(arguments.jobs) as pool:
        outcomes = list(pool.map(lambda target: run(arguments.programs, target, arguments.runs), targets))
    for outcome in outcomes:
        if outcome.failed:
            print(f"==> {outcome.target}\n{outcome.output[-20_000:]}")
    print(f"{'target':<12}{'executions':>12}{'seconds':>9}{'a second':>10}{'edges':>8}")
    for outcome in outcomes:
        print(
            f"{outcome.target:<12}{outcome.executions:>12}{outcome.seconds:>9.0f}"
            f"{outcome.executions / outcome.seconds:>10.0f}{outcome.edges:>8}"
            f"{'  FOUND SOMETHING' if outcome.failed else ''}"
        )
    too_few = [outcome.target for outcome in outcomes if outcome.executions < arguments.runs]
    if too_few:
        print(f"too few executions: {', '.join(too_few)}")
    return 1 if too_few or any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
