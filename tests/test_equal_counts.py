"""Groups at equal record counts, at the bounds: who is compared, strata, spread, intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from auscult.risk import disparity, group_intervals
from auscult.risk.disparity import _but_few, _spread, _Values, crossings
from auscult.risk.equal_counts import NOBODY, TOO_FEW, at_equal_counts, strata, without_count
from auscult.risk.group_intervals import difference_interval, mean_interval, share_interval
from auscult.risk.published import coarse_p
from auscult.risk.released import ReleasedTable
from tests.test_disparity import naive_comparison


def sides(*of: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AUCs, group and counts of (records, patients of the group, others)."""
    count = np.concatenate([np.full(mine + others, records) for records, mine, others in of])
    inside = np.concatenate([np.arange(mine + others) < mine for _, mine, others in of])
    auc = np.random.default_rng(0).normal(0.7, 0.1, count.size)
    return auc, inside, count.astype(np.int64)


@pytest.mark.parametrize(
    ("of", "patients", "others"),
    [
        # Counts 1 to 3 are compared with nothing but themselves, however few have them.
        ([(1, 2, 2), (2, 3, 0), (3, 0, 4)], 2, 2),
        ([(3, 1, 1), (4, 0, 3), (2, 3, 0), (9, 2, 2)], 3, 3),
        # 4 and 5 are a quarter apart, 4 and 6 are not; 8 and 10 are, 7 and 9 are not.
        ([(4, 3, 0), (5, 0, 4)], 3, 4),
        ([(5, 3, 0), (4, 0, 4)], 3, 4),
        ([(8, 3, 0), (10, 0, 4), (20, 2, 2)], 5, 6),
        ([(7, 3, 0), (9, 0, 4), (20, 2, 2)], 2, 2),
        ([(4, 3, 0), (6, 0, 4), (20, 2, 2)], 2, 2),
        # Ten of one count are a stratum: nobody else is compared with them.
        ([(4, 5, 5), (5, 0, 4)], 5, 5),
        ([(4, 5, 4), (5, 0, 4)], 5, 8),
        ([(4, 6, 5), (5, 0, 4)], 6, 5),
        # Ten of one side are none; they are compared with close ones of the other.
        ([(4, 10, 0), (5, 0, 4)], 10, 4),
    ],
)
def test_who_is_compared(of: list[tuple[int, int, int]], patients: int, others: int) -> None:
    auc, inside, count = sides(*of)
    found = at_equal_counts(auc, inside, count, fewest=2)
    assert (found.patients, found.others) == (patients, others)
    expected = naive_comparison(auc, inside, count)
    assert expected[4:] == (patients, others)
    if found.difference is not None:
        assert found.difference == pytest.approx(expected[0], abs=1e-9)


def test_too_few_are_not_compared() -> None:
    def reason(fewest: int, *of: tuple[int, int, int]) -> str:
        found = at_equal_counts(*sides(*of), fewest=fewest)
        assert (found.difference is None) == (found.low is None) == (found.p is None)
        assert bool(found.reason) == (found.difference is None)
        return found.reason

    assert reason(2, (1, 5, 0), (2, 0, 5)) == NOBODY
    assert reason(10, (1, 9, 20)) == TOO_FEW
    assert reason(10, (1, 20, 9)) == TOO_FEW
    assert reason(10, (1, 10, 10)) == ""
    assert reason(0, (1, 1, 20)) == TOO_FEW
    assert reason(0, (1, 2, 20)) == ""
    # Enough patients whose count tells the group: 2 x 9 x 1 / 10 of 2.5, against 2 x 8 x 2 / 10.
    assert reason(10, (1, 9, 1), (2, 1, 9)) == TOO_FEW
    assert reason(10, (1, 8, 2), (2, 2, 8)) == ""
    assert reason(10, (1, 9, 1), (2, 1, 9), (3, 2, 1)) == TOO_FEW  # 0.9 + 0.9 + 2 / 3
    assert reason(10, (1, 9, 1), (2, 1, 9), (3, 2, 2)) == ""  # 0.9 + 0.9 + 1


def test_a_comparison_is_as_wide_as_the_wider_of_two_errors() -> None:
    """One stratum: Welch's standard error and freedom, and the pooled variance of a t-test."""
    rng = np.random.default_rng(2)
    for scale in (0.02, 0.1, 0.4):
        mine, rest = rng.normal(0.8, scale, 12), rng.normal(0.7, 0.1, 30)
        auc, inside = np.concatenate([mine, rest]), np.arange(42) < 12
        found = at_equal_counts(auc, inside, np.ones(42, dtype=np.int64), fewest=10)
        pooled = stats.ttest_ind(mine, rest)
        welch = np.sqrt(mine.var(ddof=1) / 12 + rest.var(ddof=1) / 30)
        # Bell and McCaffrey's freedom for a difference of two means.
        a, b = 1 / (12 * 11), 1 / (30 * 29)
        freedom = (11 * a + 29 * b) ** 2 / (11 * a**2 + 29 * b**2)
        difference = mine.mean() - rest.mean()
        p = max(float(pooled.pvalue), 2 * float(stats.t.sf(abs(difference) / welch, freedom)))
        half = max(
            welch * stats.t.ppf(0.975, freedom),
            (pooled.confidence_interval().high - pooled.confidence_interval().low) / 2,
        )
        assert found.difference == pytest.approx(difference)
        assert found.p == pytest.approx(p)
        assert found.low == pytest.approx(difference - half)
        assert found.high == pytest.approx(difference + half)


def test_a_gap_in_the_counts_takes_nothing_out() -> None:
    """Between 5 and 40 there are knots that nobody is near."""
    auc, inside, count = sides((4, 3, 4), (5, 4, 3), (40, 3, 4), (41, 4, 3))
    found = at_equal_counts(auc, inside, count, fewest=2)
    expected = naive_comparison(auc, inside, count)
    assert found.difference == pytest.approx(expected[0], abs=1e-9)
    assert found.low == pytest.approx(expected[1], abs=1e-9)
    assert found.p == pytest.approx(expected[3], abs=1e-9)


def test_values_that_do_not_vary_differ_for_sure() -> None:
    inside, count = np.arange(40) < 15, np.ones(40, dtype=np.int64)
    found = at_equal_counts(np.where(inside, 0.7, 0.6), inside, count, fewest=10)
    assert found.p is not None
    assert found.low is not None
    assert found.high is not None
    assert found.p < 1e-100
    assert found.low < 0.1 < found.high < 0.1 + 1e-8
    alike = at_equal_counts(np.full(40, 0.7), inside, count, fewest=10)
    assert alike.difference == pytest.approx(0.0, abs=1e-12)
    assert alike.p == pytest.approx(1.0, abs=1e-3)


def test_strata_are_counts_that_enough_have_and_close_others() -> None:
    rng = np.random.default_rng(3)
    count = np.concatenate(
        [[1, 2, 2, 3], np.full(10, 4), np.full(9, 5), np.full(11, 9), rng.integers(5, 60, 30)]
    )
    stratum, exact = strata(count)
    number = {int(k): int((count == k).sum()) for k in np.unique(count)}

    def name(k: int) -> tuple[str, int]:
        if number[k] >= 10 or k <= 3:
            return "alone", k
        return "joined", max(j for j in range(60) if 4 * 1.25**j <= k + 1e-6)

    names = [name(int(k)) for k in count]
    assert [one == "alone" for one, _ in names] == exact.tolist()
    pairs = set(zip(names, stratum.tolist(), strict=True))
    assert len(pairs) == len(set(names)) == len(set(stratum.tolist())) == stratum.max() + 1


def test_what_the_count_explains_is_taken_out() -> None:
    rng = np.random.default_rng(4)
    few = np.repeat([1, 2, 3, 7], [20, 5, 2, 12])
    auc = rng.normal(0.7, 0.1, few.size)
    rest, stratum = without_count(auc, few)
    expected = auc - pd.Series(auc).groupby(few).transform("mean").to_numpy()
    np.testing.assert_allclose(rest, expected, atol=1e-12)
    assert np.array_equal(stratum, np.searchsorted([1, 2, 3, 7], few))
    # A line in the logarithm of counts that few have is theirs altogether.
    many = np.arange(4, 40)
    rest, _ = without_count(0.5 + 0.1 * np.log(many), many)
    np.testing.assert_allclose(rest, 0.0, atol=1e-12)
    noise = rng.normal(0, 0.1, many.size)
    rest, stratum = without_count(noise, many)
    assert np.abs(np.bincount(stratum, rest)).max() < 1e-12
    assert 0.3 < rest.std() / noise.std() < 1.0


def test_a_bend_comes_every_one_and_a_half_fold() -> None:
    """What is a line between two knots is taken out; what bends within one is not."""
    many = np.arange(16, 37)  # from 16 to 36: two pieces that meet at 24
    x = np.log(many)
    for at, within in ((24.0, False), (20.0, True)):
        rest, _ = without_count(np.maximum(x - np.log(at), 0.0), many)
        assert (np.abs(rest).max() > 1e-3) == within
        assert np.abs(rest).max() < (0.1 if within else 1e-12)
    alike = np.array([4, 4, 4])
    rest, stratum = without_count(np.array([0.6, 0.7, 0.8]), alike)
    np.testing.assert_allclose(rest, [-0.1, 0.0, 0.1], atol=1e-12)
    assert stratum.tolist() == [0, 0, 0]


def test_few_who_were_not_compared_are_not_counted() -> None:
    assert [_but_few(n, 30, 10) for n in (30, 29, 21, 20, 3)] == [30, None, None, 20, 3]


def test_pairs_that_are_crossed_by_default() -> None:
    names = ["a", "b", "c", "d"]
    assert crossings(names) == (("a", "b"), ("a", "c"), ("a", "d"))
    assert crossings(names, 2) == (("a", "b"), ("a", "c"))
    assert crossings(names[:2]) == (("a", "b"),)
    assert crossings(["a"]) == ()
    assert crossings(["a", "y", "b"], label="y") == (("a", "b"), ("y", "a"), ("y", "b"))
    more = crossings([*names, "y"], label="y")
    assert more == (("a", "b"), ("a", "c"), ("a", "d"), ("y", "a"), ("y", "b"), ("y", "c"))


def spread(auc: np.ndarray, labels: np.ndarray, count: np.ndarray, **how: Any) -> Any:  # noqa: ANN401
    shown = sorted(set(labels))
    steps = dict.fromkeys(shown, 0.001) | how.pop("steps", {})
    table = ReleasedTable(labels=labels.astype(object), shown=shown, pooled=0, steps=steps, base=1)
    values = _Values(auc=auc, tail=auc, count=count, overall=None, overall_step=0.0)
    return _spread(table, values, np.random.default_rng(0))


def test_the_spread_of_group_means_and_its_permutations() -> None:
    labels, count = np.repeat(list("abc"), 40), np.ones(120, dtype=np.int64)
    apart = spread(np.repeat([0.5, 0.6, 0.8], 40), labels, count)
    assert apart["estimate"] == pytest.approx(0.3)
    assert apart["permutations"] == disparity.PERMUTATIONS == 500
    assert apart["p"] == coarse_p(1 / 501)
    assert apart["null_mean"] < 0.1
    alike = spread(np.full(120, 0.6), labels, count)
    assert (alike["estimate"], alike["null_mean"], alike["p"]) == (0.0, 0.0, 1.0)
    # What the record count explains is no spread, and stays with its patients when permuted.
    counts = np.repeat([1, 2, 3], 40)
    explained = spread(np.repeat([0.5, 0.6, 0.8], 40), labels, counts)
    assert (explained["estimate"], explained["p"]) == (0.0, 1.0)
    mixed = np.tile([1, 2], 60)
    within = spread(np.where(mixed == 1, 0.2, 0.8) + (labels == "a") * 0.1, labels, mixed)
    assert within["estimate"] == pytest.approx(0.1)
    assert within["p"] == coarse_p(1 / 501)
    # A mean of 40 in 120 drawn without replacement.
    noise = np.random.default_rng(1).normal(0.7, 0.1, 120)
    chance = spread(noise, labels, count)
    error = noise.std(ddof=1) * np.sqrt(1 / 40)
    assert chance["null_mean"] == pytest.approx(1.6926 * error, rel=0.1)  # range of three normals


def test_the_spread_is_rounded_as_coarsely_as_its_coarsest_group() -> None:
    labels, count = np.repeat(list("abc"), 40), np.ones(120, dtype=np.int64)
    auc = np.repeat([0.5, 0.6, 0.83], 40)
    assert spread(auc, labels, count, steps={"b": 0.05})["estimate"] == 0.35
    assert spread(auc, labels, count, steps={"c": np.inf})["estimate"] == pytest.approx(0.1)
    withheld = {"b": np.inf, "c": np.inf}
    assert spread(auc, labels, count, steps=withheld) is None


def test_few_permutations_of_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 80_000
    labels = np.where(np.arange(n) % 2, "a", "b")
    monkeypatch.setattr(np, "split", lambda x, _: [x[:1], x[1:]])
    found = spread(np.full(n, 0.5), labels, np.ones(n, dtype=np.int64))
    assert found["permutations"] == 250


# Intervals


def test_intervals_of_means_are_those_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(5)
    for n in (2, 7, 60):
        x = rng.gamma(2, 0.1, n)
        draws = np.random.default_rng(9).integers(0, n, (2000, n))
        t = []
        for row in draws:
            sample = x[row]
            error = max(sample.std(), 0.01 * x.std()) / np.sqrt(n - 1)
            t.append((sample.mean() - x.mean()) / error)
        error = stats.sem(x)
        low, high = mean_interval(x, np.random.default_rng(9))
        assert low == pytest.approx(x.mean() - np.quantile(t, 0.975) * error)
        assert high == pytest.approx(x.mean() - np.quantile(t, 0.025) * error)


def test_intervals_of_differences_are_those_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.gamma(2, 0.1, 9), rng.gamma(2, 0.3, 5)
    again = np.random.default_rng(9)
    first = x[again.integers(0, 9, (2000, 9))]
    second = y[again.integers(0, 5, (2000, 5))]
    difference = x.mean() - y.mean()
    floor = [1e-4 * one.var() for one in (x, y)]
    errors = np.sqrt(
        np.maximum(first.var(axis=1), floor[0]) / 8 + np.maximum(second.var(axis=1), floor[1]) / 4
    )
    t = (first.mean(axis=1) - second.mean(axis=1) - difference) / errors
    error = np.sqrt(x.var(ddof=1) / 9 + y.var(ddof=1) / 5)
    low, high = difference_interval(x, y, np.random.default_rng(9))
    assert low == pytest.approx(difference - np.quantile(t, 0.975) * error)
    assert high == pytest.approx(difference - np.quantile(t, 0.025) * error)


def test_the_mean_of_many_is_normal() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(0.7, 0.1, group_intervals.MOST_RESAMPLED + 1)
    low, high = mean_interval(x, rng)
    assert x.mean() - low == pytest.approx(1.96 * stats.sem(x), rel=0.08)
    assert high - x.mean() == pytest.approx(1.96 * stats.sem(x), rel=0.08)
    y = rng.normal(0.5, 0.3, 4000)
    low, high = difference_interval(x, y, rng)
    error = np.hypot(stats.sem(x), stats.sem(y))
    assert x.mean() - y.mean() - low == pytest.approx(1.96 * error, rel=0.08)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.06)


def test_means_of_one_or_of_the_same_have_no_width() -> None:
    rng = np.random.default_rng(8)
    assert mean_interval(np.array([0.7]), rng) == (0.7, 0.7)
    assert mean_interval(np.full(5, 0.75), rng) == (0.75, 0.75)
    low, high = difference_interval(np.full(5, 0.75), np.full(7, 0.5), rng)
    assert (low, high) == (0.25, 0.25)


def test_shares_have_jeffreys_interval() -> None:
    for tail in (np.r_[np.ones(3), np.zeros(17)], np.full(10, 0.25)):
        above, n = tail.sum(), tail.size
        low, high = share_interval(tail)
        assert low == pytest.approx(stats.beta.ppf(0.025, above + 0.5, n - above + 0.5))
        assert high == pytest.approx(stats.beta.ppf(0.975, above + 0.5, n - above + 0.5))
    assert share_interval(np.zeros(20))[0] == 0.0
    assert share_interval(np.ones(20))[1] == 1.0
