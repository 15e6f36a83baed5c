"""Work on many cases by several processes, in order, with memory that does not grow with their number."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

_AHEAD_PER_WORKER = 2


def in_order(function: Callable[[A], B], items: Sequence[A], workers: int) -> Iterator[B]:
    """`function` of each item, in their order; by `workers` processes, or in this one where one is enough.

    `function` and the items must be importable and picklable. Results are fetched a few items ahead of the caller.

    Raises:
        ChildProcessError: a process was killed, as happens where memory runs out.
    """
    if workers <= 1 or len(items) <= 1:
        yield from map(function, items)
        return
    with worker_pool(min(workers, len(items))) as pool:
        yield from results(pool, function, items, _AHEAD_PER_WORKER * workers)


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that leave Ctrl-C to this one, end with it, and are gone when the block ends.

    Raises:
        ChildProcessError: one was killed.
    """
    # A forked process would inherit the locks of threads that it does not have, such as a progress bar's.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise ChildProcessError("a working process was killed; fewer --workers need less memory") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def results(pool: ProcessPoolExecutor, function: Callable[[A], B], items: Iterable[A], ahead: int) -> Iterator[B]:
    """`function` of each item in their order, at most `ahead` of them before the caller asks."""
    waiting: deque[Future[B]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _start_worker() -> None:
    """Ctrl-C is the main process's to handle, and when that one is killed, its workers end, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
