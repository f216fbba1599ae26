"""Protections: what is changed, what an interface gives away, and paired differences."""

from __future__ import annotations

import itertools
import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, norm

from auscult.attacks.access import Access, access_signals, served
from auscult.attacks.layout import lay_out
from auscult.attacks.log_odds import log_odds_of_truth
from auscult.audit import Audit
from auscult.base.errors import AnalysisError, AuscultError, ConfigError
from auscult.cohort import Cohort
from auscult.cohort.design import Membership
from auscult.config.loading import load
from auscult.exposure import Deployment
from auscult.protection.accusations import accusations
from auscult.protection.assessment import (
    Subject,
    assess,
    assess_layout,
)
from auscult.protection.frontier import recommend, withdraw
from auscult.protection.paired import (
    Counts,
    Moments,
    counts_from,
    exposed_alone,
    exposed_counts,
    joint_excess,
    mean_difference,
    posterior_correlation,
    shared_noise,
)
from auscult.protection.selection import Selection, Twins, find_twins, within_cap
from auscult.protection.variants import Variant
from auscult.recipes import SklearnRecipe, TorchRecipe
from auscult.results.lacking import lacking
from auscult.risk.estimate import KNOTS, Estimate, NoiseLaw
from auscult.risk.patients import permuted
from auscult.store import Outputs
from tests.cohorts import visits
from tests.consistency import disagreements
from tests.report_summaries import rare_tail
from tests.simulation import balanced


def subject_of(member: NDArray[np.bool_], patient: NDArray[np.int64], seed: int = 0) -> Subject:
    return Subject(
        membership=Membership(member),
        patient_of_record=patient,
        groups=pd.DataFrame({"sex": np.where(np.arange(member.shape[1]) % 2, "f", "m")}),
        labels=np.zeros(patient.size, dtype=np.int64),
        stratum=np.zeros(patient.size, dtype=np.int64),
        seed=seed,
        smallest_cell=10,
    )


def two_recipes(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    models: int,
    rng: np.random.Generator,
    shared: float = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64], Subject]:
    """Signals of one record per patient with given effects under two recipes, one membership."""
    member = balanced(first.size, models, rng)
    common = np.sqrt(shared) * rng.normal(size=member.shape)
    sides = [
        common + np.sqrt(1 - shared) * rng.normal(size=member.shape) + member * d * np.sqrt(2)
        for d in (first, second)
    ]
    return sides[0], sides[1], subject_of(member, np.arange(first.size), int(rng.integers(1 << 30)))


# What an interface hands out


def test_rounded_probabilities_are_those_of_the_interface() -> None:
    z = np.array([[-9.0], [-0.3], [0.2], [2.0], [12.0]])
    seen = Access(digits=2).handed_out(z, "sigmoid")
    p = np.round(1 / (1 + np.exp(-z)), 2)
    shown = 1 / (1 + np.exp(-seen))
    inside = (p > 0) & (p < 1)
    np.testing.assert_allclose(shown[inside], p[inside], atol=1e-12)
    np.testing.assert_allclose(shown[~inside], [0.005, 0.995], atol=1e-12)


def test_softmax_is_rounded_class_by_class() -> None:
    z = np.random.default_rng(0).normal(size=(3, 4, 5)) * 2
    p = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
    seen = np.exp(Access(digits=1).handed_out(z, "softmax"))
    np.testing.assert_allclose(seen, np.clip(np.round(p, 1), 0.05, 0.95), atol=1e-12)


@pytest.mark.parametrize("kind", ["sigmoid", "softmax", "multilabel"])
def test_a_known_temperature_is_undone(kind: Any) -> None:  # noqa: ANN401
    rng = np.random.default_rng(1)
    columns = 1 if kind == "sigmoid" else 3
    values = rng.normal(size=(6, 2, 40, columns)).astype(np.float32) * 3
    shape = (40, 3) if kind == "multilabel" else 40
    labels = rng.integers(0, 2, shape)
    outputs = Outputs.in_memory(values, kind)
    access = Access(temperature=5.0)
    handed = served(outputs, access)
    assert not np.allclose(handed.read(0, 40), values)
    found = access_signals(outputs, labels, access, [0, 1])
    expected = log_odds_of_truth(values, labels, kind).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_of_a_label_only_its_being_right_is_left() -> None:
    z = np.array([[[2.0], [-1.0], [0.5]]])
    labels = np.array([1, 1, 0])
    access = Access(label_only=True)
    np.testing.assert_array_equal(access.handed_out(z, "sigmoid"), np.sign(z))
    np.testing.assert_array_equal(access.signal(z, labels, "sigmoid"), [[1.0, 0.0, 0.0]])
    z = np.array([[3.0, 1.0, 0.0], [0.0, 1.0, 4.0]])
    np.testing.assert_array_equal(access.handed_out(z, "softmax"), [[1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(access.signal(z, np.array([0, 1]), "softmax"), [1.0, 0.0])


def test_ready_signals_cannot_be_rounded() -> None:
    with pytest.raises(AnalysisError, match="ready signals"):
        Access(digits=2).handed_out(np.zeros((2, 1)), "signal")


@pytest.mark.parametrize(
    "access",
    [
        Access(),
        Access(digits=0),
        Access(digits=9),
        Access(temperature=0.0),
        Access(temperature=float("inf")),
        Access(label_only=True, digits=2),
    ],
)
def test_access_that_cannot_be_is_refused(access: Access) -> None:
    with pytest.raises(ConfigError):
        access.check("protect[0].access")


# Who and what is trained on


def cohort_of(frame: pd.DataFrame | None = None) -> Cohort:
    table = visits() if frame is None else frame
    return Cohort.from_table(table, patient="person", label="outcome", groups=["sex"])


def test_a_cap_keeps_so_many_records_of_each_patient() -> None:
    patient = np.random.default_rng(0).integers(0, 30, 200)
    allowed = within_cap(patient, 2, seed=5)
    counts, kept = np.bincount(patient, minlength=30), np.bincount(patient[allowed], minlength=30)
    np.testing.assert_array_equal(kept, np.minimum(counts, 2))
    np.testing.assert_array_equal(allowed, within_cap(patient, 2, seed=5))
    assert (allowed != within_cap(patient, 2, seed=6)).any()


def naive_thinned(rows: NDArray[np.int64], same: NDArray[np.bool_]) -> list[int]:
    kept: list[int] = []
    for row in rows:
        if not any(same[row, other] for other in kept):
            kept.append(int(row))
    return kept


def test_duplicates_among_the_members_are_trained_on_once() -> None:
    frame = visits(40)
    frame = pd.concat([frame, frame.iloc[::3].assign(person="Zxq9999wv")], ignore_index=True)
    cohort = cohort_of(frame)
    inputs: Any = cohort.inputs
    same = np.array(
        [
            [
                np.array_equal(inputs.numeric[i], inputs.numeric[j], equal_nan=True)
                and np.array_equal(inputs.codes[i], inputs.codes[j])
                for j in range(cohort.records)
            ]
            for i in range(cohort.records)
        ]
    )
    twins = find_twins(cohort, 0)
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = np.flatnonzero(rng.random(cohort.records) < 0.5)
        assert twins.thinned(rows).tolist() == naive_thinned(rows, same)
    member = balanced(cohort.patients, 8, rng)
    everything = np.ones(cohort.records, dtype=bool)
    selection = Selection(Membership(member), everything, twins)
    plain = Membership(member).members(3, cohort.patient_of_record)
    assert selection.members(3, cohort.patient_of_record).tolist() == naive_thinned(plain, same)


def test_near_duplicates_are_those_within_the_tolerance() -> None:
    cohort = cohort_of()
    inputs: Any = cohort.inputs
    one_hot = [
        (inputs.codes[:, j, None] == np.arange(len(names))).astype(float)
        for j, names in enumerate(inputs.levels)
    ]
    x = np.concatenate([inputs.numeric, *one_hot], axis=1)
    x = np.nan_to_num((x - np.nanmean(x, axis=0)) / np.nanstd(x, axis=0))
    distance = np.sqrt(((x[:, None] - x[None]) ** 2).mean(axis=2))
    same = distance <= 0.6
    rows = np.arange(cohort.records)
    found = find_twins(cohort, 0.6).thinned(rows).tolist()
    assert found == naive_thinned(rows, same)
    assert len(found) < cohort.records


def test_too_many_records_to_compare_are_refused_before_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("auscult.protection.selection.MOST_COMPARED", 10)
    audit = Audit(cohort_of(), memorising(), models=8, protect=[Variant(deduplicate=0.1)])
    with pytest.raises(ConfigError, match="every pair of"):
        audit.check()


def test_images_are_compared_by_their_pixels() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (30, 20, 20, 3)).astype(np.uint8)
    images[20:] = images[:10]
    images[29, 0, 0, 0] ^= 1
    table = pd.DataFrame({"p": [f"q{i}" for i in range(30)], "y": np.arange(30) % 2})
    cohort = Cohort.from_arrays(images, table, patient="p", label="y")
    assert find_twins(cohort, 0).thinned(np.arange(30)).tolist() == [*range(20), 29]
    assert find_twins(cohort, 0.05).thinned(np.arange(30)).tolist() == list(range(20))


# Paired differences


def test_covariance_of_two_coins_is_that_of_the_bivariate_normal() -> None:
    for p, q, rho in itertools.product((0.02, 0.4, 0.9), (0.1, 0.75), (-0.8, 0.0, 0.5, 0.97)):
        both = multivariate_normal([0, 0], [[1, rho], [rho, 1]]).cdf([norm.ppf(p), norm.ppf(q)])
        found = joint_excess(np.array([p]), np.array([q]), np.array([rho]))[0]
        assert found == pytest.approx(both - p * q, abs=2e-5)


def test_posterior_correlation_is_that_of_the_inverse() -> None:
    rng = np.random.default_rng(0)
    n, noise, rho = 4000, 0.1, 0.4
    # Counts of few pairs' width, so that their noise on the scale of d is nearly the same for all.
    middle = np.array([0.0, 0.0])
    between = np.array([[0.1, 0.06], [0.06, 0.08]])
    spread = noise * np.array([[1.0, rho], [rho, 1.0]])
    seen = rng.multivariate_normal(middle, between, n) + rng.multivariate_normal([0, 0], spread, n)
    law = NoiseLaw(factor=np.full(KNOTS.size, 2 / 3))
    auc = norm.cdf(seen)
    # The reach at which each count's variance is that of the noise, by the delta method.
    reach = noise * norm.pdf(seen) ** 2 / (2 / 3 * auc * (1 - auc))
    sides = [
        Estimate(auc=auc[:, i], reach=reach[:, i], pairs=np.full(n, 1e6), law=law) for i in range(2)
    ]
    np.testing.assert_allclose(sides[0].variance, noise, rtol=1e-3)
    found = posterior_correlation(sides[0], sides[1], np.ones(n, dtype=bool), rho)
    joint = np.linalg.inv(np.linalg.inv(between) + np.linalg.inv(spread))
    expected = joint[0, 1] / np.sqrt(joint[0, 0] * joint[1, 1])
    np.testing.assert_allclose(found, expected, atol=0.08)


def counts_of(
    before: float, after: float, first: float, second: float, shared: float, compared: int = 1
) -> Counts:
    one = Moments(
        before=before,
        after=after,
        variance_before=first,
        variance_after=second,
        covariance=shared,
    )
    return counts_from(one, 1000, seed=1, compared=compared)


def test_counts_that_vary_together_differ_by_little() -> None:
    alike = counts_of(100, 100, 90.0, 90.0, 90.0)
    apart = counts_of(100, 100, 90.0, 90.0, 0.0)
    assert alike.change is not None
    assert apart.change is not None
    assert alike.change.high - alike.change.low < 0.1
    # Two independent normal counts with a variance of 90 each.
    assert apart.change.high - apart.change.low == pytest.approx(2 * 1.96 * 180**0.5, rel=0.06)
    assert apart.removed is not None
    assert apart.removed.low < 0 < apart.removed.high
    assert counts_of(0.0, 5.0, 0.0, 4.0, 0.0).removed is None
    few = counts_of(100, 0.4, 90.0, 0.4, 0.0)
    assert few.removed is not None
    assert few.removed.high == 1
    surely = [
        counts_of(100, 20, 90.0, 15.0, 0.0, compared=n).removed_at_least or 0.0 for n in (1, 10)
    ]
    assert 0 < surely[1] < surely[0] < 0.8


def test_the_same_outputs_show_no_change_at_all() -> None:
    rng = np.random.default_rng(3)
    effect = np.maximum(rng.normal(0.8, 0.6, 300), 0)
    signals, _, subject = two_recipes(effect, effect, 32, rng)
    side = assess(signals, subject)
    noise = shared_noise(side, side)
    assert noise.correlation == pytest.approx(1.0)
    found = exposed_counts(side, side, noise=noise.correlation, seed=1)[0.9]
    assert found.change is not None
    assert found.change.estimate == 0
    assert found.change.high - found.change.low < 0.5
    assert found.after == exposed_alone(side)[0.9]


def test_shared_noise_is_seen() -> None:
    rng = np.random.default_rng(4)
    effect = np.full(300, 0.7)
    first, second, subject = two_recipes(effect, effect, 32, rng, shared=0.6)
    noise = shared_noise(assess(first, subject), assess(second, subject))
    assert noise.correlation == pytest.approx(0.6, abs=0.05)
    assert np.corrcoef(noise.before[:, 0], noise.after[:, 0])[0, 1] > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1.0, 0.6])
def test_intervals_of_the_change_hold_the_truth(factor: float) -> None:
    held, widths = [], []
    for seed in range(12):
        rng = np.random.default_rng([seed, 77])
        first = np.maximum(rng.normal(0.8, 0.6, 400), 0)
        one, two, subject = two_recipes(first, factor * first, 32, rng, shared=0.3)
        before, after = assess(one, subject), assess(two, subject)
        noise = shared_noise(before, after)
        found = exposed_counts(before, after, noise=noise.correlation, seed=seed)[0.9]
        truth = (norm.cdf(factor * first) > 0.9).sum() - (norm.cdf(first) > 0.9).sum()
        mean = mean_difference(before.risk.auc_raw, after.risk.auc_raw)
        assert mean is not None
        assert found.change is not None
        held.append(
            (
                found.change.low <= truth <= found.change.high,
                mean[0].low <= (norm.cdf(factor * first) - norm.cdf(first)).mean() <= mean[0].high,
            )
        )
        widths.append(found.change.high - found.change.low)
    assert np.sum(held, axis=0).min() >= 10  # of 12 at 95%: fewer happens once in 50
    assert np.mean(widths) < 60


def test_right_and_wrong_labels_have_the_auc_that_is_counted() -> None:
    rng = np.random.default_rng(5)
    n, models = 400, 64
    member = balanced(n, models, rng)
    signals = np.where(rng.random((models, n)) < np.where(member, 0.95, 0.5), 1.0, -1.0)
    side = assess_layout(lay_out(signals, member, np.arange(n)), 1)
    # True AUC: 0.5 + (0.95 - 0.5) / 2; a normal model would take it for 0.81.
    assert side.risk.auc_raw.mean() == pytest.approx(0.725, abs=0.01)
    assert side.risk.posterior.mean.mean() == pytest.approx(0.725, abs=0.015)
    assert float(side.risk.posterior.tails[0.9].sum()) < 4


def test_membership_in_use_is_permuted_by_itself() -> None:
    rng = np.random.default_rng(7)
    member = balanced(50, 32, rng)
    used = np.zeros((50, 32), dtype=bool)
    used[:, ::2] = True
    layout = replace(lay_out(rng.normal(size=(32, 50)), member, np.arange(50)), used=used)
    shuffled = permuted(layout, rng).member
    for columns in (slice(0, None, 2), slice(1, None, 2)):
        np.testing.assert_array_equal(
            shuffled[:, columns].sum(axis=1), layout.member[:, columns].sum(axis=1)
        )
    assert (shuffled != layout.member).any()


# What an accusation is worth


def test_an_accusation_is_worth_less_where_nothing_is_left() -> None:
    rng = np.random.default_rng(11)
    n = 600
    first, second, subject = two_recipes(np.full(n, 1.5), np.zeros(n), 32, rng)
    before, after = (assess(one, subject) for one in (first, second))
    rows = accusations(before, after, (0.01, 0.5), 3)
    assert rows is not None
    assert [row["prior"] for row in rows] == [0.01, 0.5]
    for row in rows:
        # Without anything to tell members by, an accusation is right as often as the prior says.
        assert row["low"] <= row["prior"] <= row["high"]
        assert row["before"]["low"] > row["high"]
    # Members and others lie d sqrt(2) deviations apart: whoever knows both densities is right this
    # often at a rate of 0.1%, and nobody more often. The attack learns them from 32 models.
    tpr = norm.sf(norm.isf(0.001) - 1.5 * np.sqrt(2))
    truth = 0.01 * tpr / (0.01 * tpr + 0.99 * 0.001)
    assert rows[0]["fpr"] == pytest.approx(rows[1]["fpr"])
    assert 0.3 * truth < rows[0]["before"]["estimate"] < truth
    same = accusations(before, before, (0.01,), 3)
    assert same is not None
    assert {key: same[0][key] for key in ("estimate", "low", "high")} == same[0]["before"]


def test_no_accusation_is_weighed_without_a_prior_or_with_too_few_people() -> None:
    rng = np.random.default_rng(12)
    first, second, subject = two_recipes(np.ones(20), np.zeros(20), 8, rng)
    sides = [assess(one, subject) for one in (first, second)]
    assert accusations(sides[0], sides[1], (), 3) is None
    rows = accusations(sides[0], sides[1], (0.1,), 3)
    assert rows is not None
    assert rows[0]["estimate"] is None
    assert "too few" in rows[0]["reason"]


def test_declared_protections_tell_of_accusations_and_labels_are_asked_for_views(
    tmp_path: Path,
) -> None:
    deployment = Deployment(reveals="was treated here", population="the region", prior=(0.1, 0.4))
    audit = Audit(
        cohort_of(),
        memorising(),
        models=16,
        seed=3,
        queries=["augmented:4"],
        deployment=deployment,
        protect=(
            Variant(name="shallow", recipe=memorising(2)),
            Variant(access=Access(label_only=True)),
        ),
    )
    audit.run(tmp_path / "run", workers=1)
    entries = entries_of(tmp_path / "run")
    for one in entries.values():
        assert [row["prior"] for row in one["ppv"]] == [0.1, 0.2, 0.4]
        for row in one["ppv"]:
            assert row["low"] <= row["estimate"] <= row["high"]
            assert row["before"]["low"] <= row["before"]["estimate"] <= row["before"]["high"]
    assert any("4 augmented views" in note for note in entries["labels only"]["notes"])
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Accusations that would be right, with each protection" in page


# Descriptions


def test_variants_name_themselves() -> None:
    base = TorchRecipe("mlp")
    settings = base.settings()
    names = [
        Variant(recipe=TorchRecipe("mlp", weight_decay=0.5)).title(settings),
        Variant(recipe=TorchRecipe("mlp", hidden=[16])).title(settings),
        Variant(max_records=1).title(settings),
        Variant(deduplicate=0).title(settings),
        Variant(without_top=0.05).title(settings),
        Variant(access=Access(digits=2, temperature=3.0)).title(settings),
        Variant(name="mine", access=Access(label_only=True)).title(settings),
    ]
    assert names == [
        "weight decay 0.5",
        "hidden 16",
        "at most 1 record per patient",
        "no duplicates",
        "without the 5% most exposed",
        "2 digits, temperature 3",
        "mine",
    ]


def test_a_folder_is_named_by_what_is_trained() -> None:
    settings = TorchRecipe("mlp").settings()
    one = Variant(name="a", recipe=TorchRecipe("mlp", epochs=3))
    renamed = Variant(name="b", recipe=TorchRecipe("mlp", epochs=3), access=Access(digits=1))
    other = Variant(name="a", recipe=TorchRecipe("mlp", epochs=4))
    assert one.slug(settings) == renamed.slug(settings) != other.slug(settings)


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ([Variant(name="x")], "changes nothing"),
        ([Variant(recipe=SklearnRecipe("logistic_regression"))], "audit's own"),
        ([Variant(max_records=0)], "0 records"),
        ([Variant(deduplicate=-1.0)], "tolerance"),
        ([Variant(without_exposed=0.3)], "threshold"),
        ([Variant(without_top=1.0)], "share"),
        ([Variant(without_exposed=0.9, without_top=0.1)], "cannot be combined"),
        ([Variant(max_records=1), Variant(max_records=1)], "is listed twice"),
        ([Variant(recipe=TorchRecipe("cnn"))], "images"),
    ],
)
def test_variants_that_cannot_be_are_refused(variants: list[Variant], message: str) -> None:
    recipe = SklearnRecipe("logistic_regression")
    audit = Audit(cohort_of(), recipe, models=16, protect=variants)
    with pytest.raises(AuscultError, match=message):
        audit.check()


def test_few_models_cannot_choose_and_tell() -> None:
    recipe = SklearnRecipe("logistic_regression")
    with pytest.raises(ConfigError, match="too few"):
        Audit(cohort_of(), recipe, models=8, protect=[Variant(without_top=0.3)]).check()


def test_only_sure_gains_at_sure_prices_are_recommended() -> None:
    def one(removed: float | None, lost: float | None) -> dict[str, Any]:
        return {"removed_at_least": removed, "utility_lost_at_most": lost, "recommended": False}

    entries = [one(0.9, 0.05), one(0.5, 0.002), one(0.7, 0.004), one(-0.1, 0.0), one(None, None)]
    recommend(entries)
    assert [e["recommended"] for e in entries] == [False, False, True, False, False]
    paid = [
        one(removed, 0.001) | {"worst_group_utility_change": {"estimate": change}}
        for removed, change in ((0.999, -0.1), (0.995, -0.02), (0.9, 0.0))
    ]
    recommend(paid)
    assert [e["recommended"] for e in paid] == [False, True, False]
    dear = [one(0.9, 0.05), one(-0.2, 0.0), {"reason": "not tried", "recommended": False}]
    recommend(dear)
    assert not any(e["recommended"] for e in dear)


# Label smoothing


@pytest.mark.parametrize("kind", ["sigmoid", "softmax", "multilabel"])
def test_smoothed_labels_are_mixtures_of_the_truth_and_an_even_guess(kind: str) -> None:
    torch = pytest.importorskip("torch")
    from auscult.recipes.torch.training import loss_of

    rng = np.random.default_rng(0)
    columns = 1 if kind == "sigmoid" else 3
    z = rng.normal(size=(5, columns))
    y = rng.integers(0, 3 if kind == "softmax" else 2, (5, 3) if kind == "multilabel" else 5)
    smoothing, total = 0.3, 0.0
    for i in range(5):
        if kind == "softmax":
            logs = z[i] - np.log(np.exp(z[i]).sum())
            target = (np.arange(3) == y[i]) * (1 - smoothing) + smoothing / 3
            total -= float((target * logs).sum())
        else:
            target = np.atleast_1d(y[i]) * (1 - smoothing) + smoothing / 2
            p = 1 / (1 + np.exp(-z[i]))
            total -= float((target * np.log(p) + (1 - target) * np.log(1 - p)).mean())
    found = loss_of(
        torch.from_numpy(z), torch.from_numpy(y), torch.ones(5).double(), kind, smoothing
    )
    assert float(found) == pytest.approx(total / 5)


def test_label_smoothing_is_trained_stacked_and_alike_one_by_one() -> None:
    from auscult.recipes.base import Assignment

    pytest.importorskip("torch")
    data = cohort_of().training_data()
    members = [np.arange(i, len(data.labels), 2) for i in (0, 1)]
    block = [Assignment(model=i, members=rows, seed=5 + i) for i, rows in enumerate(members)]

    def outputs(stack: str, smoothing: float) -> NDArray[np.float64]:
        recipe = TorchRecipe(
            "mlp", epochs=3, label_smoothing=smoothing, stack=stack, dtype="float64"
        )
        return np.asarray(recipe.train_exactly(data, block, lambda _: None)[0])

    np.testing.assert_allclose(outputs("always", 0.3), outputs("never", 0.3), atol=1e-9)
    assert np.abs(outputs("never", 0.3)).mean() < np.abs(outputs("never", 0.0)).mean()
    with pytest.raises(AuscultError, match="not a valid share"):
        TorchRecipe("mlp", label_smoothing=1.0).settings()


# The whole way


def memorising(depth: int | None = None) -> SklearnRecipe:
    from sklearn.tree import DecisionTreeClassifier

    return SklearnRecipe(DecisionTreeClassifier(max_depth=depth))


PROTECT = (
    Variant(name="shallow", recipe=memorising(2)),
    Variant(max_records=1),
    Variant(deduplicate=0),
    Variant(without_top=0.3),
    Variant(access=Access(digits=1)),
    Variant(access=Access(temperature=2.0)),
    Variant(access=Access(label_only=True)),
)
SWEEP = (Variant(recipe=memorising(3)), Variant(name="own", recipe=memorising()))


def protected_audit() -> Audit:
    return Audit(cohort_of(), memorising(), models=16, seed=3, protect=PROTECT, sweep=SWEEP)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("protected") / "run"
    protected_audit().run(folder, workers=1)
    return folder


def entries_of(run: Path) -> dict[str, dict[str, Any]]:
    summary = json.loads((run / "results" / "summary.json").read_text(encoding="utf-8"))
    return {one["name"]: one for one in summary["protection"]}


def test_a_recommendation_needs_the_evidence_that_the_gate_asks_for() -> None:
    entries = [{"recommended": True}, {"recommended": False}]
    withdraw(entries, "")
    assert entries[0]["recommended"]
    summary = rare_tail()
    assert not list(lacking(summary))
    summary["models"]["count"] = 24
    summary["models"]["learned"]["verdict"] = None
    found = "; ".join(lacking(summary))
    assert found.startswith("24 shadow models are too few: at least 32")
    assert "not known whether" in found
    withdraw(entries, found)
    assert entries == [{"recommended": False, "unsupported": found}, {"recommended": False}]


def test_unprotected_counts_are_the_headlines(finished: Path) -> None:
    summary = json.loads((finished / "results" / "summary.json").read_text(encoding="utf-8"))
    patients = summary["patients"]
    for one in summary["protection"]:
        if "layers" in one:  # judged on half of the models
            continue
        for threshold, row in one["exposed_before"].items():
            for name in ("estimate", "low", "high"):
                assert row[name] == patients["exposed"][threshold][name], (one["name"], threshold)
    same = next(one for one in summary["protection"] if one["name"] == "temperature 2")
    # The same signals: the same mean with the same interval.
    for name, key in (("estimate", "mean"), ("low", "mean_low"), ("high", "mean_high")):
        assert same["mean_auc"][name] == pytest.approx(patients["auc"][key], abs=2e-4)
    own = summary["models"]["utility"]
    for name, key in (("estimate", "mean"), ("low", "low"), ("high", "high")):
        assert same["utility"][name] == pytest.approx(own[key], abs=2e-3)


def test_a_run_tells_of_every_protection(finished: Path) -> None:
    entries = entries_of(finished)
    assert len(entries) == len(PROTECT)
    text = (finished / "results" / "summary.json").read_text(encoding="utf-8")
    assert disagreements(json.loads(text)) == []
    shallow = entries["shallow"]
    assert shallow["kind"] == "recipe"
    assert shallow["mean_auc_change"]["high"] < 0
    # Of 16 models only bounds are given, so no change of counts and no recommendation either.
    assert shallow["exposed_change"]["estimate"] is None
    assert "24 models are needed" in shallow["exposed_change"]["reason"]
    assert not any(one["recommended"] for one in entries.values())
    assert entries["temperature 2"]["mean_auc_change"]["estimate"] == pytest.approx(0, abs=1e-6)
    labels = entries["labels only"]
    assert any("perturbed" in note for note in labels["notes"])
    for one in entries.values():
        figures = [one["exposed"]["0.9"], one["exposed_change"], one["utility_change"]]
        for f in figures:  # a small count is withheld, and the change that would tell it
            known = [f[name] for name in ("low", "estimate", "high") if f[name] is not None]
            assert known == sorted(known)
            assert len(known) == 3 or f["estimate"] is None
        assert one["worst_group"] is None or one["worst_group"]["patients"] >= 10


def test_everybody_is_audited_again_without_the_most_exposed(finished: Path) -> None:
    layers = entries_of(finished)["without the 30% most exposed"]["layers"]
    gone, stay = layers["removed"], layers["remaining"]
    assert gone["patients"] == 18
    assert stay["patients"] == 42
    assert gone["after"]["0.9"] == 0
    # Nobody who left is a member of any model: nothing tells of them.
    assert gone["mean_auc"]["low"] < 0.5 < gone["mean_auc"]["high"]
    assert gone["mean_auc_before"]["low"] > 0.5


def test_the_sweep_takes_the_audits_own_models_for_its_own_size(finished: Path) -> None:
    # Fewer than ten are exposed by the smaller model: the report withholds what would tell it.
    exact = json.loads((finished / "secret" / "exact.json").read_text(encoding="utf-8"))
    small, own = exact["sweep"]["points"]
    assert (small["base"], own["base"]) == (False, True)
    assert own["exposed_change"]["estimate"] is None
    assert small["mean_auc_change"]["estimate"] < 0
    # shallow, cap, duplicates, without, depth 3: the others train nothing of their own.
    assert len(list((finished / "protection").iterdir())) == 5


def test_secrets_of_variants_are_secrets(finished: Path) -> None:
    secrets = [path for path in finished.rglob("secret/*") if path.is_file()]
    assert len([path for path in secrets if path.name == "left-out.npz"]) == 3
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in secrets)
    folders = [path for path in finished.rglob("secret") if path.is_dir()]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in folders)
    for path in finished.rglob("*"):
        assert "Zxq" not in path.name
        if path.is_file() and "secret" not in path.parts:
            assert b"Zxq" not in path.read_bytes(), path.name


def test_a_variant_is_resumed_block_by_block(finished: Path) -> None:
    expected = (finished / "results" / "summary.json").read_bytes()
    folder = next((finished / "protection").glob("shallow*"), None) or next(
        (finished / "protection").iterdir()
    )
    kept, lost = (folder / "outputs" / f"block-000{i}.npy" for i in (0, 1))
    before = kept.stat().st_mtime_ns
    lost.unlink()
    lost.with_suffix(".json").unlink()
    protected_audit().run(finished, workers=1)
    assert kept.stat().st_mtime_ns == before
    assert lost.exists()
    assert (finished / "results" / "summary.json").read_bytes() == expected


def test_a_protection_may_be_added_later_and_only_it_is_trained(tmp_path: Path) -> None:
    recipe = memorising()
    Audit(cohort_of(), recipe, models=8, seed=3).run(tmp_path / "run", workers=1)
    block = tmp_path / "run" / "outputs" / "block-0000.npy"
    before = block.stat().st_mtime_ns
    audit = Audit(cohort_of(), recipe, models=8, seed=3, protect=PROTECT[:1])
    audit.run(tmp_path / "run", workers=1)
    assert block.stat().st_mtime_ns == before
    assert list(entries_of(tmp_path / "run")) == ["shallow"]


def test_too_few_to_leave_out_is_said_and_not_done(tmp_path: Path) -> None:
    audit = Audit(cohort_of(), memorising(), models=16, seed=3, protect=[Variant(without_top=0.05)])
    result = audit.run(tmp_path / "run", workers=1)
    (one,) = result.summary["protection"]
    assert "fewer than 10 patients" in one["reason"]
    assert not (tmp_path / "run" / "protection").exists()
    assert "Not tried" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_the_report_shows_frontier_and_capacity(finished: Path) -> None:
    html = (finished / "report.html").read_text(encoding="utf-8")
    for text in ('id="protection"', 'id="figure-frontier"', 'id="sweep"', "who is exposed then"):
        assert text in html


def test_withheld_records_take_nobodys_place() -> None:
    patient = np.repeat(np.arange(40), 3)
    withheld = np.zeros(patient.size, dtype=bool)
    withheld[::3] = True
    allowed = within_cap(patient, 1, 5, withheld)
    assert not (allowed & withheld).any()
    np.testing.assert_array_equal(np.bincount(patient[allowed]), np.ones(40))
    # The second record repeats the first, which no model trains on: the second is then kept.
    twins = Twins(group=np.array([0, 0, 1]))
    one = Selection(Membership(np.array([[True]])), np.ones(3, dtype=bool), twins)
    hidden = np.array([True, False, False])
    assert one.records(0, np.zeros(3, dtype=np.int64), hidden).tolist() == [1, 2]
    assert one.members(0, np.zeros(3, dtype=np.int64)).tolist() == [0, 2]


def test_a_recipe_that_cannot_be_is_found_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "visits.csv").write_text(
        "patient,x,y\n" + "".join(f"{i},{i % 7},{i % 2}\n" for i in range(40))
    )
    path = tmp_path / "audit.toml"
    path.write_text(
        '[cohort]\ntable = "visits.csv"\npatient = "patient"\nlabel = "y"\n'
        '[recipe]\nkind = "torch"\n[[protect]]\nrecipe.epochs = 2\n'
        '[[protect]]\nrecipe.dp = { unit = "record", epsilon = 8 }\n'
    )
    with pytest.raises(ConfigError, match=r"^protect\[1\]\.recipe\.dp\.clip: "):
        load(path).audit()
