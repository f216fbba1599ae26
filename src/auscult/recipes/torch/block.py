"""The networks of one block: made, adapted, trained together or apart, and asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from auscult.base.errors import RecipeError
from auscult.cohort import TrainingData
from auscult.recipes.base import Assignment
from auscult.recipes.failures import explained
from auscult.recipes.outputs import output_columns, output_kind
from auscult.recipes.torch.adapting import adapted
from auscult.recipes.torch.augmentation import parse
from auscult.recipes.torch.backbone import prepared
from auscult.recipes.torch.cards import exactly
from auscult.recipes.torch.convolutions import guard_convolutions
from auscult.recipes.torch.inside import described, inside
from auscult.recipes.torch.private import Privacy, train_privately
from auscult.recipes.torch.together import RAN_OUT, train_openly
from auscult.recipes.torch.training import Plan, check_shape, predict, steps_per_epoch

if TYPE_CHECKING:
    from auscult.recipes.torch.encoding import Encoded
    from auscult.recipes.torch.recipe import TorchRecipe


def train_networks(
    recipe: TorchRecipe,
    data: TrainingData,
    assignments: Sequence[Assignment],
    advance: Callable[[float], None],
    speed: dict[str, Any] | None = None,
    further: list[NDArray[np.float64]] | None = None,
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """See :meth:`auscult.TorchRecipe.train_exactly`.

    Parameters
    ----------
    recipe : TorchRecipe
    data : TrainingData
    assignments : sequence of Assignment
    advance : callable
    speed : dict, optional
    further : list of float64 array, optional
    """
    guard_convolutions()
    speed = {} if speed is None else speed
    device = recipe._device()
    with exactly(device):
        return _trained(recipe, data, assignments, advance, speed, further, device)


def _trained(
    recipe: TorchRecipe,
    data: TrainingData,
    assignments: Sequence[Assignment],
    advance: Callable[[float], None],
    speed: dict[str, Any],
    further: list[NDArray[np.float64]] | None,
    device: torch.device,
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    kind, columns, records = output_kind(data), output_columns(data), len(data.inputs)
    encoded = recipe._encoded(data.inputs, device)
    everybody = np.arange(records)
    encoded.fit([one.members if recipe.dp is None else everybody for one in assignments])
    labels = torch.from_numpy(data.labels).to(device)
    steps = steps_per_epoch(records, recipe.batch_size, data.share)
    plan = Plan(
        epochs=recipe.epochs,
        steps=steps,
        optimizer=recipe.optimizer,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        loss=kind,
        label_smoothing=recipe.label_smoothing,
        schedule=recipe.schedule,
        warmup=round(recipe.warmup_epochs * steps),
        ema=recipe.ema,
        augment=parse(recipe.augment),
        bfloat16=recipe.dtype == "bfloat16",
        compiled=recipe.compile,
    )
    first, maker, dtype = assignments[0].model, recipe._maker(), recipe._number_format()
    shape = encoded.shape
    with explained(first, "making the networks"):
        ready = prepared(
            lambda one: maker.make(one, shape, columns, device, dtype),
            assignments,
            encoded,
            records,
            obstacle=recipe._features_vary(),
            kept=recipe._features,
            known=maker.built_in or recipe.backbone_trained_on_cohort is not None,
        )
    if data.queries and ready.encoded is not encoded:
        raise RecipeError(
            "the frozen part is evaluated once per record, so it cannot answer queries",
            where="recipe",
            next_step="Leave audit.queries out, or train the whole network",
        )
    modules, encoded, recipe._features = ready.modules, ready.encoded, ready.features
    with explained(first, "the first forward pass"):
        modules = adapted(
            modules, encoded, records, columns, kind, recipe.output, own=not maker.built_in
        )
        check_shape(modules[0], encoded, columns)
    if recipe.dp is None:
        with exactly(device, tf32=recipe.dtype == "tf32"):
            reason = train_openly(
                *(modules, encoded, labels, assignments, plan, advance),
                stack=recipe.stack,
                speed=speed,
            )
    else:
        reason = train_privately(
            modules,
            encoded,
            labels,
            assignments,
            plan,
            advance,
            privacy=Privacy.of(recipe._guarantee(data), data.patient_of_record, records),
            stack=recipe.stack,
            speed=speed,
        )

    told: dict[str, Any] = {}

    def answers(asked: Encoded) -> NDArray[np.float64]:
        outputs = []
        for place, one in enumerate(assignments):
            with explained(one.model, "predicting"):
                outputs.append(predict(modules[place], place, asked, records).numpy())
            if not np.isfinite(outputs[-1]).all():
                raise RecipeError(
                    "training diverged: its outputs are not finite",
                    where=f"model {one.model}",
                    next_step="Lower recipe.learning_rate",
                )
            if data.white_box:
                with explained(one.model, "taking gradients"):
                    more, names = inside(
                        modules[place], place, asked, data.labels, outputs[-1], kind
                    )
                told["white_box"] = described(names)
                outputs[-1] = np.concatenate([outputs[-1], more], axis=1)
        return np.stack(outputs)

    values = answers(encoded)
    if further is not None:
        further += [answers(encoded.like(view)) for view in data.views()]
    facts: dict[str, Any] = {
        "parameters": sum(p.numel() for p in modules[0].parameters() if p.requires_grad),
        "trained": "stacked" if reason is None else "one after the other",
        "device": device.type,
        **told,
    }
    if reason is not None:
        facts["not_stacked_because"] = reason
    if plan.compiled:
        facts["compiled"] = True
    if RAN_OUT in speed:  # groups of another size round differently: it belongs to the record
        facts[RAN_OUT] = speed[RAN_OUT]
    if ready.facts or recipe.backbone_trained_on_cohort is not None:
        said = {None: "not declared", True: "yes", False: "no"}
        facts["pretrained"] = {
            "trained_on_cohort": said[recipe.backbone_trained_on_cohort],
            **ready.facts,
            **({} if maker.loaded is None else {"tensors": maker.loaded}),
        }
    if recipe.dp is not None:
        facts["dp"] = recipe._guarantee(data).facts()
    return values, facts
