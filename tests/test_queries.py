"""Queries: read strictly, applied the same way every time, and answered by every kind of recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from auscult.base.errors import ConfigError
from auscult.cohort import TrainingData
from auscult.cohort.design import Membership, withheld_records
from auscult.cohort.inputs import ArrayInputs, TableInputs
from auscult.cohort.queries import KINDS, parse_queries, parse_query, places
from auscult.recipes import PythonRecipe, SklearnRecipe, TorchRecipe
from auscult.recipes.base import Recipe
from tests.test_recipes import assignments, images, table

SEED = 5


def applied(text: str, inputs: TableInputs | ArrayInputs, seed: int = SEED) -> list[Any]:
    query = parse_query(text)
    assert query.supports(inputs) is None
    found = list(query.apply(inputs, seed))
    assert len(found) == query.views
    return found


def pixels(inputs: ArrayInputs) -> Any:  # noqa: ANN401
    return inputs.take(np.arange(len(inputs)))


@pytest.mark.parametrize(
    "text",
    [
        "", "crop", "crop:", "crop:1.0", "crop:x", "noise:-1", "noise:nan", "jpeg:0", "jpeg:30.5",
        "augmented:1", "augmented:1000", "downsample:1", "without:", "without:a,,b", "without:a,a",
        "blur:3", " crop:0.5", "CROP:0.5",
    ],
)  # fmt: skip
def test_what_is_no_query_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"audit\.queries"):
        parse_query(text)


def test_every_example_that_errors_name_can_be_read() -> None:
    assert {parse_query(example).kind for example in KINDS.values()} == set(KINDS)


@pytest.mark.parametrize(
    "texts", [["crop:0.5", "crop:0.50"], ["without:a,b", "without:b,a"], ["augmented:2"] * 2]
)
def test_a_query_stands_once(texts: list[str]) -> None:
    with pytest.raises(ConfigError, match="twice"):
        parse_queries(texts)


def test_answers_have_their_places_after_the_plain_one() -> None:
    assert places(["augmented:3", "crop:0.5"]) == {
        "records": [0], "augmented:3": [1, 2, 3], "crop:0.5": [4],
    }  # fmt: skip


@pytest.mark.parametrize("text", ["without:a,d", "noise:0.5", "augmented:3"])
def test_a_table_is_changed_the_same_way_every_time(text: str) -> None:
    inputs = table().inputs
    assert isinstance(inputs, TableInputs)
    first, again = applied(text, inputs), applied(text, inputs)
    for one, other in zip(first, again, strict=True):
        assert one.fingerprint() == other.fingerprint() != inputs.fingerprint()
    if text != "without:a,d":
        assert applied(text, inputs, SEED + 1)[0].fingerprint() != first[0].fingerprint()
        np.testing.assert_array_equal(np.isnan(first[0].numeric), np.isnan(inputs.numeric))
    if len(first) > 1:
        moved = [np.nanstd(one.numeric - inputs.numeric) for one in first]
        assert moved[0] < moved[1] < moved[2], "views go from near to far"


def test_augmented_views_are_drawn_each_by_itself() -> None:
    inputs = table().inputs
    assert isinstance(inputs, TableInputs)
    moved = [one.numeric - inputs.numeric for one in applied("augmented:4", inputs)]
    for place, one in enumerate(moved):
        for other in moved[:place]:
            both = np.isfinite(one) & np.isfinite(other)
            # Views go from near to far: drawn alike they would differ and point the same way.
            assert abs(np.corrcoef(one[both], other[both])[0, 1]) < 0.3
    pictures = images("none").inputs
    assert isinstance(pictures, ArrayInputs)
    views = [pixels(one) for one in applied("augmented:4", pictures)]
    for place, view in enumerate(views):
        for before in views[:place]:
            assert (view != before).any(axis=(1, 2)).mean() > 0.5, "most records are moved anew"


def test_a_query_does_not_depend_on_the_others() -> None:
    data = replace(table(), queries=parse_queries(["noise:0.5", "augmented:2"]), query_seed=SEED)
    alone = replace(table(), queries=parse_queries(["augmented:2"]), query_seed=SEED)
    for one, other in zip(list(data.views())[1:], alone.views(), strict=True):
        assert one.fingerprint() == other.fingerprint()


def test_unknown_columns_are_missing_or_usual() -> None:
    inputs = table().inputs
    assert isinstance(inputs, TableInputs)
    numeric, codes = inputs.numeric.copy(), inputs.codes.copy()
    numeric[:, 1] = np.nan_to_num(numeric[:, 1])
    codes[:, 1] = np.where(codes[:, 1] < 0, 1, codes[:, 1])
    inputs = replace(inputs, numeric=numeric, codes=codes)
    (found,) = applied("without:a,b,d,e", inputs)
    assert np.isnan(found.numeric[:, 0]).all(), "the cohort misses some: missing"
    np.testing.assert_array_equal(found.numeric[:, 1], np.median(numeric[:, 1]))
    assert (found.codes[:, 0] == -1).all()
    np.testing.assert_array_equal(found.codes[:, 1], np.bincount(codes[:, 1]).argmax())
    np.testing.assert_array_equal(found.numeric[:, 2], numeric[:, 2])


@pytest.mark.parametrize("channels", ["none", "last", "first"])
@pytest.mark.parametrize("text", ["crop:0.5", "noise:0.1", "downsample:4", "augmented:2"])
def test_images_keep_shape_and_type(text: str, channels: str) -> None:
    inputs = images(channels).inputs
    assert isinstance(inputs, ArrayInputs)
    plain = pixels(inputs)
    for one, again in zip(applied(text, inputs), applied(text, inputs), strict=True):
        values = pixels(one)
        assert values.shape == plain.shape
        assert values.dtype == plain.dtype
        assert one.channels == channels
        np.testing.assert_array_equal(values, pixels(again))
        assert (values != plain).any()


def test_distortions_do_what_their_names_say() -> None:
    ramp = np.tile(np.arange(16, dtype=np.float32) * 10, (2, 16, 1))
    inputs = ArrayInputs(array=ramp, rows=np.arange(2), channels="none")
    (small,) = applied("downsample:4", inputs)
    np.testing.assert_allclose(pixels(small)[0, 0], np.repeat([15, 55, 95, 135], 4))
    (middle,) = applied("crop:0.5", inputs)
    np.testing.assert_allclose(np.diff(pixels(middle)[0, 0]), 5.0)
    np.testing.assert_allclose(pixels(middle)[0, 0].mean(), 75.0)
    (noisy,) = applied("noise:0.5", inputs)
    spread = (pixels(noisy) - ramp).std()
    assert abs(spread / (0.5 * ramp.std()) - 1) < 0.1


@pytest.mark.parametrize("channels", ["none", "last", "first"])
def test_jpeg_of_low_quality_is_coarse(channels: str) -> None:
    pytest.importorskip("PIL")
    inputs = images(channels).inputs
    assert isinstance(inputs, ArrayInputs)
    plain = pixels(inputs).astype(float)
    low, high = (pixels(applied(f"jpeg:{q}", inputs)[0]).astype(float) for q in (5, 95))
    assert abs(low - plain).mean() > 1.2 * abs(high - plain).mean() > 0


@pytest.mark.parametrize(
    ("text", "data", "why"),
    [
        ("crop:0.5", table(), "requires images"),
        ("without:zz", table(), "not an input column"),
        ("without:a,b,c,d,e", table(), "would leave no column"),
        ("without:a", images(), "requires a table"),
        ("downsample:16", images(), "side of 16"),
    ],
)
def test_queries_say_where_they_do_not_fit(text: str, data: TrainingData, why: str) -> None:
    assert why in (parse_query(text).supports(data.inputs) or "")


def naive_train(inputs: Any, labels: Any, seed: int) -> Any:  # noqa: ANN401
    """A "model" whose answer shows what it was asked."""
    return lambda asked: 1 / (1 + np.exp(-np.nan_to_num(asked["a"].to_numpy())))


@pytest.mark.parametrize(
    "recipe",
    [
        SklearnRecipe("logistic_regression"),
        TorchRecipe("mlp", hidden=[8], epochs=2, batch_size=16),
        PythonRecipe(naive_train),
    ],
    ids=["sklearn", "torch", "python"],
)
def test_recipes_answer_every_query_after_the_plain_one(recipe: Recipe) -> None:
    plain, jobs = table(), assignments(2)
    asked = replace(plain, queries=parse_queries(["noise:0.5", "without:a", "augmented:2"]),
                    query_seed=SEED)  # fmt: skip
    alone = recipe.train_block(plain, jobs, lambda _: None).values
    found = recipe.train_block(asked, jobs, lambda _: None).values
    assert found.shape == (2, 5, *alone.shape[2:])
    np.testing.assert_array_equal(found[:, :1], alone)
    # The answer to a view is what the same models say when the view is the cohort's inputs; the
    # scaling is that of the members' own records, so only unscaled recipes can be checked so.
    views = list(asked.views())
    if isinstance(recipe, PythonRecipe):
        for place, view in enumerate(views):
            again = recipe.train_block(replace(plain, inputs=view), jobs, lambda _: None).values
            np.testing.assert_array_equal(found[:, [1 + place]], again)
    for place in range(1, 5):
        assert not np.array_equal(found[:, place], found[:, 0])


def test_torch_scales_views_as_the_members_were_scaled() -> None:
    data = table()
    inputs = data.inputs
    assert isinstance(inputs, TableInputs)
    import torch

    from auscult.recipes.torch.encoding import encode

    cpu = torch.device("cpu")
    encoded = encode(inputs, torch.float64, cpu, None)
    encoded.fit([np.arange(40)])
    shifted = replace(inputs, numeric=(inputs.numeric + 7).astype(np.float32))
    rows = torch.arange(len(inputs))[None]
    plain, moved = encoded.batch([0], rows), encoded.like(shifted).batch([0], rows)
    own = inputs.numeric[:40].astype(np.float64)
    step = 7 / np.nanstd(own, axis=0)
    known = ~np.isnan(inputs.numeric)
    difference = (moved - plain)[0, :, :3].numpy()
    np.testing.assert_allclose(difference[known], np.broadcast_to(step, known.shape)[known], 1e-5)
    assert (difference[~known] == 0).all()


def test_withheld_records_are_other_records_of_the_same_patient() -> None:
    rng = np.random.default_rng(0)
    count = np.array([1] * 30 + [2] * 20 + [3] * 10 + [10] * 5)
    patient = rng.permutation(np.repeat(np.arange(count.size), count))
    withheld = withheld_records(0.2, patient, count.size, seed=3)
    taken = np.bincount(patient[withheld], minlength=count.size)
    np.testing.assert_array_equal(taken, np.where(count == 1, 0, np.where(count == 10, 2, 1)))
    np.testing.assert_array_equal(withheld, withheld_records(0.2, patient, count.size, seed=3))
    assert (withheld != withheld_records(0.2, patient, count.size, seed=4)).any()
    most = withheld_records(0.99, patient, count.size, seed=3)
    assert (np.bincount(patient[most], minlength=count.size) == np.maximum(count - 1, 0)).all()
    membership = Membership(np.ones((2, count.size), dtype=bool))
    np.testing.assert_array_equal(
        membership.records(0, patient, withheld), np.flatnonzero(~withheld)
    )
