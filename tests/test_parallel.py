"""Threads: linear algebra keeps to one wherever figures are made."""

from __future__ import annotations

import threading
import time

import pytest
import threadpoolctl

from auscult.base.errors import StoreError
from auscult.base.naming import arguments_of_a_file, from_a_file
from auscult.base.parallel import beside, in_order, one_thread
from auscult.base.progress import Relay
from auscult.protection.comparison import audit_variants
from auscult.results.writing import write_results
from auscult.sizes.curve import audit_sizes


def blas_threads() -> set[int]:
    return {
        one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"
    }


def test_linear_algebra_keeps_to_one_thread_between_pieces_too() -> None:
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        assert blas_threads() == {2}
        with one_thread():
            assert blas_threads() == {1}
            assert list(in_order(lambda _: blas_threads(), range(4))) == [{1}] * 4
            assert blas_threads() == {1}
        assert blas_threads() == {2}


def test_all_that_makes_figures_of_a_run_keeps_to_it() -> None:
    for made in (write_results, audit_variants, audit_sizes):
        assert hasattr(made, "__wrapped__"), made


def test_what_is_done_beside_goes_on_while_the_caller_does() -> None:
    """Each waits for the other: one after another they would never end."""
    here, there = threading.Event(), threading.Event()

    def work() -> int:
        there.set()
        assert here.wait(20)
        return 7

    with beside(work) as result:
        assert there.wait(20)
        here.set()
        assert result() == 7
    there.clear()
    with beside(work, apart=True) as result:
        assert not there.wait(0.05), "it is not begun before it is asked for"
        assert result() == 7


def test_what_goes_wrong_beside_is_raised_where_it_is_asked_for() -> None:
    def fail() -> None:
        raise StoreError("no room" if from_a_file() else "not told", where="x")

    with arguments_of_a_file(), beside(fail) as result, pytest.raises(StoreError, match="no room"):
        result()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_what_nobody_waits_for_any_more_is_ended(stop: type[BaseException]) -> None:
    begun, tidied = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        try:
            for _ in range(100_000):
                time.sleep(0.01)
        finally:
            tidied.set()

    def interrupted() -> None:
        with beside(work):
            assert begun.wait(20)
            raise stop

    with pytest.raises(stop):
        interrupted()
    assert tidied.is_set()


def test_who_waits_shows_how_far_what_is_beside_has_come() -> None:
    told: list[tuple[str, float]] = []

    class Shown:
        def start(self, label: str, total: float) -> None:
            told.append((label, total))

        def advance(self, steps: float = 1.0) -> None:
            told.append(("advance", steps))

        def finish(self) -> None:
            raise AssertionError("who began the stage ends it")

    relay, seen = Relay(), threading.Event()

    def work() -> int:
        relay.start("Numbers", 10)
        relay.advance(4)
        assert seen.wait(20)
        return 7

    def show() -> None:
        relay.show(Shown())
        if ("advance", 4) in told:
            seen.set()

    with beside(work) as result:
        assert result(show) == 7
    assert [one for one in told if one != ("advance", 0)] == [("Numbers", 10), ("advance", 4)]
