"""Recordings to a cohort: WFDB and npz, leads, rates, windows, hostile headers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from auscult import Cohort
from auscult.base.errors import CohortError
from auscult.cohort.inputs import ArrayInputs
from auscult.readers import decoding, signals
from auscult.readers.decoding import DAMAGED, OTHER_KIND, TOO_LARGE, NotDecodedError
from auscult.readers.signals import (
    CONVERTED,
    ELSEWHERE,
    GAPS,
    LEADS_DIFFER,
    LEADS_TWICE,
    NO_LEAD,
    NO_RATE,
    NO_SAMPLES,
    PADDED,
    TOO_SHORT,
    SignalSettings,
)
from tests.files import MARK, write_wfdb

LEADS = ("I", "II", "V1")


def settled(**how: Any) -> SignalSettings:  # noqa: ANN401
    given: dict[str, Any] = {"seconds": 2.0, "rate": 100.0, "leads": LEADS} | how
    return SignalSettings(**given).settle([])


def one(path: Path, **how: Any) -> list[NDArray[Any]]:  # noqa: ANN401
    return list(settled(**how).decode(path).arrays)


def reason(path: Path, **how: Any) -> str:  # noqa: ANN401
    with pytest.raises(NotDecodedError) as caught:
        decoding._safely(settled(**how), path)
    return caught.value.reason


def waves(seconds: float = 3.0, rate: float = 100.0) -> NDArray[Any]:
    """Slow sines, so that a change of rate leaves them what they are."""
    time = np.arange(round(seconds * rate)) / rate
    return np.column_stack([np.sin(2 * np.pi * f * time) + 0.5 for f in (1.0, 2.0, 3.0)])


def test_leads_are_chosen_by_name_and_ordered(tmp_path: Path) -> None:
    write_wfdb(tmp_path, "a", waves(), leads=("V1", "I", "II"))
    found = one(tmp_path / "a.hea", leads=("ii", "V1"))[0]
    assert found.shape == (2, 200)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, waves()[:200, [2, 0]].T, atol=1e-3)
    assert reason(tmp_path / "a.hea", leads=("I", "aVR")) == NO_LEAD
    start = one(tmp_path / "a.hea", leads=("I",), start=0.5)[0]
    np.testing.assert_allclose(start[0], waves()[50:250, 1], atol=1e-3)


@pytest.mark.parametrize(("own", "wanted"), [(500, 100), (100, 250), (360, 100), (128, 100)])
def test_resampling_keeps_what_is_slow(own: int, wanted: int, tmp_path: Path) -> None:
    write_wfdb(tmp_path, "a", waves(8, own), rate=own)
    found = one(tmp_path / "a.hea", rate=float(wanted), start=2.0, seconds=3.0)[0]
    expected = waves(8, wanted)[2 * wanted : 5 * wanted].T
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=0.02)
    edge = one(tmp_path / "a.hea", rate=float(wanted), seconds=8.0)[0]
    assert edge.shape == (3, 8 * wanted)
    assert np.abs(edge - waves(8, wanted).T).max() < 0.25  # the filter's edge, and no jump to 0


def test_short_recordings_are_padded_and_long_ones_cut_into_windows(tmp_path: Path) -> None:
    write_wfdb(tmp_path, "a", waves(5))
    entries = settled(seconds=7.0).decode(tmp_path / "a.hea")
    assert entries.notes == (PADDED,)
    assert entries.arrays[0].shape == (3, 700)
    assert (entries.arrays[0][:, 500:] == 0).all()
    windows = one(tmp_path / "a.hea", windows="each", start=0.5)
    assert len(windows) == 2
    np.testing.assert_allclose(windows[1], waves(5)[250:450].T, atol=1e-3)
    assert reason(tmp_path / "a.hea", start=5.0) == TOO_SHORT
    assert "shorter than one window" in reason(tmp_path / "a.hea", windows="each", seconds=6.0)


def test_npz_and_npy(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", signal=waves(), rate=100, leads=list(LEADS))
    np.testing.assert_allclose(one(tmp_path / "a.npz")[0], waves()[:200].T, atol=1e-6)
    np.savez(tmp_path / "b.npz", signal=waves(), rate=100)
    assert reason(tmp_path / "b.npz") == LEADS_DIFFER
    nameless = SignalSettings(seconds=2.0).settle([tmp_path / "b.npz"])
    assert (nameless.rate, nameless.count, nameless.leads) == (100.0, 3, ())
    assert next(iter(nameless.decode(tmp_path / "b.npz").arrays)).shape == (3, 200)
    np.save(tmp_path / "c.npy", waves())
    untold = SignalSettings(seconds=2.0)
    with pytest.raises(NotDecodedError, match=NO_RATE):
        untold.settle([tmp_path / "b.npz", tmp_path / "c.npy"]).decode(tmp_path / "c.npy")
    told = SignalSettings(seconds=2.0, rate=100.0).settle([tmp_path / "c.npy"])
    np.testing.assert_allclose(told.decode(tmp_path / "c.npy").arrays[0], waves()[:200].T, 1e-6)
    np.save(tmp_path / "d.npy", waves().T)  # leads first
    with pytest.raises(NotDecodedError, match="more leads than samples"):
        told.decode(tmp_path / "d.npy")


@pytest.mark.parametrize("form", ["16", "212", "24", "32"])
def test_a_header_without_length_or_names(form: str, tmp_path: Path) -> None:
    write_wfdb(tmp_path, "a", waves(), fmt=form)
    path = tmp_path / "a.hea"
    whole = one(path)[0]
    lines = path.read_text(encoding="ascii").splitlines()
    lines[0] = " ".join(lines[0].split()[:3])
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    np.testing.assert_array_equal(one(path)[0], whole)
    lines[1:] = [" ".join(line.split()[:8]) for line in lines[1:]]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    settings = SignalSettings(seconds=2.0).settle([path])
    np.testing.assert_array_equal(settings.decode(path).arrays[0], whole)
    (tmp_path / "a.dat").write_bytes(b"")
    assert reason(path) == NO_SAMPLES


def test_volts_of_another_size_are_millivolts(tmp_path: Path) -> None:
    write_wfdb(tmp_path, "a", waves())
    path = tmp_path / "a.hea"
    expected = one(path)[0]
    text = path.read_text(encoding="ascii")
    assert "/mV" in text
    path.write_text(text.replace("/mV", "/uV"), encoding="ascii")
    found = SignalSettings(seconds=2.0).settle([path]).decode(path)
    np.testing.assert_allclose(found.arrays[0], expected / 1000, rtol=1e-5)
    assert CONVERTED in found.notes


def test_two_leads_of_one_name(tmp_path: Path) -> None:
    write_wfdb(tmp_path, "a", waves(), leads=("I", "II", "III"))
    path = tmp_path / "a.hea"
    path.write_text(path.read_text(encoding="ascii").replace("III", "II"), encoding="ascii")
    assert reason(path) == LEADS_TWICE


def bomb(path: Path, gigabytes: int = 64) -> None:
    """An npz whose array of zeros is packed a thousand times smaller than it says."""
    import zipfile

    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({gigabytes << 27}, 1), }}"
    head = head.ljust(117) + "\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        content = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode()
        archive.writestr("signal.npy", content + bytes(1 << 20))
        archive.writestr("rate.npy", content)


def test_hostile_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb(tmp_path / "bomb.npz")
    assert reason(tmp_path / "bomb.npz") == DAMAGED
    np.savez_compressed(tmp_path / "zeros.npz", signal=np.zeros((1 << 16, 40)), rate=100, leads=1)
    with monkeypatch.context() as patched:
        patched.setattr(signals, "MOST_VALUES", 1 << 20)
        with pytest.raises(ValueError, match="too large"):
            signals._facts(tmp_path / "zeros.npz")
    np.savez(tmp_path / "objects.npz", signal=np.array([{"a": 1}], dtype=object), rate=1)
    assert reason(tmp_path / "objects.npz") == DAMAGED
    (tmp_path / "text.hea").write_text("no header at all\n")
    assert reason(tmp_path / "text.hea") == DAMAGED
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    assert reason(tmp_path / "a.wav") == OTHER_KIND
    write_wfdb(tmp_path, "gap", waves())
    samples = np.fromfile(tmp_path / "gap.dat", dtype="<i2")
    samples[10] = -32768  # WFDB's word for a sample that is missing
    samples.tofile(tmp_path / "gap.dat")
    assert reason(tmp_path / "gap.hea") == GAPS
    (tmp_path / "gap.dat").write_bytes(samples.tobytes()[:600])
    assert reason(tmp_path / "gap.hea") in (DAMAGED, GAPS)
    write_wfdb(tmp_path, "huge", waves())
    head = (tmp_path / "huge.hea").read_text().replace("huge 3 100 300", "huge 3 100 999999999")
    (tmp_path / "huge.hea").write_text(head)
    assert reason(tmp_path / "huge.hea", seconds=1e6) in (TOO_LARGE, DAMAGED)


@pytest.mark.parametrize("name", ["../secret.dat", "/etc/passwd", "linked.dat", "http://x/y.dat"])
def test_a_header_cannot_name_files_elsewhere(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    write_wfdb(tmp_path, "secret", waves())
    (root / "linked.dat").symlink_to(tmp_path / "secret.dat")
    head = (tmp_path / "secret.hea").read_text().replace("secret.dat", name)
    (root / "a.hea").write_text(head)
    # wfdb itself takes no header whose names have slashes; links are ours to refuse.
    assert reason(root / "a.hea") == (ELSEWHERE if name == "linked.dat" else DAMAGED)
    (root / "b.hea").write_text("b/1 3 100 300\nsecret 300\n")
    (root / "secret.hea").symlink_to(tmp_path / "secret.hea")
    assert reason(root / "b.hea") == ELSEWHERE


def test_a_folder_of_recordings(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = []
    (tmp_path / "r" / "00").mkdir(parents=True)
    for i in range(12):
        names.append(f"00/{MARK}{i:03d}")
        write_wfdb(
            tmp_path / "r" / "00", f"{MARK}{i:03d}", waves() + 0.1 * rng.normal(size=(300, 3))
        )
    (tmp_path / "r" / f"{names[4]}.dat").unlink()
    table = pd.DataFrame({"p": np.arange(12) // 2, "f": names, "y": np.arange(12) % 2})
    how: dict[str, Any] = {"patient": "p", "label": "y", "path": "f", "cache": tmp_path / "c"}
    cohort = Cohort.from_signals(tmp_path / "r", table, seconds=2, leads=["II"], **how)
    assert isinstance(cohort.inputs, ArrayInputs)
    assert cohort.inputs.array.shape == (11, 1, 200)
    assert cohort.inputs.channels == "first"
    assert [(x.reason, x.records) for x in cohort.left_out] == [(DAMAGED, 1)]
    assert cohort.record_rows.tolist() == [i for i in range(12) if i != 4]
    # Samples that changed are read again, though the header is the old one.
    before = cohort.inputs.take(np.arange(1))
    write_wfdb(tmp_path / "r" / "00", f"{MARK}000", -waves())
    again = Cohort.from_signals(tmp_path / "r", table, seconds=2, leads=["II"], **how)
    assert isinstance(again.inputs, ArrayInputs)
    assert np.abs(again.inputs.take(np.arange(1)) - before).max() > 1
    os.unlink(tmp_path / "r" / f"{names[0]}.hea")  # noqa: PTH108
    fewer = Cohort.from_signals(tmp_path / "r", table, seconds=2, windows="each", **how)
    assert fewer.records == 10
    for bad, words in (
        ({"seconds": 0}, r"from_signals\(seconds="),
        ({"seconds": 2, "rate": -1}, r"from_signals\(rate="),
        ({"seconds": 2, "start": -1}, r"from_signals\(start="),
        ({"seconds": 0.001, "rate": 100}, "samples"),
        ({"seconds": 2, "windows": "all"}, "first or each"),
        ({"seconds": 2, "leads": ["I", "i"]}, "twice"),
    ):
        with pytest.raises(CohortError, match=words):
            Cohort.from_signals(tmp_path / "r", table, **bad, **how)
