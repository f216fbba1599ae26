"""The parts of the attacks, each against a loop or a case worked by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import digamma, expit, logit, polygamma

from auscult.attacks.access import (
    Access,
    access_signals,
    answers_seen,
    parse_access,
    served,
)
from auscult.attacks.dealing import deal
from auscult.attacks.joint import (
    JointAttack,
    _equal_effect,
    _Training,
    band_name,
    joint_scores,
    tuned,
)
from auscult.attacks.layout import (
    Centring,
    Layout,
    _median,
    lay_out,
    spaced,
    take_patients,
)
from auscult.attacks.log_odds import log1mexp, log_odds_of_truth, signals_from_outputs
from auscult.attacks.record import ATTACKS, references, rmia_scores
from auscult.attacks.roc import FPR_GRID, REPORTED_FPR, AggregateRoc, aggregate_roc, exact_auc
from auscult.attacks.unseen import unseen_scores
from auscult.attacks.variances import inverse_trigamma, learned, shrunk
from auscult.attacks.views import Label, Logits, Probabilities, Rounded, Score, Top
from auscult.base.errors import AnalysisError, ConfigError
from auscult.base.progress import SILENT
from auscult.store import Outputs
from tests.simulation import simulate


def layout(patients: int = 12, models: int = 24, seed: int = 0, **more: Any) -> Layout:  # noqa: ANN401
    rng = np.random.default_rng(seed)
    return simulate(rng.uniform(0.5, 0.95, patients), models, rng, **more).layout()


# Layout


def test_signals_are_laid_out_by_patient() -> None:
    rng = np.random.default_rng(1)
    patient = np.array([2, 0, 2, 1, 0, 2])
    signals, member = rng.standard_normal((7, 6)), rng.random((7, 3)) < 0.5
    stratum = np.array([5, 6, 7, 8, 9, 4])
    for given in (stratum, None):
        found = lay_out(signals, member, patient, given)
        assert found.order.tolist() == [1, 4, 3, 0, 2, 5]
        assert found.patient.tolist() == [0, 0, 1, 2, 2, 2]
        assert (found.first.tolist(), found.count.tolist()) == ([0, 2, 3], [2, 1, 3])
        assert np.array_equal(found.signals, signals.T[found.order])
        assert np.array_equal(found.member, member.T)
        expected = np.zeros(6) if given is None else stratum[found.order]
        assert np.array_equal(found.stratum, expected)
        assert found.number.tolist() == [0, 1, 2]
    assert (found.records, found.models, found.patients) == (6, 7, 3)
    assert "6 records, 3 patients, 7 models" in repr(found)
    # Sorted already, some patients without a record.
    sparse = lay_out(signals, np.ones((7, 9), bool), np.array([1, 1, 4, 4, 4, 8]))
    assert sparse.count.tolist() == [0, 2, 0, 0, 3, 0, 0, 0, 1]
    assert np.array_equal(sparse.signals, signals.T)


def test_parts_make_up_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = layout(9, 10, records=np.array([1, 4, 2, 2, 1, 3, 5, 1, 1]))
    used = np.random.default_rng(2).random(whole.member.shape) < 0.9
    whole = replace(whole, used=used)
    for most in (1, 3, 4, 6, 100):
        monkeypatch.setattr("auscult.attacks.layout.PART_BYTES", most * 8 * 10)
        patients, rows = 0, 0
        for here, mine, part in whole.parts():
            assert (here.start, mine.start) == (patients, rows)
            assert part.records <= most or part.patients == 1
            assert np.array_equal(part.signals, whole.signals[mine])
            assert np.array_equal(part.member, whole.member[here])
            assert part.used is not None
            assert np.array_equal(part.used, used[here])
            assert np.array_equal(part.number, whole.number[here])
            assert np.array_equal(part.count, whole.count[here])
            assert part.first.tolist() == [0, *np.cumsum(part.count)[:-1]]
            assert np.array_equal(part.patient, np.repeat(np.arange(part.patients), part.count))
            assert part.folds == whole.folds
            patients, rows = here.stop, mine.stop
        assert (patients, rows) == (whole.patients, whole.records)


def test_patients_may_be_taken_several_times() -> None:
    whole = layout(5, 12, records=np.array([1, 3, 2, 1, 2]))
    part, rows = take_patients(whole, np.array([4, 1, 4]))
    assert rows.tolist() == [7, 8, 1, 2, 3, 7, 8]
    assert np.array_equal(part.signals, whole.signals[rows])
    assert part.patient.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert (part.first.tolist(), part.count.tolist()) == ([0, 2, 5], [2, 3, 2])
    assert part.number.tolist() == [4, 1, 4]
    assert np.array_equal(part.member, whole.member[[4, 1, 4]])


def test_folds_are_four_where_each_fills_a_class_twice() -> None:
    def of(inside: int, models: int) -> Layout:
        member = np.zeros((models, 20), dtype=bool)
        member[:inside] = True
        return lay_out(np.zeros((models, 20)), member, np.arange(20))

    assert [of(k, 20).folds for k in (7, 8, 12, 13)] == [2, 4, 4, 2]
    assert [bool(of(k, 12).estimable().all()) for k in (3, 4, 8, 9)] == [False, True, True, False]
    one = of(8, 20)
    one.member[0] = False  # 5% may have fewer; who is not estimable does not count
    assert one.folds == 4
    few = of(10, 20)
    few.member[:2, :4] = False  # a tenth with six
    assert few.folds == 2
    assert replace(few, dealt=3).folds == 3


def test_models_are_dealt_in_turn() -> None:
    rng = np.random.default_rng(3)
    member, used = rng.random((30, 22)) < 0.5, rng.random((30, 22)) < 0.8
    for mask in (None, used):
        dealt = deal(member, 4, mask)
        seen = used if mask is not None else np.ones_like(member)
        for patient in range(30):
            for label in (0, 1):
                weight = dealt.weight[patient, :, label] > 0
                models = dealt.model[patient, :, label][weight]
                inside = np.flatnonzero((member[patient] == bool(label)) & seen[patient])
                assert sorted(models) == inside.tolist()
                each = weight.sum(axis=1)
                assert each.max() - each.min() <= 1
                assert (np.diff(each) <= 0).all()  # the first folds get what is left over
        assert dealt.folds == 4
    again = deal(member[5:7], 4, number=np.array([5, 6]))
    whole = deal(member, 4)
    assert np.array_equal(again.model[0][again.weight[0] > 0], whole.model[5][whole.weight[5] > 0])
    assert (deal(member, 4, salt=7).model != whole.model).any()
    # Patients and models have orders of their own.
    first = deal(np.zeros((200, 40), bool), 1).model[:, 0, 0]
    place = (first == 0).argmax(axis=1)
    assert np.bincount(place, minlength=40).max() < 20
    assert np.abs(np.corrcoef(first[:, 0], first[:, 1])[0, 1]) < 0.3


def test_centres_are_medians_of_other_groups() -> None:
    rng = np.random.default_rng(4)
    n = 130
    member = rng.random((9, n)) < 0.5
    stratum = np.where(np.arange(n) < 100, 3, 8)  # of 8 fewer than 20 are left in each group
    stratum[::26] = 5
    signals = rng.standard_normal((9, n))
    whole = lay_out(signals, member, np.arange(n), stratum)
    centring = Centring(whole, groups=5)
    found = centring.apply(whole)
    for row in range(n):
        others = np.arange(n) % 5 != row % 5
        same = others & (stratum == stratum[row])
        reference = same if same.sum() >= 20 else others
        medians = np.median(signals.T[reference], axis=0)
        # How far a record goes along with them from model to model is learned from its own scale.
        level, slope = medians.mean(), centring._slope[row]
        expected = signals.T[row] - level - slope * (medians - level)
        np.testing.assert_allclose(found[row], expected, atol=1e-6)
    assert sum(((stratum == 8) & (np.arange(n) % 5 != g)).sum() >= 20 for g in range(5)) > 0
    sampled = Centring(whole, sample=10, groups=5)
    some = sampled.apply(whole)
    others = np.flatnonzero((np.arange(n) % 5 != 0) & (stratum == 3))
    spaced = others[np.linspace(0, others.size - 1, 10).astype(int)]
    row = int(np.flatnonzero((np.arange(n) % 5 == 0) & (stratum == 3))[0])
    medians = np.median(signals.T[spaced], axis=0)
    level = medians.mean()
    expected = signals.T[row] - level - sampled._slope[row] * (medians - level)
    np.testing.assert_allclose(some[row], expected, atol=1e-6)


def test_a_centre_of_few_values_is_the_mean_of_the_middle_half() -> None:
    rng = np.random.default_rng(5)
    for n in (1, 2, 3, 7, 8):
        plain = rng.standard_normal((n, 3))
        np.testing.assert_allclose(_median(plain, np.arange(n)), np.median(plain, axis=0))
    few = rng.integers(0, 2, (11, 3)).astype(float)
    expected = np.sort(few, axis=0)[2:9].mean(axis=0)
    np.testing.assert_allclose(_median(few, np.arange(11)), expected)
    # Half of the neighbours alike is not yet few values; three signals never are.
    half = np.repeat(np.arange(3.0), [2, 2, 1])[:, None] * [1.0, 1.0]
    np.testing.assert_allclose(_median(half, np.arange(5)), np.median(half, axis=0))
    np.testing.assert_allclose(_median(np.ones((3, 2)), np.arange(3)), 1.0)
    assert _median(few, np.array([], dtype=int)).tolist() == [0, 0, 0]
    assert spaced(np.arange(9), 9).size == 9
    assert spaced(np.arange(9), 5).tolist() == [0, 2, 4, 6, 8]


# What an access shows, and what is read from it


def answers(kind: str, columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(6)
    z = rng.standard_normal((2, 5, columns))
    labels = (
        rng.integers(0, 2, (5, columns)) if kind == "multilabel" else rng.integers(0, columns, 5)
    )
    return z, rng.integers(0, 2, 5) if kind == "sigmoid" else labels


def truth_of(z: np.ndarray, labels: np.ndarray, kind: str) -> np.ndarray:
    """Probability of each truth, by its definition."""
    if kind == "softmax":
        p = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
        return np.asarray(p[..., np.arange(5), labels])
    if kind == "sigmoid":
        return np.where(labels == 1, expit(z[..., 0]), expit(-z[..., 0]))
    return np.asarray(np.where(labels == 1, expit(z), expit(-z)).prod(axis=-1))


@pytest.mark.parametrize(("kind", "columns"), [("softmax", 3), ("sigmoid", 1), ("multilabel", 2)])
def test_an_attacker_reads_the_log_odds_of_the_truth(kind: Any, columns: int) -> None:  # noqa: ANN401
    z, labels = answers(kind, columns)
    wanted = logit(truth_of(z, labels, kind))
    np.testing.assert_allclose(log_odds_of_truth(z, labels, kind), wanted, rtol=1e-9)
    for access in (Access(shows="logits"), Access(), Access(temperature=2.5)):
        found = access.signal(z, labels, kind)
        np.testing.assert_allclose(found, wanted, rtol=1e-4)
    warm = Access(temperature=2.0).handed_out(z, kind)
    p = truth_of(z / 2.0, labels, kind)
    np.testing.assert_allclose(expit(log_odds_of_truth(warm, labels, kind)), p, rtol=1e-5)


def test_what_a_rounded_or_a_top_answer_shows() -> None:
    p = np.array([[0.004, 0.123, 0.873], [0.5, 0.3, 0.2]])
    labels = np.array([0, 1])
    shown = np.exp(Access(digits=2).handed_out(np.log(p), "softmax"))
    np.testing.assert_allclose(shown, [[0.005, 0.12, 0.87], [0.5, 0.3, 0.2]])
    signal = Access(digits=2).signal(np.log(p), labels, "softmax")
    np.testing.assert_allclose(signal, logit([0.005, 0.3]))
    sure = Access(digits=1).handed_out(np.array([[40.0], [-40.0], [0.0]]), "sigmoid")
    np.testing.assert_allclose(expit(sure[:, 0]), [0.95, 0.05, 0.5])
    top = np.exp(Access(shows="top").handed_out(np.log(p), "softmax"))
    np.testing.assert_allclose(top, [[0.0635, 0.0635, 0.873], [0.5, 0.25, 0.25]])
    several = np.array([[-3.0, 2.0, 1.0], [-3.0, -2.0, -5.0]])
    shown = Access(shows="top").handed_out(several, "multilabel")
    np.testing.assert_allclose(shown, [[-1.0, 2.0, -1.0], [-3.0, -2.0, -3.0]])
    truth = np.array([[0, 0, 1], [0, 1, 0]])
    np.testing.assert_allclose(Access(shows="top").signal(several, truth, "multilabel"), [-2, -2])
    softened = Access(shows="top", temperature=4.0).signal(several, truth, "multilabel")
    np.testing.assert_allclose(softened, [-2, -2])
    assert Access(shows="top").handed_out(np.array([[0.3]]), "sigmoid").tolist() == [[0.3]]


def test_what_a_label_shows() -> None:
    label = Access(label_only=True)
    z = np.array([[0.2, 0.1, -3.0], [-1.0, 5.0, 2.0]])
    assert label.handed_out(z, "softmax").tolist() == [[1, 0, 0], [0, 1, 0]]
    assert label.signal(z, np.array([0, 2]), "softmax").tolist() == [1, 0]
    assert label.handed_out(z, "multilabel").tolist() == [[1, 1, -1], [-1, 1, 1]]
    truth = np.array([[1, 0, 0], [1, 1, 1]])
    np.testing.assert_allclose(label.signal(z, truth, "multilabel"), [2 / 3, 2 / 3])
    binary = np.array([[0.1], [-0.1], [0.0]])
    assert label.handed_out(binary, "sigmoid").tolist() == [[1], [-1], [-1]]
    assert label.signal(binary, np.array([1, 1, 0]), "sigmoid").tolist() == [1, 0, 1]


def test_an_access_is_one_view() -> None:
    views = {
        Access(): Probabilities(),
        Access(temperature=2.0): Probabilities(temperature=2.0),
        Access(digits=3): Rounded(digits=3),
        Access(digits=3, temperature=2.0): Rounded(digits=3, temperature=2.0),
        Access(shows="logits"): Logits(),
        Access(shows="top"): Top(),
        Access(shows="score"): Score(),
        Access(label_only=True): Label(),
    }
    for access, view in views.items():
        assert access.seen == view
        assert (access.name, access.continuous) == (view.name, view.continuous)
        assert access.origin is None
    assert Rounded(digits=1).words() == "rounded to 1 digit"
    assert Rounded().words() == "rounded to 2 digits"
    texts = {"probabilities": 0, "rounded:3": 2, "logits": 4, "top": 5, "score": 6, "label": 7}
    for text, place in texts.items():
        assert parse_access(text) == list(views)[place]
    assert parse_access("rounded") == Access(digits=2)
    assert parse_access("rounded:7") == Access(digits=7)
    for text in ("rounded:8", "rounded:0", "rounded:-1", "rounded:", "label:2", "odd", "", ":3"):
        with pytest.raises(ConfigError, match="there is no access"):
            parse_access(text)


def test_an_access_that_protects_nothing_is_refused() -> None:
    protections = {
        Access(digits=1): {"digits": 1},
        Access(digits=7): {"digits": 7},
        Access(temperature=1e-3): {"temperature": 1e-3},
        Access(digits=3, temperature=2.0): {"digits": 3, "temperature": 2.0},
        Access(label_only=True): {"label_only": True},
    }
    for access, described in protections.items():
        access.check("here")
        assert access.describe() == described
    refused = {
        Access(digits=0): "0 digits",
        Access(digits=8): "8 digits",
        Access(temperature=0.0): "not a valid temperature",
        Access(temperature=-1.0): "not a valid temperature",
        Access(temperature=float("inf")): "not a valid temperature",
        Access(temperature=float("nan")): "not a valid temperature",
        Access(label_only=True, digits=2): "a label has neither",
        Access(label_only=True, temperature=2.0): "a label has neither",
        Access(): "it changes nothing",
        Access(shows="logits"): "it changes nothing",
        Access(shows="top", digits=2): '"top" is not a protection',
    }
    for access, words in refused.items():
        with pytest.raises(ConfigError, match=words):
            access.check("here")


def test_ready_signals_are_no_answers() -> None:
    z = np.arange(6.0).reshape(3, 2)
    assert np.array_equal(Access(shows="score").handed_out(z, "signal"), z)
    with pytest.raises(AnalysisError, match="which no interface can round"):
        Access().handed_out(z, "signal")
    np.testing.assert_allclose(log_odds_of_truth(z, np.zeros(0, int), "signal"), z[:, 0])
    with pytest.raises(AnalysisError, match='"odd" is not a kind'):
        log_odds_of_truth(z, np.zeros(3, int), "odd")  # type: ignore[arg-type]


def test_all_answers_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    values = rng.standard_normal((3, 4, 11, 2)).astype(np.float32)
    labels = rng.integers(0, 2, 11)
    given = Outputs.in_memory(values, "softmax")
    odds = log_odds_of_truth(values, labels, "softmax")
    for at_once in (1, 4, 11, 65_536):
        monkeypatch.setattr("auscult.attacks.log_odds.RECORDS_AT_ONCE", at_once)
        monkeypatch.setattr("auscult.attacks.access.RECORDS_AT_ONCE", at_once)
        found = signals_from_outputs(given, labels)
        np.testing.assert_allclose(found, odds.mean(axis=1), rtol=1e-6)
        found = signals_from_outputs(given, labels, [0, 3])
        np.testing.assert_allclose(found, odds[:, [0, 3]].mean(axis=1), rtol=1e-6)
        found = access_signals(given, labels, Access(label_only=True), [1, 2])
        right = (values.argmax(axis=-1) == labels)[:, [1, 2]].mean(axis=1)
        np.testing.assert_allclose(found, right)
        handed = served(given, Access(label_only=True), [2])
        assert (handed.models, handed.queries, handed.records) == (3, 1, 11)
        assert np.array_equal(handed.read(0, 11)[:, 0].argmax(-1), values[:, 2].argmax(-1))
        assert served(given, Access()).queries == 4


def test_a_label_alone_is_asked_for_augmented_views() -> None:
    queries = ["noise:0.1", "augmented:2"]
    assert answers_seen(Access(), [0], queries) == (0,)
    assert answers_seen(Access(label_only=True), [0], queries) == (0, 2, 3)
    assert answers_seen(Access(label_only=True), [0], []) == (0,)
    assert answers_seen(Access(label_only=True), [1], queries) == (1,)


def test_the_logarithm_of_what_a_probability_leaves() -> None:
    x = np.array([-1e-12, -0.1, -0.69, -0.7, -5.0, -50.0])
    exact = [np.log(1e-12), *np.log(-np.expm1(x[1:-1])), -np.exp(-50.0)]
    np.testing.assert_allclose(log1mexp(x), exact, rtol=1e-9)
    assert np.isfinite(log1mexp(np.zeros(1))).all()


# Variances


def test_a_shared_variance_is_learned_by_log_moments() -> None:
    rng = np.random.default_rng(8)
    number = rng.integers(2, 20, 400).astype(float)
    true = 3.0 * 6 / rng.chisquare(6, 400)
    variance = true * rng.chisquare(number - 1) / (number - 1)
    variance[:5], number[5:9] = 0.0, 1.0
    found = learned(variance, number)
    kept = (number > 1) & (variance > 1e-8 * variance[number > 1].mean())
    free = number[kept] - 1
    log = np.log(variance[kept]) - digamma(free / 2) + np.log(free / 2)
    left = log.var() - polygamma(1, free / 2).mean()
    freedom = 2 * inverse_trigamma(left)
    assert found.freedom == pytest.approx(freedom)
    value = np.exp(log.mean() + digamma(freedom / 2) - np.log(freedom / 2))
    assert found.value == pytest.approx(value)
    assert 4 < found.freedom < 9
    for x in (1e-5, 0.3, 1.0, 40.0, 1e5):
        assert polygamma(1, inverse_trigamma(x)) == pytest.approx(x, rel=1e-8)
    nobody = learned(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    assert (nobody.value, nobody.freedom) == (0.0, 0.0)
    still = learned(np.zeros(4), np.full(4, 9.0))
    assert (still.value, still.freedom) == (0.0, 0.0)


def test_own_and_shared_variance_are_weighed_by_their_freedom() -> None:
    one = np.ones(1)
    assert shrunk(2 * one, 5 * one, 6 * one, 4 * one)[0] == pytest.approx((4 * 6 + 4 * 2) / 8)
    assert shrunk(2 * one, 1 * one, 6 * one, 3 * one)[0] == 6.0
    assert shrunk(2 * one, 0 * one, 6 * one, 3 * one)[0] == 6.0
    assert shrunk(2 * one, 5 * one, 6 * one, 0 * one)[0] == 2.0
    assert shrunk(2 * one, 1 * one, 6 * one, 0 * one)[0] == 0.0


def test_references_are_the_models_of_other_folds() -> None:
    rng = np.random.default_rng(9)
    values = rng.standard_normal((4, 3, 2, 5)) + 100
    weight = (rng.random(values.shape) < 0.7).astype(float)
    found = references(values, weight)
    for row, fold, label in np.ndindex(4, 3, 2):
        others = [f for f in range(3) if f != fold]
        x = values[row, others, label][weight[row, others, label] > 0]
        assert found.number[row, fold, label] == x.size
        if x.size > 1:
            assert found.mean[row, fold, label] == pytest.approx(x.mean())
            assert found.variance[row, fold, label] == pytest.approx(x.var(ddof=1))


def test_a_record_dominates_by_more_than_gamma() -> None:
    population = np.array([0.5, 1.0, 1.0, 2.0])
    found = rmia_scores(np.array([1.0, 2.0, 2.1, 4.1, 0.1]), population)
    assert found.tolist() == [0.0, 0.25, 0.75, 1.0, 0.0]
    assert rmia_scores(np.array([1.0, 1.1]), population, gamma=1.0).tolist() == [0.25, 0.75]
    assert ATTACKS.get("lira", "here").supports(8) is None
    assert "needs at least 8 models" in str(ATTACKS.get("lira", "here").supports(7))


# The joint attack


def test_bands_have_names() -> None:
    names = [band_name(*band) for band in ((1, 1), (2, 2), (3, 5), (20, None))]
    assert names == ["1", "2", "3-5", "20+"]
    found = JointAttack(strengths={"1": [np.inf, 3.0]}, effects={}).strengths_for_summary()
    assert found == {"1": ["equal", 3.0]}


@pytest.mark.parametrize("strength", [0.0, 30.0, np.inf])
def test_joint_scores_are_in_deviations_within_folds(strength: float) -> None:
    """Against a loop: scores, effects on the other folds, and the units between the two."""
    whole = layout(4, 24, records=np.array([1, 2, 3, 3]))
    found = joint_scores(whole, strengths=(strength,))
    attack = tuned(whole, None, strengths=(strength,))
    for patient in range(4):
        k = int(whole.count[patient])
        rows = slice(whole.first[patient], whole.first[patient] + k)
        x = whole.signals[rows].astype(float)
        places = [
            [found.deal.model[patient, f, c][found.deal.weight[patient, f, c] > 0] for c in (0, 1)]
            for f in range(found.deal.folds)
        ]
        within, free = np.zeros((k, k)), 0
        for models in (one for both in places for one in both):
            away = x[:, models] - x[:, models].mean(axis=1, keepdims=True)
            within, free = within + away @ away.T, free + models.size - 1
        within /= free
        name = {1: "1", 2: "2", 3: "3-5"}[k]
        for fold in range(found.deal.folds):
            train = [
                np.concatenate([places[f][c] for f in range(found.deal.folds) if f != fold])
                for c in (0, 1)
            ]
            mean = [x[:, models].mean(axis=1) for models in train]
            away = np.hstack([x[:, m] - c[:, None] for m, c in zip(train, mean, strict=True)])
            covariance = away @ away.T / (away.shape[1] - 2)
            shrunken = 0.7 * covariance + 0.3 * np.diag(np.diag(covariance))
            difference, weights = mean[1] - mean[0], np.ones(k)
            if np.isfinite(strength):
                pull = strength / away.shape[1] * np.diag(covariance).mean()
                scale = attack.effects[name][fold] / np.sqrt(shrunken.sum())
                weights = np.linalg.solve(shrunken + pull * np.eye(k), difference + pull * scale)
            unit = np.sqrt(weights @ within @ weights)
            spread = np.sqrt(weights @ shrunken @ weights)
            assert found.effect[patient, fold] == pytest.approx(weights @ difference / spread)
            assert found.unit[patient, fold] == pytest.approx(unit / spread)
            for c in (0, 1):
                score = weights @ (x[:, places[fold][c]] - (mean[0] + mean[1])[:, None] / 2) / unit
                here = found.values[patient, fold, c][found.deal.weight[patient, fold, c] > 0]
                np.testing.assert_allclose(here, score)


def test_a_model_that_was_not_among_them_is_scored_by_all() -> None:
    whole = layout(6, 26, records=np.array([1, 2, 3, 1, 2, 3]))
    used = np.ones(whole.member.shape, dtype=bool)
    used[:, -2:] = False
    part = replace(whole, used=used)
    attack = tuned(part, None, strengths=(30.0,))
    found = unseen_scores(attack, part, part.signals)
    for patient in range(6):
        k = int(whole.count[patient])
        x = whole.signals[whole.first[patient] : whole.first[patient] + k].astype(float)
        inside = whole.member[patient] & used[patient]
        outside = ~whole.member[patient] & used[patient]
        mean = [x[:, models].mean(axis=1) for models in (outside, inside)]
        away = np.hstack([x[:, outside] - mean[0][:, None], x[:, inside] - mean[1][:, None]])
        covariance = away @ away.T / (away.shape[1] - 2)
        shrunken = 0.7 * covariance + 0.3 * np.diag(np.diag(covariance))
        name = {1: "1", 2: "2", 3: "3-5"}[k]
        strength = sorted(attack.strengths[name])[len(attack.strengths[name]) // 2]
        weights = np.ones(k)
        if np.isfinite(strength):
            pull = strength / 24 * np.diag(covariance).mean()
            scale = np.mean(attack.effects[name]) / np.sqrt(shrunken.sum())
            weights = np.linalg.solve(shrunken + pull * np.eye(k), mean[1] - mean[0] + pull * scale)
        within, free = np.zeros((k, k)), 0
        dealt = part.deal()
        for fold in range(dealt.folds):
            for c in (0, 1):
                models = dealt.model[patient, fold, c][dealt.weight[patient, fold, c] > 0]
                off = x[:, models] - x[:, models].mean(axis=1, keepdims=True)
                within, free = within + off @ off.T, free + models.size - 1
        unit = np.sqrt(weights @ (within / free) @ weights)
        score = weights @ (x - (mean[0] + mean[1])[:, None] / 2) / unit
        np.testing.assert_allclose(found[patient], score)


# ROC


def test_an_area_is_the_share_of_pairs() -> None:
    rng = np.random.default_rng(10)
    for a, b in ((7, 9), (1, 1), (40, 3)):
        x, y = rng.integers(0, 6, a).astype(float), rng.integers(0, 5, b).astype(float)
        won = np.mean((x[:, None] > y) + 0.5 * (x[:, None] == y))
        assert exact_auc(x, y) == pytest.approx(won)


def test_long_columns_are_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(11)
    x, y = rng.integers(0, 30, 50).astype(float), rng.integers(0, 28, 40).astype(float)
    whole = exact_auc(x, y)
    monkeypatch.setattr("auscult.attacks.roc.SCORES_AT_ONCE", 7)
    assert exact_auc(x, y) == pytest.approx(whole)
    whole_layout = layout(60, 12, seed=12)

    def roc() -> AggregateRoc:
        rng = np.random.default_rng(0)
        return aggregate_roc(whole_layout, lambda m: whole_layout.signals[:, m], rng)

    found = roc()
    monkeypatch.undo()
    plain = roc()
    np.testing.assert_allclose(found.tpr, plain.tpr)
    assert found.auc == pytest.approx(plain.auc)


def roc_by_loop(member: np.ndarray, scores: np.ndarray, fpr: np.ndarray) -> np.ndarray:
    """A target's curve: bars at its own OUT scores, at the rates of the grid; lines between."""
    inside, outside = scores[member], scores[~member]
    ordered = np.sort(outside)[::-1]
    bars = {ordered[min(int(np.ceil(one * ordered.size)), ordered.size) - 1] for one in fpr}
    nodes = [(0.0, 0.0), *(((outside >= b).mean(), (inside >= b).mean()) for b in bars), (1, 1)]
    x, y = np.array(sorted(nodes)).T
    at = []
    for one in fpr:
        last = int(np.flatnonzero(x <= one + 1e-12)[-1])
        after = min(last + 1, x.size - 1)
        share = 0.0 if x[after] == x[last] else (one - x[last]) / (x[after] - x[last])
        at.append(y[last] + min(share, 1.0) * (y[after] - y[last]))
    return np.array(at)


def test_a_mean_curve_is_that_of_the_targets() -> None:
    rng = np.random.default_rng(13)
    whole = layout(300, 10, seed=14)
    scores = whole.signals + 1.0 * whole.member[whole.patient] + rng.normal(0, 0.1, (300, 10))
    found = aggregate_roc(whole, lambda m: scores[:, m], np.random.default_rng(0))
    outside = int(np.median((~whole.member).sum(axis=0)))
    assert found.records == outside
    assert found.targets == 10
    expected = [f for f in FPR_GRID if f * outside >= 1]
    assert found.fpr.tolist() == expected
    curves = [roc_by_loop(whole.member[:, m], scores[:, m], found.fpr) for m in range(10)]
    np.testing.assert_allclose(found.tpr, np.mean(curves, axis=0))
    both = [(scores[whole.member[:, m], m], scores[~whole.member[:, m], m]) for m in range(10)]
    areas = [exact_auc(*one) for one in both]
    assert found.auc == pytest.approx(np.mean(areas))
    assert found.low < found.auc < found.high
    assert 0.02 < found.high - found.low < 0.15
    assert ((found.tpr_low <= found.tpr + 0.05) & (found.tpr <= found.tpr_high + 0.05)).all()
    assert (found.tpr_low >= 0).all()
    assert (found.tpr_high <= 1).all()
    at = found.tpr_at(0.1)
    assert at is not None
    place = int(np.flatnonzero(np.isclose(found.fpr, 0.1))[0])
    assert at == (found.tpr[place], found.tpr_low[place], found.tpr_high[place])
    assert found.tpr_at(0.0001) is None
    assert REPORTED_FPR == (0.0001, 0.001, 0.01, 0.1)
    assert (len(FPR_GRID), FPR_GRID[0], FPR_GRID[-1]) == (61, 1e-5, 1.0)
    assert set(REPORTED_FPR) < set(FPR_GRID)
    twice = aggregate_roc(
        whole,
        lambda m: scores[:, m],
        np.random.default_rng(0),
        weight=lambda m: np.full(300, 2.0),  # noqa: ARG005
    )
    assert twice.auc == pytest.approx(found.auc, abs=0.01)
    np.testing.assert_allclose(twice.tpr, found.tpr)
    # Members who count nothing are as good as absent.
    rank = np.argsort(np.argsort(scores, axis=0), axis=0)
    only = aggregate_roc(
        whole,
        lambda m: scores[:, m],
        np.random.default_rng(0),
        weight=lambda m: (rank[:, m] >= 150).astype(float),
    )
    higher = [
        exact_auc(scores[whole.member[:, m] & (rank[:, m] >= 150), m], both[m][1])
        for m in range(10)
    ]
    assert only.auc == pytest.approx(np.mean(higher), abs=0.01)
    missing = scores.copy()
    missing[:30] = np.nan
    left = aggregate_roc(whole, lambda m: missing[:, m], np.random.default_rng(0))
    kept = np.arange(300) >= 30
    areas = [
        exact_auc(scores[kept & whole.member[:, m], m], scores[kept & ~whole.member[:, m], m])
        for m in range(10)
    ]
    assert left.auc == pytest.approx(np.mean(areas))


def test_lira_is_the_likelihood_ratio_of_two_normals() -> None:
    """With hardly any difference between records, one variance is shared by all of them."""
    rng = np.random.default_rng(15)
    member = rng.random((40, 200)) < 0.5
    signals = rng.standard_normal((40, 200)) + 1.5 * member
    whole = lay_out(signals, member, np.arange(200))
    attack = ATTACKS.get("lira", "here")
    scores = attack.score(whole, SILENT)
    exact = 1.5 * (signals - 0.75)
    assert np.corrcoef(scores.ravel(), exact.ravel())[0, 1] > 0.9
    offline = ATTACKS.get("lira_offline", "here").score(whole, SILENT)
    assert np.corrcoef(offline.ravel(), signals.ravel())[0, 1] > 0.9
    spread = stats.median_abs_deviation(offline[~member], scale="normal")
    assert spread == pytest.approx(1.0, abs=0.1)


def test_records_that_cancel_by_rounding_keep_a_spread() -> None:
    # The sum of all entries is -2e-9: a root of it would be no number.
    away = 1 + 1e-9
    training = _Training(
        models=np.array([16.0]),
        middle=np.zeros((1, 2)),
        difference=np.array([[0.25, 0.5]]),
        shrunk=np.array([[[1.0, -away], [-away, 1.0]]]),
    )
    # Shrinkage leaves 0.3 of the diagonal to a sum, whatever the records have in common.
    np.testing.assert_allclose(_equal_effect(training), [0.75 / np.sqrt(0.6)])
