"""Several sources at once beside one after the other, and naming a file's bytes again beside hashing them again.

The sources lie on a server of this benchmark's own, on loopback, which sends each connection so many bytes a second (a
server far away does no better). What is timed is the stage's `fetch`: transfer, SHA-256, cache, raw folder.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.measure import interleaved, timed
from benchmarks.shapes import SEED
from benchmarks.table import Row
from benchmarks.topics import Options
from corpus.sources import AT_ONCE, Fetched, Source, fetch, side_by_side
from pipeline.files import SETTLED_S, md5_file

FILES = 8
MEGABYTES = 8.0  # a file
PACE = 10.0  # megabytes a second and connection
CHUNK = 1 << 16
ROUNDS = 3
LARGE = 256  # megabytes, to be named


class Handler(BaseHTTPRequestHandler):
    """Sends the one body that it has, at PACE."""

    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        began = time.monotonic()
        for at in range(0, len(self.body), CHUNK):
            self.wfile.write(self.body[at : at + CHUNK])
            time.sleep(max(0.0, began + (at + CHUNK) / (PACE * 1e6) - time.monotonic()))

    def log_message(self, *words: object) -> None:
        """Nothing."""


@contextmanager
def server(body: bytes) -> Iterator[str]:
    """Its address, as long as it runs."""
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Sender", (Handler,), {"body": body})) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


def fetching(sources: Sequence[Source], folder: Path, at_once: bool) -> Callable[[], int]:
    """How many bytes came, each time into a new folder and from the server."""
    rounds = count()

    def get(source: Source, place: Path) -> Fetched:
        cache = place / "cache" / source.name  # each its own: here they all have the same bytes
        return fetch(
            source,
            place / "raw",
            cache=cache,
            mirror=None,
            timeout_s=30,
            attempts=1,
            max_bytes=2 * 10**9,
            progress=None,
        )

    def whole() -> int:
        place = folder / f"{at_once}-{next(rounds)}"
        found = (
            side_by_side(lambda source: get(source, place), sources)
            if at_once
            else (get(source, place) for source in sources)
        )
        return sum(file.bytes for file in found)

    return whole


def rows(options: Options) -> Iterator[Row]:
    megabytes = options.size or MEGABYTES
    body = np.random.default_rng(SEED).bytes(round(megabytes * 1e6))
    digest = hashlib.sha256(body).hexdigest()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary, server(body) as address:
        folder = Path(temporary)
        sources = [Source(f"{number}.bin", f"{address}/{number}.bin", digest) for number in range(FILES)]
        ways = {way: timed(fetching(sources, folder, way == "here")) for way in ("here", "peer")}
        found = interleaved(ways, ROUNDS, warm_up=0)
        work = f"fetching {FILES} sources of {megabytes:g} MB, each sent at {PACE:g} MB/s"
        pace = FILES * megabytes / found["here"].least
        yield Row(work, found["here"], "one after the other", found["peer"], note=f"{pace:.0f} MB/s; {AT_ONCE} at once")

        large = folder / "large.bin"
        large.write_bytes(bytes(LARGE * 10**6))
        time.sleep(SETTLED_S + 1)  # a file that was just written may change again within a tick of its clock
        md5_file(large, cache := folder / "digests.db")
        named = interleaved(
            {"here": timed(lambda: md5_file(large, cache)), "peer": timed(lambda: md5_file(large))}, ROUNDS
        )
        work = f"the md5 of a file of {LARGE} MB that was hashed before"
        yield Row(work, named["here"], "hashing it again", named["peer"])
