"""What SACRO-ML's shadow models answer, as a scores.npz for `auscult import`.

    python sacro_ml.py TARGET_DIR SHADOW_DIR scores.npz [PATIENTS.npy]

Run it where SACRO-ML is installed: its models are pickles, and a pickle runs code when it is
opened. TARGET_DIR is what `Target.save` wrote, SHADOW_DIR the folder of shadow models of its
likelihood attack. PATIENTS holds one value for each record, those of X_train before those of
X_test; without it each record is a patient.
"""

import sys
from pathlib import Path

import numpy as np
from sacroml.attacks.target import Target
from sacroml.attacks.utils import check_and_update_dataset, get_shadow_model


def main(target_dir: str, shadow_dir: str, out: str, patients: str | None = None) -> None:
    """Write the npz."""
    target = Target()
    target.load(target_dir)
    before = len(target.X_test)
    target = check_and_update_dataset(target)  # labels become numbers of columns
    if patients is not None and len(target.X_test) != before:
        raise SystemExit("records of classes that X_train has not were dropped: PATIENTS must go")
    records = np.vstack((target.X_train, target.X_test))
    labels = np.hstack((target.y_train, target.y_test))
    probabilities, members = [], []
    for number in sorted(int(one.name) for one in Path(shadow_dir).iterdir() if one.is_dir()):
        model, trained_on, _ = get_shadow_model(shadow_dir, number)
        answers = np.zeros((len(records), len(target.model.get_classes())))
        answers[:, np.asarray(model.get_classes(), dtype=int)] = model.predict_proba(records)
        probabilities.append(answers)
        members.append(np.isin(np.arange(len(records)), trained_on))
    np.savez(
        out,
        probabilities=np.stack(probabilities),
        membership=np.stack(members),
        labels=labels,
        patient=np.arange(len(records)) if patients is None else np.load(patients),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
