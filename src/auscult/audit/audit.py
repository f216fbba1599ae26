"""Audit: a cohort, a recipe and a number of models in; a run directory and its results out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from auscult.audit.arguments import several
from auscult.audit.checking import check_audit
from auscult.audit.growing import Grown, Until, grow
from auscult.audit.running import run_audit
from auscult.audit.trying import try_one_block
from auscult.base.errors import ConfigError
from auscult.base.naming import arguments_of, arguments_of_a_file, from_a_file
from auscult.base.notebooks import USUAL, card
from auscult.base.progress import Progress
from auscult.base.showing import parameters, shown_parameters
from auscult.cohort import Cohort, TrainingData
from auscult.cohort.cohort import SMALLEST_CELL
from auscult.cohort.design import (
    AS_RELEASED,
    HALF,
    Design,
    nearest_share,
    share_of_steps,
    withheld_records,
)
from auscult.cohort.queries import parse_queries
from auscult.exposure import Deployment, Inquiry, cells
from auscult.protection.plans import Plan, plans, trained
from auscult.protection.variants import Variant
from auscult.recipes.base import Recipe
from auscult.recipes.structure import Finding
from auscult.release import Release
from auscult.results import Planted, Result
from auscult.risk.outcome import NO_CLASSES, NO_LABELS, Attributes, with_label
from auscult.sizes.shares import Size, sizes_of
from auscult.training.cost import Trial, VariantTrial
from auscult.training.dispatch import assignments
from auscult.training.engines import Engine

__all__ = ["Audit", "Result", "Trial"]


class Audit:
    """Which patients does this recipe expose?

    Parameters
    ----------
    cohort : Cohort
    recipe : Recipe
        What is audited: SklearnRecipe, TorchRecipe, PythonRecipe or your own.
    models : int
        Shadow models to train: even, at least 8. More models give narrower intervals.
    seed : int
        All randomness derives from it.
    smallest_cell : int
        Groups with fewer patients are not shown (complementary suppression included).
    intersections : sequence of pairs of str, optional
        Attributes to cross; when None the first three pairs of the cohort's groups, and the label
        with each of the first three.
    title : str, optional
        Of the report; the cohort's source by default.
    queries : sequence of str
        Further queries that models answer, for example "without:insulin" or "augmented:8".
    withhold : float
        Share of each patient's records that no model trains on, for patients with several.
    white_box : bool
        Whether models are looked into as they are trained, so that an attacker who has the weights
        is assessed beside the one who gets answers.
    share : float or "as released"
        Of the patients that each model trains on: a multiple of 0.05 up to 0.95. "as released" is
        the nearest one to the share that the release was trained on, from its list of members.
    sizes : sequence of float
        Shares of the patients, as `share`, at which further models are trained: a curve of exposed
        patients against the number of patients trained on, and what to expect of the whole cohort.
    sizes_steps : "same", optional
        Networks of every size take about as many optimizer steps as the audit's own, in as many
        whole epochs as come nearest; by default as many epochs.
    deployment : Deployment, optional
        What membership would reveal, to whom, and what an attacker could use.
    release : Release, optional
        The model to be released, judged by the shadow models. Not part of the run's identity.
    protect : sequence of Variant
        Protections to try on the same membership; see :mod:`auscult.protection`.
    sweep : sequence of Variant
        Other recipes, usually sizes of a model, on the same membership.
    label_group : bool
        Whether risks are compared by label as well; the report says so where it is left out.
    attacks : sequence of str
        Attacks on records that other packages add, by name; Auscult's own are always run.
    sections : sequence of str
        Sections of the report that other packages add, by name.
    ledger : path-like, optional
        Folder of the release ledger, where several places report on the same patients; by default
        ``.auscult-ledger`` beside the run.
    dossier : mapping of str to str, optional
        What a person declares for the dossier: "system", "version", "controller", "owner",
        "purpose", "lawful_basis", "contact", "approver". It changes no figure.
    count_base : int
        What numbers of patients are rounded to in the report, for example 5; by default only those
        are from which a small cell would follow.

    Examples
    --------
    >>> audit = Audit(cohort, recipe=SklearnRecipe(), models=64, seed=7)  # doctest: +SKIP
    >>> audit.run("runs/readmission").headline  # doctest: +SKIP
    """

    def __init__(
        self,
        cohort: Cohort,
        recipe: Recipe,
        *,
        models: int = 64,
        seed: int = 0,
        smallest_cell: int = SMALLEST_CELL,
        intersections: tuple[tuple[str, str], ...] | None = None,
        title: str | None = None,
        queries: Sequence[str] = (),
        withhold: float = 0.0,
        white_box: bool = False,
        share: float | str = HALF,
        sizes: Sequence[float] = (),
        sizes_steps: str | None = None,
        deployment: Deployment | None = None,
        release: Release | None = None,
        protect: Sequence[Variant] = (),
        sweep: Sequence[Variant] = (),
        label_group: bool = True,
        attacks: Sequence[str] = (),
        sections: Sequence[str] = (),
        ledger: str | os.PathLike[str] | None = None,
        count_base: int = 1,
        dossier: Mapping[str, str] | None = None,
    ) -> None:
        self.cohort = cohort
        self.recipe = recipe
        self.models = models
        self.seed = seed
        self.smallest_cell = smallest_cell
        self.intersections = intersections
        self.title = title
        self.queries = several(queries)
        self.withhold = withhold
        self.white_box = white_box
        self.share = share
        self.sizes = several(sizes)
        self.sizes_steps = sizes_steps
        self.deployment = deployment
        self.release = release
        self.protect = several(protect)
        self.sweep = several(sweep)
        self.label_group = label_group
        self.attacks = several(attacks)
        self.sections = several(sections)
        self.ledger = ledger
        self.count_base = count_base
        self.dossier = dict(dossier) if dossier else None
        self._from_a_file = from_a_file()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors name this audit's arguments, or the keys of the file that it was made from."""
        owners = {
            "audit": self,
            "recipe": self.recipe,
            "deployment": self.deployment,
            "release": getattr(self.release, "door", None),
        }
        with arguments_of_a_file(self._from_a_file), arguments_of(owners, {"model": "estimator"}):
            yield

    def __repr__(self) -> str:
        return parameters(self)

    def _repr_html_(self) -> str:
        given = dict(shown_parameters(self))
        for name in ("cohort", "models"):
            given.pop(name, None)
        recipe = given.pop("recipe", parameters(self.recipe))
        return card(
            "Audit",
            [("models", str(self.models)), ("recipe", recipe), *given.items()],
            [("Cohort", self.cohort.shown(self.smallest_cell))],
        )

    def check(self, *, train: bool = False, progress: Progress = USUAL) -> Trial | None:
        """Validate everything that can be validated without training.

        Parameters
        ----------
        train : bool
            Train one block as well, again in another process, and compare, as `auscult check` does.
        progress : Progress

        Returns
        -------
        Trial or None
            What was trained: `repeat` says whether training again gave the same numbers. None
            without `train`.

        Raises
        ------
        AuscultError
            Says what is wrong.
        """
        self._validate()
        if not train:
            return None
        with self._told():
            return try_one_block(self, self.recipe, progress)

    def _validate(self) -> None:
        with self._told():
            check_audit(self)

    def attributes(self) -> Attributes:
        """Attributes by which risks are compared: the cohort's groups and, by default, label."""
        cohort = self.cohort
        return with_label(
            cohort.groups,
            *cohort.compared,
            cohort.patient_of_record,
            name=cohort.label_name,
            wanted=self.label_group,
            absent=NO_CLASSES.get(cohort.task, NO_LABELS),
        )

    def plans(self) -> list[Plan]:
        """The variants as they will be run, checked."""
        if self._scores():
            for variant in self.protect:
                if variant.access is not None:
                    raise ConfigError(
                        "the models give one number per record (a loss or a score), which no "
                        "interface rounds or hides",
                        where="protect.access",
                        expected="a change of recipe or cohort",
                    )
        return plans(self.protect, self.sweep, self.cohort, self.recipe, self._design())

    def size_plans(self) -> tuple[Size, ...]:
        """The sizes as they will be trained, the smallest first, checked."""
        return sizes_of(self.sizes, self._design(), same_steps=self.sizes_steps is not None)

    def trial(self, progress: Progress = USUAL) -> Trial:
        """Train one block of models in one worker, measure it, and train it again in another.

        Nothing is written.
        """
        self._validate()
        with self._told():
            return try_one_block(self, self.recipe, progress)

    def structure(self) -> list[Finding] | None:
        """What one model contains of its training data; None where the recipe gives no model.

        One model is fitted in this process; see :func:`auscult.recipes.structural_findings`.
        """
        from auscult.recipes.sklearn import SklearnRecipe
        from auscult.recipes.structure import structural_findings

        if not isinstance(self.recipe, SklearnRecipe):
            return None
        member = self._design().membership()
        of_record = self.cohort.patient_of_record
        one = assignments((0,), member, of_record, self.seed, self._withheld())[0]
        model = self.recipe.fitted(self._training_data(), one)
        return structural_findings(model, one.members.size, self.smallest_cell)

    def variant_trials(self, trial: Trial, progress: Progress = USUAL) -> list[VariantTrial]:
        """What each variant and size costs: another recipe is tried like the audit's own.

        Parameters
        ----------
        trial : Trial
            Of the audit's recipe: a variant that changes only the cohort costs the same.
        progress : Progress
        """
        found = self.plans()
        sets = {plan.slug: plan for plan in trained(found, self.recipe)}
        tried = {
            slug: trial
            if plan.variant.recipe is None
            else try_one_block(self, plan.recipe, progress)
            for slug, plan in sets.items()
        }
        seen: set[str] = set()
        result = []
        for plan in found:
            own = tried.get(plan.slug) if plan.slug not in seen else None
            seen.add(plan.slug)
            result.append(VariantTrial(name=plan.name, trial=own))
        for size in self.size_plans():
            # An epoch takes as long as there are records; what it costs is not tried at every size.
            longer = 1.0 if size.same_steps else size.share / self.share_of_members
            scaled = replace(trial, seconds=trial.seconds * longer)
            own = None if size.own else scaled
            result.append(VariantTrial(name=size.name, trial=own, models=size.models))
        return result

    def run(
        self,
        out: str | os.PathLike[str],
        *,
        workers: int | None = None,
        engine: Engine | None = None,
        progress: Progress = USUAL,
        configuration: str | None = None,
        planted: Planted | None = None,
        trust_code: bool = False,
    ) -> Result:
        """Train what is missing, analyse, and write results and report.

        Parameters
        ----------
        out : path-like
            The run directory: new, or of the same audit, which is then resumed.
        workers : int, optional
            Worker processes; one per core by default. Affects only the speed.
        engine : Engine, optional
            Where models are trained, instead of `workers` processes of this machine.
        progress : Progress
        configuration : str, optional
            Text for ``audit.toml``; made from the settings by default.
        planted : Planted, optional
            What was planted in a simulated cohort: shown next to the findings.
        trust_code : bool
            Resume although parts of the training code cannot be checked: you vouch that they are
            unchanged.

        Returns
        -------
        Result

        Raises
        ------
        AuscultError
            Says what to correct; finished work is kept.
        """
        self._validate()
        engine = engine or Engine(workers=workers)
        with self._told():
            return run_audit(
                self,
                out,
                engine=engine,
                progress=progress,
                configuration=configuration,
                planted=planted,
                trust_code=trust_code,
            )

    def run_until(
        self,
        out: str | os.PathLike[str],
        until: Until,
        *,
        workers: int | None = None,
        engine: Engine | None = None,
        progress: Progress = USUAL,
        configuration: Callable[[int], str] | None = None,
        trust_code: bool = False,
    ) -> Grown:
        """Run with 16 models, look, and double them until the goal is reached or the budget spent.

        `models` of the audit does not matter. A run that is there goes on from its models.

        Parameters
        ----------
        out : path-like
        until : Until
            The goal and the budget.
        workers : int, optional
        engine : Engine, optional
        progress : Progress
        configuration : callable, optional
            Number of models to the text of ``audit.toml``.
        trust_code : bool
            As for :meth:`run`.

        Returns
        -------
        Grown

        Raises
        ------
        AuscultError
            Says what to correct; finished work is kept.
        """
        return grow(
            self,
            out,
            until,
            configuration=configuration,
            workers=workers,
            engine=engine,
            progress=progress,
            trust_code=trust_code,
        )

    def _scores(self) -> bool:
        return self.recipe.scores(self.cohort.training_data())

    def _blocks(self) -> list[int]:
        return self.recipe.blocks(self.cohort.training_data(), self.models)

    @property
    def answers(self) -> int:
        """Answers that every model gives on every record: one, and one per view of each query."""
        return 1 + sum(query.views for query in parse_queries(self.queries))

    @property
    def exposure_cells(self) -> int:
        """Cells of the table of accesses, knowledges and means; 0 where nothing is declared."""
        inquiry = self._inquiry()
        return (
            0
            if inquiry is None
            else len(
                cells(inquiry, self.cohort.patient_of_record, self.seed, scores=self._scores())
            )
        )

    @property
    def withheld_count(self) -> int:
        """Records that no model trains on."""
        withheld = self._withheld()
        return 0 if withheld is None else int(withheld.sum())

    def _training_data(self) -> TrainingData:
        return self.cohort.training_data(
            parse_queries(self.queries),
            self.seed,
            self.share_of_training,
            white_box=self.white_box,
        )

    @property
    def share_of_members(self) -> float:
        """Share of the patients that each model trains on.

        Raises
        ------
        AuscultError
            It shall be the release's, and nobody says who trained that.
        """
        if self.share != AS_RELEASED:
            return self.share  # type: ignore[return-value]
        known = None if self.release is None else self.release.share_of_members(self.cohort)
        if known is None:
            raise ConfigError(
                "it is not known which share of the patients the release was trained on",
                where="audit.share",
                expected="a list of all its members: release.members with others = "
                '"non-members", or release.members_flag without gaps',
                next_step="Declare it, or give the share as a number",
            )
        return nearest_share(known)

    @property
    def share_of_training(self) -> float:
        """Share of the records by which a training counts its steps.

        Where the share is the release's, its own: shadow models have the nearest one that waves
        hold, but take as many steps as the release does. Of 1,420 records in batches of 64, a
        release of 58% took 13 steps an epoch and models of 60% took 14, which was enough to
        overstate what it gives away.
        """
        if self.share != AS_RELEASED or self.release is None:
            return self.share_of_members
        known = self.release.share_of_members(self.cohort)
        if known is None:
            return self.share_of_members
        return share_of_steps(known, self.cohort.patients, self.smallest_cell)

    def _withheld(self) -> NDArray[np.bool_] | None:
        if not self.withhold:
            return None
        cohort = self.cohort
        return withheld_records(self.withhold, cohort.patient_of_record, cohort.patients, self.seed)

    def _inquiry(self) -> Inquiry | None:
        """What exposure is about, or None where nothing was declared."""
        if not (self.queries or self.withhold or self.deployment or self.white_box):
            return None
        return Inquiry(
            queries=self.queries,
            withheld=self._withheld(),
            deployment=self.deployment,
            white_box=self.white_box,
        )

    def _design(self) -> Design:
        return Design(
            models=self.models,
            patients=self.cohort.patients,
            seed=self.seed,
            share=self.share_of_members,
        )
