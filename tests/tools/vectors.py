"""Files of vectors, written and read without numpy."""

import pathlib
import struct


def npy(rows: list, descr: str = "<f4", order: str = "False", shape: str = "", version: int = 1) -> bytes:
    """The bytes of an .npy file."""
    shape = shape or f"({len(rows)}, {len(rows[0]) if rows else 1})"
    text = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    length = struct.pack("<H" if version == 1 else "<I", len(text) + 1)
    code = {"2": "e", "4": "f", "8": "d"}[descr[-1]]
    body = b"".join(struct.pack(f"<{len(row)}{code}", *row) for row in rows)
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + b"\n" + body


def vecs(rows: list, code: str = "f") -> bytes:
    """The bytes of an .fvecs file, or with "i" of an .ivecs file."""
    return b"".join(struct.pack(f"<i{len(row)}{code}", len(row), *row) for row in rows)


def read_vecs(path: pathlib.Path, code: str = "f") -> list:
    data, rows = path.read_bytes(), []
    while data:
        (count,) = struct.unpack_from("<i", data)
        rows.append(list(struct.unpack_from(f"<{count}{code}", data, 4)))
        data = data[4 + 4 * count :]
    return rows


def read_npy(path: pathlib.Path) -> list:
    """The rows of an .npy file as iqdb writes it, whose head must be as numpy wants it."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<H", data, 8)
    head = eval(data[10 : 10 + length])
    assert (data[:8], (10 + length) % 64, data[9 + length]) == (b"\x93NUMPY\x01\x00", 0, 10), data[:128]
    assert (head["descr"], head["fortran_order"]) == ("<f4", False), head
    rows, dim = head["shape"]
    numbers = struct.unpack(f"<{rows * dim}f", data[10 + length :])
    return [list(numbers[at * dim : (at + 1) * dim]) for at in range(rows)]
