"""Text from outside hides nothing where it is shown."""

from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from auscult.base.errors import ConfigError
from auscult.base.showing import cleaned
from auscult.cli.common import app
from auscult.imported.importing import import_scores
from auscult.imported.scores import read_npz

HOSTILE = "\x1b[31mred\x9b0m\u202egnirts\u200b\u2066x\u2069\ufeff\u00ad\u2028\u180e\U000e0041\u3164"
OWN = {0x2068, 0x2069}  # the report's own marks around names


def hidden(text: str, but: set[int] = frozenset()) -> set[str]:  # type: ignore[assignment]
    return {
        hex(ord(c))
        for c in text
        if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c not in "\r\n\t"
        if ord(c) not in but
    }


def test_nothing_that_hides_is_left() -> None:
    shown = cleaned(HOSTILE)
    assert not hidden(shown)
    assert shown.startswith("\\u001b[31mred\\u009b0m\\u202egnirts\\u200b")
    assert "\\U000e0041\\u3164" in shown
    for fine in ("Ärztin & Co.", "\u0645\u06cc\u200c\u062e\u0648", "日本語 患者", "e\u0301"):
        assert cleaned(fine) == fine
    assert cleaned("a\u200db") == "a\\u200db"
    assert cleaned("a\nb", keep="\n") == "a\nb"


def test_an_error_shows_what_others_wrote() -> None:
    text = str(ConfigError(f"no column {HOSTILE}", where=HOSTILE, next_step=HOSTILE))
    assert not hidden(text)


def test_pages_cells_and_terminal_show_what_others_wrote(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    member = rng.random((16, 60)).argsort(0) < 8
    groups = np.where(np.arange(60) < 30, f"A{HOSTILE}", f"B{HOSTILE}")
    np.savez(
        tmp_path / "s.npz",
        signals=(rng.standard_normal((16, 60)) + member).astype("f4"),
        membership=member,
        patient=np.arange(60),
        allow_pickle=False,
        **{f"site{HOSTILE}": groups},
    )
    run = import_scores(read_npz(tmp_path / "s.npz"), tmp_path / "run", seed=1).path
    assert not hidden((run / "report.html").read_text(), OWN)
    assert not hidden((run / "results" / "officer.md").read_text())
    table = (run / "results" / "groups.csv").read_text()
    assert not hidden(table)
    assert len(list(csv.DictReader(io.StringIO(table)))) == 2
    bad = tmp_path / "audit.toml"
    bad.write_text('["coh\\u001b[31mort\\u202e"]\nx = 1\n')
    done = CliRunner().invoke(app, ["check", str(bad)])
    assert not hidden(done.output + str(done.exception))
