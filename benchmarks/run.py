#!/usr/bin/python3
"""Runs the benchmarks at quiet moments, and writes tables and charts into docs/performance.md.

A measurement on a machine that does something else as well is worth nothing: before each group of benchmarks this waits
until the machine is idle, and a group during which somebody else has used the processor is run again. How often either
happened is written into the document.
"""

import argparse
import contextlib
import json
import mmap
import os
import pathlib
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = REPOSITORY / "docs" / "performance.md"

# Each is one process, in which its benchmarks are repeated in random order.
GROUPS = {"insert": "^(durable|unsynced)_insert/", "save": "^snapshot_save/", "load": "^snapshot_load/",
          "replay": "^(replay|scale)/",
          "threads": "^(concurrent_insert|concurrent_unsynced_insert|search_beside|insert_beside|bounded_log|insert_many)/"}

# What the program with ISA-L is asked for: what a checksum is a part of, and the raw loops beside it. With many
# threads the sync hides it.
GROUPS_WITH_ISAL = {"insert": "^(durable|unsynced)_insert/", "save": "^snapshot_save/none/",
                    "load": "^snapshot_load/(warm|cold)/(raw_.*|iqdb-persist_(flat|array))/", "replay": "^replay/"}

BATCHES = (1, 100, 1000)
THREADS = (1, 2, 4, 16, 64)
OURS = "iqdb-persist"
OURS_WITH_ISAL = OURS + "_ISA-L"
PEERS = ("SQLite", "RocksDB", "LevelDB", "LMDB")

# What a reader sees instead of the names in the program, in the order of the tables.
LABELS = {
    "append_fsync": "raw: append, `fsync`",
    "zeroed_before": "raw: zeros written before the clock, `pwrite`, `fdatasync`",
    "zeroed_within": "raw: zeros and CRC32 on the clock, `pwrite`, `fdatasync`",
    "bare_pwrite": "raw: `pwrite`",
    "raw_group_commit": "raw: a mutex, one leader, `pwrite`, `fdatasync`",
    "iqdb-persist_one_thread": "**iqdb-persist**, `PersistedIndex`",
    "iqdb-persist": "**iqdb-persist**",
    "iqdb-persist_ready_batch": "**iqdb-persist**, batch made before the clock",
    "SQLite": "SQLite",
    "RocksDB": "RocksDB",
    "RocksDB_ready_batch": "RocksDB, batch made before the clock",
    "LevelDB": "LevelDB",
    "LevelDB_ready_batch": "LevelDB, batch made before the clock",
    "LMDB": "LMDB",
    "raw_direct_4MiB": "raw: `O_DIRECT`, 4 MiB each",
    "raw_direct_8MiB": "raw: `O_DIRECT`, 8 MiB each",
    "raw_early_write_back": "raw: `write`, `sync_file_range` every 8 MiB",
    "raw_write_fsync": "raw: `write`, `fsync`",
    "raw_huge_pages_1_thread": "raw: into huge pages, 1 thread",
    "raw_huge_pages_2_threads": "raw: into huge pages, 2 threads",
    "raw_direct_1_thread": "raw: `O_DIRECT` into huge pages, 1 thread",
    "raw_direct_2_threads": "raw: `O_DIRECT` into huge pages, 2 threads",
    "raw_vector_of_float": "raw: into `vector<float>(n)`",
    "iqdb-persist_flat": "**iqdb-persist**, `FlatIndex`",
    "iqdb-persist_array": "**iqdb-persist**, one `vector<float>`",
    "iqdb-persist_flat_zstd-3": "**iqdb-persist**, `FlatIndex`, zstd",
    "iqdb-persist_array_zstd-3": "**iqdb-persist**, one `vector<float>`, zstd",
    "iqdb-persist_flat_lz4": "**iqdb-persist**, `FlatIndex`, LZ4",
    "iqdb-persist_array_lz4": "**iqdb-persist**, one `vector<float>`, LZ4",
    "codec_in_memory": "the codec alone, in memory",
    "zstd-3_codec_in_memory": "zstd alone, in memory",
    "lz4_codec_in_memory": "LZ4 alone, in memory",
    "faiss_and_fsync": "faiss `write_index`, `fsync`",
    "hnswlib_and_fsync": "hnswlib `saveIndex`, `fsync`",
    "faiss": "faiss `read_index`",
    "hnswlib": "hnswlib",
}


# ---- Quiet moments ----------------------------------------------------------------------------------------------------


def processor_seconds():
    """Seconds since the start that all processors have spent: in user space, stolen by the host, in all but idle."""
    fields = [int(each) for each in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    tick = os.sysconf("SC_CLK_TCK")
    user, nice, system, _idle, _wait, irq, softirq, steal = fields[:8]
    return (user + nice) / tick, steal / tick, (user + nice + system + irq + softirq + steal) / tick


def spin_seconds():
    """The time of a fixed piece of work: longer where the host has given the processor to somebody else."""
    started = time.perf_counter()
    total = 0
    for each in range(300_000):
        total += each
    return time.perf_counter() - started


def sync_seconds(directory):
    """The time that one small durable write takes: longer where somebody else keeps the disk busy."""
    with tempfile.TemporaryFile(dir=directory) as file:
        page = mmap.mmap(-1, 4096)
        os.pwrite(file.fileno(), bytes(4096 * 64), 0)
        os.fsync(file.fileno())
        times = []
        for each in range(64):
            started = time.perf_counter()
            os.pwrite(file.fileno(), page, 4096 * each)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
        return statistics.median(times)


class Quiet:
    """Knows what this machine does when nobody else uses it, and waits for such a moment."""

    def __init__(self, patience):
        self.patience = patience
        self.best_spin = float("inf")
        self.best_sync = {}
        self.waited = 0  # groups before which it had to wait
        self.repeated = 0  # groups that were disturbed, and were run again
        self.disturbed = 0  # groups that were taken although they were not quiet

    def is_quiet(self, directory):
        """Whether nobody else uses processor or disk."""
        busy = processor_seconds()[2]
        time.sleep(0.5)
        if processor_seconds()[2] - busy > 0.05:
            return False
        spin = min(spin_seconds() for _ in range(5))
        self.best_spin = min(self.best_spin, spin)
        sync = sync_seconds(directory)
        self.best_sync[directory] = min(self.best_sync.get(directory, sync), sync)
        return spin < 1.15 * self.best_spin and sync < 1.5 * self.best_sync[directory]

    def wait(self, directory):
        """Returns at a quiet moment, or when the patience has run out: whether it was one."""
        deadline = time.monotonic() + self.patience
        first = True
        while not self.is_quiet(directory):
            if first:
                self.waited += 1
                first = False
            if time.monotonic() > deadline:
                return False
            time.sleep(1)
        return True


# ---- Running ----------------------------------------------------------------------------------------------------------


class Samples:
    """What was measured: rates and counters by file system and name, a value for each repetition."""

    def __init__(self):
        self.data = {}  # file system -> name -> quantity -> values
        self.skipped = {}  # name -> reason
        self.context = {}

    def add(self, file_system, result, ours):
        """Adds what one run of a program has found, in which OURS means `ours`. Exits where a benchmark has failed."""
        self.context.update({key: value for key, value in result["context"].items() if key.startswith("peer ")})
        for entry in result["benchmarks"]:
            if entry.get("run_type") != "iteration":
                continue
            name = re.sub(r"/(iterations:\d+|real_time|manual_time|repeats:\d+)", "", entry["run_name"])
            name = name.replace(OURS, ours)
            if entry.get("error_occurred"):
                reason = entry["error_message"]
                if not reason.startswith("not here: "):
                    sys.exit(f"{name}: {reason}")
                self.skipped[name] = reason.removeprefix("not here: ")
                continue
            quantities = self.data.setdefault(file_system, {}).setdefault(name, {})
            scale = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}[entry["time_unit"]]
            quantities.setdefault("seconds", []).append(entry["real_time"] * scale)
            for quantity in ("items_per_second", "bytes_per_second", "memory_beyond_index", "bytes",
                             "payload_to_compressed", "median_us", "p99.9_us", "longest_us"):
                if quantity in entry:
                    quantities.setdefault(quantity, []).append(entry[quantity])

    def values(self, file_system, name, quantity):
        """All repetitions of one quantity; none where it was not measured."""
        return self.data.get(file_system, {}).get(name, {}).get(quantity, [])

    def median(self, file_system, name, quantity="bytes_per_second"):
        """The median, or None where it was not measured."""
        values = self.values(file_system, name, quantity)
        return statistics.median(values) if values else None

    def names(self, file_system, prefix):
        """What stands behind `prefix`, in the order of LABELS, what is not there by name."""
        found = [name.removeprefix(prefix) for name in self.data.get(file_system, {}) if name.startswith(prefix)]
        order = list(LABELS)

        def place(name):
            name = name.replace(OURS_WITH_ISAL, OURS)
            return order.index(name) if name in order else len(order)

        return sorted(found, key=lambda name: (place(name), name))


def run_program(program, directory, group, repetitions, more):
    """One process; what it found, and by how much it was disturbed: the share of a processor that others took."""
    with tempfile.TemporaryDirectory() as scratch:
        output = pathlib.Path(scratch) / "result.json"
        command = [str(program), f"--directory={directory}", f"--benchmark_filter={group}",
                   f"--benchmark_repetitions={repetitions}", "--benchmark_enable_random_interleaving=true",
                   f"--benchmark_out={output}", "--benchmark_out_format=json", *more]
        user, steal, _ = processor_seconds()
        own = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        started = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        elapsed = time.monotonic() - started
        if done.returncode != 0 and not output.exists():
            sys.exit(f"{program}: {done.stderr}")
        user_after, steal_after, _ = processor_seconds()
        # Only time in user space: what the system itself does, it does for the benchmarks.
        others = (user_after - user) - (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - own)
        return json.loads(output.read_text()), (others + steal_after - steal) / max(elapsed, 1e-3)


def program_with_isal(program):
    """The program beside `program` whose checksums are ISA-L's."""
    return program.with_name(program.name + "_isal")


def programs_and_groups(arguments):
    """The program, and which of its benchmarks it runs in one process, for all that was asked for."""
    with_isal = program_with_isal(arguments.program)
    pairs = []
    for name in arguments.groups:
        pairs.append((arguments.program, GROUPS[name]))
        if with_isal.exists() and name in GROUPS_WITH_ISAL:
            pairs.append((with_isal, GROUPS_WITH_ISAL[name]))
    return pairs


def measure(arguments, quiet, samples, file_system, directory, pairs, repetitions, more):
    """Runs each group once, at a quiet moment."""
    for program, group in pairs:
        for attempt in range(3):
            calm = arguments.quick or quiet.wait(str(directory))
            print(f"{file_system}: {program.name} {group}{'' if calm else ' (not quiet)'}", flush=True)
            result, disturbance = run_program(program, directory, group, repetitions, more)
            if arguments.quick or (calm and disturbance < 0.05):
                break
            if attempt < 2:
                quiet.repeated += 1
            else:
                quiet.disturbed += 1
        samples.add(file_system, result, OURS if program == arguments.program else OURS_WITH_ISAL)


@contextlib.contextmanager
def journaled_file_system(directory, size):
    """An ordinary ext4 on a loop device whose image lies in `directory`: where it is mounted."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="iqdb_journaled.") as scratch:
        image = pathlib.Path(scratch) / "image"
        mount_point = pathlib.Path(scratch) / "mounted"
        mount_point.mkdir()
        # Written in full, so that no write of a benchmark has to find room for it in the file system below; and mkfs
        # must not give that room back.
        mebibytes = (size + (1 << 20) - 1) >> 20
        subprocess.run(["dd", "if=/dev/zero", f"of={image}", "bs=1M", f"count={mebibytes}", "oflag=direct",
                        "conv=fsync", "status=none"], check=True)
        device = subprocess.run(["losetup", "--direct-io=on", "-f", "--show", str(image)], check=True,
                                capture_output=True, text=True).stdout.strip()
        try:
            subprocess.run(["mkfs.ext4", "-q", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", device],
                           check=True)
            subprocess.run(["mount", device, str(mount_point)], check=True)
            try:
                yield mount_point
            finally:
                subprocess.run(["umount", str(mount_point)], check=True)
        finally:
            subprocess.run(["losetup", "-d", device], check=True)


# ---- What it was measured on ------------------------------------------------------------------------------------------


def file_system_of(directory):
    """A name for the file system that `directory` is on."""
    kind, source = subprocess.run(["findmnt", "-n", "-o", "FSTYPE,SOURCE", "-T", str(directory)], check=True,
                                  capture_output=True, text=True).stdout.split()[:2]
    if kind != "ext4":
        return kind
    # A journal has a directory of its own here, named after the device.
    journals = pathlib.Path("/proc/fs/jbd2")
    if not journals.is_dir():
        return kind
    device = pathlib.Path(source).resolve().name
    has_journal = any(each.name.startswith(f"{device}-") for each in journals.iterdir())
    return "ext4 with a journal" if has_journal else "ext4 without a journal"


def machine():
    """What is worth knowing of this machine, without a name or a path."""
    model = re.search(r"^model name\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    memory = int(re.search(r"^MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text(), re.M).group(1))
    return {"processor": model.group(1).strip() if model else platform.machine(), "cores": os.cpu_count(),
            "memory": f"{memory / 2**20:.0f} GiB", "kernel": f"{platform.system()} {platform.release().split('-')[0]}"}


# ---- Tables -----------------------------------------------------------------------------------------------------------


def label(name):
    """What a reader sees."""
    if OURS_WITH_ISAL in name:
        return label(name.replace(OURS_WITH_ISAL, OURS)) + ", ISA-L"
    return LABELS.get(name, name)


def short(value):
    """Three significant digits, and k or M."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.3g}"


def gigabytes(value):
    """Bytes a second as GB/s."""
    return f"{value / 1e9:.2f}" if value >= 1e8 else f"{value / 1e9:.3f}"


def cell(values, text):
    """A median, with the quartiles where there are enough values."""
    if not values:
        return "–"
    median = text(statistics.median(values))
    if len(values) < 3:
        return median
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return f"{median} ({text(lower)}–{text(upper)})"


def ratio(value, base):
    """How many times `base`, or a dash."""
    return f"{value / base:.2f}" if value and base else "–"


def table(head, rows):
    """A table of Markdown; the first column is text, the others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def durable_insert_tables(samples, file_system):
    """Records a second, and how many times what the raw loop does whose zeros were there."""
    head = ["records/s"]
    for batch in BATCHES:
        head += [f"{batch} a sync", "×"]
    subjects = []
    for batch in BATCHES:
        subjects += [each for each in samples.names(file_system, f"durable_insert/{batch}/") if each not in subjects]
    rows = []
    for subject in subjects:
        row = [label(subject)]
        for batch in BATCHES:
            name = f"durable_insert/{batch}/{subject}"
            base = samples.median(file_system, f"durable_insert/{batch}/zeroed_before", "items_per_second")
            row += [cell(samples.values(file_system, name, "items_per_second"), short),
                    ratio(samples.median(file_system, name, "items_per_second"), base)]
        rows.append(row)
    unsynced = [[label(subject),
                 cell(samples.values(file_system, f"unsynced_insert/1/{subject}", "items_per_second"), short),
                 ratio(samples.median(file_system, f"unsynced_insert/1/{subject}", "items_per_second"),
                       samples.median(file_system, "unsynced_insert/1/bare_pwrite", "items_per_second"))]
                for subject in samples.names(file_system, "unsynced_insert/1/")]
    return table(head, rows) + "\n\n" + table(["not synced, records/s", "1 a call", "×"], unsynced)


def thread_tables(samples, file_system):
    """Records a second by the number of threads, and how long calls take beside something else."""
    subjects = []
    for threads in THREADS:
        subjects += [each for each in samples.names(file_system, f"concurrent_insert/{threads}/") if each not in subjects]
    head = ["records/s"]
    for threads in THREADS:
        head += [f"{threads} threads" if threads > 1 else "1 thread", "×"]
    rows = []
    for subject in subjects:
        row = [label(subject)]
        for threads in THREADS:
            prefix = f"concurrent_insert/{threads}/"
            base = samples.median(file_system, prefix + "raw_group_commit", "items_per_second")
            row += [cell(samples.values(file_system, prefix + subject, "items_per_second"), short),
                    ratio(samples.median(file_system, prefix + subject, "items_per_second"), base)]
        rows.append(row)
    latencies = []
    for call in ("search", "insert"):
        for beside in ("nothing", "writer", "checkpoint"):
            name = f"{call}_beside/{beside}/{OURS}"
            if samples.values(file_system, name, "median_us"):
                latencies.append([f"{call} beside {beside}"] + [cell(samples.values(file_system, name, quantity), short)
                                                                for quantity in ("median_us", "p99.9_us", "longest_us")])
    return table(head, rows) + "\n\n" + table(["µs", "median", "p99.9", "longest"], latencies)


def best(samples, file_system, names, quantity="bytes_per_second"):
    """The largest of the medians, and whose it is."""
    found = [(samples.median(file_system, name, quantity), name) for name in names]
    found = [each for each in found if each[0] is not None]
    return max(found) if found else (None, "")


def raw_names(samples, file_system, prefix):
    """The names of the raw loops with this prefix."""
    return [prefix + each for each in samples.names(file_system, prefix) if each.startswith("raw_")]


def rate_table(samples, file_system, prefix, base, head):
    """GB/s, and how many times `base`."""
    rows = [[label(subject), cell(samples.values(file_system, prefix + subject, "bytes_per_second"), gigabytes),
             ratio(samples.median(file_system, prefix + subject), base)]
            for subject in samples.names(file_system, prefix)]
    return table([head, "GB/s", "×"], rows)


def save_limit(samples, file_system, codec):
    """No save can be faster than the disk with what the codec leaves of the payload, or than the codec."""
    disk = best(samples, file_system, raw_names(samples, file_system, "snapshot_save/none/"))[0]
    name = f"snapshot_save/{codec}/codec_in_memory"
    rate = samples.median(file_system, name)
    if rate is None or disk is None:
        return disk
    return min(rate, disk * samples.median(file_system, name, "payload_to_compressed"))


def codecs(samples, file_system):
    """The codecs that were measured."""
    found = {each.split("/")[0] for each in samples.names(file_system, "snapshot_save/")}
    return [each for each in ("none", "zstd-3", "lz4") if each in found]


def save_tables(samples, file_system):
    """A table for each codec."""
    return "\n\n".join(rate_table(samples, file_system, f"snapshot_save/{codec}/",
                                  save_limit(samples, file_system, codec),
                                  f"durable save, {'uncompressed' if codec == 'none' else codec}")
                       for codec in codecs(samples, file_system))


def load_tables(samples, file_system):
    """A table for what comes from the page cache, and one for what comes from the disk."""
    tables = []
    for temperature in ("warm", "cold"):
        prefix = f"snapshot_load/{temperature}/"
        limit = best(samples, file_system, raw_names(samples, file_system, prefix))[0]
        where = "from the page cache" if temperature == "warm" else "from the disk"
        tables.append(rate_table(samples, file_system, prefix, limit, f"load, {where}"))
    return "\n\n".join(tables)


def replay_table(samples, file_system):
    """Records and bytes a second."""
    prefix = "replay/warm/"
    return table(["replay", "records/s", "GB/s"],
                 [[label(subject), cell(samples.values(file_system, prefix + subject, "items_per_second"), short),
                   cell(samples.values(file_system, prefix + subject, "bytes_per_second"), gigabytes)]
                  for subject in samples.names(file_system, prefix)])


def scale_sizes(samples, file_system):
    """The sizes that were measured, in ascending order."""
    return sorted({int(each.split("/")[1]) for each in samples.names(file_system, "scale/")})


def scale_jobs(samples, file_system):
    """What was measured at each size."""
    found = {each.split("/")[0] for each in samples.names(file_system, "scale/")}
    return [each for each in ("save", "load", "replay", "recovery") if each in found]


def size_name(size):
    """10 MB, 1 GB."""
    return f"{size / 1e9:g} GB" if size >= 1e9 else f"{size / 1e6:g} MB"


def scale_table(samples, file_system):
    """Seconds, seconds per GB, and memory beyond the index."""
    rows = []
    for job in scale_jobs(samples, file_system):
        for size in scale_sizes(samples, file_system):
            name = f"scale/{job}/{size}"
            seconds = samples.median(file_system, name, "seconds")
            count = samples.median(file_system, name, "bytes")
            if seconds is None or not count:
                continue
            rows.append([job, size_name(size), cell(samples.values(file_system, name, "seconds"), lambda s: f"{s:.3g}"),
                         f"{seconds / count * 1e9:.3g}",
                         f"{samples.median(file_system, name, 'memory_beyond_index') / 2**20:.1f}"])
    return table(["", "size", "seconds", "seconds per GB", "memory beyond the index, MiB"], rows)


def ratio_rows(samples, file_system, ours_is):
    """What the whole comes down to, for what `ours_is`: OURS or OURS_WITH_ISAL."""
    def rate(name, quantity="items_per_second"):
        return samples.median(file_system, name, quantity)

    rows = []
    for batch in BATCHES:
        prefix = f"durable_insert/{batch}/"
        ready = rate(prefix + (ours_is if batch == 1 else ours_is + "_ready_batch"))
        what = f"durable insert, {batch} a sync"
        rows.append([f"{what}: of the raw loop whose zeros were there", ratio(ready, rate(prefix + "zeroed_before"))])
        rows.append([f"{what}: of the raw loop with the same work", ratio(ready, rate(prefix + "zeroed_within"))])
        peer, name = best(samples, file_system, [prefix + each for each in PEERS], "items_per_second")
        if peer:
            rows.append([f"{what}: of the fastest peer",
                         f"{ratio(rate(prefix + ours_is), peer)} ({name.removeprefix(prefix)})"])
    rows.append(["insert, not synced: of a bare `pwrite`",
                 ratio(rate(f"unsynced_insert/1/{ours_is}"), rate("unsynced_insert/1/bare_pwrite"))])
    for index, what in (("flat", "`FlatIndex`"), ("array", "one `vector<float>`")):
        for codec in codecs(samples, file_system):
            ours = rate(f"snapshot_save/{codec}/{ours_is}_{index}", "bytes_per_second")
            limit = save_limit(samples, file_system, codec)
            if codec == "none":
                rows.append([f"durable save, {what}: of the fastest raw write", ratio(ours, limit)])
            else:
                rows.append([f"durable save, {what}, {codec}: of the codec alone or the disk", ratio(ours, limit)])
        for temperature, where in (("warm", "the page cache"), ("cold", "the disk")):
            prefix = f"snapshot_load/{temperature}/"
            limit, _ = best(samples, file_system, raw_names(samples, file_system, prefix))
            one = rate(prefix + "raw_huge_pages_1_thread", "bytes_per_second")
            ours = rate(f"{prefix}{ours_is}_{index}", "bytes_per_second")
            rows.append([f"load, {what}: of the fastest raw read from {where}", ratio(ours, limit)])
            rows.append([f"load, {what}: of the raw read from {where} with one thread", ratio(ours, one)])
    return rows


def ratio_table(samples, file_systems):
    """A column for each file system, and one more where ISA-L was measured on it."""
    heads, columns = [], []
    for file_system in file_systems:
        for ours_is, head in ((OURS, file_system), (OURS_WITH_ISAL, f"{file_system}; ISA-L")):
            if any(f"/{ours_is}" in name for name in samples.data[file_system]):
                heads.append(head)
                columns.append(ratio_rows(samples, file_system, ours_is))
    rows = [[row[0]] + [dict(column).get(row[0], "–") for column in columns] for row in columns[0]]
    # Of a peer's rate a dash is left where ours was not measured.
    rows = [row for row in rows if any(not value.startswith("–") for value in row[1:])]
    return table(["ratio of medians"] + heads, rows)


# ---- Charts -----------------------------------------------------------------------------------------------------------


def plain(name):
    """A label without Markdown."""
    return label(name).replace("*", "").replace("`", "").removeprefix("raw: ")


def colour(subject):
    """Ours stands out; the raw loops are not rivals but limits."""
    if subject.startswith(OURS):
        return "#0b6bcb"
    if subject.startswith("raw_") or subject in ("append_fsync", "zeroed_before", "zeroed_within", "bare_pwrite"):
        return "#b8b8b8"
    return "#8fa9a0" if "codec" in subject else "#d79b5b"


def draw_charts(samples, file_systems, directory):
    """Writes the charts; returns, for each section, the Markdown that shows them, by file system."""
    import matplotlib  # pylint: disable=import-outside-toplevel

    matplotlib.use("svg")
    # Text stays text, and two runs with the same figures give the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "iqdb-persist", "font.size": 9,
                                "axes.spines.top": False, "axes.spines.right": False})
    from matplotlib import pyplot  # pylint: disable=import-outside-toplevel
    from matplotlib.patches import Patch  # pylint: disable=import-outside-toplevel

    directory.mkdir(parents=True, exist_ok=True)
    legend = [Patch(color="#0b6bcb", label="iqdb-persist"), Patch(color="#d79b5b", label="other libraries"),
              Patch(color="#b8b8b8", label="bare system calls")]

    def save(figure, name):
        figure.savefig(directory / name, metadata={"Date": None, "Creator": None}, facecolor="white",
                       bbox_inches="tight")
        pyplot.close(figure)

    def bars(axes, file_system, prefix, subjects, quantity, factor, text):
        pairs = [(each, samples.values(file_system, prefix + each, quantity)) for each in subjects]
        pairs = sorted([each for each in pairs if each[1]], key=lambda each: statistics.median(each[1]))
        for place, (subject, values) in enumerate(pairs):
            median = statistics.median(values) * factor
            axes.barh(place, median, color=colour(subject), height=0.72)
            if len(values) >= 3:
                lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
                axes.plot([lower * factor, upper * factor], [place, place], color="#333333", linewidth=1)
            axes.annotate(" " + text(median), (max(median, 0), place), va="center", fontsize=8,
                          xytext=(6, 0), textcoords="offset points")
        axes.set_yticks(range(len(pairs)), [plain(each) for each, _ in pairs])
        for tick, (subject, _) in zip(axes.get_yticklabels(), pairs):
            if subject.startswith(OURS):
                tick.set_fontweight("bold")
        axes.xaxis.set_major_formatter(lambda value, _: text(value) if value else "0")
        axes.margins(x=0.16)
        axes.set_xlim(left=0)
        return len(pairs)

    def panels(panels_of_figure, file_system, name, legend_entries):
        heights = [max(len(subjects), 1) for _, _, subjects, _, _, _, _ in panels_of_figure]
        figure, all_axes = pyplot.subplots(len(heights), 1, figsize=(8, 0.26 * sum(heights) + 0.75 * len(heights)),
                                           gridspec_kw={"height_ratios": heights}, layout="constrained", squeeze=False)
        for axes, (title, prefix, subjects, quantity, factor, text, unit) in zip(all_axes[:, 0], panels_of_figure):
            bars(axes, file_system, prefix, subjects, quantity, factor, text)
            axes.set_title(f"{title}, {unit}", loc="left", fontsize=9, fontweight="bold")
        figure.suptitle(file_system, fontsize=9, x=0.01, ha="left")
        figure.legend(handles=legend_entries, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=len(legend_entries), frameon=False)
        save(figure, name)

    shown = {}
    for number, file_system in enumerate(file_systems):
        slug = re.sub(r"[^a-z0-9]+", "_", file_system.lower()).strip("_") or str(number)

        def show(section, name, text, figure_panels, entries=tuple(legend), file_system=file_system):
            figure_panels = [each for each in figure_panels if each[2]]
            if figure_panels:
                panels(figure_panels, file_system, name, list(entries))
                shown.setdefault(section, {})[file_system] = f"![{text}, {file_system}](performance/{name})"

        show("durable-insert", f"durable_insert_{slug}.svg", "Durable inserts",
             [(f"{batch} record{'s' if batch > 1 else ''} a sync", f"durable_insert/{batch}/",
               samples.names(file_system, f"durable_insert/{batch}/"), "items_per_second", 1, short, "records/s")
              for batch in BATCHES])
        show("save", f"save_{slug}.svg", "Durable saves",
             [("uncompressed" if codec == "none" else codec, f"snapshot_save/{codec}/",
               samples.names(file_system, f"snapshot_save/{codec}/"), "bytes_per_second", 1e-9,
               lambda value: f"{value:.2f}", "GB/s") for codec in codecs(samples, file_system)],
             [*legend, Patch(color="#8fa9a0", label="the codec alone")])
        show("load", f"load_{slug}.svg", "Loads",
             [(where, f"snapshot_load/{temperature}/", samples.names(file_system, f"snapshot_load/{temperature}/"),
               "bytes_per_second", 1e-9, lambda value: f"{value:.2f}", "GB/s")
              for temperature, where in (("warm", "from the page cache"), ("cold", "from the disk"))],
             [*legend, Patch(color="#8fa9a0", label="the codec alone")])

        sizes = scale_sizes(samples, file_system)
        if len(sizes) > 1:
            figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
            for job in scale_jobs(samples, file_system):
                points = [(size, samples.median(file_system, f"scale/{job}/{size}", "seconds")) for size in sizes]
                points = [each for each in points if each[1] is not None]
                axes.plot(*zip(*points), marker="o", markersize=4, label=job)
            axes.set(xscale="log", yscale="log", ylabel="seconds")
            axes.set_xticks(sizes, [size_name(each) for each in sizes])
            axes.minorticks_off()
            axes.grid(color="#e6e6e6")
            axes.legend(frameon=False)
            axes.set_title(f"time against size: {file_system}", loc="left", fontsize=9, fontweight="bold")
            save(figure, f"scale_{slug}.svg")
            shown.setdefault("scale", {})[file_system] = (
                f"![Time against size, {file_system}](performance/scale_{slug}.svg)")
    return shown


# ---- The document -----------------------------------------------------------------------------------------------------


def how_it_was_run(runs):
    """How often each group was measured, and how quiet the machine was."""
    repetitions = {}
    for run in runs:
        for group in run["groups"]:
            repetitions[group] = repetitions.get(group, 0) + run["rounds"] * run["repetitions"]
    total = {key: sum(run[key] for run in runs) for key in ("runs", "waited", "repeated", "disturbed")}
    return (f"Repetitions, in random order: {', '.join(f'{group} {count}' for group, count in repetitions.items())}. Of "
            f"{total['runs']} runs of the program {total['waited']} had to wait for a quiet moment, {total['repeated']} were "
            f"disturbed and were repeated, and {total['disturbed']} were taken although the machine did not become quiet.")


def sections(samples, results, charts):
    """What is written between the markers, by their names."""
    file_systems = list(samples.data)
    own = results["machine"]
    peers = ", ".join(f"{key.removeprefix('peer ')} {value}".strip() for key, value in sorted(samples.context.items()))
    text = [f"Measured on {own['cores']} cores of {own['processor']}, {own['memory']}, {own['kernel']}; file systems: "
            f"{', '.join(file_systems)}. Peers: {peers or 'none'}.", "", how_it_was_run(results["runs"])]
    if samples.skipped:
        text += ["", "Not measured here: " + "; ".join(f"`{name}` ({reason})"
                                                        for name, reason in sorted(samples.skipped.items())) + "."]

    def for_each(section, prefix, make):
        parts = []
        for file_system in file_systems:
            if not any(name.startswith(prefix) for name in samples.data[file_system]):
                continue
            chart = charts.get(section, {}).get(file_system)
            parts += [f"### On {file_system}", ""] + ([chart, ""] if chart else []) + [make(samples, file_system), ""]
        return "\n".join(parts).rstrip()

    return {"machine": "\n".join(text), "ratios": ratio_table(samples, file_systems),
            "durable-insert": for_each("durable-insert", "durable_insert/", durable_insert_tables),
            "save": for_each("save", "snapshot_save/", save_tables),
            "load": for_each("load", "snapshot_load/", load_tables), "replay": for_each("replay", "replay/", replay_table),
            "scale": for_each("scale", "scale/", scale_table),
            "threads": for_each("threads", "concurrent_insert/", thread_tables)}


def fill(document, filled):
    """Replaces what stands between the markers."""
    for name, text in filled.items():
        pattern = re.compile(rf"(<!-- begin: {name} -->\n).*?(<!-- end: {name} -->)", re.S)
        if not pattern.search(document):
            sys.exit(f"the document has no markers for \"{name}\"")
        document = pattern.sub(lambda match, text=text: f"{match[1]}\n{text}\n\n{match[2]}", document)
    return document


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--program", type=pathlib.Path,
                        default=REPOSITORY / "build" / "benchmark" / "benchmarks" / "iqdb_benchmarks")
    parser.add_argument("--directory", type=pathlib.Path, default=pathlib.Path("."),
                        help="where to measure: on the disk in question, with 20 GB free")
    parser.add_argument("--journaled", action="store_true",
                        help="measure also on an ext4 with a journal, on a loop device made for it (needs root)")
    parser.add_argument("--journaled-gib", type=int, default=16, help="its size")
    parser.add_argument("--largest", action="store_true", help="in --directory, also 10 GB (needs 40 GB of disk)")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS), help="measure only these")
    parser.add_argument("--rounds", type=int, default=3, help="how many times each group is run")
    parser.add_argument("--repetitions", type=int, default=3, help="repetitions of each benchmark in a round")
    parser.add_argument("--patience", type=float, default=600, help="seconds to wait for a quiet moment, at most")
    parser.add_argument("--output", type=pathlib.Path,
                        help="a directory for performance.md and its charts, instead of docs/")
    parser.add_argument("--save", type=pathlib.Path, help="write all that was measured to this file too")
    parser.add_argument("--render", type=pathlib.Path, nargs="+",
                        help="measure nothing: take together what --save has written to these files")
    parser.add_argument("--quick", action="store_true", help="everything tiny, to see that it runs; needs --output")
    arguments = parser.parse_args()
    if arguments.quick and not arguments.output:
        parser.error("--quick measures nothing that belongs into docs/: give --output")
    if not arguments.render and not arguments.program.exists():
        parser.error(f"{arguments.program} is not there: cmake --preset benchmark && cmake --build --preset benchmark")
    return arguments


def measure_all(arguments):
    """Everything that was asked for."""
    samples = Samples()
    quiet = Quiet(arguments.patience)
    repetitions = 1 if arguments.quick else arguments.repetitions
    rounds = 1 if arguments.quick else arguments.rounds
    more = ["--quick"] if arguments.quick else []
    runs = 0
    with contextlib.ExitStack() as stack:
        # Within the directory, so that nothing is left of a program that was killed.
        scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.directory)))
        places = [(file_system_of(scratch), scratch)]
        if arguments.journaled:
            size = (1 if arguments.quick else arguments.journaled_gib) << 30
            mounted = stack.enter_context(journaled_file_system(arguments.directory, size))
            places.append((file_system_of(mounted) + ", on a loop device", mounted))
        for _ in range(rounds):
            for file_system, directory in places:
                pairs = programs_and_groups(arguments)
                measure(arguments, quiet, samples, file_system, directory, pairs, repetitions, more)
                runs += len(pairs)
        if arguments.largest:
            measure(arguments, quiet, samples, places[0][0], scratch, [(arguments.program, "^scale/")], 1,
                    ["--scale_bytes=10000000000"])
            runs += 1
    run = {"groups": arguments.groups, "rounds": rounds, "repetitions": repetitions, "runs": runs, "waited": quiet.waited,
           "repeated": quiet.repeated, "disturbed": quiet.disturbed}
    return samples, {"machine": machine(), "runs": [run]}


def read_saved(paths):
    """What several runs have saved, as if they had been one."""
    samples = Samples()
    runs = []
    for path in paths:
        saved = json.loads(path.read_text())
        samples.skipped.update(saved["skipped"])
        samples.context.update(saved["context"])
        for file_system, names in saved["data"].items():
            for name, quantities in names.items():
                known = samples.data.setdefault(file_system, {}).setdefault(name, {})
                for quantity, values in quantities.items():
                    known.setdefault(quantity, []).extend(values)
        runs += saved["results"]["runs"]
    return samples, {"machine": saved["results"]["machine"], "runs": runs}


def main():
    """Measures and writes."""
    arguments = parse_arguments()
    if arguments.render:
        samples, results = read_saved(arguments.render)
    else:
        samples, results = measure_all(arguments)
    if arguments.save:
        arguments.save.write_text(json.dumps({"data": samples.data, "skipped": samples.skipped,
                                              "context": samples.context, "results": results}, indent=1))
    output = arguments.output or DOCUMENT.parent
    output.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(output / "performance", ignore_errors=True)
    charts = draw_charts(samples, list(samples.data), output / "performance")
    document = fill(DOCUMENT.read_text(), sections(samples, results, charts))
    (output / "performance.md").write_text(document)
    print(f"written: {output / 'performance.md'}")


if __name__ == "__main__":
    main()
