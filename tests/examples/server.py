#!/usr/bin/env python3
"""Runs the example server from its first start to a broken disk, kills it under load, and looks for what it had acknowledged.

    server.py --server P --load P --failing-sync P --work DIRECTORY [--seed N] [--rounds N]
    server.py --server P --load P --work DIRECTORY --s3 [--seed N] [--rounds N]

The second form runs the tests of object stores alone, with the store that S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY, S3_REGION and
S3_BUCKET name.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import math
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

DIM = 16
PATIENCE = 60  # seconds until a process that hangs is an error

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--server", required=True, type=os.path.abspath)
arguments.add_argument("--load", required=True, type=os.path.abspath)
arguments.add_argument("--failing-sync", type=os.path.abspath)
arguments.add_argument("--s3", action="store_true")
arguments.add_argument("--work", required=True, type=pathlib.Path)
arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
arguments.add_argument("--rounds", type=int, default=6)
options = arguments.parse_args()


class Server:
    """A running server. Its output, so far as it was read, is in `said`; its events are in the file `errors`."""

    number = 0

    def __init__(self, file: str, *more: str, environment: dict[str, str] | None = None) -> None:
        where = ["--storage", file] if ":" in file else [file]
        command = [options.server, *where, "--dim", str(DIM), "--port", "0", *more]
        Server.number += 1
        self.errors = options.work / f"{Server.number}.events"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                command, cwd=options.work, stdout=subprocess.PIPE, stderr=errors, text=True,
                env={**os.environ, **(environment or {})},
            )  # fmt: skip
        self.said = ""
        while not (port := re.search(r"listening on http://127\.0\.0\.1:(\d+)\n", self.said)):
            line = self.process.stdout.readline()
            assert line, f"the server ended with {self.process.wait()} before it listened: {self.said}{self.events()}"
            self.said += line
        self.port = int(port[1])
        if recovered := re.search(r"(\d+) vectors; (\d+) mutations replayed from the log, (\d+) bytes", self.said):
            self.vectors, self.replayed, self.dropped = map(int, recovered.groups())

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Makes a request on a connection of its own. A body that is no text is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, body if isinstance(body, (str, bytes, type(None))) else json.dumps(body))
            response = connection.getresponse()
            text = response.read().decode()
            return Answer(response.status, text)

    def post(self, path: str, body: object) -> Answer:
        return self.ask("POST", path, body)

    def hits(self, vector: list[float], k: int) -> list[dict]:
        return self.post("/search", {"vector": vector, "k": k}).expect(200)["hits"]

    def events(self) -> str:
        return self.errors.read_text()

    def end(self, with_signal: int = signal.SIGTERM) -> int:
        """Sends the signal, and returns how the process ended."""
        self.process.send_signal(with_signal)
        self.said += self.process.communicate(timeout=PATIENCE)[0]
        return self.process.returncode

    def expect_orderly_end(self, with_signal: int = signal.SIGTERM) -> None:
        code = self.end(with_signal)
        assert code == 0 and self.said.endswith("closed\n"), (code, self.said, self.events())


@dataclasses.dataclass
class Answer:
    status: int
    text: str

    def expect(self, status: int, error: str | None = None, message: str = "") -> dict:
        """The JSON, if the status is as expected, and the error as well: its kind, and a part of what it says."""
        assert self.status == status, self
        answer = json.loads(self.text)
        if error is not None:
            assert set(answer) == {"error", "message"} and answer["error"] == error and message in answer["message"], self
        return answer


@contextlib.contextmanager
def running(file: str, *more: str, environment: dict[str, str] | None = None) -> Iterator[Server]:
    server = Server(file, *more, environment=environment)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def expect_refusal(code: int, message: str, *command: str) -> None:
    """The server does not start, and says why."""
    ended = subprocess.run([options.server, *command], cwd=options.work, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == code and message in ended.stderr, ended


def vector(x: float) -> list[float]:
    return [x] + [0.0] * (DIM - 1)


# ---- Requests -----------------------------------------------------------------------------------------------------------


def test_what_it_stores() -> None:
    metadata = {"text": "grün", "integer": -7, "large": 2**53 + 1, "float": 1.5, "yes": True, "nothing": None}
    with running("stores.iqdb") as server:
        assert (server.vectors, server.replayed, server.dropped) == (0, 0, 0)
        assert server.post("/insert", {"id": 1, "vector": vector(1), "metadata": metadata}).expect(200) == {"id": 1}
        server.post("/insert", {"id": "1", "vector": vector(2)}).expect(200)
        server.post("/insert", {"id": 2**64 - 1, "vector": vector(3), "metadata": {}}).expect(200)
        server.post("/upsert", {"id": "ü", "vector": vector(4)}).expect(200)
        server.post("/upsert", {"id": "ü", "vector": vector(5)}).expect(200)
        server.post("/insert", {"id": 2, "vector": vector(6)}).expect(200)
        server.post("/erase", {"id": 2}).expect(200)
        server.end(signal.SIGKILL)
    with running("stores.iqdb") as server:
        assert (server.vectors, server.replayed) == (4, 7), server.said
        assert server.hits(vector(1), 10) == [
            {"id": 1, "distance": 0.0, "metadata": metadata},
            {"id": "1", "distance": 1.0},
            {"id": 2**64 - 1, "distance": 2.0, "metadata": {}},
            {"id": "ü", "distance": 4.0},
        ]
        assert [hit["id"] for hit in server.hits(vector(5), 1)] == ["ü"]
        assert len(server.post("/search", {"vector": vector(0)}).expect(200)["hits"]) == 4
        assert server.post("/checkpoint", None).expect(200)["vectors"] == 4
        server.end(signal.SIGKILL)
        assert re.fullmatch("recovered: .*\ncheckpoint_begun: .*\ncheckpoint_done: .*\n", server.events()), server.events()
    with running("stores.iqdb") as server:
        assert (server.vectors, server.replayed) == (4, 0), server.said
        server.post("/insert", {"id": 3, "vector": vector(6)}).expect(200)
        stats = server.ask("GET", "/stats").expect(200)
        assert (stats["vectors"], stats["dim"], stats["metric"], stats["poisoned"]) == (5, DIM, "euclidean", 0), stats
        assert (stats["mutations"], stats["groups"], stats["checkpoints"], stats["lsn"]) == (1, 1, 0, 8), stats
        expect_prometheus(server.ask("GET", "/metrics"), stats)
        server.expect_orderly_end(signal.SIGINT)
    with running("stores.iqdb") as server:
        assert (server.vectors, server.replayed, server.dropped) == (5, 0, 0), server.said


def test_what_is_searched_among() -> None:
    with running("among.iqdb") as server:
        for id, colour in [(1, "red"), (2, "blue"), (3, "red"), (4, None)]:
            body = {"id": id, "vector": vector(id)} | ({"metadata": {"colour": colour, "even": id % 2 == 0}} if colour else {})
            server.post("/insert", body).expect(200)

        def found(**among: object) -> list[int]:
            hits = server.post("/search", {"vector": vector(0)} | among).expect(200)["hits"]
            return [hit["id"] for hit in hits]

        assert found(where={"colour": "red"}) == [1, 3]
        assert found(where={"colour": "red", "even": True}) == []
        assert found(where={}) == [1, 2, 3, 4]
        assert found(radius=2) == [1, 2]
        assert found(radius=3, k=1) == [1]
        assert server.post("/get", {"id": 2}).expect(200) == {
            "id": 2, "vector": vector(2), "metadata": {"colour": "blue", "even": True}}
        assert server.post("/get", {"id": 4}).expect(200) == {"id": 4, "vector": vector(4)}
        server.post("/metadata", {"id": 2, "metadata": {"colour": "red"}}).expect(200)
        server.post("/metadata", {"id": 3, "metadata": None}).expect(200)
        server.end(signal.SIGKILL)
    with running("among.iqdb") as server:
        hits = server.post("/search", {"vector": vector(0), "where": {"colour": "red"}}).expect(200)["hits"]
        assert [hit["id"] for hit in hits] == [1, 2]
        server.expect_orderly_end(signal.SIGINT)


def test_a_torn_record() -> None:
    """What a power cut leaves of a record that nobody was told of."""
    with running("torn.iqdb") as server:
        for number in range(3):
            server.post("/insert", {"id": number, "vector": vector(number)}).expect(200)
        log_bytes = server.ask("GET", "/stats").expect(200)["log_bytes"]
        server.end(signal.SIGKILL)
    os.truncate(options.work / "torn.iqdb.wal", log_bytes - 3)
    with running("torn.iqdb") as server:
        assert (server.vectors, server.replayed) == (2, 2) and server.dropped > 0, server.said
        assert "torn.iqdb.wal.torn" in server.said and (options.work / "torn.iqdb.wal.torn").exists(), server.said
        server.expect_orderly_end()


def expect_prometheus(answer: Answer, stats: dict) -> None:
    """The text format: each value has its type and an explanation, and is that of the JSON."""
    assert answer.status == 200 and answer.text.endswith("\n"), answer
    families, values = set(), {}
    for line in answer.text.splitlines():
        if comment := re.fullmatch(r"# (HELP|TYPE) (iqdb_[a-z_]+) (.+)", line):
            assert comment[1] == "HELP" or comment[3] in ("counter", "gauge", "histogram"), line
            families.add((comment[1], comment[2]))
        else:
            name, value = re.fullmatch(r"(iqdb_[a-z_]+(?:\{[a-z]+=\"[^\"]*\"\})?) (\S+)", line).groups()
            values[name] = float(value)
            family = re.sub(r"(_bucket|_sum|_count)?(\{.*)?$", "", name)
            assert {("HELP", name), ("TYPE", name)} <= families or ("TYPE", family) in families, line
    assert values["iqdb_vectors"] == stats["vectors"] and values["iqdb_mutations_total"] == stats["mutations"], values
    buckets = [value for name, value in values.items() if name.startswith("iqdb_sync_seconds_bucket")]
    bounds = [float(bound) for bound in re.findall(r"le=\"([^\"]+)\"", answer.text)]
    assert buckets == sorted(buckets) and bounds == sorted(bounds) and bounds[-1] == float("inf"), values
    assert buckets[-1] == values["iqdb_sync_seconds_count"] == stats["syncs"]["count"] > 0, values
    assert math.isclose(values["iqdb_sync_seconds_sum"], stats["syncs"]["seconds"]) and stats["syncs"]["seconds"] > 0, values


def test_bad_requests() -> None:
    good = {"id": 1, "vector": vector(1)}
    most = 4 * 1024**2
    with running("refuses.iqdb") as server:
        server.post("/insert", good).expect(200)
        for text in ["", "{", "nonsense", '{"id": 2, "vector": [NaN]}', '{"id": 2, "vector": [1e999]}', "[" * 100_000, b'{"id": "\xff"}']:
            server.post("/insert", text).expect(400, "bad_json")
        for body, message in [
            ([], "array"),
            (7, "number"),
            ({}, "is missing"),
            ({"id": 2}, '"vector" is missing'),
            ({**good, "id": -1}, "2^64-1"),
            ({**good, "id": 1.5}, "2^64-1"),
            ({**good, "id": 2**64}, "2^64-1"),
            ({**good, "id": True}, "2^64-1"),
            ({**good, "id": None}, "2^64-1"),
            ({**good, "id": 2, "vector": "1"}, "array of numbers"),
            ({**good, "id": 2, "vector": [*vector(1)[1:], "1"]}, f"component {DIM - 1} "),
            ({**good, "id": 2, "vector": [1e39, *vector(1)[1:]]}, "component 0 "),
            ({**good, "id": 2, "vector": [3.403e38, *vector(1)[1:]]}, "component 0 "),
            ({**good, "id": 2, "metadata": []}, "object"),
            ({**good, "id": 2, "metadata": {"a": [1]}}, '"a"'),
            ({**good, "id": 2, "metdata": {}}, '"metdata" is unknown'),
        ]:
            for path in ["/insert", "/upsert"]:
                server.post(path, body).expect(400, "bad_request", message)
        for path in ["/insert", "/upsert"]:
            server.post(path, {"id": 2, "vector": vector(1)[1:]}).expect(400, "dimension_mismatch", str(DIM - 1))
            server.post(path, {"id": 2, "vector": []}).expect(400, "dimension_mismatch")
            server.post(path, {"id": "", "vector": vector(1)}).expect(400, "invalid_config")
            server.post(path, {**good, "id": 2, "metadata": {"a": 2**63}}).expect(400, "invalid_config")
        server.post("/insert", good).expect(409, "duplicate", "1")
        server.post("/erase", {"id": 2}).expect(404, "not_found", "2")
        server.post("/erase", {"id": "1"}).expect(404, "not_found", "1")
        server.post("/erase", good).expect(400, "bad_request", '"vector" is unknown')
        server.post("/get", {"id": 2}).expect(404, "not_found", "2")
        server.post("/metadata", {"id": 2, "metadata": {}}).expect(404, "not_found", "2")
        server.post("/metadata", {"id": 1}).expect(400, "bad_request", '"metadata"')
        server.post("/search", {"vector": vector(1), "radius": "3"}).expect(400, "bad_request", '"radius"')
        server.post("/search", {"vector": vector(1), "where": ["a"]}).expect(400, "bad_request", '"where"')
        server.post("/search", {"vector": vector(1), "where": {"a": {}}}).expect(400, "bad_request", "key")
        server.post("/search", {"vector": vector(1)[1:]}).expect(400, "dimension_mismatch")
        server.post("/search", {"vector": vector(1), "k": -1}).expect(400, "bad_request", '"k"')
        server.post("/search", {"vector": vector(1), "k": "3"}).expect(400, "bad_request", '"k"')
        assert server.post("/search", {"vector": vector(1), "k": 2**64 - 1}).expect(200)["hits"][0]["id"] == 1
        assert server.post("/search", {"vector": vector(1), "k": 0}).expect(200)["hits"] == []
        server.ask("GET", "/insert").expect(404, "no_such_endpoint")
        server.post("/nothing", good).expect(404, "no_such_endpoint", "/nothing")
        server.post("/insert", " " * most).expect(400, "bad_json")
        for path in ["/insert", "/search"]:
            server.post(path, " " * (most + 1)).expect(413, "bad_request", str(most))
        server.post("/checkpoint", " " * (most + 1)).expect(413)
        # A body of unknown length, too, and the connection goes on behind it.
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        connection.request("POST", "/insert", (b" " * 65536 for _ in range(most // 65536 + 1)), encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked"})
        assert connection.getresponse().status == 413
        connection.close()
        # What is no HTTP, and what is not there at all.
        for noise in [b"", b"\0\0\0\0", b"GET\r\n\r\n", b"POST /insert HTTP/1.1\r\nContent-Length: 10\r\n\r\n{"]:
            with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as stranger:
                stranger.sendall(noise)
        stats = server.ask("GET", "/stats").expect(200)
        assert (stats["vectors"], stats["lsn"]) == (1, 1), stats
        server.expect_orderly_end()


def test_bad_starts() -> None:
    with running("starts.iqdb") as server:
        server.post("/insert", {"id": 1, "vector": vector(1)}).expect(200)
        expect_refusal(1, "[locked]", "starts.iqdb", "--dim", str(DIM), "--port", "0")
        expect_refusal(1, "Address already in use", "other.iqdb", "--dim", str(DIM), "--port", str(server.port))
        with contextlib.suppress(OSError):  # nobody listens at the address by which other machines know this one
            address = socket.gethostbyname(socket.gethostname())
            if not address.startswith("127."):
                socket.create_connection((address, server.port), timeout=PATIENCE).close()
                raise AssertionError(f"the server listens at {address}, too")
        server.expect_orderly_end()
    expect_refusal(1, f"{DIM + 1}", "starts.iqdb", "--dim", str(DIM + 1))
    expect_refusal(1, "cosine", "starts.iqdb", "--dim", str(DIM), "--metric", "cosine")
    expect_refusal(1, "[io]", "no/such/directory.iqdb", "--dim", str(DIM))
    expect_refusal(2, "usage: server FILE")
    expect_refusal(2, "usage: server FILE", "starts.iqdb", "--dim", "0")
    expect_refusal(2, "no metric 'l2'", "starts.iqdb", "--dim", str(DIM), "--metric", "l2")
    damaged = options.work / "starts.iqdb"
    content = bytearray(damaged.read_bytes())
    content[-3] ^= 1
    damaged.write_bytes(content)
    expect_refusal(1, "[checksum_mismatch]", "starts.iqdb", "--dim", str(DIM))


# ---- A disk that fails --------------------------------------------------------------------------------------------------


def test_a_full_disk() -> None:
    """A limit on file sizes stands for it. Nothing is lost, and the server goes on when there is space again."""
    with running("full.iqdb") as server:
        server.post("/insert", {"id": 0, "vector": vector(0)}).expect(200)
        unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (16384, unlimited[1]))
        stored = 1
        while (answer := server.post("/insert", {"id": stored, "vector": vector(stored)})).status == 200:
            stored += 1
            assert stored < 1000
        answer.expect(503, "io", "full.iqdb.wal")
        assert len(server.hits(vector(0), 1000)) == stored
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
        server.post("/insert", {"id": stored, "vector": vector(stored)}).expect(200)
        server.end(signal.SIGKILL)
    with running("full.iqdb") as server:
        assert [hit["id"] for hit in server.hits(vector(0), 1000)] == list(range(stored + 1))
        # An end in order needs space, too. What fails is told, and the log still holds everything.
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (16384, unlimited[1]))
        server.post("/checkpoint", None).expect(503, "io", "full.iqdb")
        assert server.end() == 1 and "[io]" in server.events(), server.events()
        assert server.events().count("checkpoint_failed: ") == 2, server.events()
    with running("full.iqdb") as server:
        assert (server.vectors, server.replayed) == (stored + 1, stored + 1), server.said


def test_a_broken_disk() -> None:
    """After a sync that failed nothing is written any more; what was acknowledged is there after a restart."""
    switch = options.work / "fail_sync"
    environment = {"LD_PRELOAD": options.failing_sync, "FAIL_SYNC": str(switch)}
    with running("broken.iqdb", environment=environment) as server:
        server.post("/insert", {"id": 1, "vector": vector(1)}).expect(200)
        switch.touch()
        assert server.post("/insert", {"id": 2, "vector": vector(2)}).status == 503
        switch.unlink()
        server.post("/insert", {"id": 3, "vector": vector(3)}).expect(503, "poisoned")
        server.post("/erase", {"id": 1}).expect(503, "poisoned")
        server.post("/checkpoint", None).expect(503, "poisoned")
        assert server.hits(vector(1), 1)[0]["id"] == 1
        stats = server.ask("GET", "/stats").expect(200)
        assert stats["poisoned"] == 1 and "sync" in stats["why_poisoned"], stats
        assert server.end() == 1, "an index that could not be closed in order is no success"
        assert re.search("^poisoned: ", server.events()) and "[poisoned]" in server.events(), server.events()
    with running("broken.iqdb") as server:
        found = {hit["id"] for hit in server.hits(vector(1), 10)}
        assert found in ({1}, {1, 2}), found


# ---- Load and kills -----------------------------------------------------------------------------------------------------


def load(port: int, *more: str) -> subprocess.Popen:
    command = [options.load, "--port", str(port), "--record", "record", *more]
    return subprocess.Popen(command, cwd=options.work, stdout=subprocess.PIPE, text=True)


def check(server: Server) -> None:
    ended = subprocess.run(
        [options.load, "check", "--port", str(server.port), "--record", "record"],
        cwd=options.work, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    print(ended.stdout.strip())
    assert ended.returncode == 0, ended


def test_kills() -> None:
    draw = random.Random(options.seed)
    for round_number in range(1, options.rounds + 1):
        with running("load.iqdb") as server:
            more = ["--checkpoint-every", "20"] if round_number % 2 == 0 else []
            process = load(server.port, "--seconds", "60", "--seed", str(draw.randrange(2**32)), *more)
            assert "threads" in process.stdout.readline()
            time.sleep(draw.uniform(0.05, 1.5))
            server.end(signal.SIGKILL)
            out = process.communicate(timeout=PATIENCE)[0]
            assert process.returncode == 3, (process.returncode, out)
        with running("load.iqdb") as server:
            print(f"kill {round_number}: {server.replayed} replayed, {server.dropped} bytes dropped; ", end="")
            check(server)
    inserted = len((options.work / "record").read_text().splitlines())
    assert inserted > 100, f"the load inserted only {inserted} vectors"


def test_orderly_end_under_load() -> None:
    with running("load.iqdb") as server:
        process = load(server.port, "--seconds", "60", "--seed", str(options.seed))
        assert "threads" in process.stdout.readline()
        time.sleep(0.5)
        server.expect_orderly_end()
        out = process.communicate(timeout=PATIENCE)[0]
        assert process.returncode == 3, (process.returncode, out)
    with running("load.iqdb") as server:
        assert (server.replayed, server.dropped) == (0, 0), server.said
        print("end in order: ", end="")
        check(server)
        server.expect_orderly_end()
    # Nothing goes wrong when nothing is disturbed, and more connections than threads have their turns.
    with running("load.iqdb", "--threads", "4") as server:
        process = load(server.port, "--seconds", "2", "--threads", "8", "--checkpoint-every", "100")
        out = process.communicate(timeout=PATIENCE)[0]
        print(out, end="")
        assert process.returncode == 0 and re.search(r"/insert +[1-9]", out), out
        check(server)
        server.expect_orderly_end()


def test_a_request_under_way_is_answered_before_the_end() -> None:
    with running("load.iqdb") as server:
        body = json.dumps({"id": "late", "vector": vector(1), "metadata": {"number": 0, "version": 0}}).encode()
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as slow:
            slow.sendall(b"POST /insert HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:10])
            server.ask("GET", "/stats").expect(200)
            with concurrent.futures.ThreadPoolExecutor() as pool:
                ended = pool.submit(server.end)
                time.sleep(0.3)
                assert not ended.done()
                slow.sendall(body[10:])
                assert slow.recv(100).startswith(b"HTTP/1.1 200 "), "it was not answered"
                assert ended.result() == 0, server.said
    with running("load.iqdb") as server:
        server.post("/erase", {"id": "late"}).expect(200)


# ---- Two servers, of which one follows ----------------------------------------------------------------------------------


def promote(server: Server) -> dict:
    stats = server.post("/promote", None).expect(200)
    assert stats["role"] == "writer", stats
    return stats


def wait_until(what: str, condition: object) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE} seconds: {what}"
        time.sleep(0.05)


def expect_that_it_follows(address: str, *takes_over: str) -> None:
    """A follower answers searches, stores nothing, and writes once it is promoted."""
    with running(address, *takes_over) as writer, running(address, "--follow") as follower:
        writer.post("/insert", {"id": 1, "vector": vector(1)}).expect(200)
        wait_until("the follower shows what was inserted", lambda: len(follower.hits(vector(1), 1)) == 1)
        assert follower.post("/get", {"id": 1}).expect(200) == {"id": 1, "vector": vector(1)}
        for path in ["/insert", "/upsert"]:
            follower.post(path, {"id": 2, "vector": vector(2)}).expect(503, "only_follows", "POST /promote")
        follower.post("/erase", {"id": 1}).expect(503, "only_follows")
        follower.post("/metadata", {"id": 1, "metadata": {}}).expect(503, "only_follows")
        follower.post("/checkpoint", None).expect(503, "only_follows")
        stats = follower.ask("GET", "/stats").expect(200)
        assert (stats["role"], stats["vectors"], stats["lsn"], stats["failing"]) == ("follower", 1, 1, 0), stats
        assert "\niqdb_behind_seconds " in follower.ask("GET", "/metrics").text
        assert writer.ask("GET", "/stats").expect(200)["role"] == "writer"
        if ":" in address:
            # The one that writes lives, and acknowledges nothing any more.
            promote(follower)
            writer.post("/insert", {"id": 3, "vector": vector(3)}).expect(503, "fenced")
            writer.post("/insert", {"id": 3, "vector": vector(3)}).expect(503)
        else:
            assert follower.post("/promote", None).expect(500, "locked")["message"]
            writer.expect_orderly_end()
            promote(follower)
        follower.post("/insert", {"id": 2, "vector": vector(2)}).expect(200)
        promote(follower)  # once more changes nothing
        assert [hit["id"] for hit in follower.hits(vector(1), 10)] == [1, 2]
        follower.expect_orderly_end()
    with running(address) as server:
        assert (server.vectors, server.replayed) == (2, 0), server.said
        server.post("/erase", {"id": 1}).expect(200)
        server.post("/erase", {"id": 2}).expect(200)
        server.expect_orderly_end()


def test_a_server_that_follows_files() -> None:
    expect_that_it_follows("followed.iqdb")
    expect_refusal(1, "[io]", "nothing.iqdb", "--follow")


def object_store(name: str) -> str:
    if options.s3:
        return f"s3://{os.environ['S3_BUCKET']}/server-{os.getpid()}/{name}"
    (options.work / "objects").mkdir(exist_ok=True)
    return f"dir:objects/{name}"


def test_a_server_that_follows_on_an_object_store() -> None:
    expect_that_it_follows(object_store("followed"))


def test_bad_starts_on_an_object_store() -> None:
    address = object_store("starts")
    with running(address) as server:
        server.post("/insert", {"id": 1, "vector": vector(1)}).expect(200)
        expect_refusal(1, "[locked]", "--storage", address, "--dim", str(DIM), "--port", "0")
        server.end(signal.SIGKILL)
    expect_refusal(1, "take_over", "--storage", address, "--dim", str(DIM), "--port", "0")
    with running(address, "--take-over") as server:
        assert (server.vectors, server.replayed) == (1, 1), server.said
        server.expect_orderly_end()
    expect_refusal(1, f"{DIM + 1}", "--storage", address, "--dim", str(DIM + 1))
    expect_refusal(1, "[io]", "--storage", object_store("nothing"), "--follow")
    expect_refusal(1, "s3://BUCKET/PREFIX/NAME", "--storage", "nfs:x/y", "--dim", str(DIM))
    expect_refusal(2, "one beside --storage", "file.iqdb", "--storage", address, "--dim", str(DIM))
    expect_refusal(2, "the lock of a FILE", "file.iqdb", "--take-over", "--dim", str(DIM))
    expect_refusal(2, "is promoted", "--storage", address, "--take-over", "--follow")
    if not options.s3:
        expect_refusal(1, "[io]", "--storage", "dir:no-such-directory/name", "--dim", str(DIM))


def test_a_follower_takes_the_place_of_a_writer_that_was_killed() -> None:
    """Under load, again and again: everything that was acknowledged is there."""
    draw = random.Random(options.seed)
    (options.work / "record").unlink(missing_ok=True)
    address = object_store("replicated")
    writer = Server(address)
    follower = None
    try:
        for round_number in range(1, options.rounds + 1):
            follower = Server(address, "--follow")
            more = ["--checkpoint-every", "20"] if round_number % 2 == 0 else []
            process = load(writer.port, "--seconds", "60", "--seed", str(draw.randrange(2**32)), *more)
            assert "threads" in process.stdout.readline()
            end = time.monotonic() + draw.uniform(0.3, 1.5)
            searches = 0
            while time.monotonic() < end:
                searches += len(follower.hits(vector(0.5), 10))
            wait_until("it shows something", lambda: follower.ask("GET", "/stats").expect(200)["vectors"] > 0)
            writer.end(signal.SIGKILL)
            out = process.communicate(timeout=PATIENCE)[0]
            assert process.returncode == 3, (process.returncode, out)
            stats = promote(follower)
            print(f"kill {round_number}: {searches} hits at the follower, {stats['recovery_replayed']} replayed; ", end="")
            check(follower)
            writer, follower = follower, None
        writer.expect_orderly_end()
    finally:
        for server in filter(None, [writer, follower]):
            server.process.kill()
            server.process.wait()
    with running(address) as server:
        assert server.replayed == 0, server.said
        check(server)
    inserted = len((options.work / "record").read_text().splitlines())
    assert inserted > 20, f"the load inserted only {inserted} vectors"


def main() -> None:
    print(f"seed {options.seed}", flush=True)
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    if options.s3:
        os.environ.update({"AWS_ENDPOINT_URL": os.environ["S3_ENDPOINT"], "AWS_ACCESS_KEY_ID": os.environ["S3_ACCESS_KEY"],
                           "AWS_SECRET_ACCESS_KEY": os.environ["S3_SECRET_KEY"], "AWS_REGION": os.environ["S3_REGION"]})
    for name, test in list(globals().items()):
        if name.startswith("test_") and (not options.s3 or "object_store" in name or "takes_the_place" in name):
            begin = time.monotonic()
            test()
            print(f"{name}: passed, {time.monotonic() - begin:.1f} s", flush=True)


if __name__ == "__main__":
    main()
