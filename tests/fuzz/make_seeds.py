#!/usr/bin/env python3
"""Makes what the fuzzers begin with, of the golden files: for each target a folder of inputs.

make_seeds.py GOLDEN_DIRECTORY OUTPUT_DIRECTORY
"""

import struct
import sys
import zlib
from pathlib import Path
from typing import Iterator

import formats

LARGEST = 16 * 1024  # what is longer is slow, and shows nothing that a shorter one does not
CODEC_OF_SCHEME = {1: "zstd", 2: "lz4_block", 3: "lz4_frames"}


def bodies(log_1: bytes) -> Iterator[bytes]:
    """The bodies of a log of version 1."""
    at = 12
    while at + 8 < len(log_1):
        length = struct.unpack_from("<I", log_1, at)[0]
        body = log_1[at + 8 : at + 8 + length]
        if not body:
            return
        yield body
        at += 8 + length


def log_2(snapshot: bytes, log_1: bytes) -> bytes:
    """The same mutations in a log of version 2 that goes on from `snapshot`, closed in order."""
    return formats.log_2(formats.fingerprint(snapshot), [*bodies(log_1), formats.CLOSE])


def log_3(snapshot: bytes, log_1: bytes) -> bytes:
    """The same mutations in a log of version 3, with every kind of frame: upserts, an abort, checkpoints, times."""
    base = formats.fingerprint(snapshot)
    mutations = list(bodies(log_1))
    upserts = [b"\x07" + body[1:] for body in mutations if body[0] == 1][:2]
    frames = [b"\x09" + formats.u64(1000), *mutations, formats.checkpoint_at(base, 0), *upserts]
    if upserts:
        frames.append(formats.aborts((len(mutations) + len(upserts), len(mutations) + len(upserts))))
    return formats.log_3(base, [*frames, formats.CLOSE])


def core_payloads(snapshot: bytes) -> Iterator[bytes]:
    """The payload of a core index in a snapshot that is not compressed: of its own kind, flat, and of the others."""
    payload = snapshot[formats.region_offset(snapshot) + 9 :]
    yield payload
    hnsw = struct.pack("<5Q", 16, 200, 64, 10_000, 42)
    ivf = struct.pack("<3Q2BfQ", 32, 10, 4, 0, 0, 0.5, 42)
    ivf_of_parts = struct.pack("<3Q2BQfQ", 32, 10, 4, 1, 1, 8, 0.5, 42)
    for kind, settings in ((1, hnsw), (2, ivf), (2, ivf_of_parts)):
        yield payload[:8] + bytes([kind]) + settings + payload[9:]


def inputs(golden: Path) -> Iterator[tuple[str, bytes]]:
    """Of all golden files: for which target, and what."""
    fixed = (golden / formats.FIXED_SNAPSHOT).read_bytes()
    for path in sorted(golden.rglob("*.iqdb")):
        snapshot = path.read_bytes()
        yield "snapshot", snapshot
        region = formats.region_offset(snapshot)
        if path.parent.name == "core" and snapshot[region] == 0:
            for payload in core_payloads(snapshot):
                yield "core", payload
        if region < len(snapshot) and snapshot[region] in CODEC_OF_SCHEME:
            yield CODEC_OF_SCHEME[snapshot[region]], snapshot[region + 1 :]
        log_path = path.with_name(path.name + ".wal")
        if log_path.exists():
            log = log_path.read_bytes()
            yield "pair", formats.pair(snapshot, log)
            if log[8:12] == formats.u32(2):
                yield "log", log
                continue
            yield "pair", formats.pair(snapshot, log_2(snapshot, log))
            yield "pair", formats.pair(snapshot, log_3(snapshot, log))
            yield "log", log
            yield "log", log_2(fixed, log)
            yield "log", log_3(fixed, log)


def main() -> None:
    golden, output = map(Path, sys.argv[1:])
    for target, data in inputs(golden):
        if len(data) <= LARGEST:
            folder = output / target
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{zlib.crc32(data):08x}").write_bytes(data)


if __name__ == "__main__":
    main()
