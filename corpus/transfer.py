"""One address into one file: http(s) through requests, everything else through fsspec.

Bounded in time (a connection that is silent, or slower than `MIN_BYTES_PER_SECOND`, is given up) and in space
(`max_bytes`). Tried again with urllib3's back-off where another try can help; over http a broken body is continued
where it stopped, as long as the server still has the same version (Range with If-Range, RFC 9110 section 13.1.5).

Errors name the address: ConnectionError and TimeoutError where the network is to blame, ValueError where trying again
can't help.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import IO, TypeVar, cast
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

import fsspec
import requests
import urllib3
from urllib3.util.retry import Retry

from corpus.deadline import pumped, within

CHUNK = 1 << 18
MIN_BYTES_PER_SECOND = 1024  # slower than this over a whole `timeout_s` is as good as dead
MAX_REDIRECTS = 10
LIMIT = 2.0  # times `timeout_s`: for a whole header, and from data to data, however often single bytes arrive
SETTLED_S = 2.0
WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})

Progress = Callable[[int, int | None], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long to try: `timeout_s` seconds of silence, `attempts` tries, `backoff_s`·2ⁿ seconds between them."""

    timeout_s: float
    attempts: int
    backoff_s: float = 0.5


class PartialFile:
    """The bytes that have arrived so far, and the server's name for the version they belong to."""

    def __init__(self, folder: Path, key: str) -> None:
        """`key` names what is transferred and from where: the same key finds the same bytes again."""
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        self.path = folder / f"{name}.part"
        self.note = folder / f"{name}.json"
        self.continued = False
        """True once bytes of an earlier connection were kept."""
        self.facts: dict[str, str] = {}
        """What the server said of these very bytes, over http: its ETag, Last-Modified and Content-Length."""

    def version(self) -> str | None:
        """The validator (ETag or Last-Modified) of the bytes on disk; None where they can't be continued."""
        try:
            version = json.loads(self.note.read_text(encoding="utf-8"))["version"] if self.path.stat().st_size else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return version if isinstance(version, str) else None

    def begin(self, start: int, version: str | None) -> None:
        """Keep the first `start` bytes, forget the rest, and note which version the coming ones belong to."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.continued = self.continued or start > 0
        with self.path.open("ab") as file:
            file.truncate(start)
        self.note.unlink(missing_ok=True)
        if version:
            self.note.write_text(json.dumps({"version": version}) + "\n", encoding="utf-8")

    def discard(self) -> None:
        """Remove what has arrived."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.continued = False


class Refused(ConnectionError):
    """A status that may pass; carries the answer, whose Retry-After the back-off respects."""

    def __init__(self, message: str, response: urllib3.BaseHTTPResponse) -> None:
        super().__init__(message)
        self.response = response


def download(address: str, part: PartialFile, patience: Patience, max_bytes: int, progress: Progress | None) -> None:
    """Fill `part` with the body of `address`; what it holds of the same version is kept and continued.

    Raises ConnectionError or TimeoutError after the last try, ValueError at once where no further try can help.
    """
    attempt = _attempt_http if scheme(address) in ("http", "https") else _attempt_fsspec
    patiently(patience, lambda: attempt(address, part, patience.timeout_s, max_bytes, progress))


def patiently(patience: Patience, attempt: Callable[[], T]) -> T:
    """What `attempt` returns, tried again after a pause where the network is to blame."""
    retry = Retry(total=patience.attempts - 1, backoff_factor=patience.backoff_s, backoff_max=30, retry_after_max=60)
    while True:
        try:
            return attempt()
        except (ConnectionError, TimeoutError) as error:
            try:
                retry = retry.increment(error=error)
            except urllib3.exceptions.MaxRetryError:
                raise error from None
            retry.sleep(getattr(error, "response", None))


def scheme(address: str) -> str:
    """`https` of `https://…`; the empty string for a plain path."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.\-]*):", address)
    return match.group(1).lower() if match else ""


def shown(address: str) -> str:
    """The address as an error may print it: without user, password and query, where keys and signatures stand."""
    if scheme(address) in ("", "file"):
        return address
    return re.sub(r"//[^/]*@", "//", address.partition("?")[0])


def _attempt_http(address: str, part: PartialFile, timeout_s: float, max_bytes: int, progress: Progress | None) -> None:
    version = part.version()
    offset = part.path.stat().st_size if version else 0
    resume = {"Range": f"bytes={offset}-", "If-Range": version} if version and offset else {}
    with translated(address, timeout_s), open_http(address, resume, timeout_s) as r:
        if r.status_code == 416 and offset:  # what we hold is longer than what there is: start again
            part.discard()
            return _attempt_http(address, part, timeout_s, max_bytes, progress)
        check_status(address, r, {200, 206})
        start, total = _extent(r, offset)
        encoded = r.headers.get("Content-Encoding", "identity").strip().lower() != "identity"
        if encoded:  # a server that compresses although we asked it not to: lengths and ranges count other bytes
            total = None
        if total is not None and total > max_bytes:
            raise ValueError(f"{shown(address)} announces {total:,} bytes, more than the {max_bytes:,} allowed")
        part.begin(start, None if encoded else _validator(r))
        part.facts = http_facts(r)

        def read() -> Iterator[bytes]:  # read1 gives what one packet brought; read would wait for a full chunk
            return iter(lambda: r.raw.read1(CHUNK, decode_content=True), b"")

        def abandon() -> None:
            with contextlib.suppress(Exception):  # the connection may be gone already
                r.raw.shutdown()

        late = f"{shown(address)} sent no data for {LIMIT * timeout_s:g} s"
        chunks = pumped(LIMIT * timeout_s, read, late, abandon)
        _write(address, chunks, part, start, total, timeout_s, max_bytes, progress)


@contextlib.contextmanager
def open_http(address: str, headers: Mapping[str, str], timeout_s: float) -> Iterator[requests.Response]:
    """The answer, its body unread. Redirects are followed by hand: requests would read each hop's body."""
    headers = {"Accept-Encoding": "identity", **headers}
    here, late = address, f"{shown(address)} gave no whole answer for {LIMIT * timeout_s:g} s"

    def get(session: requests.Session, url: str) -> requests.Response:
        return session.get(url, headers=headers, stream=True, timeout=timeout_s, allow_redirects=False)

    with requests.Session() as session:
        for _ in range(MAX_REDIRECTS + 1):
            with within(LIMIT * timeout_s, partial(get, session, here), late) as response:
                target = session.get_redirect_target(response)
                if target is None:
                    yield response
                    return
                here = urljoin(here, target)
                if scheme(here) not in ("http", "https"):
                    raise ValueError(f"{shown(address)} redirects to {shown(here)}; only http and https are followed")
    raise ValueError(f"{shown(address)} redirects more than {MAX_REDIRECTS} times")


def check_status(address: str, response: requests.Response, wanted: Collection[int]) -> None:
    """Refused for a status that may pass, ValueError for another one that was not `wanted`."""
    said = f"{shown(address)} answered {response.status_code} {response.reason}"
    if response.status_code in WORTH_ANOTHER_TRY:
        raise Refused(said, response.raw)
    if response.status_code not in wanted:
        raise ValueError(f"{said}; only 200 or 206 brings a file")


def http_facts(response: requests.Response) -> dict[str, str]:
    """What tells versions apart, as far as the server says it: etag, modified, size (bytes of the whole file)."""
    named = {"etag": "ETag", "modified": "Last-Modified"}
    facts = {fact: response.headers[name] for fact, name in named.items() if name in response.headers}
    if "modified" in facts and not _settled(response.headers):
        del facts["modified"]
    _, total = _extent(response, 0) if response.status_code == 200 else (0, None)
    return facts | ({"size": str(total)} if total is not None else {})


def _settled(headers: Mapping[str, str]) -> bool:
    """Whether the file lay unchanged for a while when it was sent: it can change twice within one second."""
    try:
        modified, sent = (parsedate_to_datetime(headers[name]) for name in ("Last-Modified", "Date"))
        return (sent - modified).total_seconds() >= SETTLED_S
    except (KeyError, ValueError, TypeError):
        return False


def _extent(response: requests.Response, offset: int) -> tuple[int, int | None]:
    """(first byte of this body, length of the whole file if known)."""
    if response.status_code == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        if not match or int(match.group(1)) != offset:
            raise ConnectionError(f"{shown(response.url)} answered with another range than asked for (from {offset:,})")
        return offset, None if match.group(2) == "*" else int(match.group(2))
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _validator(response: requests.Response) -> str | None:
    """What If-Range may carry: a strong ETag, else the date of the last change."""
    etag: str | None = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


@contextlib.contextmanager
def translated(address: str, timeout_s: float) -> Iterator[None]:
    """The libraries' exceptions as built-in ones that name the address."""
    try:
        yield
    except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise TimeoutError(f"{shown(address)} was silent for {timeout_s:g} s") from error
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
        urllib3.exceptions.LocationValueError,
    ) as error:
        raise ValueError(f"{shown(address)} is no valid address") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise ConnectionError(f"{shown(address)} could not be read: {_root(error)}") from error


def _root(error: BaseException) -> str:
    """The words of the innermost cause: urllib3 wraps a refused connection four times."""
    while True:
        inner = getattr(error, "reason", None) or next((a for a in error.args if isinstance(a, BaseException)), None)
        if not isinstance(inner, BaseException):
            return str(error)
        error = inner


def _attempt_fsspec(
    address: str, part: PartialFile, timeout_s: float, max_bytes: int, progress: Progress | None
) -> None:
    part.begin(0, None)
    _write(address, _pumped(address, timeout_s), part, 0, None, timeout_s, max_bytes, progress)


def _pumped(address: str, timeout_s: float) -> Iterator[bytes]:
    """The chunks that fsspec reads, whose calls take no time limit: a mounted folder may have died, a pipe may have no
    writer."""

    def read() -> Iterator[bytes]:
        try:
            with _opened(address) as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except Exception as error:
            raise fsspec_error(address, error) from error

    return pumped(timeout_s, read, f"{shown(address)} gave nothing for {timeout_s:g} s")


def _opened(address: str) -> AbstractContextManager[IO[bytes]]:
    """Paths and `file:` addresses directly (fsspec would leave %20 as it is and read `::` as a chain)."""
    if scheme(address) not in ("", "file"):
        return cast(AbstractContextManager[IO[bytes]], fsspec.open(address, "rb"))
    return local_path(address).open("rb")


def local_path(address: str) -> Path:
    """The path that a plain path or a `file:` address names. ValueError for another machine's."""
    parts = urlsplit(address if scheme(address) else Path(address).absolute().as_uri())
    if parts.netloc not in ("", "localhost"):
        raise ValueError(f"{address} names the host {parts.netloc!r}; file: reads this machine only (file:///…)")
    return Path(url2pathname(parts.path))


def fsspec_error(address: str, error: Exception) -> Exception:
    if isinstance(error, FileNotFoundError):
        return ValueError(f"{shown(address)} does not exist")
    if isinstance(error, IsADirectoryError | PermissionError | ImportError | ValueError):
        return ValueError(f"{shown(address)} can't be read: {error}")
    if isinstance(error, TimeoutError):
        return TimeoutError(f"{shown(address)} did not answer in time")
    return ConnectionError(f"{shown(address)} could not be read: {type(error).__name__}: {error}")


def _write(
    address: str,
    chunks: Iterator[bytes],
    part: PartialFile,
    start: int,
    total: int | None,
    timeout_s: float,
    max_bytes: int,
    progress: Progress | None,
) -> None:
    """Append `chunks` to the partial file, watching size and pace."""
    done, since, then = start, 0, time.monotonic()
    with part.path.open("ab") as file:
        for chunk in chunks:
            done, since = done + len(chunk), since + len(chunk)
            if done > max_bytes:
                raise ValueError(f"{shown(address)} sends more than the {max_bytes:,} bytes allowed")
            file.write(chunk)
            if progress:
                progress(done, total)
            elapsed = time.monotonic() - then
            if elapsed >= timeout_s:
                if since < MIN_BYTES_PER_SECOND * elapsed:
                    raise TimeoutError(f"{shown(address)} sent {since:,} bytes in {elapsed:.0f} s, too few to go on")
                since, then = 0, time.monotonic()
