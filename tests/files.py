"""Files as hospitals hold them, written for tests: DICOM, NIfTI, WFDB, MEDS."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MARK = "Zxq"  # in every identifier, so that a leak is found


def write_dicom(
    path: Path,
    pixels: NDArray[Any],
    patient: str | None = None,
    *,
    compressed: str | None = None,
    photometric: str = "MONOCHROME2",
    **more: Any,  # noqa: ANN401
) -> None:
    """One DICOM file: pixels (height, width), with frames first, or with colours last."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1")
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.PatientName = f"{MARK}^Name"
    if patient is not None:
        data.PatientID = patient
    samples = 3 if pixels.ndim == 3 and pixels.shape[-1] == 3 else 1
    data.SamplesPerPixel = samples
    if samples == 3:
        data.PlanarConfiguration = 0
    data.Rows, data.Columns = pixels.shape[-3:-1] if samples == 3 else pixels.shape[-2:]
    if samples == 1 and pixels.ndim == 3:
        data.NumberOfFrames = pixels.shape[0]
    data.PhotometricInterpretation = photometric
    data.BitsAllocated = data.BitsStored = 8 * pixels.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in more.items():
        setattr(data, name, value)
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    if compressed is not None:
        data.compress(UID(compressed), generate_instance_uid=False)
    data.save_as(path, enforce_file_format=True)


def write_wfdb(
    folder: Path,
    name: str,
    signal: NDArray[Any],
    *,
    rate: float = 100,
    leads: tuple[str, ...] = ("I", "II", "V1"),
    fmt: str = "16",
) -> None:
    """One WFDB record; signal (samples, leads) in mV."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas
        import wfdb

        wfdb.wrsamp(
            name,
            fs=rate,
            units=["mV"] * len(leads),
            sig_name=list(leads),
            p_signal=np.asarray(signal, dtype=np.float64),
            fmt=[fmt] * len(leads),
            write_dir=str(folder),
        )


def write_meds(folder: Path, events: list[tuple[int, str | None, str, float | None]]) -> None:
    """A MEDS dataset in two files: subject, time (ISO 8601 or None), code, numeric value."""
    import pyarrow as pa
    from pyarrow import parquet

    (folder / "data" / "train").mkdir(parents=True, exist_ok=True)
    (folder / "metadata").mkdir(exist_ok=True)
    subjects = sorted({event[0] for event in events})
    half = set(subjects[: len(subjects) // 2])
    for number, inside in enumerate((True, False)):
        rows = [event for event in events if (event[0] in half) == inside]
        rows.sort(key=lambda event: (event[0], event[1] or ""))
        table = pa.table(
            {
                "subject_id": pa.array([row[0] for row in rows], pa.int64()),
                "time": pa.array(
                    [None if row[1] is None else np.datetime64(row[1], "us") for row in rows],
                    pa.timestamp("us"),
                ),
                "code": pa.array([row[2] for row in rows], pa.string()),
                "numeric_value": pa.array([row[3] for row in rows], pa.float32()),
            }
        )
        parquet.write_table(table, folder / "data" / "train" / f"{number}.parquet")
    parquet.write_table(pa.table({"code": ["x"]}), folder / "metadata" / "codes.parquet")
