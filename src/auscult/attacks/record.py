"""Attacks on single records, every model a target and the models of the other folds its references.

All scores: higher means more likely a member (law 3). The references of a target, for a record, are
the models outside the target's fold of that record's patient, so no target is judged by itself
(law 5) and one pass scores every record under every model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from auscult.attacks.layout import FEWEST_PER_CLASS, Layout, take_patients
from auscult.attacks.variances import learned, shrunk
from auscult.base.errors import AnalysisError
from auscult.base.parallel import in_order, let_go, scratch
from auscult.base.plugins import PluginError, Registry, check_words
from auscult.base.progress import Progress

GAMMA = 2.0
PATIENT_GROUPS = 5

Scores = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True, eq=False)
class References:
    """What the reference models of each target say of each record; class 0 is OUT, class 1 IN.

    Attributes
    ----------
    number, mean, variance : float64 array, shape (records, folds, 2)
        Over the models *outside* the fold.
    """

    number: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """Whose values are scored.

    Attributes
    ----------
    part : Layout
    model : int64 array, shape (records, folds, places of both classes)
        Number of the model that each value comes from.
    """

    part: Layout
    model: NDArray[np.int64]


PartScorer = Callable[[Layout], Scores]
VarianceRule = Callable[[References, Layout], NDArray[np.float64]]
VarianceRules = Callable[[Layout], VarianceRule]


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordAttack:
    """An attack on records.

    Attributes
    ----------
    name : str
        Key in the summary.
    label : str
        Name for people.
    what : str
        What the score is, in words, for the report's account of the method.
    begin : callable
        From the whole layout to a function that scores a part of it, shape (records, models).
    finish : callable, optional
        From a target's scores of all records and which of them are OUT of it to better ones.
    """

    name: str
    label: str
    what: str
    begin: Callable[[Layout], PartScorer]
    finish: Callable[[Scores, NDArray[np.bool_]], Scores] | None = None

    def __post_init__(self) -> None:
        where = f"record attack {self.name!r}"
        check_words(self, where)
        if not self.what.strip():
            raise PluginError(
                "it does not describe what it does", where=where, expected='what = "..."'
            )
        for key in ("begin", "finish"):
            value = getattr(self, key)
            if not callable(value) and not (key == "finish" and value is None):
                raise PluginError(f"{key} is not a function", where=where)

    def supports(self, models: int) -> str | None:
        """Why this many models cannot carry the attack, or None."""
        least = 2 * FEWEST_PER_CLASS
        if models >= least:
            return None
        half = f"{FEWEST_PER_CLASS} that a patient is IN and {FEWEST_PER_CLASS} that it is OUT of"
        return f"{self.label} needs at least {least} models: {half}"

    def score(self, layout: Layout, progress: Progress) -> Scores:
        """Scores of every record under every target, shape (models, records).

        Parameters
        ----------
        layout : Layout
        progress : Progress
            Advanced by one per record.

        Returns
        -------
        float array, shape (models, records)
            In the layout's order of rows; NaN for patients who are not estimable. Before
            :attr:`finish`, which :meth:`of_target` applies.
        """
        score_part = self.begin(layout)
        result = scratch((layout.models, layout.records), layout.signals.dtype)

        def work(place: tuple[slice, slice, Layout]) -> int:
            _, rows, part = place
            scores = self._checked(score_part(part), part)
            scores[~part.estimable()[part.patient]] = np.nan
            result[:, rows] = scores.T
            let_go(layout.signals)
            let_go(result)
            return part.records

        for records in in_order(work, layout.parts()):
            progress.advance(records)
        return result

    def _checked(self, scores: Scores, part: Layout) -> Scores:
        """A part's scores, which nobody may leave out or turn round unseen."""
        shape = (part.records, part.models)
        if not isinstance(scores, np.ndarray) or scores.shape != shape or scores.dtype.kind != "f":
            raise AnalysisError(
                f"it returned {_form(scores)} for {part.records} records under {part.models} "
                "models",
                where=f'attack "{self.name}"',
                expected=f"a float array of shape {shape}",
            )
        known = scores[part.estimable()[part.patient]]
        broken = int(np.isnan(known).any(axis=1).sum()) if part.used is None else 0
        if broken:
            raise AnalysisError(
                f"it returned NaN for {broken} of {len(known)} records that can be estimated",
                where=f'attack "{self.name}"',
                expected="a number for each",
            )
        return scores

    def of_target(self, scores: Scores, layout: Layout, model: int) -> Scores:
        """Finished scores of all records under one target, shape (records,).

        Parameters
        ----------
        scores : float array, shape (models, records)
            As the attack made them.
        layout : Layout
        model : int
            The model that is attacked.
        """
        column = np.array(scores[model])
        let_go(scores)
        if self.finish is None:
            return column
        usable = np.isfinite(column)
        outside = ~layout.member[layout.patient, model]
        column[usable] = self.finish(column[usable], outside[usable])
        return column


def _form(scores: object) -> str:
    shape = getattr(scores, "shape", None)
    return type(scores).__name__ if shape is None else f"shape {tuple(shape)}"


def references(values: NDArray[np.float64], weight: NDArray[np.float64]) -> References:
    """Leave-one-fold-out count, mean and variance per class.

    Parameters
    ----------
    values : float64 array, shape (records, folds, 2, places)
    weight : float64 array, shape (records, folds, 2, places)
    """
    shift = values.mean(axis=(1, 2, 3), keepdims=True)
    x = (values - shift) * weight
    count, total, square = weight.sum(axis=3), x.sum(axis=3), (x * x).sum(axis=3)
    number = count.sum(axis=1, keepdims=True) - count
    mean = (total.sum(axis=1, keepdims=True) - total) / np.maximum(number, 1)
    spare = square.sum(axis=1, keepdims=True) - square - number * mean**2
    return References(
        number=number,
        mean=mean + shift[:, :, :, 0],
        variance=np.maximum(spare, 0.0) / np.maximum(number - 1, 1),
    )


def shrunk_variances(layout: Layout) -> VarianceRule:
    """Each record's own variances, shrunk towards what *other* patients' records share.

    Had the shared variance seen the patient's own records, it would know from them which models of
    the target's fold are IN: with 12 patients and 16 models the AUC of LiRA was 0.512 where nothing
    leaks, and 0.521 with a trend over the OUT mean [simulated].

    Parameters
    ----------
    layout : Layout
        The whole cohort.

    Returns
    -------
    callable
        From the references of a part and the part to positive variances, shape (records, folds, 2).
    """
    sample = _sampled(layout)
    parts = [references(*_gathered(part)[:2]) for _, _, part in sample.parts()]
    nothing = np.empty((0, layout.folds, 2))
    number, mean, variance = (
        np.concatenate([nothing, *(getattr(part, name) for part in parts)])
        for name in ("number", "mean", "variance")
    )
    # Deviations have the signals' own unit: what is too small to divide by follows from it.
    least = 1e-12 * max(float(variance.mean()), float(mean.var())) if parts else 0.0
    # Groups are dealt within the sample: nobody else's records were seen by any prior.
    group = np.zeros(int(layout.number.max(initial=0)) + 1, dtype=np.int64)
    group[sample.number] = np.arange(sample.patients) % PATIENT_GROUPS
    group_of_row = group[sample.number[sample.patient]]
    value, freedom = np.zeros((2, PATIENT_GROUPS, 1, 2))
    for g in range(PATIENT_GROUPS):
        others = group_of_row != g
        for label in (0, 1):
            prior = learned(variance[others, :, label].ravel(), number[others, :, label].ravel())
            value[g, 0, label], freedom[g, 0, label] = prior.value, prior.freedom

    def rule(ref: References, part: Layout) -> NDArray[np.float64]:
        which = group[part.number[part.patient]]
        return np.maximum(
            shrunk(ref.variance, ref.number, value[which], freedom[which]), least or 1.0
        )

    return rule


def lira_online(layout: Layout, rule: VarianceRules = shrunk_variances) -> PartScorer:
    """Gaussian log-likelihood ratio of IN against OUT, per record (Carlini et al. 2022, eq. 4).

    A squared distance is divided by its own variance, the error of the reference mean included.
    Without it a patient who is IN of many models and OUT of few would look like a member for the
    counts alone.
    """
    variance_of = rule(layout)

    def score(x: NDArray[np.float64], ref: References, place: Place) -> NDArray[np.float64]:
        variance = variance_of(ref, place.part)
        half = 0.5 / (variance * _with_error_of_mean(ref))
        outside = (x - ref.mean[:, :, :1]) ** 2 * half[:, :, :1]
        inside = (x - ref.mean[:, :, 1:]) ** 2 * half[:, :, 1:]
        offset = 0.5 * np.log(variance[:, :, :1] / variance[:, :, 1:])
        return np.asarray(outside - inside + offset)

    return _by_fold(score)


def lira_offline(layout: Layout, rule: VarianceRules = shrunk_variances) -> PartScorer:
    """How far above the OUT models the signal lies, in their deviations (Carlini et al. 2022)."""
    variance_of = rule(layout)

    def score(x: NDArray[np.float64], ref: References, place: Place) -> NDArray[np.float64]:
        spread = np.sqrt(variance_of(ref, place.part) * _with_error_of_mean(ref))
        return np.asarray((x - ref.mean[:, :, :1]) / spread[:, :, :1])

    return _by_fold(score)


def _with_error_of_mean(ref: References) -> NDArray[np.float64]:
    """Variance of a new signal's distance from the reference mean, per variance of a signal."""
    return 1 + 1 / np.maximum(ref.number, 1)


def _population(_: Layout) -> PartScorer:
    """The signal itself, no references: what an attacker does who trains nothing."""
    return lambda part: part.signals.copy()


def _rmia_online(_: Layout) -> PartScorer:
    """Ratio p(x|t) / p(x) of RMIA; p(x) is the mean over IN and OUT references."""

    def score(x: NDArray[np.float64], ref: References, _: Place) -> NDArray[np.float64]:
        marginal = ref.mean.mean(axis=2, keepdims=True)
        return np.asarray(x / np.maximum(marginal, np.finfo(np.float64).tiny))

    return _by_fold(score, transform=expit)


def _rmia_offline(layout: Layout) -> PartScorer:
    """Ratio of RMIA when only OUT references count.

    The IN mean is inferred as ``a p_out + (1 - a)`` (Zarifzadeh et al. 2024, eq. 10); `a` is fitted
    for each target by least squares on what the models outside its folds say of at most 20,000
    records, of evenly spaced patients: never on the target's own labels.
    """
    product, square = np.zeros(layout.models), np.zeros(layout.models)
    for _, _, part in _sampled(layout).parts():
        values, weight, model = _gathered(part, expit)
        mean = references(values, weight).mean
        lacking = 1 - mean[..., 0]
        for total, term in ((product, (1 - mean[..., 1]) * lacking), (square, lacking**2)):
            at_models = weight * term[:, :, None, None]
            total += np.bincount(model.ravel(), at_models.ravel(), minlength=layout.models)
    a = np.clip(product / np.maximum(square, 1e-300), 0.0, 1.0)

    def score(x: NDArray[np.float64], ref: References, place: Place) -> NDArray[np.float64]:
        outside, slope = ref.mean[:, :, :1], a[place.model]
        marginal = (outside + slope * outside + (1 - slope)) / 2
        return np.asarray(x / np.maximum(marginal, np.finfo(np.float64).tiny))

    return _by_fold(score, transform=expit)


def _rmia_finish(ratio: Scores, outside: NDArray[np.bool_]) -> Scores:
    return rmia_scores(np.asarray(ratio, dtype=np.float64), ratio[outside].astype(np.float64))


ATTACKS: Registry[RecordAttack] = Registry("attack", RecordAttack)

for _attack in (
    RecordAttack(
        name="lira",
        label="LiRA (online)",
        what="per record, how much likelier is the model's confidence if it trained on the record "
        "than if it did not, given models of both kinds (Carlini et al. 2022)",
        begin=lira_online,
    ),
    RecordAttack(
        name="lira_offline",
        label="LiRA (offline)",
        what="the same with models that did not train on the record only",
        begin=lira_offline,
    ),
    RecordAttack(
        name="rmia",
        label="RMIA (online)",
        what="how often the record's confidence rises more than that of other patients' records, "
        "given models of both kinds (Zarifzadeh et al. 2024)",
        begin=_rmia_online,
        finish=_rmia_finish,
    ),
    RecordAttack(
        name="rmia_offline",
        label="RMIA (offline)",
        what="the same with models that did not train on the record only",
        begin=_rmia_offline,
        finish=_rmia_finish,
    ),
    RecordAttack(
        name="population",
        label="Population threshold",
        what="the model's confidence alone, one threshold for everybody: the cheapest attack",
        begin=_population,
    ),
):
    ATTACKS.add(_attack)

RECORD_ATTACKS = ATTACKS.built_in()


def rmia_scores(
    ratio: NDArray[np.float64], population: NDArray[np.float64], gamma: float = GAMMA
) -> NDArray[np.float64]:
    """Exact share of the population that each record dominates (Zarifzadeh et al. 2024, eq. 2).

    A record x dominates z when ``(p(x|t) / p(x)) / (p(z|t) / p(z)) > gamma``. The ratio of z does
    not depend on x: one sort and one binary search per record replace the n x m matrix.

    Parameters
    ----------
    ratio : float64 array, shape (records,)
        ``p(x | target) / p(x)``.
    population : float64 array, shape (m,)
        The same of the population records, all OUT of the target.
    gamma : float
        At least 1.

    Returns
    -------
    float64 array, shape (records,)
    """
    ordered = np.sort(population)
    return np.searchsorted(ordered, ratio / gamma, side="left") / ordered.size


def _by_fold(
    score: Callable[[NDArray[np.float64], References, Place], NDArray[np.float64]],
    transform: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
) -> PartScorer:
    """Score the models of each fold against the references outside it.

    `score` receives values (records, folds, places of both classes), the references of each fold
    and where the values stand. Every model lies in one place: the scores are put back by the deal.
    """

    def scorer(part: Layout) -> Scores:
        values, weight, model = _gathered(part, transform)
        x = values.reshape(*values.shape[:2], -1)
        place = Place(part=part, model=model.reshape(x.shape))
        scored = score(x, references(values, weight), place)
        scored = scored.reshape(part.records, -1)
        result = np.full(part.signals.shape, np.nan, dtype=part.signals.dtype)
        places = model.reshape(part.records, -1)
        if places.shape[1] == part.models:
            np.put_along_axis(result, places, scored.astype(result.dtype), axis=1)
            return result
        row, at = np.nonzero(weight.reshape(part.records, -1))
        result[row, places[row, at]] = scored[row, at]
        return result

    return scorer


def _sampled(layout: Layout, most: int = 20_000) -> Layout:
    """About so many records, of evenly spaced patients who are estimable."""
    usable = np.flatnonzero(layout.estimable())
    step = max(1, int(layout.count[usable].sum()) // most)
    return take_patients(layout, usable[::step])[0]


def _gathered(
    part: Layout, transform: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Values, weights and model numbers; see :class:`auscult.attacks.dealing.Deal`."""
    dealt = part.deal()
    model = dealt.model[part.patient]
    x = part.signals.astype(np.float64)
    if transform is not None:
        x = transform(x)
    values = np.take_along_axis(x, model.reshape(part.records, -1), axis=1)
    return values.reshape(model.shape), dealt.weight[part.patient], model
