"""What an audit is said to cost, and the refusal of what will not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from auscult.base.errors import AuscultError, StoreError
from auscult.training import cost
from auscult.training.cost import Trial, expected, in_bytes, refuse_what_does_not_fit

TRIAL = Trial(
    models=8,
    seconds=4.0,
    start_seconds=3.0,
    worker_bytes=500_000_000,
    output_bytes=1_000_000,
    facts={},
    notes={},
)


def test_blocks_are_trained_in_rounds() -> None:
    for workers, rounds in ((1, 8), (2, 4), (3, 3), (8, 1)):
        found = expected(TRIAL, models=64, records=1000, patients=500, workers=workers)
        assert found.training_seconds == pytest.approx(3.0 + 4.0 * rounds)
    small, large = (
        expected(TRIAL, models=64, records=n, patients=n // 2, workers=2) for n in (10**4, 10**7)
    )
    assert large.analysis_seconds > 10 * small.analysis_seconds
    assert large.memory_bytes > small.memory_bytes >= 2 * TRIAL.worker_bytes


def test_a_full_disk_is_told_before_training(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"will take .*, but only .* are free") as caught:
        refuse_what_does_not_fit(
            tmp_path / "not" / "there", output_bytes=10**18, data_bytes=0, workers=1
        )
    assert "--out" in str(caught.value)


def test_workers_that_will_not_fit_are_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "available_memory", lambda: 3 * 10**9)
    refuse_what_does_not_fit(tmp_path, output_bytes=1, data_bytes=10**8, workers=4)
    with pytest.raises(AuscultError, match="8 workers need") as caught:
        refuse_what_does_not_fit(tmp_path, output_bytes=1, data_bytes=10**9, workers=8)
    assert "--workers" in str(caught.value)
    monkeypatch.setattr(cost, "available_memory", lambda: None)
    refuse_what_does_not_fit(tmp_path, output_bytes=1, data_bytes=10**9, workers=8)


def test_bytes_are_words() -> None:
    assert [in_bytes(n) for n in (12, 1500, 2.5e9, 4e12)] == ["12 B", "1.5 kB", "2.5 GB", "4.0 TB"]
