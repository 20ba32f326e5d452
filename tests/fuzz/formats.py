"""The files of docs/format.md, put together by hand: what the seeds and the kept inputs of the fuzzers are made with."""

import struct
import zlib

LOG_ID = 7
FIXED_SNAPSHOT = "snap/none_d3_n7_euclidean_id0_meta2.iqdb"  # the one that the target `log` has beside its input


def u32(value: int) -> bytes:
    """A little-endian number of 4 bytes."""
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    """A little-endian number of 8 bytes."""
    return struct.pack("<Q", value)


def region_offset(snapshot: bytes) -> int:
    """Where a snapshot's region begins; behind its end for what is no snapshot."""
    return 41 + struct.unpack_from("<Q", snapshot, 12)[0] if len(snapshot) >= 41 else len(snapshot) + 1


def fingerprint(snapshot: bytes) -> bytes:
    """What a log calls its snapshot."""
    region = region_offset(snapshot)
    if region > len(snapshot):
        return bytes(16)
    header = snapshot[:region]
    return u64(len(snapshot)) + u32(zlib.crc32(header)) + header[-4:]


def snapshot_2(region: bytes, dim: int = 3, metric: int = 2, vectors: int = 0, tag: bytes = b"flat") -> bytes:
    """A snapshot of version 2 with a right checksum."""
    fields = u64(len(tag)) + tag + u64(dim) + bytes([metric]) + u64(vectors)
    return b"IQDBPRST" + u32(2) + fields + u32(zlib.crc32(region)) + region


def flat_payload(rows: bytes = b"", dim: int = 3, metric: int = 2, vectors: int = 0) -> bytes:
    """The payload of a flat index."""
    return u64(dim) + bytes([metric]) + u64(vectors) + rows


def core_payload(rows: bytes = b"", dim: int = 3, metric: int = 2, vectors: int = 0, kind: int = 0,
                 settings: bytes = b"") -> bytes:
    """The payload of a core index."""
    return b"IQDC" + u32(1) + bytes([kind]) + settings + u64(dim) + bytes([metric]) + u64(vectors) + rows


def core_row(vector_id: int, vector: tuple[float, ...] = (1.0, 2.0, 3.0), metadata: bytes = b"\0") -> bytes:
    """A row of it, with an integer as its identifier."""
    return b"\0" + u64(vector_id) + struct.pack(f"<{len(vector)}f", *vector) + metadata


def stored(payload: bytes) -> bytes:
    """The region of a payload that is not compressed."""
    return b"\x00" + u64(len(payload)) + payload


def log_header(base: bytes, base_lsn: int = 0, version: int = 2) -> bytes:
    """The header of a log of version 2 or 3 that goes on from the snapshot with the fingerprint `base`."""
    history = b"history!" if version == 3 else bytes(8)

    def with_crc32(crc32: int) -> bytes:
        return b"IQDBWAL\0" + u32(version) + u32(crc32) + u64(LOG_ID) + u64(base_lsn) + base + history + bytes(8)

    return with_crc32(zlib.crc32(with_crc32(0)))


def frame(body: bytes, lsn: int, durable: int) -> bytes:
    """A frame of a log of version 2 or 3."""
    fields = u64(lsn) + u64(durable)
    crc32 = zlib.crc32(u64(LOG_ID) + u32(len(body)) + fields + body)
    return u32(len(body)) + u32(crc32) + fields + body


def log_2(base: bytes, bodies: list[bytes], base_lsn: int = 0, version: int = 2) -> bytes:
    """A log of version 2 or 3 whose frames follow each other as a writer makes them."""
    log = log_header(base, base_lsn, version)
    lsn = base_lsn + 1
    for body in bodies:
        log += frame(body, lsn, len(log))
        if body[0] in (1, 2, 7, 8, 10, 11):
            lsn += 1
        elif body[0] == 3 and len(body) >= 5:
            lsn += struct.unpack_from("<I", body, 1)[0]
    return log


def log_3(base: bytes, bodies: list[bytes], base_lsn: int = 0) -> bytes:
    """A log of version 3 whose frames follow each other as a writer makes them."""
    return log_2(base, bodies, base_lsn, 3)


def insert(number: int, vector: tuple[float, ...] = (1.0, 2.0, 3.0), metadata: bytes = b"\x00") -> bytes:
    """The body of an insert."""
    return b"\x01\x00" + u64(number) + u32(len(vector)) + struct.pack(f"<{len(vector)}f", *vector) + metadata


def erase(number: int) -> bytes:
    """The body of an erase."""
    return b"\x02\x00" + u64(number)


def batch(mutations: list[bytes]) -> bytes:
    """The body of a batch."""
    return b"\x03" + u32(len(mutations)) + b"".join(mutations)


def abort(lsn: int) -> bytes:
    """The body of an abort."""
    return b"\x04" + u64(lsn)


def checkpoint(snapshot_fingerprint: bytes) -> bytes:
    """The body of a checkpoint."""
    return b"\x05" + snapshot_fingerprint


CLOSE = b"\x06"


def aborts(*ranges: tuple[int, int]) -> bytes:
    """The body of an abort of version 3."""
    return b"\x04" + u32(len(ranges)) + b"".join(u64(first) + u64(last) for first, last in ranges)


def checkpoint_at(snapshot_fingerprint: bytes, lsn: int) -> bytes:
    """The body of a checkpoint of version 3."""
    return b"\x05" + snapshot_fingerprint + u64(lsn)


def pair(snapshot: bytes, log: bytes) -> bytes:
    """An input of the target `pair`."""
    return u32(len(snapshot)) + snapshot + log
