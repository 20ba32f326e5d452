#!/usr/bin/env python3
"""Makes the inputs in regressions/ that were thought of rather than found, each named after what it tries.

Run it again after a change; what was found by a fuzzer lies beside them, and stays.
"""

from pathlib import Path
from typing import Iterator

from formats import (CLOSE, FIXED_SNAPSHOT, abort, batch, checkpoint, core_payload, core_row, erase, fingerprint,
                     flat_payload, frame, insert, log_2, log_header, pair, snapshot_2, stored, u32, u64)

HERE = Path(__file__).parent
FIXED = (HERE.parent / "golden" / FIXED_SNAPSHOT).read_bytes()
BASE = fingerprint(FIXED)
MOST_64 = 2**64 - 1
MOST_32 = 2**32 - 1

ZSTD_MAGIC = u32(0xFD2FB528)
SKIPPABLE_MAGIC = u32(0x184D2A50)
LZ4_MAGIC = u32(0x184D2204)


def zstd_block(kind: int, size: int, content: bytes, last: bool = False) -> bytes:
    """A block of a zstd frame: 0 stored, 1 one byte repeated, 2 compressed."""
    return (int(last) | kind << 1 | size << 3).to_bytes(3, "little") + content


def zstd_frame(content_size: int, blocks: bytes) -> bytes:
    """A zstd frame in one segment that states its content size with 8 bytes."""
    return ZSTD_MAGIC + bytes([0b11100000]) + u64(content_size) + blocks


def zstd_window(exponent: int, blocks: bytes) -> bytes:
    """A zstd frame that states a window of 2**exponent bytes, and no content size."""
    return ZSTD_MAGIC + bytes([0, (exponent - 10) << 3]) + blocks


END = zstd_block(0, 0, b"", last=True)

ZSTD = {
    "content_size_huge": u64(100) + zstd_frame(2**62, END),
    "content_size_most": u64(MOST_64) + zstd_frame(MOST_64 - 2, END),
    "content_size_sum_overflows": u64(2**63) + 3 * zstd_frame(2**63, END),
    "window_128_mib": u64(1) + zstd_window(27, zstd_block(0, 1, b"x", last=True)),
    "window_2_gib": u64(1) + zstd_window(31, zstd_block(0, 1, b"x", last=True)),
    "bomb": u64(64 * 131072) + zstd_window(20, 64 * zstd_block(1, 131072, b"\0") + END),
    "bomb_stated_short": u64(10) + zstd_window(20, 64 * zstd_block(1, 131072, b"\0") + END),
    "error_soon_behind_the_most_that_is_decoded": u64(2**21)
    + zstd_window(20, 3 * zstd_block(1, 131072, b"\0") + zstd_block(1, 20000, b"x") + zstd_block(3, 0, b"")),
    "empty_frames": u64(0) + 500 * zstd_window(10, END),
    "empty_frames_stated_long": u64(1) + 500 * zstd_window(10, END),
    "no_data": u64(0),
    "skippable_only": u64(0) + SKIPPABLE_MAGIC + u32(3) + b"abc",
    "skippable_cut_short": u64(0) + SKIPPABLE_MAGIC + u32(MOST_32) + b"abc",
    "skippable_many": u64(0) + 500 * (SKIPPABLE_MAGIC + u32(0)) + zstd_window(10, END),
    "frame_without_end": u64(131072) + zstd_window(20, zstd_block(1, 131072, b"\0")),
    "magic_alone": u64(0) + ZSTD_MAGIC,
}

LZ4_BLOCK = {
    "no_data": u64(0),
    "empty_payload": u64(0) + b"\0",
    "states_the_most": u64(2113929216) + b"\0",
    "states_more_than_the_most": u64(MOST_64) + b"\0",
    "states_255_times_its_data": u64(255 * 64) + 64 * b"\xff",
    "literal_length_bomb": u64(255 * 4000) + b"\xf0" + 3999 * b"\xff",
    "match_length_bomb": u64(255 * 4000) + b"\x1fa\x01\x00" + 3990 * b"\xff" + b"\x00\x50abcde",
    "match_length_bomb_valid": u64(1 + 4 + 15 + 255 * 3990 + 5) + b"\x1fa\x01\x00" + 3990 * b"\xff" + b"\x00\x50abcde",
    "match_before_the_beginning": u64(20) + b"\x1fa\xff\xff\x00\x50abcde",
    "match_at_offset_0": u64(25) + b"\x1fa\x00\x00\x00\x50abcde",
}


def lz4_frame(flags: int, block_size: int, fields: bytes, blocks: bytes) -> bytes:
    """An LZ4 frame; the checksum of its header is wrong, but for one in 256."""
    return LZ4_MAGIC + bytes([flags, block_size]) + fields + b"\x00" + blocks


LZ4_FRAMES = {
    "no_data": u64(0),
    "empty_frame": u64(0) + bytes.fromhex("04224d18604082 00000000"),
    "empty_frames": u64(0) + 500 * bytes.fromhex("04224d18604082 00000000"),
    "stored_block": u64(4) + bytes.fromhex("04224d18604082 04000080 69716462 00000000"),
    "stored_block_of_2_gib": u64(MOST_32) + bytes.fromhex("04224d18604082 ffffffff 69716462"),
    "block_of_2_gib": u64(MOST_32) + bytes.fromhex("04224d18604082 ffffff7f 69716462"),
    "content_size_most": u64(MOST_64) + lz4_frame(0x68, 0x40, u64(MOST_64), u32(0)),
    "skippable_cut_short": u64(0) + SKIPPABLE_MAGIC + u32(MOST_32) + b"abc",
    "skippable_only": u64(0) + SKIPPABLE_MAGIC + u32(3) + b"abc",
    "magic_alone": u64(0) + LZ4_MAGIC,
}

ROW = b"\0" + u64(1) + bytes(12) + b"\0"

SNAPSHOT = {
    "vectors_most": snapshot_2(stored(flat_payload(ROW, vectors=MOST_64)), vectors=MOST_64),
    "vectors_times_dim_overflows": snapshot_2(
        stored(flat_payload(ROW, dim=2**62, vectors=4)), dim=2**62, vectors=4),
    "dim_most_without_vectors": snapshot_2(stored(flat_payload(dim=MOST_64)), dim=MOST_64),
    "dim_huge_without_vectors": snapshot_2(stored(flat_payload(dim=2**61)), dim=2**61),
    "dim_0": snapshot_2(stored(flat_payload(dim=0)), dim=0),
    "id_length_most": snapshot_2(
        stored(flat_payload(b"\x01" + u64(MOST_64) + bytes(40), vectors=1)), vectors=1),
    "metadata_entries_most": snapshot_2(
        stored(flat_payload(ROW[:-1] + b"\x01" + u32(MOST_32) + bytes(40), vectors=1)), vectors=1),
    "metadata_key_length_most": snapshot_2(
        stored(flat_payload(ROW[:-1] + b"\x01" + u32(1) + u32(MOST_32) + bytes(40), vectors=1)), vectors=1),
    "metadata_string_length_most": snapshot_2(
        stored(flat_payload(ROW[:-1] + b"\x01" + u32(1) + u32(1) + b"k\0" + u32(MOST_32), vectors=1)), vectors=1),
    "same_id_twice": snapshot_2(
        stored(flat_payload(2 * ROW[:9] + bytes(24) + bytes(2), vectors=2)), vectors=2),
    "nan_everywhere": snapshot_2(
        stored(flat_payload(ROW[:9] + 12 * b"\xff" + b"\0", vectors=1)), vectors=1),
    "one_vector": snapshot_2(stored(flat_payload(ROW, vectors=1)), vectors=1),
    "length_most_stored": snapshot_2(b"\0" + u64(MOST_64) + flat_payload()),
    "length_most_zstd": snapshot_2(b"\x01" + u64(MOST_64) + zstd_window(10, END)),
    "length_most_lz4_block": snapshot_2(b"\x02" + u64(MOST_64) + b"\0"),
    "length_most_lz4_frames": snapshot_2(b"\x03" + u64(MOST_64) + LZ4_MAGIC),
    "zstd_window_128_mib": snapshot_2(b"\x01" + ZSTD["window_128_mib"]),
    "zstd_bomb": snapshot_2(b"\x01" + ZSTD["bomb"]),
    "region_empty": snapshot_2(b""),
    "tag_longest": snapshot_2(stored(flat_payload()), tag=4096 * b"f"),
    "tag_too_long": snapshot_2(stored(flat_payload()), tag=4097 * b"f"),
    "tag_no_utf8": snapshot_2(stored(flat_payload()), tag=b"\xff\xfe"),
    "empty": b"",
}


def damaged(log: bytes, at: int) -> bytes:
    """The log with one bit flipped."""
    return log[:at] + bytes([log[at] ^ 1]) + log[at + 1 :]


INSERTS = [insert(100 + number) for number in range(4)]

LOG = {
    "empty": b"",
    "cut_within_the_magic": b"IQDBWAL",
    "version_1_empty": b"IQDBWAL\0" + u32(1),
    "header_alone": log_header(BASE),
    "inserts_closed": log_2(BASE, [*INSERTS, CLOSE]),
    "base_lsn_most": log_2(BASE, INSERTS, base_lsn=2**62),
    "base_lsn_leaves_no_number": log_2(BASE, INSERTS[:1], base_lsn=2**62 - 1),
    "base_lsn_over_the_most": log_header(BASE, 2**62 + 1),
    "batch_states_most": log_2(BASE, [b"\x03" + u32(MOST_32) + INSERTS[0]]),
    "batch_empty": log_2(BASE, [batch([])]),
    "batch_within_a_batch": log_2(BASE, [batch([batch(INSERTS)])]),
    "batch_of_one_rejected": log_2(BASE, [batch([INSERTS[0], INSERTS[0], INSERTS[1]])]),
    "batch_of_one_aborted": log_2(BASE, [batch([INSERTS[0], INSERTS[0], INSERTS[1]]), abort(2), INSERTS[2], CLOSE]),
    "insert_states_most_components": log_2(BASE, [INSERTS[0][:10] + u32(MOST_32) + bytes(12)]),
    "insert_of_another_dimension": log_2(BASE, [insert(100, (1.0,)), INSERTS[1]]),
    "abort_of_nothing": log_2(BASE, [abort(0)]),
    "abort_twice": log_2(BASE, [INSERTS[0], abort(1), abort(1)]),
    "abort_of_lsn_most": log_2(BASE, [INSERTS[0], abort(MOST_64)]),
    "rejected_at_the_end": log_2(BASE, [INSERTS[0], INSERTS[0]]),
    "rejected_before_the_close": log_2(BASE, [INSERTS[0], INSERTS[0], CLOSE]),
    "checkpoints": log_2(BASE, 50 * [checkpoint(BASE)]),
    "checkpoint_between_abort_and_frame": log_2(BASE, [INSERTS[0], checkpoint(BASE), abort(1)]),
    "checkpoint_of_another_snapshot": log_2(bytes(16), [INSERTS[0], checkpoint(BASE), INSERTS[1]]),
    "of_another_snapshot": log_2(bytes(16), INSERTS),
    "of_another_snapshot_empty": log_header(bytes(16)),
    "closes": log_2(BASE, [CLOSE, INSERTS[0], CLOSE, CLOSE]),
    "erase_of_none": log_2(BASE, [erase(999), CLOSE]),
    "op_0": log_2(BASE, [b"\0abc"]),
    "op_255": log_2(BASE, [b"\xffabc"]),
    "damaged_in_the_middle": damaged(log_2(BASE, INSERTS), 64 + 30),
    "damaged_at_the_end": damaged(log_2(BASE, INSERTS), len(log_2(BASE, INSERTS)) - 3),
    "zeros_before_a_frame": log_header(BASE) + bytes(40) + frame(INSERTS[0], 1, 104),
    "zeros_before_a_frame_never_durable": log_header(BASE) + bytes(40) + frame(INSERTS[0], 1, 64),
    "length_256_mib": log_header(BASE) + u32(2**28) + u32(0) + u64(1) + u64(64) + bytes(100),
    "length_over_256_mib": log_header(BASE) + u32(2**28 + 1) + u32(0) + u64(1) + u64(64) + bytes(100),
    "forged_headers": log_header(BASE) + 300 * (u32(1500) + u64(2**16)),
    "forged_headers_densest": log_header(BASE) + 500 * u64(2**8),
}

ONE_DIMENSION = snapshot_2(stored(flat_payload(b"\0" + u64(1) + bytes(4) + b"\0", dim=1, vectors=1)), dim=1, vectors=1)
HUGE_DIMENSION = SNAPSHOT["dim_huge_without_vectors"]

PAIR = {
    "empty": b"",
    "snapshot_alone": pair(FIXED, b""),
    "log_alone": pair(b"", log_2(bytes(16), INSERTS)),
    "snapshot_longer_than_the_input": u32(MOST_32) + FIXED,
    "one_dimension": pair(ONE_DIMENSION, log_2(fingerprint(ONE_DIMENSION), [insert(2, (1.0,)), erase(1)])),
    "huge_dimension": pair(HUGE_DIMENSION, log_2(fingerprint(HUGE_DIMENSION), [insert(2), CLOSE])),
    "log_of_the_snapshot_before": pair(ONE_DIMENSION, log_2(BASE, [insert(2, (1.0,)), checkpoint(BASE)])),
}

IVF = bytes(3 * 8)
BEHIND_PARTS = bytes(4 + 8)  # the factor and the seed

CORE = {
    "empty": b"",
    "magic_alone": b"IQDC",
    "without_rows": core_payload(),
    "flat": core_payload(core_row(1) + core_row(2), vectors=2),
    "hnsw": core_payload(core_row(1), vectors=1, kind=1, settings=bytes(5 * 8)),
    "ivf": core_payload(core_row(1), vectors=1, kind=2, settings=IVF + b"\0\0" + BEHIND_PARTS),
    "ivf_of_parts": core_payload(core_row(1), vectors=1, kind=2, settings=IVF + b"\1\1" + u64(MOST_64) + BEHIND_PARTS),
    "ivf_flag_2": core_payload(core_row(1), vectors=1, kind=2, settings=IVF + b"\2\0" + BEHIND_PARTS),
    "settings_cut_short": b"IQDC" + u32(1) + b"\2" + IVF,
    "kind_3": core_payload(kind=3),
    "dim_0": core_payload(dim=0),
    "dim_most": core_payload(dim=MOST_64),
    "dim_huge_without_rows": core_payload(dim=MOST_32),
    "vectors_most": core_payload(vectors=MOST_64),
    "vectors_most_of_huge_dim": core_payload(dim=2**61, vectors=2**61),
    "row_stated_and_missing": core_payload(core_row(1), vectors=2),
    "row_left_over": core_payload(core_row(1) + core_row(2), vectors=1),
    "id_twice": core_payload(core_row(1) + core_row(1), vectors=2),
    "id_of_no_bytes": core_payload(b"\1" + u32(0) + bytes(12) + b"\0", vectors=1),
    "id_states_most_bytes": core_payload(b"\1" + u32(MOST_32) + bytes(12) + b"\0", vectors=1),
    "metadata_states_most": core_payload(core_row(1, metadata=b"\1" + u32(MOST_32)), vectors=1),
    "key_twice": core_payload(core_row(1, metadata=b"\1" + u32(2) + 2 * (u32(1) + b"k\4")), vectors=1),
    "keys_descend": core_payload(core_row(1, metadata=b"\1" + u32(2) + u32(1) + b"l\4" + u32(1) + b"k\4"), vectors=1),
}


def inputs() -> Iterator[tuple[str, str, bytes]]:
    """Target, name and bytes of each."""
    for target, named in {"snapshot": SNAPSHOT, "log": LOG, "pair": PAIR, "core": CORE, "zstd": ZSTD, "lz4_block": LZ4_BLOCK,
                          "lz4_frames": LZ4_FRAMES}.items():
        for name, data in named.items():
            yield target, name, data


def main() -> None:
    for target, name, data in inputs():
        folder = HERE / "regressions" / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
