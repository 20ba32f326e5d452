#!/usr/bin/python3
"""Damages what this library and others have saved, and writes what comes of it into docs/reliability.md.

    benchmarks/reliability/run.py              everything: many minutes, and root for the full disk
    benchmarks/reliability/run.py --render     measures nothing: table and chart anew from docs/reliability/peers.json
"""

import argparse
import concurrent.futures
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from run import REPOSITORY, fill, machine, table  # pylint: disable=wrong-import-position

DOCUMENT = REPOSITORY / "docs" / "reliability.md"
OURS = "iqdb-persist"

# What a reader sees of the outcomes of damage: their sum, a colour. The first ones are what one wants.
DAMAGE = {
    "refused": (["refused"], "#0b6bcb"),
    "no harm": (["right"], "#c9d6df"),
    "lost, reported": (["told"], "#7fb2e5"),
    "lost silently": (["lost"], "#f0b429"),
    "wrong": (["wrong"], "#d9534f"),
    "crashed": (["crashed", "hung"], "#5c1f1d"),
}

# Debian's packages, for libraries that do not say which version they are.
PACKAGES = {"hnswlib": "libhnswlib-dev"}


def run_all(arguments):
    """What the program says of each subject, in its order."""
    subjects = subprocess.run([arguments.program, "--list"], check=True, capture_output=True, text=True).stdout.splitlines()
    more = ["--quick"] if arguments.quick else []

    def examine(number):
        done = subprocess.run([arguments.program, str(number), str(arguments.directory), *more], capture_output=True,
                              text=True, check=False)
        print(f"{subjects[number]}: {'examined' if done.returncode == 0 else done.stderr.strip()}", flush=True)
        return json.loads(done.stdout) if done.returncode == 0 else None

    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(examine, range(len(subjects))))
    if None in results:
        sys.exit("an examination failed")
    for each in results:
        if not each["version"] and each["library"] in PACKAGES:
            each["version"] = package_version(PACKAGES[each["library"]])
    return {"machine": machine(), "subjects": results}


def package_version(package):
    """The version of a package of Debian, without Debian's own part; empty where there is no such thing."""
    try:
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.split("-")[0]


def name_of(subject):
    """The library and what of it; ours stands out in a table."""
    name = f"{subject['library']}: {subject['what']}" + (f", {subject['settings']}" if is_strict(subject) else "")
    return f"**{name}**" if subject["library"] == OURS else name


def is_strict(subject):
    """Whether it is the second line of the same, with other settings."""
    return subject["settings"] in ("paranoid_checks", "kAbsoluteConsistency")


def sum_of(counts, outcomes):
    """How often any of these."""
    return sum(counts[each] for each in outcomes)


def share(count, total):
    """A percentage, in which what happened once does not look like nothing."""
    if count in (0, total):
        return "0" if count == 0 else "100 %"
    percent = 100 * count / total
    return "< 0.1 %" if percent < 0.05 else "> 99.9 %" if percent > 99.95 else f"{percent:.1f} %"


def damage_table(subjects, kind, tried):
    """A column for each outcome."""
    rows = []
    for each in subjects:
        counts = each[kind]
        total = sum(counts.values())
        rows.append([name_of(each), f"{each['file_bytes']:,}", f"{total:,}"]
                    + [share(sum_of(counts, outcomes), total) for outcomes, _ in DAMAGE.values()])
    return table(["", "bytes", tried, *DAMAGE], rows)


def full_disk_table(subjects):
    """What was reported, and what is there afterwards."""
    unusable = ["refused", "told", "lost", "wrong", "crashed", "hung"]
    rows = []
    for each in subjects:
        if "full_disk" not in each:
            continue
        reported, silent = each["full_disk"]["reported"], each["full_disk"]["silent"]
        tries = sum(reported.values()) + sum(silent.values()) - silent["right"]
        columns = [reported["older"], reported["right"], sum_of(reported, unusable), silent["older"],
                   sum_of(silent, unusable)]
        rows.append([name_of(each), str(tries), *[str(count) for count in columns]])
    return table(["", "disks too small", "error, the old is there", "error, the new is there", "error, neither",
                  "no error, the old", "no error, neither"], rows)


def kills_table(subjects):
    """What is there after a kill."""
    rows = []
    for each in subjects:
        kills = each["kills"]
        columns = [kills["older"], kills["right"], kills["refused"], sum_of(kills, ["wrong", "lost", "told"]),
                   sum_of(kills, ["crashed", "hung"])]
        rows.append([name_of(each), str(sum(kills.values())), *[str(count) for count in columns]])
    return table(["", "kills", "the old is there", "the new is there", "refused", "wrong", "crashed"], rows)


def draw_chart(subjects, path):
    """A bar for each subject, of its outcomes."""
    import matplotlib  # pylint: disable=import-outside-toplevel

    matplotlib.use("svg")
    # Text stays text, and two runs with the same figures give the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "iqdb-persist", "font.size": 9,
                                "axes.spines.top": False, "axes.spines.right": False})
    from matplotlib import pyplot  # pylint: disable=import-outside-toplevel

    figure, both = pyplot.subplots(1, 2, figsize=(10, 0.28 * len(subjects) + 1), sharey=True, layout="constrained")
    for axes, (kind, title) in zip(both, (("flips", "one bit flipped"), ("truncations", "cut short"))):
        for place, subject in enumerate(reversed(subjects)):
            counts, left = subject[kind], 0
            for outcomes, colour in DAMAGE.values():
                width = 100 * sum_of(counts, outcomes) / sum(counts.values())
                axes.barh(place, width, left=left, color=colour, height=0.75)
                left += width
        axes.set_title(title, loc="left", fontsize=9, fontweight="bold")
        axes.set_xlim(0, 100)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
    both[0].set_yticks(range(len(subjects)), [name_of(each).strip("*") for each in reversed(subjects)])
    for label, subject in zip(both[0].get_yticklabels(), reversed(subjects)):
        if subject["library"] == OURS:
            label.set_fontweight("bold")
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colour) for _, colour in DAMAGE.values()]
    figure.legend(handles, DAMAGE, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=len(DAMAGE), frameon=False)
    figure.savefig(path, metadata={"Date": None, "Creator": None}, facecolor="white", bbox_inches="tight")


def sections(results):
    """What is written between the markers, by their names."""
    subjects = results["subjects"]
    versions = dict.fromkeys(f"{each['library']} {each['version']}".strip() for each in subjects)
    own = results["machine"]
    flipped = [("flips", "flips"), ("truncations", "lengths")]
    tables = {kind: damage_table(subjects, kind, tried) for kind, tried in flipped}
    return {
        "peers-machine": f"Measured with {', '.join(versions)}; {own['kernel']}.",
        "peers-flips": f"![What becomes of damaged files](reliability/damage.svg)\n\n{tables['flips']}",
        "peers-truncations": tables["truncations"],
        "peers-full-disk": full_disk_table(subjects),
        "peers-kills": kills_table(subjects),
    }


def main():
    """Examines and writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--program", type=pathlib.Path,
                        default=REPOSITORY / "build" / "benchmark" / "benchmarks" / "reliability" / "iqdb_reliability")
    parser.add_argument("--directory", type=pathlib.Path, default=pathlib.Path("/dev/shm"),
                        help="where files are damaged: in memory, for the sake of time")
    parser.add_argument("--jobs", type=int, default=1, help="how many subjects at a time")
    parser.add_argument("--output", type=pathlib.Path, default=DOCUMENT.parent,
                        help="a directory for reliability.md and its chart, instead of docs/")
    parser.add_argument("--render", action="store_true", help="measure nothing: take what the last run has kept")
    parser.add_argument("--quick", action="store_true", help="a little of everything, to see that it runs; needs --output")
    arguments = parser.parse_args()
    if arguments.quick and arguments.output == DOCUMENT.parent:
        parser.error("--quick measures nothing that belongs into docs/: give --output")
    directory = arguments.output / "reliability"
    kept = directory / "peers.json"
    directory.mkdir(parents=True, exist_ok=True)
    if arguments.render:
        results = json.loads(kept.read_text())
    else:
        results = run_all(arguments)
        kept.write_text(json.dumps(results, indent=1) + "\n")
    draw_chart(results["subjects"], directory / "damage.svg")
    document = fill(DOCUMENT.read_text(), sections(results))
    (arguments.output / DOCUMENT.name).write_text(document)
    print(f"written: {arguments.output / DOCUMENT.name}")


if __name__ == "__main__":
    main()
