"""A run: models are trained, variants beside them, and the results are written."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auscult.attacks.places import Places
from auscult.audit import added
from auscult.audit.protecting import Whole, train_variants
from auscult.audit.sizing import fingerprint_of, held_by, steps_by_share, train_sizes
from auscult.audit.subjects import roster_of, settings_of, subject_of
from auscult.base.errors import StoreError
from auscult.base.files import toml_text
from auscult.base.leftovers import collect
from auscult.base.progress import Progress
from auscult.cohort.queries import PLAIN
from auscult.protection.comparison import audit_variants
from auscult.protection.plans import trained
from auscult.protection.runs import lacking
from auscult.recipes.base import MOST_INSIDE
from auscult.report.dossier import declared
from auscult.results import Planted, Result
from auscult.results.analysis import AnalysisSettings, load_for_analysis
from auscult.results.writing import write_results
from auscult.sizes.curve import audit_sizes
from auscult.sizes.stored import lacking as lacking_of_sizes
from auscult.sizes.stored import trained as trained_sizes
from auscult.store import RunStore, missing_blocks, plan_blocks
from auscult.training.cost import refuse_what_does_not_fit
from auscult.training.dispatch import REPEATED, WRITTEN, train
from auscult.training.engines import Engine

if TYPE_CHECKING:
    from auscult.audit.audit import Audit


def run_audit(
    audit: Audit,
    out: str | os.PathLike[str],
    *,
    engine: Engine,
    progress: Progress,
    configuration: str | None,
    planted: Planted | None,
    trust_code: bool,
) -> Result:
    """Train what is missing, analyse, and write results and report; see :meth:`Audit.run`.

    Parameters
    ----------
    audit : Audit
        Validated.
    out : path-like
    engine : Engine
    progress : Progress
    configuration : str or None
    planted : Planted or None
    trust_code : bool
    """
    engine.check()
    collect()
    design = audit._design()
    recipe = {"kind": audit.recipe.kind, "settings": audit.recipe.settings()}
    with RunStore.create_or_resume(
        out,
        fingerprint=fingerprint_of(audit, design),
        configuration=configuration or toml_text(settings_of(audit, recipe)),
        blocks=plan_blocks(audit.models, audit._blocks()),
        records=audit.cohort.records,
        wave=design.wave,
    ) as store:
        _refuse_what_cannot_be_seen(audit, store, trust_code=trust_code)
        _refuse_what_does_not_fit(audit, store, engine)
        membership = design.membership()
        store.write_membership(membership)
        timings = dict(store.manifest().get("timings", {}))
        start = time.perf_counter()
        inquiry = audit._inquiry()
        if audit.queries:
            store.update_manifest(queries=[PLAIN, *audit.queries])
        variants = audit.plans()
        sizes = audit.size_plans()
        sets = 1 + len(trained(variants, audit.recipe))
        of_sizes = sum(size.models for size in trained_sizes(sizes))
        whole = Whole(progress, sets * audit.models + of_sizes)
        train(
            audit._training_data(),
            audit.recipe,
            membership,
            audit.cohort.patient_of_record,
            store,
            seed=audit.seed,
            engine=engine,
            progress=whole,
            withheld=None if inquiry is None else inquiry.withheld,
            meanwhile=load_for_analysis,
        )
        places = Places.of(audit.cohort.inputs, audit.cohort.patient_of_record)
        subject = subject_of(audit, membership, places)
        skipped = train_variants(
            store,
            variants,
            audit.cohort,
            audit.recipe,
            membership,
            subject,
            models=audit.models,
            engine=engine,
            progress=whole,
        )
        train_sizes(store, audit, engine=engine, progress=whole)
        whole.end()
        after_training = time.perf_counter()
        parts: dict[str, Any] = {}
        protected = None
        if variants:
            entries, swept, protected = audit_variants(
                store,
                variants,
                audit.cohort,
                audit.recipe,
                subject,
                skipped,
                models=audit.models,
                progress=progress,
            )
            parts = {"protection": entries} | ({} if swept is None else {"sweep": swept})
        by_size = None
        if sizes:
            parts["sizes"], by_size = audit_sizes(
                store,
                sizes,
                subject,
                held=held_by(audit),
                steps=steps_by_share(audit, sizes),
                progress=progress,
            )
        plugins = added.plugins(
            attacks=audit.attacks,
            sections=audit.sections,
            deployment=audit.deployment,
            recipes=[audit.recipe, *(plan.recipe for plan in variants)],
            door=None if audit.release is None else audit.release.door,
            plans=variants,
        )
        if plugins or "plugins" in store.manifest():
            store.update_manifest(plugins=plugins)
        if plugins:
            parts |= {"plugins": plugins}
        if audit.dossier:
            parts |= {"dossier": declared(audit.dossier)}
        if audit.sections:
            parts |= {"sections": list(audit.sections)}
        if (structure := _structure(audit, store)) is not None:
            parts |= {"structure": structure}
        asked = None
        if audit.release is not None:
            cache = store.secret_path("release-answers")
            asked = audit.release.ask(audit.cohort, cache, progress, audit.recipe)
        manifest = store.manifest()
        told = {name: manifest[name] for name in (REPEATED, WRITTEN) if name in manifest}
        result = write_results(
            store,
            roster_of(audit, recipe | told, planted, places),
            seed=audit.seed,
            settings=AnalysisSettings(
                smallest_cell=audit.smallest_cell,
                intersections=audit.intersections,
                label_group=audit.label_group,
                attacks=audit.attacks,
                ledger=None if audit.ledger is None else Path(audit.ledger),
                count_base=audit.count_base,
            ),
            asked=asked,
            inquiry=inquiry,
            progress=progress,
            parts=parts,
            protected=protected,
            by_size=by_size,
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


def _refuse_what_does_not_fit(audit: Audit, store: RunStore, engine: Engine) -> None:
    missing = sum(len(block.models) for block in missing_blocks(store.blocks, store))
    missing += lacking(store, audit.plans(), audit.cohort, audit.recipe, audit.models)
    missing += lacking_of_sizes(store, audit.size_plans(), audit.cohort, audit.recipe)
    data = audit.cohort.training_data()
    columns = 1 if data.task == "binary" else len(data.classes) or 2
    columns += MOST_INSIDE if audit.white_box else 0
    refuse_what_does_not_fit(
        store.path,
        output_bytes=4 * missing * audit.cohort.records * columns * audit.answers,
        data_bytes=data.inputs.nbytes,
        workers=0 if engine.kind != "local" else engine.hands(audit.recipe),
    )


def _refuse_what_cannot_be_seen(audit: Audit, store: RunStore, *, trust_code: bool) -> None:
    """Resume only where the code that trained what is there is surely the code of today."""
    recipes = [audit.recipe, *(plan.recipe for plan in audit.plans())]
    unseen = sorted({part for recipe in recipes for part in recipe.unseen()})
    if not unseen or not store.status().blocks_done:
        return
    if trust_code:
        store.update_manifest(trusted_code=unseen)
        return
    raise StoreError(
        "models exist already, and parts of the training code that cannot be checked may have "
        f"changed since: {'; '.join(unseen)}",
        where=str(store.path),
        next_step="Use another run directory, or vouch for the code with --trust-code "
        "(trust_code=True). To avoid this in a new run, set recipe.version to a version "
        "of the code and recipe.files to the files that it reads",
    )


def _structure(audit: Audit, store: RunStore) -> dict[str, Any] | None:
    """The "structure" object of the summary; the model is fitted once in a run's life."""
    kept = store.manifest().get("structure")
    if kept is None or kept.get("smallest_cell") != audit.smallest_cell:
        found = audit.structure()
        if found is None:
            return None
        kept = {"findings": [asdict(one) for one in found], "smallest_cell": audit.smallest_cell}
        store.update_manifest(structure=kept)
    return dict(kept)
