"""The viewer of a run: who is let in, what is shown, and that nothing of it is wrong or leaks."""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from auscult import Audit, AuscultError, Cohort, SklearnRecipe
from auscult.config import load
from auscult.results import Result
from auscult.store import RunStore
from auscult.store.seal import write_seal
from auscult.viewer.contents import ANOTHER, FROM_PYTHON, NOT_ASKED
from auscult.viewer.guard import HEADERS, Guard
from auscult.viewer.serving import prepared
from tests.cohorts import HOSTILE_VALUE, visits
from tests.test_cli import run as command

httpx = pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("starlette", reason="the extra view is not installed")
pytest.importorskip("uvicorn", reason="the extra view is not installed")


PORT = 8765
ORIGIN = f"http://127.0.0.1:{PORT}"
CONFIGURATION = """
[cohort]
table = "visits.csv"
patient = "person"
label = "outcome"
groups = ["sex", "<script>alert(1)</script>"]

[recipe]
kind = "sklearn"
model = "sklearn.tree:DecisionTreeClassifier"
arguments = { max_depth = 4 }

[audit]
models = 16
seed = 3

[[protect]]
name = "a <stump>"
recipe = { arguments = { max_depth = 1 } }

[[protect]]
name = "one digit"
access = { digits = 1 }

[[protect]]
name = "without some"
cohort = { without_top = 0.25 }
"""


def hostile_visits() -> pd.DataFrame:
    """Visits of patients whose identifiers are markup; one patient is another's double."""
    table = visits(60)
    table["person"] = [f"<b onclick=x>{one}</b>&\u202e" for one in table["person"]]
    people = table["person"].unique()
    first, last = (table.index[table["person"] == people[k]][0] for k in (0, -1))
    table.loc[last, ["a", "b", "c"]] = table.loc[first, ["a", "b", "c"]].to_numpy()
    table.loc[last, "sex"] = table.loc[first, "sex"]
    table.iloc[last, 2] = table.iloc[first, 2]
    return table


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("view")
    hostile_visits().to_csv(folder / "visits.csv", index=False)
    (folder / "audit.toml").write_text(CONFIGURATION, encoding="utf-8")
    loaded = load(folder / "audit.toml")
    loaded.audit().run(folder / "run", workers=1, configuration=loaded.resolved())
    return folder / "run"


@pytest.fixture(scope="module")
def other(run: Path) -> Path:
    text = CONFIGURATION.partition("[[protect]]")[0].replace("seed = 3", "seed = 4")
    path = run.parent / "other.toml"
    path.write_text(text, encoding="utf-8")
    loaded = load(path)
    loaded.audit().run(run.parent / "other", workers=1, configuration=loaded.resolved())
    return run.parent / "other"


def opened(run: Path, **options: Any) -> Guard:  # noqa: ANN401
    said: list[str] = []
    guard = prepared(run, port=PORT, tell=said.append, **options)
    guard.said = said  # type: ignore[attr-defined]
    return guard


class Browser:
    """A client with a jar of cookies, as a browser has one.

    Starlette's own test client wants another client than the one that Auscult uses.
    """

    def __init__(self, guard: Guard, base_url: str = ORIGIN) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=guard), base_url=base_url, follow_redirects=True
        )
        self.cookies = self._client.cookies

    def request(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401
        # In a thread of its own: a headless browser of the same test holds this one's event loop.
        answer = self._client.request(method, path, **options)
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, answer).result()

    def get(self, path: str, **options: Any) -> Any:  # noqa: ANN401
        return self.request("GET", path, **options)


def entered(guard: Guard) -> tuple[Browser, str]:
    """A browser that has used the address, and the path below which everything lies."""
    client = Browser(guard)
    found = client.get(guard.address)
    assert found.status_code == 200
    return client, found.url.path.rstrip("/")


@pytest.fixture(scope="module")
def guard(run: Path) -> Guard:
    return opened(run)


@pytest.fixture
def browser(guard: Guard) -> tuple[Browser, str]:
    return entered(guard)


def text_of(page: str) -> str:
    plain = html.unescape(re.sub(r"<[^>]*>", " ", page))
    return " ".join(plain.split())


# Who is let in


def test_without_the_token_nothing_is_shown(guard: Guard) -> None:
    _, base = entered(guard)
    client = Browser(guard)
    for path in ("/", base, f"{base}/", f"{base}/patient/0", f"{base}/style.css", "/?token=", "/x"):
        found = client.get(path)
        assert found.status_code == 403, path
        assert "Zxq" not in found.text
    wrong = guard.address[:-1] + ("A" if guard.address[-1] != "A" else "B")
    assert client.get(wrong).status_code == 403
    assert client.get(f"{guard.address}&token=x").status_code == 403
    client.cookies.set("auscult", "guessed")
    assert client.get(f"{base}/").status_code == 403


def test_the_token_is_exchanged_for_a_cookie_that_other_ports_do_not_get(guard: Guard) -> None:
    found = Browser(guard).get(guard.address, follow_redirects=False)
    assert found.status_code == 303
    token = guard.address.partition("token=")[2]
    assert token not in found.headers["location"]
    cookie = found.headers["set-cookie"]
    assert token not in cookie
    assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    path = re.search(r"Path=(/[\w-]{16,})", cookie)
    assert path
    assert found.headers["location"] == f"{path[1]}/"
    assert token not in repr(guard)
    other = Browser(guard).get(guard.address, follow_redirects=False)
    assert other.headers["set-cookie"] == cookie  # the address works as long as the command runs


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:8766", "[::1]:8765", ""]
)
def test_another_host_gets_nothing(guard: Guard, host: str) -> None:
    client, base = entered(guard)
    for path in (f"{base}/", guard.address):
        found = client.get(path, headers={"host": host})
        assert 400 <= found.status_code < 500
        assert "Zxq" not in found.text
        assert "set-cookie" not in found.headers


def test_localhost_is_the_same_host(guard: Guard) -> None:
    client = Browser(guard, base_url=f"http://localhost:{PORT}")
    assert client.get(guard.address.replace("127.0.0.1", "localhost")).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_can_be_sent(browser: tuple[Browser, str], method: str) -> None:
    client, base = browser
    for path in ("/", f"{base}/", f"{base}/patient/0"):
        found = client.request(method, path)
        assert found.status_code == 405
        assert found.headers["allow"] == "GET, HEAD"
        assert not any(name.startswith("access-control") for name in found.headers)


def test_requests_of_other_sites_are_refused(browser: tuple[Browser, str]) -> None:
    client, base = browser
    for site in ("cross-site", "same-site"):
        assert client.get(f"{base}/", headers={"sec-fetch-site": site}).status_code == 403
    assert client.get(f"{base}/", headers={"sec-fetch-site": "same-origin"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../../secret/patients.parquet",
        "/%2e%2e/%2e%2e/secret/patients.parquet",
        "/..%2f..%2fetc/passwd",
        "/style.css/../../../../audit.toml",
        "/image/0/0/../../../../secret.png",
        "/patient/-1",
        "/patient/60",
        "/patient/99999999999999999999",
        "/patient/0/../../..",
        "//etc/passwd",
        "/secret/membership.npz",
        "/image/0/0/0.png",
        "/comparison",
    ],
)
def test_there_are_no_other_paths(browser: tuple[Browser, str], path: str) -> None:
    client, base = browser
    found = client.get(base + path)
    # A client that resolves the path itself leaves the one that the cookie is for.
    assert found.status_code in (403, 404)
    assert "PAR1" not in found.text
    assert "root:" not in found.text


def test_every_answer_carries_the_headers(browser: tuple[Browser, str], guard: Guard) -> None:
    client, base = browser
    stranger = Browser(guard)
    answers = [
        client.get(f"{base}/"),
        client.get(f"{base}/style.css"),
        client.get(f"{base}/nothing"),
        client.get(f"{base}/?sort=nothing"),
        client.request("POST", "/"),
        stranger.get("/"),
        stranger.get(guard.address, follow_redirects=False),
        stranger.get("/", headers={"host": "evil.example"}),
    ]
    for found in answers:
        for name, value in HEADERS.items():
            assert found.headers.get_list(name) == [value]
        assert "server" not in found.headers
        assert not any(name.startswith("access-control") for name in found.headers)
    assert "script-src" not in HEADERS["content-security-policy"]
    assert "default-src 'none'" in HEADERS["content-security-policy"]


def test_an_error_inside_tells_no_value(
    guard: Guard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client, base = entered(guard)

    def broken(*_: object) -> None:
        raise ValueError("Zxq0007wv has cancer")

    monkeypatch.setattr("auscult.viewer.application.one_patient", broken)
    found = client.get(f"{base}/patient/3")
    assert found.status_code == 500
    said = capsys.readouterr()
    assert "Zxq" not in found.text + said.out + said.err
    assert "ValueError" in said.err


# What is shown


def test_the_list_is_that_of_the_run(browser: tuple[Browser, str], run: Path) -> None:
    client, base = browser
    patients = Result(run).patients
    page = client.get(f"{base}/").text
    shown = [int(one) for one in re.findall(rf'href="{base}/patient/(\d+)"', page)]
    wanted = patients["auc"].sort_values(ascending=False, kind="stable").index[:50]
    assert patients["auc"].to_numpy()[shown] == pytest.approx(patients["auc"].to_numpy()[wanted])
    text = text_of(page)
    assert f"{len(patients)} patients" in text
    assert f"{int((patients['auc'] > 0.9).sum())} have an estimated AUC above 0.9" in text
    second = client.get(f"{base}/?page=2").text
    assert len(re.findall(rf'href="{base}/patient/\d+"', second)) == 10
    assert client.get(f"{base}/?page=77").text == second.replace("page=77", "page=2")


def test_filters_and_sorting_agree_with_a_plain_table(
    browser: tuple[Browser, str], run: Path
) -> None:
    client, base = browser
    patients = Result(run).patients
    names = list(patients.columns[9:])
    males = sorted(patients[names[0]].unique()).index("m")

    def found(query: str) -> list[int]:
        page = client.get(f"{base}/?{query}").text
        return [int(one) for one in re.findall(rf'href="{base}/patient/(\d+)"', page)]

    chosen = patients[patients[names[0]] == "m"]
    assert found(f"g0={males}&sort=auc_low") == list(
        chosen["auc_low"].sort_values(kind="stable").index
    )
    confirmed = patients.index[patients["confirmed_0.9"]]
    assert sorted(found("shown=confirmed")) == sorted(confirmed)
    assert sorted(found("shown=above")) == sorted(patients.index[patients["auc"] > 0.9])
    assert found("identifier=zXQ0007")[:1] == [
        int(patients.index[patients["patient"].str.contains("Zxq0007")][0])
    ]
    assert found("identifier=.*") == []
    counts = patients["records"].to_numpy()[found("sort=-records")]
    assert (np.diff(counts) <= 0).all()
    assert found("sort=identifier") == list(patients["patient"].sort_values().index[:50])


@pytest.mark.parametrize(
    "query",
    ["sort=__class__", "sort=--auc", "shown=x", "g0=9", "g0=-1", "g0=a", "page=x", "page=1e9"],
)
def test_what_cannot_be_asked_for_is_said(browser: tuple[Browser, str], query: str) -> None:
    client, base = browser
    found = client.get(f"{base}/?{query}")
    assert found.status_code == 400
    assert "Not shown" in found.text


def test_texts_from_the_data_are_inert(browser: tuple[Browser, str]) -> None:
    client, base = browser
    pages = [f"{base}/", f"{base}/groups", *(f"{base}/patient/{k}" for k in range(5))]
    pages.append(f"{base}/?identifier=%22%3E%3Cscript%3Ealert(2)%3C/script%3E")
    for path in pages:
        page = client.get(path).text
        assert "<script" not in page
        assert "<b onclick" not in page
        assert "<stump>" not in page
        assert "\u202e" not in page
        assert "javascript:" not in page
    assert "&lt;b onclick=x&gt;Zxq" in client.get(f"{base}/").text


def test_one_patient_is_told_as_the_run_has_it(browser: tuple[Browser, str], run: Path) -> None:
    client, base = browser
    result = Result(run)
    patients, records = result.patients, result.records
    table = pd.read_csv(run.parent / "visits.csv")
    for k in (0, 7, 31):
        page = client.get(f"{base}/patient/{k}").text
        text = text_of(page)
        one = patients.iloc[k]
        mine = records[records["patient"] == one["patient"]]
        rows = re.findall(r'<th scope="row" role="rowheader">(\d+)', page)[: len(mine)]
        assert [int(row) for row in rows] == sorted(mine["record"])
        for row in mine["record"]:
            value = table.loc[row, "a"]
            assert f"{np.float32(value):.6g}" in text or f"{value:.6g}" in text
            assert table.loc[row, "outcome"] in text
        assert HOSTILE_VALUE in text or "plain" in text
        assert "8 models trained with the patient" in text


def test_neighbours_and_doubles_are_found(browser: tuple[Browser, str], run: Path) -> None:
    client, base = browser
    page = client.get(f"{base}/patient/0").text
    near = page[page.index('id="neighbours"') :]
    assert re.findall(r"/patient/(\d+)", near)[0] == "59"
    assert 'class="tag">identical' in near
    assert "has an identical record" in text_of(page)
    # By hand: distances of standardised numbers and levels, as the attack sees them.
    cohort = load(run / "audit.toml").cohort()
    from auscult.attacks.places import Places

    places = Places.of(cohort.inputs, cohort.patient_of_record)
    mine = np.flatnonzero(cohort.patient_of_record == 5)
    best = {
        other: min(
            float(np.linalg.norm(places.points[i] - places.points[j]))
            for i in mine
            for j in np.flatnonzero(cohort.patient_of_record == other)
        )
        for other in range(cohort.patients)
        if other != 5
    }
    wanted = sorted(best, key=best.__getitem__)[:8]
    near = client.get(f"{base}/patient/5").text.partition('id="neighbours"')[2]
    shown = [int(one) for one in re.findall(r"/patient/(\d+)", near)[:8]]
    assert [best[one] for one in shown] == pytest.approx([best[one] for one in wanted], abs=1e-4)


def test_protections_are_those_of_the_run(browser: tuple[Browser, str], run: Path) -> None:
    client, base = browser
    rows = pd.read_parquet(run / "secret" / "protected.parquet")
    assert rows["auc"].to_numpy() == pytest.approx(Result(run).patients["auc"], abs=1e-9)
    page = client.get(f"{base}/patient/2").text.partition('id="protections"')[2]
    text = text_of(page)
    assert "a <stump>" in text
    assert f"{rows['auc 0'][2]:.3f}" in text
    assert f"{rows['auc 1'][2]:.3f}" in text
    assert ("leaves this patient out" in text) == bool(rows["left out 2"][2])
    exposed = Result(run).summary["protection"][0]["mean_auc"]["estimate"]
    assert rows["auc 0"].mean() == pytest.approx(exposed, abs=0.05)


def test_signals_of_a_patient_are_those_of_the_outputs(run: Path) -> None:
    from auscult.attacks.log_odds import signals_from_outputs
    from auscult.viewer.holding import Holding

    holding = Holding.open(run)
    assert holding.labels is not None
    every = signals_from_outputs(holding.outputs, holding.labels)
    for patient in (0, 11, 59):
        records = holding.records_of(patient)
        assert (holding.patient_of_record[records] == patient).all()
        assert holding.signals(records) == pytest.approx(every[:, records])
    out = ~holding.member[:, holding.patient_of_record]
    assert holding.out_means() == pytest.approx(
        np.sort((every * out).sum(axis=0) / out.sum(axis=0)), abs=1e-5
    )


def test_groups_are_counted_as_in_the_list(browser: tuple[Browser, str], run: Path) -> None:
    client, base = browser
    patients = Result(run).patients
    page = client.get(f"{base}/groups").text
    for level, part in patients.groupby(patients.columns[9]):
        row = re.search(rf"<bdi>{level}</bdi></a></th>(.*?)</tr>", page, re.DOTALL)
        assert row
        cells = text_of(row[1]).split()
        assert cells[0] == str(len(part))
        assert float(cells[1]) == pytest.approx(part["auc"].mean(), abs=5.1e-4)
        assert f"{int((part['auc'] > 0.9).sum())}" in cells


def test_two_runs_are_joined_by_identifier(run: Path, other: Path) -> None:
    client, base = entered(opened(run, against=other))
    here, there = (Result(path).patients.set_index("patient")["auc"] for path in (run, other))
    page = client.get(f"{base}/?sort=-change").text
    first = int(re.findall(rf'href="{base}/patient/(\d+)"', page)[0])
    change = there.reindex(here.index) - here
    assert change.iloc[first] == pytest.approx(change.max())
    text = text_of(client.get(f"{base}/comparison").text)
    assert "60 patients in both runs" in text
    assert f"{here.mean():.3f} here and {there.mean():.3f} there" in text
    assert "in other" in text_of(client.get(f"{base}/patient/{first}").text).lower()


def test_runs_of_other_patients_are_not_joined(run: Path, tmp_path: Path) -> None:
    cohort = Cohort.from_table(
        visits(40), patient="person", label="outcome", groups=[], exclude=["sex"]
    )
    Audit(cohort, SklearnRecipe(), models=8).run(tmp_path / "run", workers=1)
    with pytest.raises(AuscultError, match="no patient in common"):
        opened(run, against=tmp_path / "run")


# What cannot be shown


def test_values_are_shown_only_of_the_cohort_that_the_run_was_made_with(
    run: Path, tmp_path: Path
) -> None:
    table = run.parent / "visits.csv"
    before = table.read_text(encoding="utf-8")
    assert opened(run, read_cohort=False).said == [  # type: ignore[attr-defined]
        f"Values of patients are not shown: {NOT_ASKED}"
    ]
    try:
        table.write_text(before.replace(",yes", ",no", 1), encoding="utf-8")
        guard = opened(run)
        assert ANOTHER in guard.said[0]  # type: ignore[attr-defined]
        client, base = entered(guard)
        page = client.get(f"{base}/patient/0").text
        assert 'id="values"' not in page
        assert 'id="neighbours"' not in page
        assert ANOTHER in text_of(page)
        assert "8 models trained with the patient" in text_of(page)
        table.unlink()
        guard = opened(run)
        assert "there is no such file" in guard.said[0]  # type: ignore[attr-defined]
        assert entered(guard)[0].get(f"{entered(guard)[1]}/patient/0").status_code == 200
    finally:
        table.write_text(before, encoding="utf-8")


def images(patients: int = 24) -> Cohort:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 255, (2 * patients, 12, 12)).astype(np.uint8)
    people = np.repeat([f"P{k}" for k in range(patients)], 2)
    labels = np.where(values.mean(axis=(1, 2)) > np.median(values.mean(axis=(1, 2))), "a", "b")
    table = pd.DataFrame({"person": people, "label": labels})
    return Cohort.from_arrays(values, table, patient="person", label="label")


def test_images_are_shown_where_the_cohort_is_given(tmp_path: Path) -> None:
    import io

    from PIL import Image

    cohort = images()
    Audit(cohort, SklearnRecipe(), models=8).run(tmp_path / "run", workers=1)
    guard = opened(tmp_path / "run")
    assert FROM_PYTHON in guard.said[0]  # type: ignore[attr-defined]
    client, base = entered(opened(tmp_path / "run", cohort=cohort))
    page = client.get(f"{base}/patient/3").text
    addresses = re.findall(r'<img src="([^"]+)"', page)
    assert len(addresses) == 2
    found = client.get(addresses[1])
    assert found.headers["content-type"] == "image/png"
    shown = np.asarray(Image.open(io.BytesIO(found.content)))
    from auscult.cohort.inputs import ArrayInputs

    assert isinstance(cohort.inputs, ArrayInputs)
    assert (shown == cohort.inputs.take(np.array([7]))[0]).all()
    for path in ("/image/48/0/0.png", "/image/0/1/0.png"):
        assert client.get(base + path).status_code == 404


def test_what_is_no_finished_run_is_said(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished)
    (unfinished / "results" / "summary.json").unlink()
    folder = tmp_path / "folder"
    folder.mkdir()
    for path, words in (
        (unfinished, "no results yet"),
        (folder, "not a run directory"),
        (tmp_path / "nothing", "no such directory"),
    ):
        code, out, error = command(monkeypatch, "view", path)
        assert code == 2
        assert words in error
        assert "Traceback" not in error
        assert out == ""


@pytest.mark.parametrize(
    "name", ["secret/patients.parquet", "secret/cohort.npz", "results/summary.json"]
)
def test_a_run_that_was_changed_is_refused(run: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(AuscultError, match=r"changed|damaged"):
        opened(copy)


def test_a_run_without_its_seal_is_refused(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "seal.json").unlink()  # as a kill while results are written leaves it
    with pytest.raises(AuscultError, match="seal"):
        opened(copy)


def test_a_run_that_changes_while_it_is_shown_is_not_shown_further(
    run: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    client, base = entered(opened(copy))
    seal = (copy / "seal.json").read_bytes()
    (copy / "seal.json").unlink()
    (copy / "seal.json").write_bytes(seal + b" ")
    found = client.get(f"{base}/")
    assert found.status_code == 409
    assert "start it again" in found.text
    assert "Zxq" not in found.text


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners of files here")
def test_a_run_that_others_can_read_is_refused_and_the_next_step_works(
    run: Path, tmp_path: Path
) -> None:
    for name, mode in (("secret/patients.parquet", 0o640), ("secret", 0o750), (".", 0o770)):
        copy = tmp_path / f"a copy {mode:o}"
        shutil.copytree(run, copy)
        (copy / name).chmod(mode)
        with pytest.raises(AuscultError, match="other users") as caught:
            opened(copy)
        command = str(caught.value).partition("others: ")[2].rstrip(".")
        assert command.startswith("chmod -R go-rwx ")
        subprocess.run(command, shell=True, check=True)  # noqa: S602 - the message's own words
        opened(copy)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners of files here")
def test_a_run_of_another_user_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(AuscultError, match="belongs to another user"):
        opened(run)
    monkeypatch.undo()
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    shutil.move(copy / "secret", tmp_path / "elsewhere")
    (copy / "secret").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuscultError, match="link"):
        opened(copy)


def test_an_absent_extra_is_said(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auscult.viewer.serving.find_spec", lambda _: None)
    with pytest.raises(AuscultError, match="pip install") as caught:
        opened(run)
    assert 'pip install "auscult[view]"' in str(caught.value)


def test_nothing_in_the_run_is_written(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    client, base = entered(opened(copy))
    for path in ("/", "/patient/4", "/groups"):
        assert client.get(base + path).status_code == 200
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


# The server itself


@pytest.fixture(scope="module")
def served(run: Path) -> Iterator[tuple[str, Any]]:
    """The command as its user starts it; the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from auscult.cli import main; main()", "view", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    address = process.stdout.readline().rpartition(" ")[2].strip()
    yield address, process
    process.kill()
    if not process.stdout.closed:
        process.communicate()


@pytest.mark.slow
def test_the_command_serves_this_machine_only_and_says_nothing_of_what_is_asked(
    served: tuple[str, Any],
) -> None:
    import signal
    import socket
    import urllib.error
    import urllib.request

    address, process = served
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{40,}", address)
    port = int(address.split(":")[2].partition("/")[0])
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with opener.open(address) as found:
        assert found.status == 200
        assert b"60 patients" in found.read()
        base = found.url
    with opener.open(f"{base}?identifier=Zxq0003") as found:
        assert b"Zxq0003" in found.read()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(base)  # noqa: S310 - our own address
    mine = socket.gethostbyname(socket.gethostname())
    if not mine.startswith("127."):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((mine, port), timeout=5)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as wire:
        wire.sendall(b"GARBAGE Zxq0007wv\r\n\r\n")
        assert b"400" in wire.recv(1000)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "closed" in out
    assert "Zxq" not in out + err
    assert "token" not in out + err


@pytest.mark.browser
def test_an_owner_finds_their_way_in_a_browser(
    run: Path,
    other: Path,
    chromium: Any,  # noqa: ANN401
) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from auscult.cli import main; main()"),
            *("view", str(run), "--against", str(other)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    said: list[str] = []
    try:
        address = process.stdout.readline().rpartition(" ")[2].strip()
        for width, scheme in ((1200, "light"), (800, "dark"), (400, "light")):
            context = chromium.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme
            )
            page = context.new_page()
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
            page.goto(address)
            assert "token" not in page.url
            _looked_through(page, width)
            context.close()
    finally:
        process.kill()
        process.communicate()
    assert not said


def _looked_through(page: Any, width: int) -> None:  # noqa: ANN401
    """From the list to a patient, to a neighbour, to the groups and back, as a reader would."""

    def fits() -> None:
        page.wait_for_load_state()  # the style sheet is there
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = page.evaluate(
            "() => [...document.querySelectorAll('.fit')].filter("
            "(one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.innerText)"
        )
        assert not wide

    fits()
    assert page.locator("tbody tr").count() == 50
    page.get_by_label("Identifier contains").fill("zxq0012")
    page.get_by_label("Sorted by").select_option("auc_low")
    page.get_by_role("button", name="Show").click()
    assert "1 patient found" in page.locator(".found").inner_text()
    page.locator("#patients tbody a").click()
    assert "Zxq0012" in page.locator("h1").inner_text()
    page.wait_for_load_state()
    assert page.locator("[role=img]:visible").first.bounding_box()["width"] > 250
    fits()
    page.locator("#neighbours tbody a").first.click()
    assert "Zxq0012" not in page.locator("h1").inner_text()
    page.get_by_role("link", name="Groups").click()
    fits()
    page.locator("#groups-0 tbody th a").first.click()
    assert page.locator("select[name=g0]").input_value() != ""
    page.get_by_role("link", name="Beside other").click()
    fits()
    page.get_by_role("link", name="gained most").click()
    assert page.locator("th[aria-sort=ascending]").count() == 1
    fits()


# What the exposed have in common


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Cohort]:
    """A run in which 40 of 400 patients have labels that contradict their values."""
    rng = np.random.default_rng(5)
    person = np.repeat(np.arange(400), 2)
    own = rng.normal(size=(400, 4))
    values = own[person] + 0.1 * rng.normal(size=(800, 4))
    wrong = np.arange(400) % 10 == 3
    outcome = (own[:, 0] > 0) ^ wrong
    table = pd.DataFrame(values, columns=list("abcd")).assign(
        person=[f"P{k}" for k in person], outcome=np.where(outcome[person], "yes", "no")
    )
    cohort = Cohort.from_table(table, patient="person", label="outcome")
    recipe = SklearnRecipe("random_forest", arguments={"n_estimators": 20, "min_samples_leaf": 2})
    path = tmp_path_factory.mktemp("planted") / "run"
    Audit(cohort, recipe, models=32, seed=2).run(path, workers=2)
    return path, cohort


def traits(path: Path) -> dict[str, Any]:
    """What was found exactly, by the factor's name."""
    found = json.loads((path / "secret" / "in-common.json").read_text(encoding="utf-8"))
    return {one["name"].partition(" (")[0]: one for one in found["factors"]}


LABEL_ERRORS = "models that never saw them disagree with the label"


def test_planted_label_errors_are_what_the_exposed_have_in_common(
    planted: tuple[Path, Cohort],
) -> None:
    one = traits(planted[0])[LABEL_ERRORS]
    assert one["claimed"]
    assert one["patients"] == 40
    assert one["low"] > 0
    client, base = entered(opened(planted[0], cohort=planted[1]))
    page = client.get(f"{base}/common").text
    assert "claimed" in page
    assert LABEL_ERRORS in text_of(page)
    assert f"{one['mean_with']:.3f}" in page
    released = Result(planted[0]).summary["in_common"]
    shown = next(o for o in released["factors"] if o["name"].startswith(LABEL_ERRORS))
    assert shown["claimed"]
    assert shown["difference"] == pytest.approx(one["difference"], abs=shown["rounded_to"] / 2)
    assert shown["low"] <= one["low"] + shown["rounded_to"] / 2


def test_runs_of_earlier_versions_say_what_they_lack(
    planted: tuple[Path, Cohort], tmp_path: Path
) -> None:
    older = tmp_path / "older"
    shutil.copytree(planted[0], older)
    (older / "secret" / "in-common.json").unlink()
    write_seal(older, RunStore.open(older).identity)
    client, base = entered(opened(older, read_cohort=False))
    assert "earlier version" in text_of(client.get(f"{base}/common").text)


def test_few_patients_have_nothing_to_tell(browser: tuple[Browser, str]) -> None:
    client, base = browser
    text = text_of(client.get(f"{base}/common").text)
    assert "Nothing that is looked at here" in text
    assert "fewer than 20 patients have it" in text
