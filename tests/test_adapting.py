"""Modules as people write them: read as logits, adapted, or refused with a cure that works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auscult.base.errors import AuscultError
from auscult.cohort import TrainingData
from auscult.cohort.inputs import ArrayInputs
from auscult.recipes import TorchRecipe
from auscult.recipes.base import Assignment
from auscult.recipes.torch.adapting import adapted

RECORDS = 24
RNG = np.random.default_rng(5)
SIGNALS = RNG.normal(size=(RECORDS, 6)).astype(np.float32)


def data(array: NDArray[Any] = SIGNALS, classes: int = 2) -> TrainingData:
    task = "binary" if classes == 2 else "multiclass"
    return TrainingData(
        inputs=ArrayInputs(
            array=array,
            rows=np.arange(RECORDS),
            channels="first" if array.ndim == 4 else "none",
        ),
        labels=np.arange(RECORDS) % classes,
        task=task,  # type: ignore[arg-type]
        classes=tuple("abc"[:classes]),
    )


def outputs(
    model: str | Callable[..., nn.Module], given: TrainingData | None = None, **settings: object
) -> NDArray[Any]:
    """Outputs of two models, shape (2, records, columns)."""
    how: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 8,
        "device": "cpu",
        "learning_rate": 0.05,
    } | settings
    members = [np.arange(0, RECORDS, 2), np.arange(1, RECORDS, 2)]
    assignments = [Assignment(model=m, members=members[m], seed=11 + m) for m in range(2)]
    recipe = TorchRecipe(model, **how)
    assert recipe.settings()
    found = recipe.train_block(given or data(), assignments, lambda _: None)
    return np.asarray(found.values[:, 0])


def flat(*last: nn.Module, columns: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, columns), *last)


class Wrapped(nn.Module):
    """Returns its logits inside something."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inside = flat()
        self.wrap = wrap

    def forward(self, x: Tensor) -> object:
        return self.wrap(self.inside(x))


def test_two_logits_are_one_log_odds() -> None:
    class Difference(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = flat(columns=2)

        def forward(self, x: Tensor) -> Tensor:
            z: Tensor = self.inside(x)
            return z[:, 1:] - z[:, :1]

    two = outputs(lambda *_: flat(columns=2))
    assert two.shape == (2, RECORDS, 1)
    assert np.allclose(two, outputs(lambda *_: Difference()), atol=1e-6)


def test_entries_of_tuples_and_dictionaries_are_named() -> None:
    plain = outputs(lambda *_: flat())
    for wrap, entry in (
        (lambda z: {"features": z * 2, "logits": z}, "logits"),
        (lambda z: (z, z * 2), 0),
    ):
        made = lambda *_, wrap=wrap: Wrapped(wrap)  # noqa: E731
        with pytest.raises(AuscultError, match="output = ") as caught:
            outputs(made)
        assert str(entry) in str(caught.value)
        with pytest.raises(AuscultError, match='no "strange"'):
            outputs(made, output="strange")
        assert np.allclose(outputs(made, output=entry), plain, atol=1e-6)
    with pytest.raises(AuscultError, match="would be ignored"):
        outputs(lambda *_: flat(), output="logits")


@pytest.mark.parametrize(
    ("last", "classes", "named"),
    [
        (nn.Sigmoid(), 2, "sigmoid"),
        (nn.Softmax(dim=1), 3, "softmax"),
    ],
)
def test_probabilities_are_refused_and_the_cure_works(
    last: nn.Module, classes: int, named: str
) -> None:
    columns = 1 if classes == 2 else classes
    given = data(classes=classes)
    with pytest.raises(AuscultError, match=f"Remove the {named} from"):
        outputs(lambda *_: flat(last, columns=columns), given)
    cured = outputs(lambda *_: flat(columns=columns), given)
    assert cured.shape == (2, RECORDS, columns)


def test_sigmoids_are_known_by_their_outputs_not_by_their_name() -> None:
    def squashed(z: Tensor) -> Tensor:
        return 1 / (1 + torch.exp(-z))

    with pytest.raises(AuscultError, match="probabilities"):
        outputs(lambda *_: Wrapped(squashed))
    two = flat(nn.Softmax(dim=1), columns=2)
    with pytest.raises(AuscultError, match="softmax"):
        outputs(lambda *_: two)
    # Small logits that happen to lie between 0 and 1 are logits; so are logarithms of a softmax.
    quiet = flat()
    nn.init.constant_(quiet[3].bias, 0.5)  # type: ignore[arg-type]
    nn.init.normal_(quiet[3].weight, std=1e-3)  # type: ignore[arg-type]
    assert outputs(lambda *_: quiet).shape == (2, RECORDS, 1)
    logs = outputs(lambda *_: flat(nn.LogSoftmax(dim=1), columns=3), data(classes=3))
    assert np.isfinite(logs).all()


def test_a_module_is_drawn_anew_for_each_model() -> None:
    made = flat()
    as_factory = outputs(lambda *_: flat(), learning_rate=1e-9, weight_decay=0.0)
    drawn = outputs(made, learning_rate=1e-9, weight_decay=0.0)
    assert not np.allclose(drawn[0], drawn[1], atol=1e-3)
    assert np.allclose(drawn, as_factory, atol=1e-5)  # the same draws, since the parts are the same
    again = TorchRecipe(flat()).settings()
    assert again == TorchRecipe(flat()).settings()  # other first weights, the same recipe
    kept = outputs(
        made, learning_rate=1e-9, weight_decay=0.0, backbone_trained_on_cohort=False,
        scaling="fixed",
    )  # fmt: skip
    assert np.allclose(kept[0], kept[1], atol=1e-5)
    assert (
        TorchRecipe(made, backbone_trained_on_cohort=False).settings()
        != TorchRecipe(flat(), backbone_trained_on_cohort=False).settings()
    )


def test_weights_that_nothing_draws_are_refused() -> None:
    class Owned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ self.weight

    with pytest.raises(AuscultError, match="cannot be reinitialised"):
        outputs(Owned())
    assert outputs(lambda *_: Owned()).shape == (2, RECORDS, 1)


def volumes(inputs: tuple[int, ...], columns: int) -> nn.Module:
    class Volume(nn.Module):  # a class of its own for every model
        def __init__(self) -> None:
            super().__init__()
            self.filters = nn.Conv3d(1, 2, 3, padding=1)
            self.last = nn.Linear(2, columns)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.last(self.filters(x[:, None]).relu().mean(dim=(2, 3, 4)))
            return found

    return Volume()


@pytest.mark.parametrize("stack", ["auto", "always"])
def test_volumes(stack: str) -> None:
    array = RNG.normal(size=(RECORDS, 4, 5, 5)).astype(np.float32)
    found = outputs(volumes, data(array), stack=stack)
    assert found.shape == (2, RECORDS, 1)
    assert np.isfinite(found).all()


def test_stacked_modules_of_a_class_inside_the_factory_are_those_trained_alone() -> None:
    def made(inputs: tuple[int, ...], columns: int) -> nn.Module:
        class Inside(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inside = flat()
                self.register_buffer("shift", torch.ones(1))

            def forward(self, x: Tensor) -> Tensor:
                found: Tensor = self.inside(x) + self.shift
                return found

        return Inside()

    alone = outputs(made, stack="never", dtype="float64")
    assert np.allclose(outputs(made, stack="always", dtype="float64"), alone, atol=1e-6)


def test_weights_from_a_state_dict(tmp_path: Path) -> None:
    first = flat()
    how: dict[str, Any] = {
        "learning_rate": 1e-9, "weight_decay": 0.0, "scaling": "fixed",
        "backbone_trained_on_cohort": False,
    }  # fmt: skip
    torch.save(first.state_dict(), tmp_path / "plain.pt")
    torch.save({"state_dict": first.state_dict(), "epoch": 3}, tmp_path / "nested.ckpt")
    with torch.no_grad():
        wanted = first.eval()(torch.from_numpy(SIGNALS)).numpy()
    for name in ("plain.pt", "nested.ckpt"):
        found = outputs(lambda *_: flat(), weights=tmp_path / name, **how)
        assert np.allclose(found[0], wanted, atol=1e-4)
    torch.save(first, tmp_path / "whole.pt")  # a pickle of the module: code
    with pytest.raises(AuscultError, match="would run code") as caught:
        outputs(lambda *_: flat(), weights=tmp_path / "whole.pt", **how)
    assert "torch.save(module.state_dict(), path)" in str(caught.value)


def test_a_factory_s_weights_from_elsewhere_are_told() -> None:
    """Whoever trained them knew patients that are nobody's to know in these models."""
    known = flat().state_dict()

    def factory(inputs: object, outputs: int) -> nn.Module:
        module = flat()
        module.load_state_dict(known)
        return module

    def facts(make: Callable[..., nn.Module], **how: Any) -> Any:  # noqa: ANN401
        one = Assignment(model=0, members=np.arange(0, RECORDS, 2), seed=3)
        recipe = TorchRecipe(make, epochs=1, device="cpu", **how)
        return recipe.train_block(data(), [one], lambda _: None).facts.get("pretrained")

    # All but the last bias, which is one number.
    assert facts(factory) == {"trained_on_cohort": "not declared", "same_parameters": 32}
    assert facts(factory, backbone_trained_on_cohort=False) == {"trained_on_cohort": "no"}
    assert facts(lambda *_: flat()) is None


class Moody(nn.Module):
    """Returns something else while it is trained."""

    def __init__(self, learning: Callable[[Tensor], Any], later: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inside = flat()
        self.learning, self.later = learning, later

    def forward(self, x: Tensor) -> object:
        z = self.inside(x)
        return self.learning(z) if self.training else self.later(z)


def test_what_a_module_returns_while_it_is_trained_counts() -> None:
    """As networks with auxiliary heads do, which return them in training only."""

    def both(z: Tensor) -> dict[str, Tensor]:
        return {"out": z, "aux": 2 * z}

    plain = outputs(lambda *_: flat())
    with pytest.raises(AuscultError, match='output = "out"'):
        outputs(lambda *_: Moody(both, lambda z: z))
    found = outputs(lambda *_: Moody(both, lambda z: z), output="out")
    np.testing.assert_allclose(found, plain, atol=1e-5)
    for learning, later in ((torch.sigmoid, lambda z: z), (lambda z: z, torch.sigmoid)):
        with pytest.raises(AuscultError, match="Remove the sigmoid"):
            outputs(lambda *_, a=learning, b=later: Moody(a, b))


def test_looking_at_a_module_changes_nothing() -> None:
    """Running statistics, dropout's draws; weights that cannot be copied."""

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with pytest.warns(FutureWarning):
                self.first = nn.utils.weight_norm(nn.Linear(6, 4))
            self.norm, self.drop, self.last = nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.last(self.drop(self.norm(self.first(x.flatten(1)))))
            return out

    module = Normed()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    encoded = SimpleNamespace(batch=lambda _, rows: torch.randn(1, rows.shape[1], 6))
    before = torch.get_rng_state()
    with torch.random.fork_rng():
        adapted([module], encoded, RECORDS, 1, "sigmoid", None, own=True)  # type: ignore[arg-type]
    assert torch.equal(before, torch.get_rng_state())
    assert module.training
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (lambda z: 100 * torch.sigmoid(z), "never negative"),
        (torch.relu, "never negative"),
        (nn.functional.logsigmoid, "never positive"),
    ],
)
def test_numbers_of_one_sign_are_no_logits(last: Callable[[Tensor], Any], said: str) -> None:
    with pytest.raises(AuscultError, match=said):
        outputs(lambda *_: Wrapped(last))


def test_logits_of_one_sign_are_logits() -> None:
    """A first bias of rare outcomes; a head of no consequence that runs last; log-softmax."""

    class Biased(nn.Module):
        def __init__(self, bias: float) -> None:
            super().__init__()
            self.inside, self.unused = flat(), nn.Linear(6, 1)
            nn.init.constant_(self.inside[-1].bias, bias)  # type: ignore[arg-type]

        def forward(self, x: Tensor) -> Tensor:
            z: Tensor = self.inside(x)
            self.unused(x)
            return z

    for bias in (-9.0, 9.0):
        assert outputs(lambda *_, b=bias: Biased(b)).shape == (2, RECORDS, 1)

    class LogSoftmax(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = flat(columns=2)

        def forward(self, x: Tensor) -> Tensor:
            return torch.log_softmax(self.inside(x), dim=1)

    np.testing.assert_allclose(
        outputs(lambda *_: LogSoftmax()), outputs(lambda *_: flat(columns=2)), atol=1e-5
    )


def test_a_compiled_module_is_the_module_itself() -> None:
    class Trainer:
        __module__ = "keras.src.trainers.trainer"

    class OwnTraining(nn.Sequential, Trainer):
        compiled = True

    plain = outputs(lambda *_: flat())
    compiled = outputs(lambda *_: torch.compile(flat(), backend="eager"))  # type: ignore[arg-type]
    np.testing.assert_allclose(compiled, plain, atol=1e-5)
    with pytest.raises(AuscultError, match="is a Trainer of keras"):
        outputs(lambda *_: OwnTraining(flat()))
