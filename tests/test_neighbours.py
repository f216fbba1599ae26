"""Other patients' records as controls: oracle, analytic case, null, invariances, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri
from scipy.stats import norm

from auscult.attacks import neighbours
from auscult.attacks.joint import tuned
from auscult.attacks.kernel import Kernel
from auscult.attacks.layout import Centring, Layout, lay_out, take_patients
from auscult.attacks.neighbours import Told, told_by_neighbours
from auscult.attacks.places import Places
from auscult.base.errors import CohortError, StoreError
from auscult.cohort.inputs import ArrayInputs, NamedInputs, TableInputs
from auscult.imported.importing import import_scores
from auscult.imported.scores import from_arrays
from auscult.protection import empirical
from auscult.results.comparing import compare
from auscult.risk.patients import count_patients
from tests.consistency import comparison_disagreements
from tests.simulation import balanced

Floats = NDArray[np.float64]


def cohort(
    rng: np.random.Generator,
    *,
    patients: int = 400,
    models: int = 32,
    records: int = 1,
    auc: float | Floats = 0.75,
    shared: float = 2.0,
    columns: int = 3,
) -> Layout:
    """Records in a few dimensions; each model is kinder to some corner of them.

    What models share of a record is a random linear function of its inputs, with variance `shared`
    and opposite signs in the two classes; a record's own noise has variance 1, and membership moves
    it so that without what is shared a record reaches `auc`.
    """
    patient = np.repeat(np.arange(patients), records)
    member = balanced(patients, models, rng)
    inputs = rng.uniform(-1, 1, (patient.size, columns))
    sign = np.where(rng.random(patient.size) < 0.5, 1, -1)
    slopes = rng.normal(size=(models, columns)) * np.sqrt(3 * shared / columns)
    shift = np.broadcast_to(np.sqrt(2) * ndtri(auc), patients)[patient]
    signals = rng.normal(size=(models, patient.size)) + shift * member[:, patient]
    signals += sign * (slopes @ inputs.T)
    places = Places(inputs.astype(np.float32) * 2, patient)
    return lay_out(signals.astype(np.float32), member, patient, (sign > 0).astype(np.int64), places)


def mean_free(x: NDArray[np.floating]) -> Floats:
    x = x.astype(np.float64)
    return np.asarray(x - x.mean(axis=1, keepdims=True))


def told(layout: Layout) -> tuple[NDArray[np.float32], Told]:
    """What is taken from signals that need no centring."""
    found, how = told_by_neighbours(layout, lambda rows: layout.signals[rows])
    assert found is not None, how.reason
    return found, how


def raw_auc(layout: Layout) -> tuple[Floats, Centring]:
    """Counted AUCs of the joint attack."""
    centring = Centring(layout)
    signals = centring.apply(layout)
    scores = tuned(layout, centring).score(layout, signals)
    return count_patients(layout, signals, scores)[0].auc, centring


def binormal(x: Floats, member: NDArray[np.bool_]) -> float:
    d: list[Any] = [
        (r[m].mean() - r[~m].mean()) / np.sqrt(r[m].var(ddof=1) + r[~m].var(ddof=1))
        for r, m in zip(x, member, strict=True)
    ]
    return float(np.mean(norm.cdf(d)))


def test_the_prediction_equals_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "RIDGES", (0.3,))
    monkeypatch.setattr(neighbours, "STEP", 100.0)  # all rows are of one scale
    layout = cohort(np.random.default_rng(1), patients=60, records=2, models=16)
    found, how = told(layout)
    assert layout.places is not None
    points, key = layout.places.points.astype(np.float64), layout.places.key
    n, sign = layout.records, np.where(layout.stratum == 1, 1.0, -1.0)
    total = np.zeros(60, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for r in range(n):
            total[layout.patient[r]] += key[r]
    group = [int((total[layout.patient[r]] >> np.uint64(33)) % np.uint64(5)) for r in range(n)]
    landmarks = np.argsort(key)
    square = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    apart = layout.patient[landmarks][:, None] != layout.patient[landmarks]
    width = 2 * np.median(square[np.ix_(landmarks, landmarks)][apart])
    kernel = np.exp(-square / width) * sign[:, None] * sign[None]
    x = mean_free(layout.signals)
    spread = x.std(axis=1)
    usual = np.median(spread)
    member = layout.member[layout.patient]
    gain, after = {}, {}
    for own in (False, True):
        unit = spread if own else np.full(n, usual)
        predicted = np.empty_like(x)
        for g in range(5):
            rest = [r for r in range(n) if group[r] != g]
            near = kernel[rest][:, landmarks]
            left = near.T @ near + 0.3 * (
                kernel[np.ix_(landmarks, landmarks)] + neighbours.NUGGET * np.eye(n)
            )
            weights = np.linalg.solve(left, near.T @ (x[rest] / unit[rest, None]))
            for r in range(n):
                if group[r] == g:
                    predicted[r] = mean_free((kernel[r, landmarks] @ weights)[None])[0] * unit[r]

        def slope(rows: list[int], predicted: Floats = predicted) -> float:
            top = sum(predicted[r] @ x[r] / spread[r] ** 2 for r in rows)
            bottom = sum(predicted[r] @ predicted[r] / spread[r] ** 2 for r in rows)
            return float(top / bottom / (1 + 2 / len(rows)))

        after[own] = predicted
        for g in (0, 1):
            mine = [r for r in range(n) if group[r] == g]
            for amount in neighbours.AMOUNTS:
                left_over = x[mine] - amount * slope(mine) * predicted[mine]
                gain[g, own, amount] = binormal(left_over, member[mine])
    best = [max((key for key in gain if key[0] == g), key=lambda key: gain[key]) for g in (0, 1)]
    chosen = [best[1 if g == 0 else 0][1:] for g in range(5)]
    expected = np.stack([after[chosen[group[r]][0]][r] for r in range(n)])
    along, power = (expected * x).sum(axis=1) / spread**2, (expected**2).sum(axis=1) / spread**2
    taken = np.empty_like(x)
    for r in range(n):
        rest = [q for q in range(n) if group[q] != group[r]]
        amount = chosen[group[r]][1]
        taken[r] = (
            amount * along[rest].sum() / power[rest].sum() / (1 + 2 / len(rest)) * expected[r]
        )
    np.testing.assert_allclose(found[layout.order], taken, atol=2e-3)
    removed = 1 - ((x - taken) ** 2).sum(axis=1) / (x**2).sum(axis=1)
    assert how.removed == pytest.approx(removed.mean(), abs=1e-3)
    assert how.landmarks == n


def test_what_models_share_is_removed_and_the_planted_auc_is_reached() -> None:
    layout = cohort(np.random.default_rng(2), patients=600, models=64)
    before, _ = raw_auc(replace(layout, places=None))
    after, centring = raw_auc(layout)
    # Noise of variance 1 + 2 on average, of which 2 is shared; the inputs' own variance makes the
    # AUC without controls a mixture.
    assert before.mean() < 0.68
    assert after.mean() == pytest.approx(0.75, abs=0.012)
    assert after.mean() < 0.76  # no more than the truth
    assert centring.neighbours.removed > 0.5
    assert not centring.neighbours.reason


@pytest.mark.parametrize("reach", [0.0, 0.3])
def test_who_changes_what_neighbours_get_is_not_taken_away_with_them(
    monkeypatch: pytest.MonkeyPatch, reach: float
) -> None:
    """A member raises what the model gives nearby; the prediction then holds the member's own."""
    rng = np.random.default_rng(12)
    layout = cohort(rng, patients=500, models=64, auc=0.7)
    assert layout.places is not None
    points = layout.places.points[layout.order].astype(np.float64)
    near = np.exp(-0.15 * ((points[:, None] - points[None]) ** 2).sum(axis=2))
    np.fill_diagonal(near, 0)
    same = np.where(layout.stratum[:, None] == layout.stratum, 1, -1)
    raised = (reach * near * same) @ (layout.member - 0.5)
    layout = replace(layout, signals=(layout.signals + raised).astype(np.float32))
    auc, _ = raw_auc(layout)
    monkeypatch.setattr(neighbours, "AMOUNTS", (1.0,))
    full, _ = raw_auc(layout)
    gain = auc - full
    error = gain.std() / np.sqrt(gain.size)
    if reach:
        assert gain.mean() > max(0.01, 4 * error)
    else:
        assert gain.mean() > -0.002, "where nobody does, nothing is lost"


def test_where_nothing_leaks_nothing_is_found_beside_patients_who_leak() -> None:
    auc, share = [], []
    for seed in range(4):
        rng = np.random.default_rng([3, seed])
        leaks = rng.random(500) < 0.5
        layout = cohort(rng, patients=500, models=32, auc=np.where(leaks, 0.85, 0.5))
        found, centring = raw_auc(layout)
        assert not centring.neighbours.reason
        auc.append(found[~leaks])
        # One threshold for all who do not leak, in every model: members pass as often as others.
        x = centring.apply(layout)[~leaks]
        member = layout.member[~leaks]
        for m in range(layout.models):
            bar = np.quantile(x[~member[:, m], m], 0.95)
            share.append(float((x[member[:, m], m] > bar).mean()))
    values = np.concatenate(auc)
    assert values.mean() == pytest.approx(0.5, abs=3 * values.std() / np.sqrt(values.size))
    assert np.mean(share) == pytest.approx(0.05, abs=3 * np.std(share) / np.sqrt(len(share)) + 2e-3)


def test_another_order_of_patients_and_records_says_the_same() -> None:
    rng = np.random.default_rng(4)
    layout = cohort(rng, patients=150, models=16, records=2)
    assert layout.places is not None
    first, _ = told(layout)
    patients = rng.permutation(150)
    records = rng.permutation(layout.records)
    again = lay_out(
        np.ascontiguousarray(layout.signals[records].T),
        np.ascontiguousarray(layout.member[patients].T),
        np.argsort(patients)[layout.patient[records]],
        layout.stratum[records],
        Places(layout.places.points[records], np.argsort(patients)[layout.patient[records]]),
    )
    second, _ = told(again)
    np.testing.assert_allclose(second, first[records], atol=1e-4)


@pytest.mark.parametrize("threads", [1, 3])
def test_neither_threads_nor_pieces_change_a_bit_beyond_sums(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = cohort(np.random.default_rng(5), patients=150, models=16)
    first, _ = told(layout)
    monkeypatch.setattr("auscult.base.parallel.cores", lambda: threads)
    again = replace(layout, places=Places(layout.places.points, layout.places.patient))  # type: ignore[union-attr]
    np.testing.assert_array_equal(told(again)[0], first)


def test_memory_is_bounded_by_pieces_and_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "AT_ONCE", 32)
    monkeypatch.setattr(neighbours, "JUDGES", 32)
    monkeypatch.setattr(neighbours, "MOST_LANDMARKS", 24)
    monkeypatch.setattr(neighbours, "FEWEST_LANDMARKS", 8)
    largest = []
    plain = Kernel._products

    def watched(self: Any, rows: NDArray[np.int64]) -> Any:  # noqa: ANN401
        found = plain(self, rows)
        largest.append(found[0].size)
        return found

    monkeypatch.setattr(Kernel, "_products", watched)
    for patients in (150, 600):
        largest.clear()
        _, how = told(cohort(np.random.default_rng(6), patients=patients, models=16))
        assert how.landmarks == 24
        assert max(largest) <= 32 * 24


def test_kept_solutions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = cohort(np.random.default_rng(6), patients=150, models=16)
    solved: list[None] = []
    plain = scipy.linalg.cho_factor

    def counted(*given: Any, **settings: Any) -> Any:  # noqa: ANN401
        solved.append(None)
        return plain(*given, **settings)

    monkeypatch.setattr(neighbours, "cho_factor", counted)
    kept, _ = told(layout)
    fewer = len(solved)
    monkeypatch.setattr(neighbours, "MOST_KEPT", 0)
    np.testing.assert_array_equal(told(layout)[0], kept)
    assert len(solved) - fewer == fewer + 2


def test_many_records_have_fewer_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "PRODUCTS", 300 * 50**2)
    monkeypatch.setattr(neighbours, "FEWEST_LANDMARKS", 8)
    layout = cohort(np.random.default_rng(7), patients=300, models=16)
    assert told(layout)[1].landmarks == 50


def test_a_patients_own_records_are_no_controls() -> None:
    # Two copies of each record, with the same noise: it could be predicted from one another.
    rng = np.random.default_rng(8)
    one = cohort(rng, patients=300, models=32, shared=0.0)
    assert one.places is not None
    twice = lay_out(
        np.repeat(one.signals, 2, axis=0).T,
        np.ascontiguousarray(one.member.T),
        np.repeat(np.arange(300), 2),
        np.repeat(one.stratum, 2),
        Places(np.repeat(one.places.points, 2, axis=0), np.repeat(np.arange(300), 2)),
    )
    found, how = told_by_neighbours(twice, lambda rows: twice.signals[rows])
    assert found is None or how.removed < 0.05
    x = mean_free(twice.signals)
    if found is not None:
        assert ((x - found) ** 2).mean() > 0.9 * (x**2).mean()


def test_a_patient_is_predicted_without_its_own_signals() -> None:
    layout = cohort(np.random.default_rng(9), patients=200, models=16)
    first, _ = told(layout)
    changed = layout.signals.copy()
    changed[7] = changed[7][::-1]
    second, _ = told(replace(layout, signals=changed))
    assert np.corrcoef(first[7], second[7])[0, 1] > 0.999
    others = np.delete(np.arange(200), 7)
    assert not np.allclose(first[others], second[others], atol=1e-4)


def test_a_record_whose_signals_hardly_vary_is_left_alone() -> None:
    """Saturated records among others: as good as without controls and without centring."""
    rng = np.random.default_rng(10)
    layout = cohort(rng, patients=500, models=48, auc=0.8, shared=0.3)
    flat = rng.random(500) < 0.4
    signals = layout.signals.copy()
    signals[flat] = 0.02 * rng.normal(size=(int(flat.sum()), 48)) + 5.0
    signals[flat] += 0.03 * layout.member[flat]
    layout = replace(layout, signals=signals.astype(np.float32))
    after, centring = raw_auc(layout)
    assert not centring.neighbours.reason
    left = mean_free(centring.apply(layout))
    kept = mean_free(layout.signals)
    taken = kept[flat] - left[flat]
    assert (taken**2).sum() < 0.1 * (kept[flat] ** 2).sum()
    plain, _ = raw_auc(replace(layout, places=None))
    assert after[flat].mean() > plain[flat].mean() - 0.005
    assert after[~flat].mean() > plain[~flat].mean() + 0.01


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one: replace(one, places=None), neighbours.NO_INPUTS),
        (lambda one: take_patients(one, np.arange(30))[0], neighbours.FEW),
        (
            lambda one: replace(
                one, places=Places(np.ones_like(one.places.points), one.places.patient)
            ),
            neighbours.ALIKE,
        ),
        (
            lambda one: replace(
                one,
                signals=np.random.default_rng(0).normal(size=one.signals.shape).astype(np.float32),
            ),
            neighbours.NO_GAIN,
        ),
    ],
)
def test_it_is_left_out_with_a_reason(change: Any, reason: str) -> None:  # noqa: ANN401
    layout = change(cohort(np.random.default_rng(11), patients=120, models=16))
    centring = Centring(layout)
    assert centring.neighbours.reason == reason
    assert not centring.neighbours.summary()["used"]
    plain = Centring(replace(layout, places=None))
    np.testing.assert_array_equal(centring.apply(layout), plain.apply(layout))


def test_parts_are_centred_like_the_whole() -> None:
    layout = cohort(np.random.default_rng(12), patients=200, models=16, records=2)
    centring = Centring(layout)
    some, rows = take_patients(layout, np.array([5, 3, 150, 3]))
    np.testing.assert_array_equal(centring.apply(some), centring.apply(layout)[rows])


def test_many_classes_share_what_log_odds_of_classes_share() -> None:
    """K logits vary alike over models; log-odds of the truth of different classes oppose."""
    rng = np.random.default_rng(13)
    n, models, classes = 400, 32, 3
    member, label = balanced(n, models, rng), rng.integers(0, classes, n)
    points = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
    logits = np.einsum("mck,nk->mnc", rng.normal(size=(models, classes, 2)), points)
    others = (logits.sum(axis=2) - logits[:, np.arange(n), label]) / (classes - 1)
    signals = logits[:, np.arange(n), label] - others + 0.3 * rng.normal(size=(models, n))
    signals += 0.3 * member
    layout = lay_out(
        signals.astype(np.float32), member, np.arange(n), label, Places(points * 2, np.arange(n))
    )
    together = told(layout)[1].removed
    assert together > 0.7
    apart = told(replace(layout, stratum=np.zeros(n, dtype=np.int64)))[1].removed
    assert together > apart + 0.1


def test_places_of_tables_images_and_both() -> None:
    rng = np.random.default_rng(14)
    numeric = np.array([[1.0, 5], [3, np.nan], [5, 5], [7, 5]], dtype=np.float32)
    table = TableInputs(
        numeric=numeric,
        numeric_names=("a", "b"),
        codes=np.array([[0], [1], [-1], [1]], dtype=np.int32),
        categorical_names=("c",),
        levels=(("x", "y"),),
    )
    points = Places.of(table, np.arange(4)).points
    spread = float(np.std([1, 3, 5, 7]))
    expected: list[list[Any]] = [
        [-3 / spread, 0, 0, 1, 0],
        [-1 / spread, 0, 1, 0, 1],
        [1 / spread, 0, 0, 0, 0],
        [3 / spread, 0, 0, 0, 1],
    ]
    np.testing.assert_allclose(points, expected, atol=1e-6)
    images = ArrayInputs(
        array=rng.integers(0, 255, (4, 32, 32, 3)).astype(np.uint8),
        rows=np.array([3, 2, 1, 0]),
        channels="last",
    )
    pixels = Places.of(images, np.arange(4)).points
    assert pixels.shape == (4, 3 * 16 * 16)
    coarse = images.array[3].reshape(16, 2, 16, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1).ravel()
    assert np.corrcoef(pixels[0] - pixels[1], coarse)[0, 1] > 0.5
    both = Places.of(NamedInputs(parts={"t": table, "i": images}), np.arange(4)).points
    assert both.shape == (4, 5 + pixels.shape[1])
    # Both halves count the same.
    assert both[:, :5].var(axis=0).sum() == pytest.approx(both[:, 5:].var(axis=0).sum(), rel=1e-3)


def test_wide_inputs_keep_their_distances() -> None:
    rng = np.random.default_rng(15)
    wide = rng.normal(size=(60, 3000)).astype(np.float32)
    points = Places.of_features(wide, np.arange(60)).points
    assert points.shape == (60, 1024)
    near = ((points[:, None] - points) ** 2).sum(axis=2)
    scaled = (wide - wide.mean(axis=0)) / wide.std(axis=0)
    true = ((scaled[:, None] - scaled) ** 2).sum(axis=2)
    off = ~np.eye(60, dtype=bool)
    np.testing.assert_allclose(near[off] / true[off], 1, atol=0.3)


def arrays(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    layout = cohort(rng, patients=120, models=16)
    assert layout.places is not None
    return {
        "signals": np.ascontiguousarray(layout.signals.T),
        "membership": np.ascontiguousarray(layout.member.T),
        "patient": np.arange(120),
        "labels": layout.stratum,
        "features": layout.places.points,
    }


def test_an_import_uses_features_and_says_what_it_lacks(tmp_path: Path) -> None:
    given = arrays(np.random.default_rng(16))
    found = import_scores(from_arrays(given, "scores.npz"), tmp_path / "with")
    del given["features"]
    without = import_scores(from_arrays(given, "scores.npz"), tmp_path / "without")
    used, unused = (r.summary["patients"]["neighbours"] for r in (found, without))
    assert used["used"]
    assert used["variance_removed"] > 0.3
    assert unused == {
        "used": False,
        "reason": neighbours.NO_INPUTS,
        "variance_removed": 0.0,
    }
    raised = found.summary["patients"]["auc"]["mean"] - without.summary["patients"]["auc"]["mean"]
    assert raised > 0.03


def test_finished_runs_are_compared_with_the_same_controls(tmp_path: Path) -> None:
    """The run beside itself, beside one without inputs, and after what was kept is lost."""
    given = arrays(np.random.default_rng(21))
    runs = {name: tmp_path / name for name in ("one", "again", "bare")}
    one = import_scores(from_arrays(given, "scores.npz"), runs["one"]).summary["patients"]
    import_scores(from_arrays(given, "scores.npz"), runs["again"])
    del given["features"]
    import_scores(from_arrays(given, "scores.npz"), runs["bare"])
    found = compare(list(runs.values()))
    assert comparison_disagreements(found) == []
    same, bare = found.entries
    exact = json.loads((runs["one"] / "secret" / "exact.json").read_text(encoding="utf-8"))
    assert same["mean_auc"]["estimate"] == pytest.approx(one["raw"]["mean"], abs=1e-3)
    assert same["mean_auc_change"]["estimate"] == 0
    assert exact["patients"]["raw"]["mean"] - bare["mean_auc"]["estimate"] > 0.03
    # What one run has no inputs for is left out on both sides.
    assert bare["mean_auc_change"]["estimate"] == 0
    assert "bare was attacked without" in bare["notes"][-1]
    assert not any("similar" in note for note in same["notes"])
    (runs["again"] / "secret" / "nearby.npy").write_bytes(b"not an array")
    with pytest.raises(StoreError) as error:
        compare([runs["one"], runs["again"]])
    assert "Run its command again" in str(error.value)
    import_scores(
        from_arrays(
            given | {"features": arrays(np.random.default_rng(21))["features"]}, "scores.npz"
        ),
        runs["again"],
    )
    assert compare([runs["one"], runs["again"]]).entries == [same]


def test_guesses_of_a_promise_use_no_coin_that_is_guessed() -> None:
    """Kept strengths are those that shown pairs suggest, whichever model of a pair is which."""
    layout = cohort(np.random.default_rng(22), patients=150, models=24)
    everybody, rng = np.arange(150), np.random.default_rng(0)
    pairs = empirical._pairs(layout.member, 12, rng)
    first = empirical._scores(layout, everybody, pairs)
    swapped = layout.member.copy()
    for flipped in (pairs[:, 6:, 0], pairs[:, 6:, 1]):
        np.put_along_axis(swapped, flipped, ~np.take_along_axis(swapped, flipped, 1), 1)
    assert not np.array_equal(swapped, layout.member)
    again = empirical._scores(replace(layout, member=swapped), everybody, pairs)
    np.testing.assert_array_equal(again, first)
    plain = empirical._scores(replace(layout, places=None), everybody, pairs)
    assert np.abs(plain - first).max() > 0.1, "records nearby are used"


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((5, 2)), "features of 5 records"),
        (np.full((120, 2), np.nan), "240 features are NaN"),
        (np.full((120, 2), "a"), "(records, columns)"),
        (np.zeros((120, 2, 2)), "(records, columns)"),
    ],
)
def test_features_that_do_not_fit_are_refused(features: NDArray[Any], message: str) -> None:
    given = arrays(np.random.default_rng(17)) | {"features": features}
    with pytest.raises(CohortError) as error:
        from_arrays(given, "scores.npz")
    assert message in str(error.value)


def test_one_word_per_record_named_features_is_a_group() -> None:
    given = arrays(np.random.default_rng(18)) | {"features": np.repeat(["a", "b"], 60)}
    assert from_arrays(given, "scores.npz").groups.columns.tolist() == ["features"]


def test_one_number_per_record_named_features_has_two_readings() -> None:
    given = arrays(np.random.default_rng(18))
    column = np.random.default_rng(19).standard_normal(120)
    with pytest.raises(CohortError, match="single column of inputs, or numbers of groups") as told:
        from_arrays(given | {"features": column}, "scores.npz")
    assert "features[:, None]" in str(told.value)
    # Either way on is open.
    as_inputs = from_arrays(given | {"features": column[:, None]}, "scores.npz")
    assert as_inputs.features is not None
    del given["features"]
    as_group = from_arrays(given | {"site": np.repeat([1, 2], 60)}, "scores.npz")
    assert as_group.groups.columns.tolist() == ["site"]


def test_saturating_transforms_of_single_records_do_no_harm() -> None:
    """Each record's signals go through a monotone function of its own."""
    rng = np.random.default_rng(19)
    gains = []
    for _ in range(3):
        layout = cohort(rng, patients=300, models=48, auc=0.75, shared=0.3)
        steep = np.exp(rng.normal(0, 1.5, (300, 1)))
        signals = expit(steep * (layout.signals - rng.normal(0, 1, (300, 1)))).astype(np.float32)
        layout = replace(layout, signals=signals)
        plain, _ = raw_auc(replace(layout, places=None))
        gains.append(raw_auc(layout)[0] - plain)
    gain = np.concatenate(gains)
    assert gain.mean() > -2 * gain.std() / np.sqrt(gain.size)


def test_the_binormal_auc_of_rows() -> None:
    rng = np.random.default_rng(20)
    member = balanced(2000, 64, rng).T
    x = rng.normal(size=member.shape) + 1.0 * member
    found = neighbours._told_apart(x, neighbours._sides(member, None))
    assert found.mean() == pytest.approx(ndtr(1 / np.sqrt(2)), abs=0.01)
    used = rng.random(member.shape) < 0.5
    again = neighbours._told_apart(np.where(used, x, 1e6), neighbours._sides(member, used))
    assert again.mean() == pytest.approx(ndtr(1 / np.sqrt(2)), abs=0.01)
