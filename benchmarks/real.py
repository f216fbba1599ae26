"""Audits of real cohorts, found through AUSCULT_DATA and kept in a folder between measurements."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from auscult.attacks.layout import Layout, lay_out
from auscult.attacks.log_odds import signals_from_outputs
from auscult.audit import Audit
from auscult.base.files import toml_text
from auscult.base.progress import Progress
from auscult.cli.display import progress_for
from auscult.config import LoadedConfiguration, parse
from auscult.store import RunStore

COHORTS = {
    "diabetes130": """
[cohort]
table = "diabetes130/diabetic_data.csv.gz"
patient = "patient_nbr"
label = "readmitted"
positive = ["<30", ">30"]
groups = ["race", "gender", "age"]
exclude = ["encounter_id"]
missing = ["?"]
max_patients = 6000
[recipe]
kind = "torch"
model = "mlp"
hidden = [128, 128]
epochs = 15
batch_size = 256
""",
    "lgg_mri_64": """
[cohort]
table = "lgg_mri_64/metadata.csv"
images = "lgg_mri_64/images.npz"
array = "images"
patient = "patient_id"
label = "tumour_present"
groups = ["sex_code", "site"]
[recipe]
kind = "torch"
model = "cnn"
epochs = 12
batch_size = 64
learning_rate = 2e-3
""",
    "lgg_mri_64 at 32 px, overfitted": """
[cohort]
table = "lgg_mri_64/metadata.csv"
images = "lgg_mri_64/images.npz"
array = "images"
patient = "patient_id"
label = "tumour_present"
groups = ["sex_code", "site"]
[recipe]
kind = "torch"
model = "cnn"
epochs = 40
image_size = 32
batch_size = 64
learning_rate = 2e-3
""",
    "hannover_covid_cxr_64": """
[cohort]
table = "hannover_covid_cxr_64/metadata.csv"
images = "hannover_covid_cxr_64/images.npz"
array = "images"
patient = "patient_id"
label = "projection"
groups = ["sex"]
[recipe]
kind = "torch"
model = "cnn"
epochs = 15
batch_size = 32
learning_rate = 2e-3
""",
    "parkinsons_telemonitoring": """
[cohort]
table = "parkinsons_telemonitoring/parkinsons_updrs.csv"
patient = "subject#"
label = "total_UPDRS"
label_bins = [28.0]
groups = ["sex"]
exclude = ["motor_UPDRS", "age", "test_time"]
[recipe]
kind = "torch"
model = "mlp"
hidden = [128, 128]
epochs = 30
batch_size = 256
""",
    "support2": """
[cohort]
table = "support2/support2.csv"
patient = "sno"
label = "hospdead"
groups = ["sex"]
exclude = ["death", "d.time", "surv2m", "surv6m", "prg2m", "prg6m", "dnr", "dnrday", "sfdm2"]
[recipe]
kind = "torch"
model = "mlp"
hidden = [128, 128]
epochs = 15
batch_size = 256
""",
}


def data_folder() -> Path:
    """The shared cohorts."""
    folder = Path(os.environ.get("AUSCULT_DATA", "../shared/data"))
    if not folder.is_dir():
        raise SystemExit("AUSCULT_DATA names no folder: this measurement needs the real cohorts")
    return folder.resolve()


def audit_of(name: str, models: int, **changes: object) -> Audit:
    """The audit of a cohort; `changes` are settings of the recipe."""
    content = tomllib.loads(COHORTS[name])
    content["recipe"] |= changes
    content["audit"] = {"models": models, "seed": 7}
    return LoadedConfiguration(parse(content, name), data_folder()).audit()


def write_configuration(path: Path, name: str, models: int, **changes: object) -> None:
    """Write :func:`audit_of` as an ``audit.toml`` whose paths are absolute."""
    content = tomllib.loads(COHORTS[name])
    content["recipe"] |= changes
    content["audit"] = {"models": models, "seed": 7}
    for key in ("table", "images"):
        if key in content["cohort"]:
            content["cohort"][key] = str(data_folder() / content["cohort"][key])
    path.write_text(toml_text(content), encoding="utf-8")


def layout_of(name: str, models: int, work: Path) -> Layout:
    """Signals and membership of an audit; trained unless a finished run lies in `work`."""
    run = work / f"{name.replace(' ', '-').replace(',', '')}-{models}"
    return layout_of_audit(audit_of(name, models), run, progress_for())


def layout_of_audit(audit: Audit, run: Path, progress: Progress) -> Layout:
    """Signals and membership of any audit; see :func:`layout_of`."""
    audit.run(run, progress=progress)
    store = RunStore.open(run)
    labels = audit.cohort.labels
    return lay_out(
        signals_from_outputs(store.outputs(), labels),
        store.read_membership().reveal(),
        audit.cohort.patient_of_record,
        labels,
    )
