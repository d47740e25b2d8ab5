"""A limit on calls that take none: they run in a thread of their own, and are left behind when their time is over.

Libraries limit each single wait for the network, so that a server that sends a byte now and then is waited for without
end. The threads are daemons: one that is stuck can't keep the process alive.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


def within(timeout_s: float, call: Callable[[], T], late: str) -> T:
    """What `call` returns or raises; TimeoutError(late) when that takes longer than `timeout_s`."""
    answers: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((call(), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        answer, error = answers.get(timeout=timeout_s)
    except queue.Empty:
        raise TimeoutError(late) from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]


def pumped(
    timeout_s: float, read: Callable[[], Iterator[bytes]], late: str, abandon: Callable[[], None] = lambda: None
) -> Iterator[bytes]:
    """The chunks that `read` yields; TimeoutError(late) when the next one takes longer than `timeout_s`.

    `abandon` is called when nobody wants more: it should make a read that is still waiting fail.
    """
    chunks: queue.Queue[bytes | Exception | None] = queue.Queue(maxsize=4)
    stop = threading.Event()

    def pump() -> None:
        try:
            for chunk in read():
                chunks.put(chunk)
                if stop.is_set():
                    return
            chunks.put(None)
        except Exception as error:
            chunks.put(error)

    threading.Thread(target=pump, daemon=True).start()
    try:
        while (item := chunks.get(timeout=timeout_s)) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    except queue.Empty:
        raise TimeoutError(late) from None
    finally:
        stop.set()
        abandon()
        while not chunks.empty():  # so that a pump that waits for room sees that nobody reads any more
            chunks.get_nowait()
