"""Guarantees and what an attack says of them: bounds hold, broken promises are caught."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import binom
from torch import nn

from auscult.attacks.joint import auc_in_folds
from auscult.attacks.layout import Layout, lay_out
from auscult.audit import Audit
from auscult.base.errors import ConfigError
from auscult.cohort import Cohort, TrainingData
from auscult.cohort.inputs import TableInputs
from auscult.config import parse
from auscult.protection import empirical
from auscult.protection.promise import exceeds_bound, promise
from auscult.recipes import accounting
from auscult.recipes.base import Assignment
from auscult.recipes.torch import private as private
from auscult.recipes.torch.recipe import TorchRecipe
from auscult.report import write_report
from auscult.risk.patients import patient_risk
from tests.cohorts import visits
from tests.simulation import simulate

METHOD = {"noise": 1.0, "rate": 0.06, "steps": 250}


def guarantee(unit: str = "patient", **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    dp: dict[str, Any] = {"unit": unit, "delta": 1e-5, "clip": 1.0, **METHOD, **changes}
    how = {name: dp[name] for name in ("rate", "steps", "delta")}
    return dp | {"epsilon": accounting.epsilon_for(dp["noise"], **how)}


def test_epsilon_is_that_of_the_accountant_called_directly() -> None:
    accountant = PLDAccountant()
    step = dp_accounting.PoissonSampledDpEvent(0.06, dp_accounting.GaussianDpEvent(1.0))
    accountant.compose(dp_accounting.SelfComposedDpEvent(step, 250))
    epsilon = accounting.epsilon_for(**METHOD, delta=1e-5)  # type: ignore[arg-type]
    assert epsilon == pytest.approx(accountant.get_epsilon(1e-5), abs=1e-3)
    assert epsilon == pytest.approx(6.440, abs=1e-3)
    assert accounting.epsilon_for(0.0, rate=0.1, steps=3, delta=1e-5) == math.inf


def test_the_gaussian_mechanism_has_its_closed_form() -> None:
    # 9 unsampled steps with noise 3 are one Gaussian mechanism with mu 1.
    dp = guarantee(noise=3.0, rate=1.0, steps=9)
    assert dp["epsilon"] == pytest.approx(empirical.gaussian_epsilon(1.0, 1e-5), rel=1e-3)
    alpha = np.array([0.001, 0.01, 0.1, 0.5, 0.9])
    exact = ndtr(ndtri(1 - alpha) - 1.0)
    np.testing.assert_allclose(accounting.trade_off(dp, alpha), exact, atol=1e-3)
    assert accounting.auc_bound(dp) == pytest.approx(float(ndtr(1 / math.sqrt(2))), abs=1e-3)
    assert accounting.tpr_bound(dp, 0.1) == pytest.approx(1 - exact[2], abs=1e-3)
    # Three records of a patient move the sum by three times the norm.
    group = accounting.for_patient(dp | {"unit": "record"}, 3)
    assert group["epsilon"] == pytest.approx(empirical.gaussian_epsilon(3.0, 1e-5), rel=1e-2)
    assert accounting.auc_bound(group) == pytest.approx(float(ndtr(3 / math.sqrt(2))), abs=2e-3)


def test_the_trade_off_agrees_with_published_figures() -> None:
    dp = guarantee()
    beta = accounting.trade_off(dp, np.array([0.01, 0.05, 0.1, 0.5]))
    np.testing.assert_allclose(beta, [0.864, 0.674, 0.542, 0.121], atol=1e-3)
    assert accounting.auc_bound(dp) == pytest.approx(0.796, abs=1e-3)
    grid = np.linspace(0, 1, 200)
    curve = accounting.trade_off(dp, grid)
    assert (np.diff(curve) <= 1e-12).all()
    assert (np.diff(curve, 2) >= -1e-9).all()
    # Nowhere weaker than what epsilon and delta alone would say.
    alone = np.maximum(1 - 1e-5 - np.exp(dp["epsilon"]) * grid, 0)
    assert (curve >= alone - 1e-4).all()


def test_predictive_values_follow_from_rates() -> None:
    dp = guarantee()
    tpr = accounting.tpr_bound(dp, 0.001)
    assert accounting.ppv_bound(dp, 0.01, 0.001) == pytest.approx(
        0.01 * tpr / (0.01 * tpr + 0.99 * 0.001)
    )
    nothing = guarantee(noise=0.0)
    assert accounting.auc_bound(nothing) == accounting.tpr_bound(nothing, 0.001) == 1.0


@pytest.mark.parametrize("epsilon", [0.5, 12.0])
def test_noise_for_an_epsilon_gives_it_and_not_much_less(epsilon: float) -> None:
    how: dict[str, Any] = {"rate": 0.05, "steps": 100, "delta": 1e-5}
    noise = accounting.noise_for(epsilon, **how)
    assert accounting.epsilon_for(noise, **how) <= epsilon
    assert accounting.epsilon_for(noise * 0.998, **how) > epsilon
    assert accounting.noise_for(math.inf, **how) == 0.0


def test_a_patient_with_more_records_is_promised_less() -> None:
    dp = guarantee("record")
    found = [accounting.for_patient(dp, k) for k in (1, 2, 5)]
    assert found[0]["epsilon"] == pytest.approx(dp["epsilon"], abs=1e-3)
    assert found[0]["epsilon"] < found[1]["epsilon"] < found[2]["epsilon"]
    bounds = [accounting.auc_bound(one) for one in found]
    assert bounds[0] < bounds[1] < bounds[2] <= 1.0
    assert accounting.for_patient(guarantee(), 5)["epsilon"] == guarantee()["epsilon"]


@pytest.mark.parametrize(("number", "right", "coins"), [(20, 15, 50), (7, 7, 7), (300, 280, 4000)])
@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-3])
def test_probability_of_right_guesses_is_that_of_a_loop(
    number: int, right: int, coins: int, delta: float
) -> None:
    for epsilon in (0.0, 0.7, 2.5, 6.0):
        chance = math.exp(epsilon) / (1 + math.exp(epsilon))
        wanted = float(binom.sf(right - 1, number, chance))
        share = total = 0.0
        for i in range(1, right + 1):
            total += float(binom.pmf(right - i, number, chance))
            share = max(share, total / i)
        wanted = min(1.0, wanted + 2 * coins * delta * share)
        found = empirical.p_of_guesses(number, right, coins, epsilon, delta)
        assert found == pytest.approx(wanted, rel=1e-6, abs=1e-12)


def gaussian_release(mu: float, seed: int, patients: int = 150, models: int = 32) -> Layout:
    """Signals as strong as mu-Gaussian privacy allows for each patient."""
    auc = np.full(patients, float(ndtr(mu / math.sqrt(2))))
    return simulate(auc, models, np.random.default_rng(seed)).layout()


def test_the_lower_bound_stays_under_the_truth() -> None:
    # One unsampled step with noise 1 / mu is mu-Gaussian: the attack is the best that there is.
    mu = 1.0
    dp = guarantee(noise=1 / mu, rate=1.0, steps=1)
    found = [
        empirical.empirical_epsilon(gaussian_release(mu, seed), dp, seed=seed) for seed in range(25)
    ]
    assert not any(one["defect"] for one in found)
    for name in ("epsilon", "epsilon_if_gaussian"):
        values = np.array([one[name] for one in found])
        assert (values <= dp["epsilon"]).all()
        assert np.median(values) > 0.1
    assert all(one["worst"]["epsilon"] <= one["worst"]["most_possible"] for one in found)


def test_nothing_is_found_where_nothing_leaks() -> None:
    dp = guarantee(noise=4.0, rate=1.0, steps=1)
    found = [
        empirical.empirical_epsilon(gaussian_release(0.0, seed), dp, seed=seed)
        for seed in range(25)
    ]
    positive = sum(one["epsilon"] > 0 or one["worst"]["epsilon"] > 0 for one in found)
    assert positive <= 3  # two bounds with an error of 5% each
    assert not any(one["defect"] for one in found)


def test_what_cannot_be_estimated_says_why() -> None:
    layout = gaussian_release(1.0, 0, patients=20, models=6)
    found = empirical.empirical_epsilon(layout, guarantee(), seed=0)
    assert found["epsilon"] is None
    assert "pairs of models" in found["reason"]
    doubled = replace(layout, count=layout.count * 2)
    found = empirical.empirical_epsilon(doubled, guarantee("record"), seed=0)
    assert "single record" in found["reason"]


def worst_case(patients: int = 150) -> TrainingData:
    """Every patient has a column of its own: nothing hides what a gradient does."""
    rng = np.random.default_rng(0)
    return TrainingData(
        inputs=TableInputs(
            numeric=np.zeros((patients, 0), dtype=np.float32),
            numeric_names=(),
            codes=np.arange(patients, dtype=np.int32)[:, None],
            categorical_names=("who",),
            levels=(tuple(str(i) for i in range(patients)),),
        ),
        labels=rng.integers(0, 2, patients),
        task="binary",
        classes=("no", "yes"),
        patient_of_record=np.arange(patients),
    )


def weights_only(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False))


def release(unit: str, seed: int, epsilon: float = 1.0) -> tuple[Layout, dict[str, Any]]:
    """Audit of the worst case: the layout of its signals, and what was promised."""
    data, models = worst_case(), 32
    rng = np.random.default_rng(seed)
    ranks = rng.random((data.labels.size, models)).argsort(axis=1).argsort(axis=1)
    member = (ranks < models // 2).T
    recipe = TorchRecipe(
        weights_only,
        epochs=8,
        batch_size=25,
        optimizer="sgd",
        momentum=0.0,
        learning_rate=5.0,
        weight_decay=0.0,
        dp={"unit": unit, "epsilon": epsilon, "clip": 0.3},
    )
    jobs = [
        Assignment(model=m, members=np.flatnonzero(member[m]), seed=1000 * seed + m)
        for m in range(models)
    ]
    values, facts = recipe.train_exactly(data, jobs, lambda _: None)
    signals = np.where(data.labels == 1, 1, -1) * values[:, :, 0]
    patient = np.arange(data.labels.size)
    return lay_out(signals, member, patient, data.labels), facts["dp"]


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the noise that is accounted for."""
    add_noise = private.Privacy.add_noise

    def defective(self: private.Privacy, *how: Any) -> None:  # noqa: ANN401
        add_noise(replace(self, noise=self.noise / 10), *how)

    monkeypatch.setattr(private.Privacy, "add_noise", defective)


@pytest.mark.usefixtures("defect")
@pytest.mark.parametrize("unit", ["record", "patient"])
def test_a_tenth_of_the_noise_is_caught(unit: str) -> None:
    layout, dp = release(unit, 0)
    assert dp["epsilon"] <= 1.0
    found = empirical.empirical_epsilon(layout, dp, seed=0)
    assert found["defect"]
    assert found["p"] < 1e-6
    assert found["epsilon"] > dp["epsilon"]


@pytest.mark.usefixtures("defect")
def test_a_tenth_of_the_noise_breaks_the_bound_of_a_large_epsilon() -> None:
    layout, dp = release("patient", 0, epsilon=8.0)
    risk, _ = patient_risk(layout, (0.9,))
    found = promise(layout, risk, dp, seed=0, smallest_cell=10)
    assert found["above_bound"] > 0
    assert any("allows 0.8" in one for one in found["defects"])


def test_the_right_noise_is_not_accused() -> None:
    for seed in range(8):
        layout, dp = release("patient", seed, epsilon=8.0 if seed % 2 else 1.0)
        risk, _ = patient_risk(layout, (0.9,))
        found = promise(layout, risk, dp, seed=seed, smallest_cell=10)
        assert found["defects"] == []
        assert found["empirical"]["epsilon"] <= dp["epsilon"]


def plain_auc(layout: Layout) -> NDArray[np.float64]:
    """AUC of every patient from its plain signal."""
    dealt = layout.deal()
    rows = np.take_along_axis(
        layout.signals, dealt.model.reshape(layout.patients, -1), axis=1
    ).reshape(dealt.model.shape)
    return auc_in_folds(rows.astype(np.float64), dealt.weight)


def test_the_worst_case_comes_near_its_bound_and_stays_within() -> None:
    aucs = []
    for seed in range(4):
        layout, dp = release("patient", seed, epsilon=8.0)
        aucs.append(plain_auc(layout).mean())
    bound = accounting.auc_bound(dp)
    assert np.mean(aucs) <= bound
    assert np.mean(aucs) > 0.5 + (bound - 0.5) / 2


def test_an_attack_above_its_bound_is_a_defect() -> None:
    dp = guarantee()
    high = {"auc": {"mean": 0.85, "mean_low": 0.84, "mean_high": 0.86}}
    assert "DEFECT" in str(exceeds_bound(high, dp))
    assert exceeds_bound({"auc": {"mean": 0.79, "low": 0.78}}, dp) is None
    assert exceeds_bound({"auc": {"mean": 0.80, "low": 0.79}}, dp) is None  # within its error
    assert exceeds_bound({"auc": 0.85, "low": 0.84}, dp) is not None
    assert exceeds_bound({"auc": None, "reason": "too few models"}, dp) is None
    assert exceeds_bound(high, guarantee(noise=0.0)) is None
    # At record level patients with more records may have more: half of these have no limit.
    bands = [{"records": "1", "patients": 50}, {"records": "2+", "patients": 50}]
    mixed = high | {"by_records": bands}
    assert exceeds_bound(mixed, guarantee("record")) is None
    assert exceeds_bound(mixed, guarantee()) is not None


def test_an_audit_says_what_was_promised(tmp_path: Path) -> None:
    cohort = Cohort.from_table(
        visits(80), patient="person", label="outcome", groups=["sex"], exclude=[]
    )
    recipe = TorchRecipe(
        "mlp",
        hidden=[8],
        epochs=3,
        batch_size=16,
        dp={"unit": "record", "epsilon": 4.0, "clip": 1.0},
    )
    result = Audit(cohort, recipe, models=16, seed=1).run(tmp_path / "run", workers=1)
    found = result.summary["guarantee"]
    assert found["dp"]["epsilon"] <= 4.0
    assert found["dp"]["unit"] == "record"
    assert found["defects"] == []
    assert found["patients"][0]["records"] == "1"
    bounds = [row["bound"] for row in found["patients"]]
    assert bounds == sorted(bounds)
    assert 0.5 < bounds[0] < 1
    assert found["empirical"]["epsilon"] < 4.0
    text = (tmp_path / "run" / "results" / "summary.json").read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name))["guarantee"] == found
    assert "Zxq" not in text
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Trained with differential privacy at record level" in page
    assert "DEFECT" not in page
    broken = result.summary | {"guarantee": found | {"defects": ["DEFECT: it leaks"]}}
    write_report(broken, tmp_path / "broken.html")
    assert '<p class="verdict">DEFECT: it leaks.</p>' in (tmp_path / "broken.html").read_text()


CONFIGURATION = """
[cohort]
table = "visits.csv"
patient = "person"
label = "outcome"
[recipe]
kind = "torch"
[recipe.dp]
unit = "patient"
"""


def test_the_file_says_what_the_recipe_is_given() -> None:
    def recipe(lines: str) -> dict[str, Any]:
        parsed = parse(tomllib.loads(CONFIGURATION + lines), "audit.toml")
        return dict(parsed.recipe.recipe(Path()).settings()["dp"])

    asked = {"unit": "patient", "delta": 1e-5}
    assert recipe("epsilon = 8\nclip = 1.0") == asked | {"epsilon": 8.0, "clip": 1.0}
    assert recipe('epsilon = "inf"') == asked | {"epsilon": "inf", "clip": "inf"}
    assert recipe("noise = 0.5\nclip = 2") == asked | {"noise": 0.5, "clip": 2.0}
    for lines, words in (
        ("epsilon = 8", "not clipped"),
        ("epsilon = 8\nclip = 1.0\nsigma = 2", "sigma: there is no such key"),
        ("epsilon = 8\nclip = -1.0", "clip"),
        ('epsilon = "eight"\nclip = 1.0', "epsilon"),
    ):
        with pytest.raises(ConfigError, match=words):
            recipe(lines)
    wrong = CONFIGURATION.replace('kind = "torch"', 'kind = "sklearn"') + "epsilon = 8\nclip = 1.0"
    with pytest.raises(ConfigError, match="no such key"):
        parse(tomllib.loads(wrong), "audit.toml")
