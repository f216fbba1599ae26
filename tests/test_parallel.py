"""Threads: linear algebra keeps to one wherever figures are made."""

from __future__ import annotations

import threadpoolctl

from auscult.base.parallel import in_order, one_thread
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
