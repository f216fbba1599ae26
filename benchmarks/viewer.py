"""Response times of the viewer on a run of many patients; writes RESULTS.md between its marks.

The run is made up: figures, outputs and memberships of the right shape and format, two records a
patient, sealed like a run. What is measured is the viewer, not the audit.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from auscult.base.files import write_bytes
from auscult.cohort import Cohort
from auscult.cohort.design import Membership
from auscult.cohort.inputs import TableInputs
from auscult.recipes.base import BlockOutputs
from auscult.results.result import IN_COMMON
from auscult.risk.factors import DISAGREE, EXTREME, FAR, MANY, RARE
from auscult.store import RunStore, plan_blocks
from auscult.viewer.serving import prepared
from benchmarks.results import record, table
from tests.report_simulation import simulated

MODELS = 64
COLUMNS = 20
WORDS, LEVELS = 4, 200


def main() -> None:
    """Make the run, ask for pages, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=1_000_000)
    patients = parser.parse_args().patients
    with tempfile.TemporaryDirectory() as folder:
        cohort = made_cohort(patients)
        path = made_run(Path(folder) / "run", cohort)
        rows, memory = measured(path, cohort)
    text = (
        f"A made-up run of {patients:,} patients with {cohort.records:,} records of {COLUMNS} "
        f"numbers and {WORDS} columns of {LEVELS} levels, and {MODELS} models. Seconds until "
        "the page is whole: the first time, and the median of five more."
    )
    shown = [
        [name, f"{one:.2f}", "" if np.isnan(more) else f"{more:.2f}"] for name, one, more in rows
    ]
    command = f"python -m benchmarks.viewer --patients {patients}"
    times = table(("page", "first", "again"), shown)
    text = f"{text}\n\n{times}\n\nPeak memory {memory:,.0f} MB."
    record("viewer", "Viewer", command, text)


def made_cohort(patients: int) -> Cohort:
    """Two records a patient, standard normal columns and columns of words."""
    rng = np.random.default_rng(0)
    records = 2 * patients
    from auscult.cohort import PatientIds

    return Cohort(
        inputs=TableInputs(
            numeric=rng.standard_normal((records, COLUMNS), dtype=np.float32),
            numeric_names=tuple(f"x{j}" for j in range(COLUMNS)),
            codes=rng.integers(0, LEVELS, (records, WORDS), dtype=np.int32),
            categorical_names=tuple(f"c{j}" for j in range(WORDS)),
            levels=tuple(tuple(f"level {k}" for k in range(LEVELS)) for _ in range(WORDS)),
        ),
        labels=rng.integers(0, 2, records),
        task="binary",
        classes=("no", "yes"),
        patient_of_record=np.repeat(np.arange(patients), 2),
        patient_ids=PatientIds(np.array([f"P{k:07d}" for k in range(patients)])),
        record_rows=np.arange(records),
        groups=pd.DataFrame(
            {
                "sex": rng.choice(["f", "m"], patients),
                "age": rng.choice([f"{a}-{a + 9}" for a in range(10, 90, 10)], patients),
            }
        ),
    )


def made_run(path: Path, cohort: Cohort) -> Path:
    """A run directory of the cohort, as a finished audit leaves it."""
    rng = np.random.default_rng(1)
    patients, records = cohort.patients, cohort.records
    blocks = plan_blocks(MODELS, 8)
    with RunStore.create_or_resume(
        path,
        fingerprint={"cohort": cohort.fingerprint(), "seed": "0"},
        configuration=None,
        blocks=blocks,
        records=records,
    ) as store:
        store.write_membership(Membership(rng.random((MODELS, patients)) < 0.5))
        for plan in blocks:
            values = rng.standard_normal((len(plan.models), 1, records, 1), dtype=np.float32)
            store.write_block(plan, BlockOutputs(values=values, kind="sigmoid", notes={}, facts={}))
        auc = rng.beta(8, 4, patients)
        figures = {"auc": auc, "auc_low": auc - 0.05, "auc_high": np.minimum(auc + 0.05, 1)}
        table = pd.DataFrame({"patient": cohort.patient_ids.reveal(), "records": 2, **figures})
        table = table.assign(auc_raw=auc, study_max_auc=auc)
        table = table.assign(**{"above_0.9": auc**8, "confirmed_0.9": auc > 0.95})
        every = pd.DataFrame({"record": cohort.record_rows, "patient": "", "auc": 0.5})
        every = every.assign(auc_low=0.4, auc_high=0.6)
        for name, frame in (
            ("patients.parquet", pd.concat([table, cohort.groups], axis=1)),
            ("records.parquet", every),
        ):
            content = io.BytesIO()
            frame.to_parquet(content, index=False)
            write_bytes(store.secret_path(name), content.getvalue(), secret=True)
        content = io.BytesIO()
        np.savez(
            content,
            patient_of_record=cohort.patient_of_record,
            labels=cohort.labels,
            smallest_cell=np.int64(10),
            asked_more=np.bool_(False),
        )
        write_bytes(store.secret_path("cohort.npz"), content.getvalue(), secret=True)
        summary = json.dumps(simulated(patients=1000)).encode()
        write_bytes(store.secret_path("exact.json"), summary, secret=True)
        factors = [
            {"name": name, "patients": patients // 10, "mean_with": 0.7, "mean_without": 0.6}
            | {
                "difference": 0.02,
                "low": 0.0,
                "high": 0.04,
                "p": 0.02,
                "q": 0.04,
                "claimed": True,
                "reason": "",
            }
            for name in (MANY, DISAGREE, FAR, EXTREME, RARE)
        ]
        common = {"patients": patients, "of_all": True, "explained": 0.3, "factors": factors}
        common |= {"of": patients, "not_estimable": [], "method": "made up", "reason": ""}
        write_bytes(store.secret_path(IN_COMMON), json.dumps(common).encode(), secret=True)
        (path / "results").mkdir()
        write_bytes(path / "results" / "summary.json", summary)
    return path


def measured(path: Path, cohort: Cohort) -> tuple[list[tuple[str, float, float]], float]:
    """Seconds per page, and the peak of memory in MB."""
    import httpx

    start = time.perf_counter()
    guard = prepared(path, port=8765, against=path, cohort=cohort, tell=lambda _: None)
    rows = [("opening the run", time.perf_counter() - start, float("nan"))]
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=guard),
        base_url="http://127.0.0.1:8765",
        follow_redirects=True,
    )

    def seconds(query: str) -> float:
        start = time.perf_counter()
        answer = asyncio.run(client.get(f"{base}{query}"))
        answer.raise_for_status()
        return time.perf_counter() - start

    base = asyncio.run(client.get(guard.address)).url.path
    for name, query in (
        ("list by AUC", ""),
        ("list by lower bound", "?sort=-auc_low"),
        ("list by identifier", "?sort=identifier"),
        ("one group, confirmed", "?g1=3&shown=confirmed"),
        ("part of an identifier", "?identifier=99"),
        ("page 15,000", "?page=15000"),
        ("one patient", "patient/500000" if cohort.patients > 500_000 else "patient/5"),
        ("another patient", "patient/1"),
        ("groups", "groups"),
        ("in common", "common"),
        ("two runs", "comparison"),
        ("list by change between two runs", "?sort=-change"),
    ):
        first = seconds(query)
        rows.append((name, first, float(np.median([seconds(query) for _ in range(5)]))))
    return rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
