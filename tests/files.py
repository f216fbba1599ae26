"""Files as hospitals hold them, written for tests: DICOM, NIfTI, WFDB, MEDS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
