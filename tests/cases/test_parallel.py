import os
from collections.abc import Callable

import pytest

from contour.cases.parallel import in_order


def squared(n: int) -> tuple[int, int]:
    return n * n, os.getpid()


def refused(n: int) -> int:
    if n == 2:
        raise ValueError(f"item {n}")
    return n


def killed(_: int) -> int:
    os._exit(9)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_stand_in_the_order_of_the_items(workers: int) -> None:
    found = list(in_order(squared, range(20), workers))
    assert [result for result, _ in found] == [n * n for n in range(20)]
    assert ({pid for _, pid in found} == {os.getpid()}) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_an_item_is_the_callers(workers: int) -> None:
    with pytest.raises(ValueError, match="item 2"):
        list(in_order(refused, range(5), workers))


def test_a_killed_process_is_said() -> None:
    work: Callable[[int], int] = killed
    with pytest.raises(ChildProcessError, match="--workers"):
        list(in_order(work, range(4), 2))
