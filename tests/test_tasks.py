# ruff: noqa: ARG005 - what training functions are given is not always read
"""Any task by one number per record: outcomes, losses and scores, metrics, several inputs."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import mean_absolute_error, r2_score, roc_auc_score
from sklearn.neighbors import KNeighborsRegressor

from auscult import Audit, Cohort, Deployment, PythonRecipe, Release, SklearnRecipe, TorchRecipe
from auscult.base.errors import AuscultError, CohortError, ConfigError, RecipeError
from auscult.config.loading import load
from auscult.policy import Policy, judge
from auscult.protection.variants import Variant
from auscult.recipes.base import Assignment
from auscult.recipes.metrics import METRICS, metric_of, on
from auscult.release.doors import FileDoor, FunctionDoor

PATIENTS = 64
EXAMPLES = (
    "regression",
    "survival",
    "segmentation",
    "volumes",
    "notes",
    "image_and_table",
    "several_labels",
    "ordinal",
)


def table(patients: int = PATIENTS) -> pd.DataFrame:
    """One record of each patient; what is measured follows the first column and much noise."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(patients, 4))
    return pd.DataFrame(x, columns=list("abcd")).assign(
        patient=[f"p{i}" for i in range(patients)],
        score=3 * x[:, 0] + rng.normal(size=patients),
        other=x[:, 1],
        days=rng.integers(1, 30, patients),
        died=rng.integers(0, 2, patients),
        sex=np.where(np.arange(patients) % 2 == 0, "f", "m"),
    )


def numbers(**how: Any) -> Cohort:  # noqa: ANN401
    settings: dict[str, Any] = {
        "patient": "patient",
        "label": "score",
        "outcome": "number",
        "exclude": ["days", "died", "other", "sex"],
        "groups": ["sex"],
    }
    return Cohort.from_table(table(), **{**settings, **how})


def loss_of(name: str) -> Any:  # noqa: ANN401
    """A training function whose models know their members by heart."""

    def train(inputs: pd.DataFrame, labels: NDArray[np.float64], seed: int) -> Any:  # noqa: ANN401
        model = KNeighborsRegressor(2).fit(inputs, labels)

        def loss(inputs: pd.DataFrame, labels: NDArray[np.float64]) -> dict[str, Any]:
            said = model.predict(inputs)
            return {name: (said - labels) ** 2, "prediction": said}

        return loss

    return train


def block(recipe: Any, cohort: Cohort) -> Any:  # noqa: ANN401
    one = Assignment(model=0, members=np.arange(0, cohort.records, 2), seed=5)
    return recipe.train_block(cohort.training_data(), [one], lambda _: None)


# Outcomes


def test_a_number_is_declared_and_binned_only_to_compare() -> None:
    cohort = numbers(label_bins=[0])
    assert cohort.task == "number"
    assert cohort.classes == ()
    assert cohort.labels.dtype == np.float64
    assert np.array_equal(cohort.labels, table()["score"])
    classes, names = cohort.compared
    assert classes is not None
    assert names == ("< 0", ">= 0")
    assert np.array_equal(classes, table()["score"] >= 0)
    assert numbers().compared == (None, ())
    assert numbers(label=["score", "other"], exclude=["days", "died", "sex"]).labels.shape == (
        PATIENTS,
        2,
    )
    assert len(numbers(label_bins=[-100.0, 0.0]).compared[1]) == 2  # nobody lies below -100


def test_a_time_and_an_event_are_a_structured_label() -> None:
    frame = table()
    frame.loc[3, "days"] = np.nan
    cohort = Cohort.from_table(
        frame, patient="patient", label=["days", "died"], outcome="time and event",
        exclude=["score", "other"],
    )  # fmt: skip
    assert cohort.records == PATIENTS - 1
    assert cohort.left_out[0].records == 1
    kept = frame.drop(index=3)
    assert np.array_equal(cohort.labels["time"], kept["days"])
    assert np.array_equal(cohort.labels["event"], kept["died"] == 1)
    assert cohort.compared[1] == ("no event", "event")
    assert cohort.label_name == "died"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"label": "sex", "exclude": []}, "not finite numbers"),
        ({"label": "days", "outcome": "time and event"}, "not a time and an event"),
        ({"label": ["died", "days"], "outcome": "time and event"}, "neither 0 nor 1"),
        ({"outcome": "none"}, 'outcome is "none"'),
        ({"outcome": "ordinal"}, "not a kind of outcome"),
        ({"positive": ["1"]}, "requires classes"),
        ({"task": "binary"}, "requires classes"),
        ({"label": ["score", "other"], "label_bins": [1]}, "would be ignored"),
    ],
)
def test_labels_that_are_no_such_outcome(how: dict[str, Any], said: str) -> None:
    with pytest.raises(CohortError, match=said):
        numbers(**{"exclude": [], **how})


def test_recipes_of_classes_refuse_other_outcomes_with_the_cure() -> None:
    data = numbers().training_data()
    for recipe in (TorchRecipe("mlp"), PythonRecipe(loss_of("loss"))):
        reason = recipe.supports(data)
        assert reason is not None
        assert 'output = "loss"' in reason
    assert PythonRecipe(loss_of("loss"), output="loss").supports(data) is None
    reason = SklearnRecipe(LogisticRegression()).supports(data)
    assert reason is not None
    assert "gradient_boosting_regressor" in reason
    assert SklearnRecipe("gradient_boosting_regressor").supports(data) is None
    wrong = PythonRecipe(loss_of("loss"), output="loss", utility="concordance").supports(data)
    assert wrong is not None
    assert "time and event" in wrong


# Losses and scores


def test_losses_are_turned_and_scores_are_not() -> None:
    cohort = numbers()
    low = block(PythonRecipe(loss_of("loss"), output="loss", utility="r2"), cohort)
    high = block(PythonRecipe(loss_of("score"), output="score"), cohort)
    assert low.kind == high.kind == "signal"
    assert low.values.shape == (1, 1, PATIENTS, 2)
    assert high.values.shape == (1, 1, PATIENTS, 1)
    assert np.array_equal(low.values[..., 0], -high.values[..., 0])
    assert low.facts["metric"]["name"] == "r2"


def test_a_regressor_needs_no_glue() -> None:
    cohort = numbers()
    recipe = SklearnRecipe(Ridge(), preprocess="none")
    found = block(recipe, cohort).values[0, 0]
    x, y = table()[list("abcd")].to_numpy(), cohort.labels
    said = Ridge().fit(x[::2], y[::2]).predict(x)
    assert np.allclose(found[:, 1], said, atol=1e-5)
    assert np.allclose(found[:, 0], -((said - y) ** 2) / y.var(), atol=1e-5)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda inputs, labels: np.float64(0.3), "reduction"),
        (lambda inputs, labels: np.zeros(3), "one number per record"),
        (lambda inputs, labels: np.full(len(labels), np.nan), "not finite"),
        (lambda inputs, labels: {"score": labels}, 'no "loss"'),
        (lambda inputs, labels: ["x"] * len(labels), "numbers"),
        (lambda inputs: inputs, "two arguments"),
        (3.0, "float"),
    ],
)
def test_what_is_no_loss_is_refused(returned: Any, said: str) -> None:  # noqa: ANN401
    recipe = PythonRecipe(lambda inputs, labels, seed: returned, output="loss")
    with pytest.raises(RecipeError, match=said):
        block(recipe, numbers())


def test_what_a_metric_reads_must_be_there() -> None:
    recipe = PythonRecipe(
        lambda *_: lambda inputs, labels: {"loss": labels}, output="loss", utility="dice"
    )
    with pytest.raises(RecipeError, match='no "dice"'):
        block(recipe, numbers())
    for how, said in (
        ({"output": "loss", "utility": "dicee"}, "dice"),
        ({"utility": "r2"}, "output"),
        ({"output": "loss", "chance": 0.5}, "recipe.utility"),
    ):
        with pytest.raises(ConfigError, match=said):
            PythonRecipe(loss_of("loss"), **how).settings()


# Metrics


def test_metrics_against_naive_ones() -> None:
    rng = np.random.default_rng(8)
    y, p = rng.normal(size=40), rng.normal(size=40)
    assert METRICS["r2"].measure(y, p) == pytest.approx(r2_score(y, p))  # type: ignore[misc]
    assert metric_of("mae").measure(y, p) == pytest.approx(  # type: ignore[misc]
        -mean_absolute_error(y, p)
    )
    two, said = rng.integers(0, 2, (40, 3)), rng.normal(size=(40, 3)).round(1)
    assert METRICS["auroc"].measure(two, said) == pytest.approx(  # type: ignore[misc]
        np.mean([roc_auc_score(two[:, j], said[:, j]) for j in range(3)])
    )
    labels = np.zeros(40, dtype=[("event", bool), ("time", float)])
    labels["event"], labels["time"] = rng.random(40) < 0.6, rng.integers(1, 12, 40)
    risk = rng.normal(size=40).round(1)
    right = pairs = 0.0
    for i in np.flatnonzero(labels["event"]):
        for j in range(40):
            later = labels["time"][j] > labels["time"][i]
            alive = labels["time"][j] == labels["time"][i] and not labels["event"][j]
            if later or alive:
                pairs += 1
                right += 1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
    assert METRICS["concordance"].measure(labels, risk) == pytest.approx(  # type: ignore[misc]
        right / pairs
    )
    known = on(metric_of("mae"), y)
    assert known is not None
    assert known.chance == pytest.approx(-np.abs(y - np.median(y)).mean())


# From a cohort to a report


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, Any]:
    """A regression that knows its members by heart, deployed and released."""
    release = Ridge().fit(table()[list("abcd")], table()["score"])
    audit = Audit(
        numbers(label_bins=[0]),
        SklearnRecipe("random_forest_regressor", arguments={"n_estimators": 3}),
        models=16,
        seed=4,
        deployment=Deployment(reveals="a visit", population="the town", prior=0.1),
        release=Release(
            door=FunctionDoor(function=lambda inputs: release.predict(inputs[list("abcd")])),
            output="prediction",
        ),
        protect=[Variant(name="shallow", recipe=SklearnRecipe("ridge", arguments={"alpha": 1e3}))],
    )
    return audit, audit.run(tmp_path_factory.mktemp("number") / "run", workers=1)


def test_the_whole_way_works_with_a_loss(run: tuple[Audit, Any]) -> None:
    _, result = run
    summary = result.summary
    assert summary["patients"]["raw"]["mean"] > 0.7
    assert abs(summary["patients"]["raw"]["null_mean"] - 0.5) < 0.06
    utility = summary["models"]["utility"]
    assert utility["metric"] == "r2"
    assert utility["members"]["mean"] > utility["mean"] > 0
    assert summary["models"]["learned"]["verdict"] is True
    assert summary["models"]["signal"]["inverted"] is False
    assert summary["label"]["attribute"] == "score"
    assert set(summary["disparities"]["score"]["groups"]) == {"< 0", ">= 0"}
    applying = [one for one in summary["exposure"] if one["access"] == "score"]
    others = [one for one in summary["exposure"] if one["access"] != "score"]
    assert next(one for one in applying if one["declared"])["auc"]["mean"] > 0.7
    assert len(others) == 10
    assert all("does not apply" in one["reason"] for one in others)
    assert summary["deployment"]["access"] == "score"
    assert summary["release"]["output"] == "prediction"
    protected = summary["protection"][0]
    assert protected["utility"]["metric"] == "r2"
    assert protected["utility_change"]["n"] == 16
    page = (result.path / "report.html").read_text()
    assert "R2" in page
    assert "does not apply" in page
    assert judge(Policy(), summary).verdict in ("pass", "fail", "inconclusive")


def test_a_declared_access_that_does_not_apply(run: tuple[Audit, Any]) -> None:
    audit, _ = run
    deployment = Deployment(reveals="a", population="b", prior=0.1, access="label")
    with pytest.raises(ConfigError, match='"score"'):
        Audit(audit.cohort, audit.recipe, models=16, deployment=deployment).check()
    classes = Cohort.from_table(
        table(), patient="patient", label="sex", exclude=["days", "died", "score", "other"]
    )
    scores = Deployment(reveals="a", population="b", prior=0.1, access="score")
    with pytest.raises(ConfigError, match="probabilities"):
        Audit(classes, SklearnRecipe("random_forest"), models=16, deployment=scores).check()
    release = Release(door=FileDoor(path="nothing.npy"), output="probabilities")
    with pytest.raises(ConfigError, match='Expected: "prediction"'):
        Audit(audit.cohort, audit.recipe, models=16, release=release).check()


def test_a_reversed_sign_is_told_and_passes_nothing(tmp_path: Path) -> None:
    recipe = PythonRecipe(loss_of("score"), output="score", utility="r2")
    audit = Audit(numbers(), recipe, models=8, seed=2)
    result = audit.run(tmp_path / "run", workers=1)
    told = result.summary["models"]["signal"]
    assert told["inverted"]
    assert told["mean_auc"] < 0.3
    assert 'output = "loss"' in told["reason"]
    assert result.headline.startswith("No conclusion")
    assert "reversed" in (result.path / "results" / "officer.md").read_text()
    decision = judge(Policy(), result.summary)
    assert "evidence.direction" in {c.key for c in decision.checks if c.verdict == "inconclusive"}
    assert result.summary["label"]["reason"]
    assert json.dumps(result.summary["models"]["learned"])


# Several inputs


def images(folder: Path) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (PATIENTS, 4, 4), dtype=np.uint8)
    np.savez(folder / "two.npz", images=pixels, masks=pixels > 100)
    table().to_csv(folder / "table.csv", index=False)


def test_several_inputs_come_by_name(tmp_path: Path) -> None:
    images(tmp_path)
    (tmp_path / "audit.toml").write_text(
        '[cohort]\ntable = "table.csv"\nimages = "two.npz"\narray = ["images", "masks"]\n'
        'inputs = ["a", "sex"]\npatient = "patient"\noutcome = "none"\n'
        '[recipe]\nkind = "python"\ntrain = "several:train"\noutput = "loss"\n'
        "[audit]\nmodels = 8\n"
    )
    (tmp_path / "several.py").write_text(
        "def train(inputs, labels, seed):\n"
        "    assert labels is None\n"
        "    assert list(inputs) == ['images', 'masks', 'table']\n"
        "    assert list(inputs['table'].columns) == ['a', 'sex']\n"
        "    assert len({len(part) for part in inputs.values()}) == 1\n"
        "    return lambda inputs, labels: inputs['masks'].mean(axis=(1, 2))\n"
    )
    audit = load(tmp_path / "audit.toml").audit()
    found = block(audit.recipe, audit.cohort)
    assert found.values.shape == (1, 1, PATIENTS, 1)
    assert np.allclose(
        found.values[0, 0, :, 0], -(np.load(tmp_path / "two.npz")["masks"].mean(axis=(1, 2)))
    )
    audit.check()
    for recipe in (TorchRecipe("mlp"), SklearnRecipe()):
        reason = recipe.supports(audit.cohort.training_data())
        assert reason is not None
        assert 'kind = "python"' in reason
    asked = Audit(audit.cohort, audit.recipe, models=8, queries=["noise:0.1"])
    with pytest.raises(AuscultError, match="single input"):
        asked.check()
    one = Cohort.from_arrays(
        tmp_path / "two.npz", tmp_path / "table.csv", key="images", patient="patient",
        outcome="none",
    )  # fmt: skip
    assert one.fingerprint() != audit.cohort.fingerprint()
    with pytest.raises(CohortError, match="inputs already"):
        numbers(inputs=["a"])


# Examples, from files to a report


def example(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "examples"))
    return importlib.import_module(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(
    name: str, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = example(name, monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(Path(module.__file__ or "").parent))
    folder = shared_data
    if hasattr(module, "write"):
        folder = tmp_path
        module.write(shared_data, tmp_path)
    found = {}
    for variant in ("overfitted", "regularised"):
        result = module.audit(folder, variant).run(tmp_path / variant, workers=1)
        # Exact counts: small ones are withheld from the summary.
        exact = json.loads((result.path / "secret" / "exact.json").read_text())
        patients = exact["patients"]
        # Patients of one model are not independent: of 42, the mean of the null varies by 0.03.
        assert abs(patients["raw"]["null_mean"] - 0.5) < 0.1
        found[variant] = patients
    bad, good = (found[variant]["exposed"]["0.9"] for variant in ("overfitted", "regularised"))
    assert bad["low"] > 0
    assert bad["raw"] > 5 * max(bad["raw_null"], 1)
    assert good["confirmed"] == 0
    assert good["raw"] <= good["raw_null"] + 3
    assert found["regularised"]["raw"]["mean"] < 0.6 < found["overfitted"]["raw"]["mean"]
