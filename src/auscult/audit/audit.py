"""Audit: a cohort, a recipe and a number of models in; a run directory and its results out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auscult.audit import added
from auscult.audit.protecting import Whole, train_variants
from auscult.base.errors import ConfigError, RecipeError, StoreError, one_of
from auscult.base.files import toml_text
from auscult.base.naming import arguments_of, arguments_of_a_file, from_a_file
from auscult.base.parallel import cores
from auscult.base.progress import SILENT, Progress
from auscult.base.showing import parameters
from auscult.cohort import Cohort, TrainingData
from auscult.cohort.cohort import CLASS_TASKS, SMALLEST_CELL
from auscult.cohort.design import Design, Membership, withheld_records
from auscult.cohort.queries import PLAIN, parse_queries
from auscult.exposure import Deployment, Inquiry, cells
from auscult.protection.assessment import Subject
from auscult.protection.comparison import audit_variants
from auscult.protection.plans import Plan, digest, plans, trained
from auscult.protection.runs import lacking
from auscult.protection.variants import Variant
from auscult.recipes.base import Recipe
from auscult.recipes.kinds import identity_of
from auscult.recipes.metrics import on
from auscult.recipes.structure import Finding
from auscult.release import Release
from auscult.results import Planted, Result
from auscult.results.analysis import AnalysisSettings
from auscult.results.result import Roster, stratum_of, write_results
from auscult.risk.outcome import NO_CLASSES, NO_LABELS, Attributes, with_label
from auscult.store import RunStore, missing_blocks, plan_blocks
from auscult.training.cost import TASK_BYTES, Trial, VariantTrial, refuse_what_does_not_fit
from auscult.training.dispatch import REPEATED, WRITTEN, assignments, train, train_one
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
        Shadow models to train: even, at least 8. More models, narrower intervals.
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
        What models are asked besides the records, for example "without:insulin" or "augmented:8".
    withhold : float
        Share of each patient's records that no model trains on, of patients with several.
    deployment : Deployment, optional
        What membership would reveal, to whom, and who could attack with what.
    release : Release, optional
        The model that is to go out, judged by the shadow models. Not part of the run's identity.
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
        deployment: Deployment | None = None,
        release: Release | None = None,
        protect: Sequence[Variant] = (),
        sweep: Sequence[Variant] = (),
        label_group: bool = True,
        attacks: Sequence[str] = (),
        sections: Sequence[str] = (),
        ledger: str | os.PathLike[str] | None = None,
    ) -> None:
        self.cohort = cohort
        self.recipe = recipe
        self.models = models
        self.seed = seed
        self.smallest_cell = smallest_cell
        self.intersections = intersections
        self.title = title
        self.queries = tuple(queries)
        self.withhold = withhold
        self.deployment = deployment
        self.release = release
        self.protect = tuple(protect)
        self.sweep = tuple(sweep)
        self.label_group = label_group
        self.attacks = tuple(attacks)
        self.sections = tuple(sections)
        self.ledger = ledger
        self._from_a_file = from_a_file()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors name this audit's arguments, or the keys of the file that it was made from."""
        owners = {
            "audit": self,
            "recipe": self.recipe,
            "deployment": self.deployment,
            "release": None if self.release is None else self.release.door,
        }
        with arguments_of_a_file(self._from_a_file), arguments_of(owners, {"model": "estimator"}):
            yield

    def __repr__(self) -> str:
        return parameters(self)

    def check(self, *, train: bool = False, progress: Progress = SILENT) -> Trial | None:
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
            Says what does not fit.
        """
        self._validate()
        if not train:
            return None
        with self._told():
            return self._trial(self.recipe, progress)

    def _validate(self) -> None:
        with self._told():
            self._check()

    def _check(self) -> None:
        self._design().check()
        if self.seed < 0:
            raise ConfigError(f"{self.seed} is no seed", where="audit.seed", expected="0 or more")
        if self.smallest_cell < 1:
            raise ConfigError(
                f"{self.smallest_cell} is no cell size",
                where="audit.smallest_cell",
                expected="1 or more (10 is usual)",
            )
        for pair in self.intersections or ():
            for name in pair:
                if name not in self.attributes().table.columns:
                    raise ConfigError(
                        f'"{name}" is no group of the cohort',
                        where="audit.intersections",
                        expected=one_of(name, map(str, self.attributes().table.columns)),
                    )
        for query in parse_queries(self.queries):
            reason = query.supports(self.cohort.inputs)
            if reason is not None:
                raise ConfigError(
                    f'"{query.text}" cannot be asked: {reason}', where="audit.queries"
                )
        if not 0 <= self.withhold < 1:
            raise ConfigError(
                f"{self.withhold:g} is no share of records",
                where="audit.withhold",
                expected="a number from 0 to below 1, for example 0.2",
            )
        if self.withhold > 0 and self.cohort.records == self.cohort.patients:
            raise ConfigError(
                "every patient has one record, so that no other record can be withheld",
                where="audit.withhold",
                expected="patients with several records",
                next_step="Leave it out",
            )
        if self.deployment is not None:
            self.deployment.check(self.queries, self.withhold, self.models, scores=self._scores())
        added.check_attacks(self.attacks)
        added.check_sections(self.sections)
        reason = self.recipe.supports(self.cohort.training_data())
        if reason is not None:
            raise RecipeError(reason, where="recipe")
        self.recipe.metric()
        if self.release is not None:
            self.release.check(self.cohort, self.recipe)
        self.plans()

    def attributes(self) -> Attributes:
        """What risks are compared by: the cohort's groups and, by default, the label."""
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
        return plans(self.protect, self.sweep, self.cohort, self.recipe, self.models)

    def trial(self, progress: Progress = SILENT) -> Trial:
        """Train one block of models in one worker, measure it, and train it again in another.

        Nothing is written.
        """
        self._validate()
        with self._told():
            return self._trial(self.recipe, progress)

    def structure(self) -> list[Finding] | None:
        """What one model carries of its training data; None where the recipe shows no model.

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

    def variant_trials(self, trial: Trial, progress: Progress = SILENT) -> list[VariantTrial]:
        """What each variant costs: another recipe is tried like the audit's own.

        Parameters
        ----------
        trial : Trial
            Of the audit's recipe: a variant that changes the cohort only costs as much.
        progress : Progress
        """
        found = self.plans()
        sets = {plan.slug: plan for plan in trained(found, self.recipe)}
        tried = {
            slug: trial if plan.variant.recipe is None else self._trial(plan.recipe, progress)
            for slug, plan in sets.items()
        }
        seen: set[str] = set()
        result = []
        for plan in found:
            own = tried.get(plan.slug) if plan.slug not in seen else None
            seen.add(plan.slug)
            result.append(VariantTrial(name=plan.name, trial=own))
        return result

    def _trial(self, recipe: Recipe, progress: Progress) -> Trial:
        block = tuple(range(recipe.block_models(self.cohort.training_data(), self.models)))
        tried = train_one(
            self._training_data(),
            recipe,
            self._design().membership(),
            self.cohort.patient_of_record,
            seed=self.seed,
            models=block,
            progress=progress,
            withheld=self._withheld(),
        )
        outputs = tried.outputs
        return Trial(
            models=len(block),
            seconds=tried.seconds[-1],
            start_seconds=tried.start_seconds,
            worker_bytes=int(outputs.speed.get("peak_bytes", TASK_BYTES)),
            output_bytes=int(outputs.values[0].nbytes) * self.models,
            facts=dict(outputs.facts),
            notes=dict(outputs.notes),
            repeat=tried.repeat,
            written=tried.written,
        )

    def run(
        self,
        out: str | os.PathLike[str],
        *,
        workers: int | None = None,
        engine: Engine | None = None,
        progress: Progress = SILENT,
        configuration: str | None = None,
        planted: Planted | None = None,
        trust_code: bool = False,
    ) -> Result:
        """Train what is missing, analyse, and write results and report.

        Parameters
        ----------
        out : path-like
            The run directory: new, or of this very audit, which is then resumed.
        workers : int, optional
            Worker processes; one per core by default. Changes nothing but the speed.
        engine : Engine, optional
            Where models are trained, instead of `workers` processes of this machine.
        progress : Progress
        configuration : str, optional
            Text for ``audit.toml``; made from the settings by default.
        planted : Planted, optional
            What a simulated cohort planted: shown beside what was found.
        trust_code : bool
            Resume although the training code reads what cannot be seen: you vouch that it is
            unchanged.

        Returns
        -------
        Result

        Raises
        ------
        AuscultError
            Says what to mend; what was finished before is kept.
        """
        self._validate()
        engine = engine or Engine(workers=workers)
        with self._told():
            return self._run(
                out,
                engine=engine,
                progress=progress,
                configuration=configuration,
                planted=planted,
                trust_code=trust_code,
            )

    def _run(
        self,
        out: str | os.PathLike[str],
        *,
        engine: Engine,
        progress: Progress,
        configuration: str | None,
        planted: Planted | None,
        trust_code: bool,
    ) -> Result:
        engine.check()
        design = self._design()
        recipe = {"kind": self.recipe.kind, "settings": self.recipe.settings()}
        with RunStore.create_or_resume(
            out,
            fingerprint={
                "cohort": self.cohort.fingerprint(),
                "recipe": digest(identity_of(self.recipe)),
                "models": str(self.models),
                "seed": str(self.seed),
                **({"queries": "; ".join(self.queries)} if self.queries else {}),
                **({"withhold": f"{self.withhold:g}"} if self.withhold else {}),
            },
            configuration=configuration or toml_text(self._settings(recipe)),
            blocks=plan_blocks(self.models, self._block_models()),
            records=self.cohort.records,
        ) as store:
            self._refuse_what_cannot_be_seen(store, trust_code=trust_code)
            self._refuse_what_does_not_fit(store, engine)
            membership = design.membership()
            store.write_membership(membership)
            timings = dict(store.manifest().get("timings", {}))
            start = time.perf_counter()
            inquiry = self._inquiry()
            if self.queries:
                store.update_manifest(queries=[PLAIN, *self.queries])
            variants = self.plans()
            sets = 1 + len(trained(variants, self.recipe))
            whole = Whole(progress, sets * self.models)
            train(
                self._training_data(),
                self.recipe,
                membership,
                self.cohort.patient_of_record,
                store,
                seed=self.seed,
                engine=engine,
                progress=whole,
                withheld=None if inquiry is None else inquiry.withheld,
            )
            subject = self._subject(membership)
            skipped = train_variants(
                store,
                variants,
                self.cohort,
                self.recipe,
                membership,
                subject,
                models=self.models,
                engine=engine,
                progress=whole,
            )
            whole.end()
            after_training = time.perf_counter()
            parts: dict[str, Any] = {}
            if variants:
                entries, sizes = audit_variants(
                    store,
                    variants,
                    self.cohort,
                    self.recipe,
                    subject,
                    skipped,
                    models=self.models,
                    progress=progress,
                )
                parts = {"protection": entries} | ({} if sizes is None else {"sweep": sizes})
            plugins = added.plugins(
                attacks=self.attacks,
                sections=self.sections,
                deployment=self.deployment,
                recipes=[self.recipe, *(plan.recipe for plan in variants)],
                door=None if self.release is None else self.release.door,
                plans=variants,
            )
            if plugins or "plugins" in store.manifest():
                store.update_manifest(plugins=plugins)
            if plugins:
                parts |= {"plugins": plugins}
            if self.sections:
                parts |= {"sections": list(self.sections)}
            asked = None
            if self.release is not None:
                cache = store.secret_path("release-answers")
                asked = self.release.ask(self.cohort, cache, progress)
            manifest = store.manifest()
            told = {name: manifest[name] for name in (REPEATED, WRITTEN) if name in manifest}
            result = write_results(
                store,
                self._roster(recipe | told, planted),
                seed=self.seed,
                settings=AnalysisSettings(
                    smallest_cell=self.smallest_cell,
                    intersections=self.intersections,
                    label_group=self.label_group,
                    attacks=self.attacks,
                    ledger=None if self.ledger is None else Path(self.ledger),
                ),
                asked=asked,
                inquiry=inquiry,
                progress=progress,
                parts=parts,
            )
            timings["training_seconds"] = round(
                timings.get("training_seconds", 0.0) + after_training - start, 2
            )
            timings["analysis_seconds"] = round(time.perf_counter() - after_training, 2)
            store.update_manifest(
                timings=timings,
                recipe=recipe | {"facts": result.summary["recipe"]["facts"]},
                left_out=result.summary["cohort"]["left_out"],
            )
        return result

    def _refuse_what_does_not_fit(self, store: RunStore, engine: Engine) -> None:
        missing = sum(len(block.models) for block in missing_blocks(store.blocks, store))
        missing += lacking(store, self.plans(), self.cohort, self.recipe, self.models)
        data = self.cohort.training_data()
        columns = 1 if data.task == "binary" else len(data.classes) or 2
        refuse_what_does_not_fit(
            store.path,
            output_bytes=4 * missing * self.cohort.records * columns * self.answers,
            data_bytes=data.inputs.nbytes,
            workers=0 if engine.kind != "local" else engine.workers or cores(),
        )

    def _scores(self) -> bool:
        return self.recipe.scores(self.cohort.training_data())

    def _block_models(self) -> int:
        return self.recipe.block_models(self.cohort.training_data(), self.models)

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
        return self.cohort.training_data(parse_queries(self.queries), self.seed)

    def _withheld(self) -> NDArray[np.bool_] | None:
        if not self.withhold:
            return None
        cohort = self.cohort
        return withheld_records(self.withhold, cohort.patient_of_record, cohort.patients, self.seed)

    def _withheld_summary(self) -> dict[str, Any]:
        withheld = self._withheld()
        if withheld is None:
            return {}
        patients = int(np.unique(self.cohort.patient_of_record[withheld]).size)
        others = self.cohort.patients - patients
        # The others are those with one record: a small band of them is not shown either.
        told = patients >= self.smallest_cell and (others == 0 or others >= self.smallest_cell)
        return {
            "withheld": {
                "share": self.withhold,
                "records": int(withheld.sum()),
                "patients": patients if told else None,
            }
        }

    def _inquiry(self) -> Inquiry | None:
        """What exposure is about, or None where nothing was declared."""
        if not (self.queries or self.withhold or self.deployment):
            return None
        return Inquiry(queries=self.queries, withheld=self._withheld(), deployment=self.deployment)

    def _subject(self, membership: Membership) -> Subject:
        attributes = self.attributes()
        classes, _ = self.cohort.compared
        return Subject(
            membership=membership,
            patient_of_record=self.cohort.patient_of_record,
            groups=attributes.table,
            label_group=attributes.extra,
            labels=self.cohort.labels,
            stratum=stratum_of(self.cohort.labels if classes is None else classes),
            metric=on(self.recipe.metric(), self.cohort.labels),
            seed=self.seed,
            smallest_cell=self.smallest_cell,
            queries=None if self._inquiry() is None else (0,),
            withheld=self._withheld(),
            asked=self.queries,
            priors=() if self.deployment is None else self.deployment.priors,
        )

    def _design(self) -> Design:
        return Design(models=self.models, patients=self.cohort.patients, seed=self.seed)

    def _roster(self, recipe: dict[str, Any], planted: Planted | None) -> Roster:
        cohort = self.cohort
        classes, names = cohort.compared
        return Roster(
            title=self.title or cohort.source,
            cohort=cohort.summary(self.smallest_cell) | self._withheld_summary(),
            recipe=recipe | {"model": _model_name(recipe["settings"], self.recipe.kind)},
            patient_of_record=cohort.patient_of_record,
            patient_ids=cohort.patient_ids,
            record_rows=cohort.record_rows,
            groups=cohort.groups,
            labels=classes,
            task=cohort.task,
            classes=names,
            truth=None if cohort.task in CLASS_TASKS else cohort.labels,
            metric=self.recipe.metric(),
            label_name=cohort.label_name,
            planted=planted,
        )

    def _refuse_what_cannot_be_seen(self, store: RunStore, *, trust_code: bool) -> None:
        """Resume only where the code that trained what is there is surely the code of today."""
        recipes = [self.recipe, *(plan.recipe for plan in self.plans())]
        unseen = sorted({part for recipe in recipes for part in recipe.unseen()})
        if not unseen or not store.status().blocks_done:
            return
        if trust_code:
            store.update_manifest(trusted_code=unseen)
            return
        raise StoreError(
            "models are there, and the training code may have changed since in what cannot be "
            f"seen: {'; '.join(unseen)}",
            where=str(store.path),
            next_step="Use another run directory, or vouch for the code with --trust-code "
            "(trust_code=True). From the start, recipe.version names what the code is, and "
            "recipe.files the files that it reads",
        )

    def _settings(self, recipe: dict[str, Any]) -> dict[str, Any]:
        """What this audit is, for a run that was not started from a file."""
        return {
            "cohort": {"source": self.cohort.source, "groups": list(self.cohort.groups.columns)},
            "recipe": {"kind": recipe["kind"], "settings": recipe["settings"]},
            "audit": {
                "models": self.models,
                "seed": self.seed,
                "smallest_cell": self.smallest_cell,
                **({"queries": list(self.queries)} if self.queries else {}),
                **({"withhold": self.withhold} if self.withhold else {}),
                **({} if self.label_group else {"label_group": False}),
            },
            **(
                {"deployment": self.deployment.summary(scores=self._scores())}
                if self.deployment
                else {}
            ),
        }


def _model_name(settings: dict[str, Any], kind: str) -> str:
    """Short name of the model for the report."""
    for key in ("model", "class", "train"):
        value = settings.get(key)
        if isinstance(value, dict):
            value = value.get("name")
        if isinstance(value, str):
            return value.rsplit(":", 1)[-1] if key != "model" else value
    return kind
