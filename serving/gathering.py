"""Requests that arrive side by side, answered as one batch.

A small model spends most of a step on what does not grow with the batch, so that eight answers cost little more than
one. Nobody waits for company: whoever comes while a batch is at work joins the next one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(eq=False)
class _Call(Generic[Item, Result]):
    kind: Hashable
    items: list[Item]
    results: list[Result] = field(default_factory=list)
    error: BaseException | None = None
    done: bool = False


class Gathering(Generic[Item, Result]):
    """`gathering(kind, items)` is `work(kind, items)`, for any number of threads at once.

    Calls of equal kind, up to `most` items together, become one call of `work`, which must return a result for each
    item and treat each as if it were alone; a call of more than `most` items goes alone. What `work` raises, all of a
    batch's callers get.
    """

    def __init__(self, work: Callable[[Hashable, list[Item]], Sequence[Result]], most: int) -> None:
        self.work, self.most = work, most
        self._waiting: list[_Call[Item, Result]] = []
        self._list = threading.Lock()
        self._turn = threading.Lock()  # who has it works, for itself and for all that wait

    def __call__(self, kind: Hashable, items: Sequence[Item]) -> list[Result]:
        mine: _Call[Item, Result] = _Call(kind, list(items))
        with self._list:
            self._waiting.append(mine)
        with self._turn:
            if not mine.done:
                self._run(self._batch(mine))
        if mine.error is not None:
            raise mine.error
        return mine.results

    def _batch(self, mine: _Call[Item, Result]) -> list[_Call[Item, Result]]:
        """My call and, in the order in which they came, those that fit with it."""
        chosen, size = [mine], len(mine.items)
        with self._list:
            self._waiting.remove(mine)
            for call in list(self._waiting):
                if call.kind == mine.kind and size + len(call.items) <= self.most:
                    self._waiting.remove(call)
                    chosen.append(call)
                    size += len(call.items)
        return chosen

    def _run(self, calls: list[_Call[Item, Result]]) -> None:
        try:
            results = list(self.work(calls[0].kind, [item for call in calls for item in call.items]))
            for call in calls:
                call.results, results = results[: len(call.items)], results[len(call.items) :]
        except BaseException as error:
            for call in calls:
                call.error = error
        finally:
            for call in calls:
                call.done = True
