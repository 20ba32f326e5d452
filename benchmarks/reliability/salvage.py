#!/usr/bin/python3
"""Damages the files of this library, SQLite and RocksDB, has the tool of each save what it can, and counts the rows that come back.

    benchmarks/reliability/salvage.py IQDB TOOL_FILES [FILES]

IQDB is the program, TOOL_FILES the program of that name of its tests. Each of FILES damaged files, 200 by default, has one burst of
random bytes at a random place, up to 4 KiB of them. A row is an identifier with 16 bytes. It is altered if its bytes are not those
that it had, and invented if no row had its identifier. SQLite's program and that of RocksDB are `sqlite3` and `ldb`.
"""

import pathlib
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile

ROWS = 1000
MOST_BYTES = 4096


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, timeout=300, **options)


def damage(path, chance):
    content = bytearray(path.read_bytes())
    length = min(chance.randint(1, MOST_BYTES), len(content))
    place = chance.randrange(len(content) - length + 1)
    content[place : place + length] = chance.randbytes(length)
    path.write_bytes(content)


def vector(number):
    """The bytes of a row: what `tool_files` inserts."""
    return struct.pack("<4f", number, number + 0.5, -number, 1)


class Iqdb:
    """An index, of which one of its files is damaged."""

    def __init__(self, iqdb, tool_files, directory, damaged):
        self.iqdb, self.damaged = iqdb, damaged
        self.path = directory / "index.iqdb"
        lines = [f"insert {number}" for number in range(1, ROWS + 1)] + (["checkpoint"] if damaged == "snapshot" else [])
        run(tool_files, "write", self.path, 0, input="\n".join(lines).encode() + b"\n", check=True)
        if damaged == "snapshot":  # without a log: with one, the log has everything behind the last checkpoint
            pathlib.Path(f"{self.path}.wal").unlink()
        self.rows = self.rows_of(self.path)
        assert len(self.rows) == ROWS, len(self.rows)

    def rows_of(self, path):
        array, ids = path.parent / "rows.npy", path.parent / "rows.ids"
        array.unlink(missing_ok=True)
        ids.unlink(missing_ok=True)
        run(self.iqdb, "convert", path, array, "--ids", ids, check=True)
        names = ids.read_text().split("\n")[:-1]
        content = array.read_bytes()[-16 * len(names) :] if names else b""
        return {name: content[16 * at : 16 * at + 16] for at, name in enumerate(names)}

    def saved(self, directory, chance):
        copy = directory / self.path.name
        shutil.copy(self.path, copy)
        if self.damaged != "snapshot":
            shutil.copy(f"{self.path}.wal", f"{copy}.wal")
        damage(copy if self.damaged == "snapshot" else pathlib.Path(f"{copy}.wal"), chance)
        new = directory / "new.iqdb"
        options = ["--unchecked-rows"] if self.damaged == "snapshot" else ["--also-behind"]
        run(self.iqdb, "recover", copy, "-o", new, *options)
        return self.rows_of(new) if new.exists() else {}


class Sqlite:
    """A database, whose only file is damaged."""

    def __init__(self, directory):
        self.path = directory / "rows.db"
        with sqlite3.connect(self.path) as database:
            database.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, vector BLOB NOT NULL)")
            database.executemany("INSERT INTO rows VALUES (?, ?)", ((number, vector(number)) for number in range(1, ROWS + 1)))
        database.close()
        self.rows = self.rows_of(self.path)

    @staticmethod
    def rows_of(path):
        database = sqlite3.connect(path)
        try:
            return {str(number): bytes(content) for number, content in database.execute("SELECT id, vector FROM rows")}
        except (sqlite3.Error, TypeError):
            return {}
        finally:
            database.close()

    def saved(self, directory, chance):
        copy, new = directory / "damaged.db", directory / "new.db"
        shutil.copy(self.path, copy)
        damage(copy, chance)
        text = run("sqlite3", copy, ".recover").stdout
        if b"INSERT" not in text:  # Debian builds the program without what .recover needs
            text = run("sqlite3", copy, ".dump").stdout.replace(b"ROLLBACK;", b"COMMIT;")
        run("sqlite3", new, input=text)
        return self.rows_of(new) if new.exists() else {}


class RocksDb:
    """A database, whose largest file is damaged: its table, or its log."""

    def __init__(self, directory, damaged):
        self.damaged = damaged
        self.path = directory / "database"
        lines = "".join(f"0x{number:08x} ==> 0x{vector(number).hex()}\n" for number in range(1, ROWS + 1))
        run("ldb", f"--db={self.path}", "--hex", "--create_if_missing", "load", input=lines.encode(), check=True)
        if damaged == "table":
            run("ldb", f"--db={self.path}", "compact", check=True)
        self.rows = self.rows_of(self.path)
        assert len(self.rows) == ROWS, len(self.rows)

    @staticmethod
    def rows_of(path):
        rows = {}
        for line in run("ldb", f"--db={path}", "--hex", "scan").stdout.decode(errors="replace").splitlines():
            key, _, value = line.partition(" : ")
            if key.startswith("0x") and value.startswith("0x"):
                rows[str(int(key, 16))] = bytes.fromhex(value[2:])
        return rows

    def saved(self, directory, chance):
        copy = directory / "database"
        shutil.copytree(self.path, copy)
        ending = ".sst" if self.damaged == "table" else ".log"
        damage(max((each for each in copy.iterdir() if each.suffix == ending), key=lambda each: each.stat().st_size), chance)
        run("ldb", f"--db={copy}", "repair")
        return self.rows_of(copy)


def examine(name, subject, files):
    back = altered = invented = nothing = 0
    for number in range(files):
        with tempfile.TemporaryDirectory() as scratch:
            saved = subject.saved(pathlib.Path(scratch), random.Random(number))
        nothing += not saved
        for identifier, content in saved.items():
            if identifier not in subject.rows:
                invented += 1
            elif content != subject.rows[identifier]:
                altered += 1
            else:
                back += 1
    print(f"| {name} | {files} | {back / (files * ROWS):.1%} | {altered} | {invented} | {nothing} |", flush=True)


def main():
    iqdb, tool_files = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    files = int(sys.argv[3]) if len(sys.argv) > 3 else 200
    print("| program | files | rows that came back | altered | invented | files of which nothing came back |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    subjects = {
        "iqdb recover --also-behind, log": lambda place: Iqdb(iqdb, tool_files, place, "log"),
        "iqdb recover --unchecked-rows, snapshot alone": lambda place: Iqdb(iqdb, tool_files, place, "snapshot"),
        "sqlite3 .recover, or .dump": Sqlite,
        "ldb repair, table": lambda place: RocksDb(place, "table"),
        "ldb repair, log": lambda place: RocksDb(place, "log"),
    }
    for name, make in subjects.items():
        with tempfile.TemporaryDirectory() as place:
            examine(name, make(pathlib.Path(place)), files)


if __name__ == "__main__":
    main()
