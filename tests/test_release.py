"""The model that goes out: four doors, one audit; probabilities that mean what they say."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from auscult import Audit, AuscultError, Cohort
from auscult.attacks.layout import AsTheyCome
from auscult.attacks.roc import exact_auc
from auscult.base.intervals import clopper_pearson
from auscult.base.progress import SILENT
from auscult.config.policy import parse_policy
from auscult.policy import judge
from auscult.release import (
    Door,
    EndpointDoor,
    FileDoor,
    FunctionDoor,
    MemberColumn,
    MemberList,
    OnnxDoor,
    Release,
)
from auscult.release.assess import _blind
from auscult.release.calibrator import fit_calibrator, held_out_log_odds, reliability
from auscult.release.members import Roll
from auscult.release.named import _delong
from auscult.release.ratios import _played, ratios
from auscult.release.shown import View, shown
from auscult.results import Result
from tests.released import Network, cohort, frame_of, predicting, recipe, serving, table
from tests.simulation import simulate

IDENTIFIER = "Zxq"
MODELS = 32


@pytest.fixture(scope="module")
def people() -> Cohort:
    return cohort()


@pytest.fixture(scope="module")
def members(people: Cohort) -> NDArray[np.bool_]:
    order = np.random.default_rng(1).permutation(people.patients)
    return np.asarray(order < people.patients // 2, dtype=np.bool_)


@pytest.fixture(scope="module")
def network(people: Cohort, members: NDArray[np.bool_]) -> Network:
    return Network(people, members)


@pytest.fixture(scope="module")
def trained(people: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run without a release: a release only analyses it anew."""
    folder = tmp_path_factory.mktemp("released") / "run"
    Audit(people, recipe(), models=MODELS, seed=3).run(folder, workers=1)
    return folder


def listed(people: Cohort, members: NDArray[np.bool_]) -> MemberList:
    return MemberList(source=people.patient_ids.reveal()[members].tolist())


def audited(people: Cohort, run: Path, release: Release) -> Result:
    audit = Audit(people, recipe(), models=MODELS, seed=3, release=release)
    found: Result = audit.run(run, workers=1)
    return found


def without_door(release: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in release.items() if k not in ("door", "what", "output")}


def flat(value: object, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, list):
        value = {str(i): one for i, one in enumerate(value)}
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for name, one in value.items() for k, v in flat(one, f"{prefix}.{name}").items()}


@pytest.mark.slow
def test_all_four_doors_give_the_same_audit(
    people: Cohort, members: NDArray[np.bool_], network: Network, trained: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    outputs = sorted((trained / "outputs").iterdir())
    before = {path.name: path.stat().st_mtime_ns for path in outputs}
    np.save(tmp_path / "outputs.npy", network(frame_of(people)))
    network.to_onnx(tmp_path / "model.onnx")
    found: dict[str, dict[str, Any]] = {}
    rows: dict[str, pd.DataFrame] = {}
    with serving(predicting(network)) as server:
        doors: dict[str, tuple[Door, str]] = {
            "file": (FileDoor(path=tmp_path / "outputs.npy"), "probabilities"),
            "function": (FunctionDoor(function=network), "probabilities"),
            "onnx": (OnnxDoor(path=tmp_path / "model.onnx"), "logits"),
            "endpoint": (
                EndpointDoor(
                    url=server.url,
                    records="data.rows",
                    answers_at="result",
                    answer="scores",
                    requests_per_second=1000,
                ),
                "probabilities",
            ),
        }
        for name, (door, output) in doors.items():
            release = Release(door=door, output=output, members=listed(people, members))  # type: ignore[arg-type]
            result = audited(people, trained, release)
            found[name] = result.summary["release"]
            rows[name] = pd.read_parquet(trained / "secret" / "release.parquet")
            assert found[name]["door"] == name
    assert {path.name: path.stat().st_mtime_ns for path in outputs} == before
    first = flat(without_door(found["file"]))
    for name in ("function", "onnx", "endpoint"):
        other = flat(without_door(found[name]))
        assert other.keys() == first.keys()
        for key, value in first.items():
            if isinstance(value, float):
                assert other[key] == pytest.approx(value, abs=2e-3), (name, key)
            else:
                assert other[key] == value, (name, key)
        np.testing.assert_allclose(rows[name]["posterior"], rows["file"]["posterior"], atol=2e-3)
    audit = found["file"]
    assert audit["members"]["members"] == int(members.sum())
    assert audit["likeness"]["verdict"] is True
    assert audit["auc"]["low"] > 0.6  # it memorises, and that is seen
    path = trained / "secret" / "release.parquet"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert rows["file"]["member"].tolist() == members.astype(int).tolist()
    for public in ("results/summary.json", "results/officer.md", "report.html", "audit.toml"):
        assert IDENTIFIER not in (trained / public).read_text(encoding="utf-8")
    kept = list((trained / "secret" / "release-answers").rglob("batch-*.json"))
    assert kept
    assert all(stat.S_IMODE(one.stat().st_mode) == 0o600 for one in kept)
    # Without a release the rows of the last one do not stay behind.
    assert Audit(people, recipe(), models=MODELS, seed=3).run(trained).summary["release"] is None
    assert not path.exists()


def simulated(
    effect: NDArray[np.float64], models: int, seed: int
) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_]]:
    """Shadow models and one release of a simulation, and the release's true log-odds."""
    rng = np.random.default_rng(seed)
    found = simulate(effect, models, rng)
    inside = rng.random(effect.size) < 0.5
    shift = ndtri(effect) * np.sqrt(2)
    noise = rng.normal(size=effect.size)
    own = found.level + found.spread * (noise + inside * shift)
    truth = shift * (noise + inside * shift) - shift**2 / 2
    layout = replace(
        found,
        signals=np.vstack([found.signals, own]),
        member=np.vstack([found.member, np.zeros(effect.size, dtype=bool)]),
    ).layout()
    return layout, truth, inside


@pytest.mark.slow
def test_posteriors_are_calibrated_on_models_never_seen() -> None:
    rng = np.random.default_rng(0)
    auc = np.where(rng.random(1500) < 0.3, rng.uniform(0.8, 0.99, 1500), 0.55)
    layout, truth, inside = simulated(auc, 64, 1)
    found = ratios(layout, centred=True)
    member = layout.member[:, :-1]
    held = held_out_log_odds(found.shadow, member, found.fold)
    proof = reliability(held, member, np.random.default_rng(2))
    assert proof["ece"]["estimate"] < 0.02
    assert proof["pairs"] == 1500 * 64
    # A release that no shadow model ever was: Brier score near that of the true posterior.
    known = np.isfinite(found.shadow)
    p = expit(fit_calibrator(found.shadow[known], member[known])(found.release))
    best = ((expit(truth) - inside) ** 2).mean()
    assert ((p - inside) ** 2).mean() < best + 0.012
    assert proof["brier"]["estimate"] == pytest.approx(best, abs=0.02)
    assert np.corrcoef(p, expit(truth))[0, 1] > 0.93
    assert abs(p.mean() - inside.mean()) < 0.03


def test_nothing_leaks_nothing_is_claimed() -> None:
    layout, _, inside = simulated(np.full(300, 0.5), 32, 4)
    found = ratios(layout, centred=True)
    member = layout.member[:, :-1]
    held = held_out_log_odds(found.shadow, member, found.fold)
    proof = reliability(held, member, np.random.default_rng(0))
    assert proof["ece"]["estimate"] < 0.02
    assert proof["brier"]["low"] > 0.245
    assert np.abs(expit(held) - 0.5).max() < 0.2
    assert inside.any()


def test_every_pair_is_held_out_once() -> None:
    layout, _, _ = simulated(np.full(60, 0.8), 16, 5)
    found = ratios(layout, centred=False)
    assert np.isfinite(found.shadow).all()
    assert all((found.fold == number).any(axis=1).all() for number in range(4))


def test_the_membership_of_a_held_out_model_is_not_read() -> None:
    layout, _, _ = simulated(np.full(60, 0.8), 16, 5)
    used = np.random.default_rng(0).random(layout.member.shape) < 0.8
    member = layout.member ^ ~used
    assert (member != layout.member).any()
    found = [
        np.concatenate([part for _, part in _played(one, AsTheyCome(), SILENT)])
        for one in (replace(layout, used=used), replace(layout, used=used, member=member))
    ]
    np.testing.assert_array_equal(found[0], found[1])


def test_calibrator_by_hand() -> None:
    ratio = np.repeat([-1.0, 0.0, 1.0], 200)
    member = np.concatenate([np.arange(200) < n for n in (20, 100, 190)])
    found = fit_calibrator(ratio, member)
    for x, inside in ((-1.0, 20), (0.0, 100), (1.0, 190)):
        # Less what was known before: 310 of the 600 pairs are members'.
        odds = np.log((inside + 0.5) / (200.5 - inside)) - np.log(310 / 290)
        assert found(np.array([x]))[0] == pytest.approx(odds)
    # Flat beyond what was counted, NaN where there is nothing.
    assert found(np.array([9.0]))[0] == found(np.array([1.0]))[0]
    assert np.isnan(found(np.array([np.nan])))[0]


def test_reliability_by_loops() -> None:
    rng = np.random.default_rng(3)
    log_odds = rng.normal(0, 2, (40, 8))
    log_odds[0] = np.nan
    member = rng.random((40, 8)) < expit(np.nan_to_num(log_odds))
    found = reliability(log_odds, member, rng)
    y = member[1:].ravel()
    prior = np.log(y.mean() / (1 - y.mean()))  # the share of members among the pairs
    p = expit(log_odds[1:] + prior).ravel()
    error = 0.0
    for b in range(10):
        here = (p >= b / 10) & (p < (b + 1) / 10)
        if here.any():
            error += here.sum() / p.size * abs(p[here].mean() - y[here].mean())
            assert found["bins"][b]["observed"] == pytest.approx(y[here].mean())
    assert found["ece"]["estimate"] == pytest.approx(error)
    assert found["brier"]["estimate"] == pytest.approx(((p - y) ** 2).mean())


def test_intervals_cover() -> None:
    rng = np.random.default_rng(8)
    covered = {"delong": 0, "share": 0}
    for _ in range(400):
        inside, outside = rng.normal(1.0, 1, 60), rng.normal(0, 1, 60)
        low, high = _delong(inside, outside, exact_auc(inside, outside))
        covered["delong"] += low <= 0.76025 <= high  # Phi(1 / sqrt 2)
        low, high = clopper_pearson(int(rng.binomial(50, 0.1)), 50)
        covered["share"] += low <= 0.1 <= high
    assert 0.92 <= covered["delong"] / 400 <= 0.98
    assert covered["share"] / 400 >= 0.94
    assert clopper_pearson(0, 10)[0] == 0.0
    assert clopper_pearson(10, 10)[1] == 1.0


def test_members_and_others(people: Cohort, members: NDArray[np.bool_], tmp_path: Path) -> None:
    ids = people.patient_ids.reveal()
    (tmp_path / "members.txt").write_text("\n".join([*ids[members], "somebody else"]))
    roll = MemberList(source=tmp_path / "members.txt").roll(people)
    assert (roll.reveal() == members).all()
    assert roll.unmatched == 1
    pd.DataFrame({"id": ids[members], "x": 1}).to_csv(tmp_path / "members.csv", index=False)
    some = MemberList(source=tmp_path / "members.csv", column="id", others="unknown").roll(people)
    assert set(some.reveal()[~members]) == {-1}
    assert IDENTIFIER not in repr(roll) + repr(MemberList(source=ids.tolist()))
    frame = table(150)
    flag = pd.Series(members, index=ids)[frame["person"]].to_numpy()
    frame["trained"] = np.where(flag, "yes", "no")
    assert (MemberColumn(table=frame, column="trained").roll(people).reveal() == members).all()
    frame.loc[0, "trained"] = "perhaps"
    with pytest.raises(AuscultError, match="neither yes nor no"):
        MemberColumn(table=frame, column="trained").roll(people)
    for bad, words in (
        (MemberList(source=tmp_path / "members.csv"), "2 columns"),
        (MemberList(source=["nobody"]), "none of its 1 identifiers"),
        (MemberList(source=tmp_path / "absent.txt"), "no such file"),
        (MemberList(source=[""]), "names nobody"),
    ):
        with pytest.raises(AuscultError, match=words):
            bad.roll(people)


@pytest.mark.slow
def test_members_told_from_others_without_the_model_are_no_evidence(
    people: Cohort, members: NDArray[np.bool_], network: Network, trained: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "outputs.npy", network(frame_of(people)))
    door = FileDoor(path=tmp_path / "outputs.npy")
    fair = audited(people, trained, Release(door=door, members=listed(people, members)))
    blind = fair.summary["release"]["blind"]
    assert blind["auc"]["low"] < 0.5 < blind["auc"]["high"]
    assert (blind["members"], blind["others"]) == (members.sum(), (~members).sum())
    said = "is not evidence that the model memorised anybody"
    files = [trained / "report.html", trained / "results" / "officer.md"]
    assert not any(said in file.read_text(encoding="utf-8") for file in files)
    # Members of another kind: their first measurement is higher.
    level = np.bincount(people.patient_of_record, frame_of(people)["x0"])
    count = np.bincount(people.patient_of_record)
    other = level / count > np.median(level / count)
    odd = audited(people, trained, Release(door=door, members=listed(people, other)))
    assert odd.summary["release"]["blind"]["auc"]["low"] > 0.9
    assert all(said in file.read_text(encoding="utf-8") for file in files)
    # Some unknown: they are left out, and too few of them are given away by no count.
    roll = np.where(members, 1, 0).astype(np.int8)
    roll[:3] = -1
    asked = replace(Release(door=door).ask(people), roll=Roll(roll))
    told = _blind(asked, people.patient_of_record, people.labels, 3, 10, SILENT)
    assert told["auc"]["mean"] is not None
    assert not {"members", "others", "records"} & set(told)


def test_without_outsiders_the_false_rate_is_not_estimable(
    people: Cohort, network: Network, trained: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "outputs.npy", network(frame_of(people)))
    ids = people.patient_ids.reveal().tolist()
    door = FileDoor(path=tmp_path / "outputs.npy")
    summary = audited(people, trained, Release(door=door, members=MemberList(source=ids))).summary[
        "release"
    ]
    for row in (*summary["named"], *summary["at_fpr"]):
        if row["patients"] is not None:
            assert row["fpr"]["estimate"] is None
            assert "no patient of the cohort is known to be a non-member" in row["fpr"]["reason"]
            assert row["true"]["of"] == people.patients
    assert summary["auc"]["estimate"] is None
    assert "no patient of the cohort is known to be a non-member" in summary["blind"]["reason"]
    assert summary["centred"] is False
    assert "not estimable" in (trained / "report.html").read_text(encoding="utf-8")
    nobody = audited(people, trained, Release(door=door)).summary["release"]
    assert nobody["members"]["known"] is False
    assert nobody["named"][0]["true"]["estimate"] is None
    assert nobody["named"][0]["expected_members"]["estimate"] > 0
    few = audited(people, trained, Release(door=door, members=MemberList(source=ids[:-3])))
    hidden = few.summary["release"]
    assert hidden["members"]["members"] is None
    assert hidden["named"][0]["fpr"]["reason"] == "fewer than 10 patients are known non-members"
    assert str(len(ids) - 3) not in json.dumps(hidden["members"])


def test_rounded_probabilities_are_judged_by_rounded_shadows() -> None:
    rng = np.random.default_rng(0)

    class Data:
        task, classes = "binary", ("no", "yes")
        labels = np.zeros(200, dtype=np.int64)

    p = np.round(rng.random(200), 2)
    values, view, _ = shown(p, "probabilities", Data())  # type: ignore[arg-type]
    assert view.decimals == 2
    z = rng.normal(0, 6, (200, 1))
    through = view.through(z)
    naive = np.clip(np.round(1 / (1 + np.exp(-z)), 2), 0.005, 0.995)
    np.testing.assert_allclose(through, np.log(naive / (1 - naive)))
    assert np.abs(values).max() <= np.log(0.995 / 0.005) + 1e-9
    assert View(kind="sigmoid").through(z) is not None
    soft = View(kind="softmax", floor=1e-3).through(np.array([[50.0, 0.0, 0.0]]))
    np.testing.assert_allclose(soft, [[0.0, np.log(1e-3), np.log(1e-3)]], atol=1e-9)
    full, view, zeros = shown(rng.random(200), "probabilities", Data())  # type: ignore[arg-type]
    assert (view.decimals, view.floor, zeros) == (None, 0.0, 0)
    assert full.shape == (200, 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.full(5, 0.5), "predictions of shape"),
        (np.full(231, np.nan), "not finite"),
        (np.full(231, 3.0), "not probabilities"),
        (np.array(["a"] * 231), "expected an array of numbers|an array of numbers"),
        (np.array([None] * 231, dtype=object), "files of Python objects are refused"),
    ],
)
def test_files_that_are_no_answers(
    content: NDArray[Any], words: str, people: Cohort, tmp_path: Path
) -> None:
    if len(content) == 231:
        content = np.resize(content, people.records)
    np.save(tmp_path / "outputs.npy", content, allow_pickle=True)
    with pytest.raises(AuscultError, match=words):
        Release(door=FileDoor(path=tmp_path / "outputs.npy")).ask(people)


def test_another_model_is_not_taken_for_one_of_them(
    people: Cohort, trained: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "outputs.npy", rng.normal(0, 30, people.records))
    door = FileDoor(path=tmp_path / "outputs.npy")
    summary = audited(people, trained, Release(door=door, output="logits")).summary["release"]
    assert summary["likeness"]["verdict"] is False
    assert "not like the shadow models" in (trained / "report.html").read_text("utf-8")


def test_a_model_of_everybody_is_not_taken_for_one_of_half(
    people: Cohort, trained: Path, tmp_path: Path
) -> None:
    """Few named would otherwise read as safety; here the list of members gives it away."""
    everybody = Network(people, np.ones(people.patients, dtype=np.bool_))
    np.save(tmp_path / "outputs.npy", everybody(frame_of(people)))
    door = FileDoor(path=tmp_path / "outputs.npy")
    members = MemberList(source=people.patient_ids.reveal().tolist())
    found = audited(people, trained, Release(door=door, members=members)).summary
    assert found["release"]["likeness"]["verdict"] is False
    assert "not trained on half" in found["release"]["likeness"]["reason"]
    policy = parse_policy({"release": {"named": {"0.9": 1000}}}, "", "policy.toml")
    assert judge(policy, found).verdict == "inconclusive"


def test_onnx_inputs(people: Cohort, network: Network, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    network.to_onnx(path)
    data = people.training_data()
    expected = OnnxDoor(path=path).answers(data)
    swapped = OnnxDoor(path=path, inputs={"x0": "x1", "x1": "x0"}).answers(data)
    assert not np.allclose(swapped, expected)

    def prepare(inputs: pd.DataFrame) -> dict[str, Any]:
        return {str(n): inputs[n].to_numpy(dtype=np.float32)[:, None] for n in inputs.columns}

    np.testing.assert_allclose(OnnxDoor(path=path, prepare=prepare).answers(data), expected)
    for door, words in (
        (OnnxDoor(path=path, inputs={"y": "x1"}), 'no input "y"'),
        (OnnxDoor(path=path, inputs={"x0": "height"}), 'no column "height"'),
        (OnnxDoor(path=path, answer="p"), 'no output "p"'),
        (OnnxDoor(path=tmp_path / "absent.onnx"), "no such file"),
        (OnnxDoor(path=path, prepare=lambda _: {"x0": 1}), "prepare returned x0"),
    ):
        with pytest.raises(AuscultError, match=words):
            door.answers(data)
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(AuscultError, match="cannot be read as ONNX"):
        OnnxDoor(path=tmp_path / "broken.onnx").check(data)


def graph(path: Path, nodes: list[Any], inputs: list[Any], output: str) -> OnnxDoor:
    """Write a graph that returns one number per record."""
    from onnx import TensorProto, helper

    out = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(
        helper.make_graph(nodes, "small", inputs, [out]), opset_imports=opsets
    )
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return OnnxDoor(path=path)


def test_onnx_gets_categories_as_text_and_images_as_they_are(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    frame = table(40)
    people = Cohort.from_table(frame, patient="person", label="outcome", groups=["sex"])
    data = people.training_data()
    text = helper.make_tensor_value_info("sex", TensorProto.STRING, [None, 1])
    encode = helper.make_node(
        "LabelEncoder",
        ["sex"],
        ["p"],
        domain="ai.onnx.ml",
        keys_strings=["f", "m"],
        values_floats=[0.25, 0.75],
    )
    found = graph(tmp_path / "text.onnx", [encode], [text], "p").answers(data)
    np.testing.assert_allclose(found[:, 0], np.where(frame["sex"] == "f", 0.25, 0.75))
    # The same graph, given a number; and a graph of numbers, given a category.
    with pytest.raises(AuscultError, match=r"needs tensor\(string\), but gets numbers"):
        OnnxDoor(path=tmp_path / "text.onnx", inputs={"sex": "x0"}).answers(data)
    number = helper.make_tensor_value_info("sex", TensorProto.FLOAT, [None, 1])
    same = helper.make_node("Identity", ["sex"], ["p"])
    with pytest.raises(AuscultError, match="its column holds categories"):
        graph(tmp_path / "number.onnx", [same], [number], "p").answers(data)

    images = np.random.default_rng(0).integers(0, 255, (len(frame), 8, 8)).astype(np.uint8)
    rows = frame[["person", "outcome"]]
    pictures = Cohort.from_arrays(images, rows, patient="person", label="outcome")
    picture = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 8, 8])
    mean = helper.make_node("ReduceMean", ["x"], ["m"], axes=[1, 2], keepdims=0)
    seen = graph(tmp_path / "image.onnx", [mean], [picture], "m").answers(pictures.training_data())
    np.testing.assert_allclose(seen, images.mean(axis=(1, 2)), rtol=1e-5)
