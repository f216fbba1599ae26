"""What LeakPro's shadow models answered, as a scores.npz for `auscult import`.

    python leakpro.py OUTPUT_DIR LABELS.npy scores.npz [PATIENTS.npy]

Run it where LeakPro is installed: who trained each model is in pickles of its classes, and a pickle
runs code when it is opened. OUTPUT_DIR is LeakPro's output_dir. LABELS and PATIENTS hold one value
for each record of the population, in its order; without PATIENTS each record is a patient.
"""

import pickle
import sys
from pathlib import Path

import numpy as np


def main(output: str, labels: str, out: str, patients: str | None = None) -> None:
    """Write the npz."""
    logits, members, rows = [], [], None
    for path in sorted(Path(output, "attack_objects", "shadow_model").glob("metadata_*.pkl")):
        about = pickle.loads(path.read_bytes())  # noqa: S301 - written by your own run
        name = f"sm_{path.stem.split('_')[1]}_{about.population_hash}"
        cache = Path(output, "attack_cache")
        asked = np.load(cache / f"{name}_indices.npy")  # the record of each row
        order = np.argsort(asked)
        if rows is not None and not np.array_equal(asked[order], rows):
            raise SystemExit(f"{name} was asked about other records than the models before it")
        rows = asked[order]
        answers = np.load(cache / f"{name}_logits.npy")[order]
        logits.append(answers.reshape(len(rows), -1))
        members.append(np.isin(rows, about.train_indices))
    if rows is None:
        raise SystemExit("there is no shadow model in this folder")
    np.savez(
        out,
        logits=np.stack(logits),
        membership=np.stack(members),
        labels=np.load(labels)[rows],
        patient=rows if patients is None else np.load(patients)[rows],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
