"""The run directory, part by part: plans, blocks, manifest, lock, seal, status and bundle."""

# ruff: noqa: ANN401 - options and arrays of any kind

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auscult.base.errors import ConfigError, StoreError
from auscult.base.files import write_json
from auscult.base.version import __version__
from auscult.cohort.design import Membership
from auscult.recipes.base import BlockOutputs, OutputKind
from auscult.store import (
    BlockPlan,
    Outputs,
    RunStore,
    default_block_models,
    missing_blocks,
    plan_blocks,
)
from auscult.store import blocks as blocks_module
from auscult.store.blocks import (
    StoredBlock,
    WrittenBlock,
    finish_block,
    read_block,
    read_outputs,
    sealed,
    write_block_values,
)
from auscult.store.bundle import verify_bundle, write_bundle
from auscult.store.growth import identity_of
from auscult.store.lock import HOLDER, LOCK, lock_holder, take_lock
from auscult.store.manifest import MANIFEST, check_folder, read_manifest, versions
from auscult.store.seal import SEAL, check_sealed, require_sealed, write_seal

RECORDS = 5


def values(models: int, seed: int = 0, *, queries: int = 2, columns: int = 3) -> Any:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((models, queries, RECORDS, columns)).astype(np.float32)


def outputs(models: int, seed: int = 0, kind: OutputKind = "softmax", **more: Any) -> BlockOutputs:
    return BlockOutputs(values=values(models, seed), kind=kind, **more)


def create(path: Path, models: int = 4, block: int = 2, **more: Any) -> RunStore:
    how: dict[str, Any] = {"fingerprint": {"cohort": "c"}, "configuration": None}
    how |= {"blocks": plan_blocks(models, block), "records": RECORDS} | more
    return RunStore.create_or_resume(path, **how)


# Plans


def test_every_model_is_in_one_block_in_order() -> None:
    for models in range(1, 18):
        for size in range(1, 10):
            plan = plan_blocks(models, size)
            assert [one.block for one in plan] == list(range(-(-models // size)))
            assert [model for one in plan for model in one.models] == list(range(models))
            assert all(len(one.models) == size for one in plan[:-1])
            assert 1 <= len(plan[-1].models) <= size
    assert plan_blocks(9, 4)[1] == BlockPlan(block=1, models=(4, 5, 6, 7))
    assert BlockPlan(block=7, models=(0,)).name == "block-0007"


def test_a_block_is_an_eighth_of_the_models_and_at_most_eight() -> None:
    expected = {1: 1, 7: 1, 8: 1, 15: 1, 16: 2, 40: 5, 63: 7, 64: 8, 72: 8, 1000: 8}
    assert {models: default_block_models(models) for models in expected} == expected


# Outputs


def stored(plan: BlockPlan, seed: int, kind: OutputKind = "softmax", **more: Any) -> StoredBlock:
    said = {"notes": {}, "facts": {}} | more
    return StoredBlock(plan=plan, values=values(len(plan.models), seed), kind=kind, **said)


def test_outputs_stand_by_the_numbers_of_their_models() -> None:
    first = stored(BlockPlan(block=0, models=(3, 0)), 1, notes={"zeros": 2}, facts={"size": 7})
    second = stored(
        BlockPlan(block=1, models=(1, 2)), 2, notes={"zeros": 3, "ones": 1}, facts={"size": 8}
    )
    found = Outputs([first, second])
    whole = np.stack([first.values[1], second.values[0], second.values[1], first.values[0]])
    assert (found.models, found.queries, found.records, found.columns) == (4, 2, RECORDS, 3)
    assert np.array_equal(found.read(0, 99), whole)
    assert np.array_equal(found.read(1, 3), whole[:, :, 1:3])
    assert found.read(1, 3).dtype == np.float32
    for model in range(4):
        assert np.array_equal(found.model(model), whole[model])
    assert found.notes == {"zeros": 5, "ones": 1}
    assert found.facts == {"size": [7, 8]}
    alike = [stored(BlockPlan(block=k, models=(k,)), k, facts={"size": [7]}) for k in range(2)]
    assert Outputs(alike).facts == {"size": [7]}
    assert "4 models, 2 queries, 5 records, 3 columns" in repr(found)


def test_outputs_in_memory_are_those_given() -> None:
    given = values(3).astype(np.float64)
    found = Outputs.in_memory(given, "sigmoid")
    assert (found.kind, found.models, found.notes, found.facts) == ("sigmoid", 3, {}, {})
    assert np.array_equal(found.read(0, RECORDS), given.astype(np.float32))
    assert [block.plan for block in found._blocks] == [BlockPlan(block=0, models=(0, 1, 2))]


def test_blocks_of_one_run_are_of_one_kind_and_shape() -> None:
    first = stored(BlockPlan(block=0, models=(0,)), 0)
    plan = BlockPlan(block=1, models=(1,))
    assert read_outputs([first, stored(plan, 1)]).models == 2
    with pytest.raises(StoreError, match="holds sigmoid outputs"):
        read_outputs([first, stored(plan, 1, "sigmoid")])
    other = StoredBlock(plan=plan, values=values(1, columns=2), kind="softmax", notes={}, facts={})
    with pytest.raises(StoreError, match=r"block-0001 holds softmax outputs of shape \(2, 5, 2\)"):
        read_outputs([first, other])


# Blocks on disk


@pytest.mark.parametrize("piece", [1, 7, 64, 1 << 22])
def test_a_block_is_written_as_numpy_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(blocks_module, "PIECE_BYTES", piece)
    plan, given = BlockPlan(block=3, models=(6, 7)), outputs(2, notes={"zeros": 4}, facts={"a": 1})
    written = write_block_values(tmp_path, plan, given, RECORDS)
    finish_block(tmp_path, plan, written, "run")
    assert {path.name for path in tmp_path.iterdir()} == {"block-0003.npy", "block-0003.json"}
    assert np.array_equal(np.load(tmp_path / "block-0003.npy"), given.values)
    said = json.loads((tmp_path / "block-0003.json").read_text())
    digest = hashlib.sha256((tmp_path / "block-0003.npy").read_bytes()).hexdigest()
    assert said["sha256"] == digest
    assert said["shape"] == [2, 2, RECORDS, 3]
    assert (said["block"], said["models"], said["run"]) == (3, [6, 7], "run")
    found = read_block(tmp_path, plan, RECORDS, "run")
    assert np.array_equal(found.values, given.values)
    assert (found.kind, found.notes, found.facts) == ("softmax", {"zeros": 4}, {"a": 1})


@pytest.mark.parametrize(
    "given",
    [
        values(2).astype(np.float64),
        values(2)[0],
        values(1),
        values(3),
        values(2)[:, :, 1:],
        values(2)[:, :0],
        values(2)[..., :0],
    ],
)
def test_outputs_that_do_not_fit_the_plan_are_refused(tmp_path: Path, given: Any) -> None:
    plan = BlockPlan(block=0, models=(0, 1))
    with pytest.raises(StoreError, match="the recipe returned") as told:
        write_block_values(tmp_path, plan, BlockOutputs(values=given, kind="softmax"), RECORDS)
    assert "float32 of shape (2, queries, 5, outputs)" in str(told.value)
    assert not list(tmp_path.iterdir())


def test_a_kind_that_is_none_and_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    plan = BlockPlan(block=0, models=(4, 5, 6))
    kind: Any = "logits"
    with pytest.raises(StoreError, match="outputs of kind 'logits'"):
        write_block_values(tmp_path, plan, outputs(3, kind=kind), RECORDS)
    given = outputs(3)
    given.values[0, 1, 2, 0], given.values[2, 0, 0, 1] = np.nan, np.inf
    with pytest.raises(StoreError, match=r"not finite from model 4, 6\."):
        write_block_values(tmp_path, plan, given, RECORDS)
    assert not list(tmp_path.iterdir())


def test_values_that_are_gone_are_named(tmp_path: Path) -> None:
    gone = WrittenBlock(file="x.npy", description={})
    with pytest.raises(StoreError, match="the file that a worker wrote is missing"):
        finish_block(tmp_path, BlockPlan(block=0, models=(0,)), gone, "run")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": "auscult.block/0"}, "belongs to another block"),
        ({"models": [0, 2]}, "belongs to another block"),
        ({"run": "other"}, "belongs to another run"),
        ({"sha256": "0" * 64}, "its checksum differs"),
        ({"shape": [2, 2, RECORDS, 4]}, "its shape or kind differs"),
        ({"shape": [3, 2, RECORDS, 3]}, "its shape or kind differs"),
        ({"shape": [1, 2, RECORDS, 3]}, "its shape or kind differs"),
        ({"dtype": "<f8"}, "its shape or kind differs"),
        ({"kind": "logits"}, "its shape or kind differs"),
        ({"notes": 3}, "it cannot be read"),
    ],
)
def test_a_description_that_tells_of_something_else_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    plan = BlockPlan(block=0, models=(0, 1))
    finish_block(tmp_path, plan, write_block_values(tmp_path, plan, outputs(2), RECORDS), "run")
    path = tmp_path / "block-0000.json"
    said = json.loads(path.read_text()) | change
    path.write_text(json.dumps(said | {"seal": sealed(said)}))
    with pytest.raises(StoreError, match=words) as told:
        read_block(tmp_path, plan, RECORDS, "run")
    assert "Delete outputs/block-0000.* and run again" in str(told.value)


@pytest.mark.parametrize(
    "given", [values(3), values(2).astype("f8"), values(2)[0], values(2)[:, :, 1:]]
)
def test_values_of_another_run_with_their_own_checksum_are_refused(
    tmp_path: Path, given: Any
) -> None:
    """Description and values agree with each other, and not with the plan."""
    plan = BlockPlan(block=0, models=(0, 1))
    finish_block(tmp_path, plan, write_block_values(tmp_path, plan, outputs(2), RECORDS), "run")
    np.save(tmp_path / "block-0000.npy", given)
    path = tmp_path / "block-0000.json"
    digest = hashlib.sha256((tmp_path / "block-0000.npy").read_bytes()).hexdigest()
    said = json.loads(path.read_text()) | {"sha256": digest, "shape": list(given.shape)}
    said["dtype"] = given.dtype.str
    path.write_text(json.dumps(said | {"seal": sealed(said)}))
    with pytest.raises(StoreError, match="its shape or kind differs"):
        read_block(tmp_path, plan, RECORDS, "run")


def test_a_block_that_is_not_whole_says_so(tmp_path: Path) -> None:
    plan = BlockPlan(block=0, models=(0, 1))
    with pytest.raises(StoreError, match=r"not finished.*it resumes"):
        read_block(tmp_path, plan, RECORDS, "run")
    finish_block(tmp_path, plan, write_block_values(tmp_path, plan, outputs(2), RECORDS), "run")
    path = tmp_path / "block-0000.json"
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | {"block": 9}))
    with pytest.raises(StoreError, match="changed after it was written"):
        read_block(tmp_path, plan, RECORDS, "run")
    path.write_text("[]")
    with pytest.raises(StoreError, match="it cannot be read"):
        read_block(tmp_path, plan, RECORDS, "run")
    path.write_text(whole)
    (tmp_path / "block-0000.npy").unlink()
    with pytest.raises(StoreError, match="its values are missing"):
        read_block(tmp_path, plan, RECORDS, "run")


# The store


def test_a_run_is_resumed_where_it_stopped(tmp_path: Path) -> None:
    run = tmp_path / "new" / "run"
    with create(run, models=5, configuration="[audit]\n") as store:
        assert store.records == RECORDS
        assert store.blocks == plan_blocks(5, 2)
        store.write_block(store.blocks[1], outputs(2, 1))
        assert [one.block for one in missing_blocks(store.blocks, store)] == [0, 2]
        with pytest.raises(StoreError, match="cannot be written again"):
            store.write_block(store.blocks[1], outputs(2, 2))
        status = store.status()
        assert (status.blocks_done, status.blocks_total) == (1, 3)
        assert (status.models_done, status.models_total) == (2, 5)
        assert (status.results, status.report) == (False, False)
        identity = store.identity
    assert (run / "audit.toml").read_text() == "[audit]\n"
    with create(run, models=5) as store:
        assert store.identity == identity
        assert np.array_equal(store.block(1).values, values(2, 1))
        store.write_block(store.blocks[0], outputs(2, 0))
        with pytest.raises(StoreError, match=r"block-0002.*not finished"):
            store.outputs()
        store.write_block(store.blocks[2], outputs(1, 2))
        whole = np.concatenate([values(2, 0), values(2, 1), values(1, 2)])
        assert np.array_equal(store.outputs().read(0, RECORDS), whole)
    (run / "results").mkdir()
    (run / "results" / "summary.json").write_text("{}")
    (run / "report.html").write_text("x")
    status = RunStore.open(run).status()
    assert (status.results, status.report, status.writer) == (True, True, None)


def test_a_recipe_that_differs_names_packages_of_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    create(run, fingerprint={"recipe": "r"}).close()
    with pytest.raises(StoreError, match="recipe differs\\."):
        create(run, fingerprint={"recipe": "s"})
    known = versions()
    monkeypatch.setattr(
        "auscult.store.manifest.versions", lambda: {**known, "scikit-learn": "9.9.9"}
    )
    was = known["scikit-learn"]
    with pytest.raises(StoreError, match=rf"\(scikit-learn is 9\.9\.9 and was {was}\)"):
        create(run, fingerprint={"recipe": "s"})
    create(run, fingerprint={"recipe": "r"}).close()  # of itself another version is no other run


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fingerprint": {"cohort": "d"}}, "cohort differs"),
        ({"fingerprint": {"cohort": "c", "more": "x"}}, "more differs"),
        ({"fingerprint": {}}, "cohort differs"),
        ({"records": 6}, "blocks differs"),
        ({"blocks": plan_blocks(4, 4)}, "blocks differs"),
        ({"fingerprint": {}, "records": 6}, "blocks, cohort differ"),
    ],
)
def test_another_configuration_does_not_resume_a_run(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    create(tmp_path / "run").close()
    before = {path: path.read_bytes() for path in (tmp_path / "run").glob("*")}
    with pytest.raises(StoreError, match=f"{words}\\."):
        create(tmp_path / "run", **change)
    assert {path: path.read_bytes() for path in (tmp_path / "run").glob("*")} == before
    parts = RunStore.open(tmp_path / "run").manifest()["fingerprint"]
    assert parts == {"cohort": "c", "code version": __version__, "blocks": "2,2x5"}


def test_what_is_open_to_read_writes_nothing(tmp_path: Path) -> None:
    create(tmp_path / "run").close()
    store = RunStore.open(tmp_path / "run")
    membership = Membership(np.eye(4, dtype=bool))
    actions: list[Callable[[], object]] = [
        lambda: store.write_block(store.blocks[0], outputs(2)),
        lambda: store.adopt_block(store.blocks[0], WrittenBlock(file="x", description={})),
        lambda: store.write_membership(membership),
        lambda: store.update_manifest(timings={}),
    ]
    for action in actions:
        with pytest.raises(StoreError, match="opened read-only"):
            action()
    with pytest.raises(StoreError, match="there is no such directory"):
        RunStore.open(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="this is not a run directory"):
        RunStore.take_up(tmp_path / "empty")
    with RunStore.take_up(tmp_path / "run") as taken:
        taken.update_manifest(timings={"training": 1})
    assert RunStore.open(tmp_path / "run").manifest()["timings"] == {"training": 1}


def test_the_first_attempt_at_a_block_stays(tmp_path: Path) -> None:
    with create(tmp_path / "run") as store:
        folder, plan = tmp_path / "run" / "outputs", store.blocks[0]
        attempts = [write_block_values(folder, plan, outputs(2, k), RECORDS) for k in range(2)]
        assert attempts[0].file != attempts[1].file
        for attempt in attempts:
            store.adopt_block(plan, attempt)
        assert np.array_equal(store.block(0).values, values(2, 0))
        assert {one.name for one in folder.iterdir()} == {"block-0000.npy", "block-0000.json"}
        store.adopt_block(plan, attempts[1])  # gone already


def test_a_run_that_was_interrupted_is_cleaned(tmp_path: Path) -> None:
    with create(tmp_path / "run") as store:
        store.write_block(store.blocks[0], outputs(2))
        folder = tmp_path / "run" / "outputs"
        write_block_values(folder, store.blocks[1], outputs(2), RECORDS)
        (folder / ".x.part").write_text("half")
    create(tmp_path / "run").close()
    assert {one.name for one in folder.iterdir()} == {"block-0000.npy", "block-0000.json"}


def test_the_membership_is_its_owners_secret(tmp_path: Path) -> None:
    run = tmp_path / "run"
    given = np.random.default_rng(0).random((4, 9)) < 0.5
    with create(run) as store:
        with pytest.raises(StoreError, match="the run has no membership"):
            store.read_membership()
        store.write_membership(Membership(given))
        store.write_membership(Membership(given.copy()))
        with pytest.raises(StoreError, match="differs from this audit's"):
            store.write_membership(Membership(~given))
        assert np.array_equal(store.read_membership().reveal(), given)
        path = run / "secret" / "membership.npz"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        path.parent.chmod(0o755)
        store.secret_path("x")
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        path.parent.chmod(0o755)
    RunStore.open(run).secret_path("x")  # a reader changes nothing
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    for wrong, words in ((given.astype("i8"), "it holds int64 of shape"), (given[0], r"\(9,\)")):
        np.savez(path, membership=wrong)
        with pytest.raises(StoreError, match=words):
            RunStore.open(run).read_membership()
    np.savez(path, other=given)
    with pytest.raises(StoreError, match="the file is damaged"):
        RunStore.open(run).read_membership()


def test_what_makes_a_run_this_run_cannot_be_replaced(tmp_path: Path) -> None:
    with create(tmp_path / "run") as store:
        for name in ("schema", "fingerprint", "blocks", "records", "versions"):
            with pytest.raises(StoreError, match=f"{name} cannot be replaced"):
                store.update_manifest(**{name: 1, "timings": 2})
        store.update_manifest(timings=1)
        store.update_manifest(ledger="ward")
        manifest = store.manifest()
        manifest["records"] = 99
        assert store.manifest()["records"] == RECORDS
    written = read_manifest(tmp_path / "run")
    assert (written["timings"], written["ledger"]) == (1, "ward")


def test_other_versions_are_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    create(run).close()
    create(run).close()
    assert "resumed_with" not in read_manifest(run)
    later = versions() | {"numpy": "99"}
    monkeypatch.setattr("auscult.store.run.versions", lambda: later)
    for _ in range(2):
        create(run).close()
        assert read_manifest(run)["resumed_with"] == [later]
    assert versions()["python"].startswith("3.")
    assert versions()["auscult"] == __version__
    assert versions()["numpy"] == np.__version__


# Folder and manifest


def test_a_run_is_made_where_nothing_else_is(tmp_path: Path) -> None:
    check_folder(tmp_path / "absent")
    check_folder(tmp_path)
    for name in (LOCK, HOLDER, ".x.part"):
        (tmp_path / name).write_text("")
    check_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "more").mkdir()
    with pytest.raises(StoreError, match="contains 2 other files or folders"):
        check_folder(tmp_path)
    with pytest.raises(StoreError, match="this is a file"):
        check_folder(tmp_path / "notes.txt")
    (tmp_path / MANIFEST).write_text("")
    check_folder(tmp_path)


GOOD = {
    "schema": "auscult.manifest/1",
    "fingerprint": {"cohort": "c"},
    "blocks": [[0, 1], [2]],
    "records": 5,
    "versions": {"python": "3"},
}


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ([], "not the manifest of a run"),
        (GOOD | {"schema": "auscult.manifest/0"}, "not the manifest of a run"),
        ({k: v for k, v in GOOD.items() if k != "records"}, "the manifest is incomplete"),
        (GOOD | {"fingerprint": []}, "damaged"),
        (GOOD | {"versions": "3"}, "damaged"),
        (GOOD | {"fingerprint": {"cohort": 3}}, "damaged"),
        (GOOD | {"blocks": {}}, "damaged"),
        (GOOD | {"blocks": []}, "damaged"),
        (GOOD | {"blocks": [[0], []]}, "damaged"),
        (GOOD | {"blocks": [[0], [-1]]}, "damaged"),
        (GOOD | {"blocks": [[0], [1.0]]}, "damaged"),
        (GOOD | {"records": -1}, "damaged"),
        (GOOD | {"records": "5"}, "damaged"),
        (GOOD | {"resumed_with": {}}, "damaged"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(tmp_path: Path, manifest: object, words: str) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=words):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text(json.dumps(GOOD | {"resumed_with": []}))
    assert read_manifest(tmp_path)["blocks"] == [[0, 1], [2]]


# Lock


def test_one_writer_at_a_time_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auscult.store.lock.LOCK_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr("auscult.store.lock.LOOK_SECONDS", 0.05)
    me = f"process {os.getpid()} on {socket.gethostname()}"
    assert lock_holder(tmp_path) is None
    assert not list(tmp_path.iterdir())
    held = take_lock(tmp_path)
    assert lock_holder(tmp_path) == me
    with pytest.raises(StoreError, match=f"{me} is writing to this run"):
        take_lock(tmp_path)
    for odd in ("", "12"):
        (tmp_path / HOLDER).write_text(odd)
        assert lock_holder(tmp_path) == "another process"
    held.close()
    assert not (tmp_path / HOLDER).exists()
    assert lock_holder(tmp_path) is None
    take_lock(tmp_path).close()


# Seal


@pytest.fixture
def sealed_run(tmp_path: Path) -> Path:
    """A run with results and a seal, as it is left when its writer ends."""
    run = tmp_path / "run"
    with create(run) as store:
        for plan in store.blocks:
            store.write_block(plan, outputs(2, plan.block))
        store.update_manifest(ledger="ward", timings={"training": 1.5})
        assert not (run / SEAL).exists()
        summary = {"decision": {"verdict": "pass", "policy": "title = 'x'\n"}}
        write_json(run / "results" / "summary.json", summary)
        for name in ("groups.csv", "officer.md"):
            (run / "results" / name).write_text(f"{name} of the run\n")
        (run / "report.html").write_text("<html>")
    return run


def test_a_seal_covers_what_is_whole(sealed_run: Path) -> None:
    names = {
        *("manifest.json", "report.html", "results/summary.json", "results/groups.csv"),
        *("results/officer.md", "outputs/block-0000.json", "outputs/block-0000.npy"),
        *("outputs/block-0001.json", "outputs/block-0001.npy"),
    }
    seal = json.loads((sealed_run / SEAL).read_text())
    assert set(seal["files"]) == names
    assert seal["run"] == identity_of(read_manifest(sealed_run))
    assert require_sealed(sealed_run) == len(names)
    assert require_sealed(sealed_run, values=False) == len(names) - 2
    (sealed_run / "results" / ".y.part").write_text("half")
    assert require_sealed(sealed_run) == len(names)
    (sealed_run / "outputs" / "block-0001.npy").write_bytes(b"other")
    require_sealed(sealed_run, values=False)
    with pytest.raises(StoreError, match=r"since the run was sealed: outputs/block-0001\.npy\."):
        require_sealed(sealed_run)
    assert require_sealed(sealed_run, but=["outputs/block-0001.npy"]) == len(names) - 1


def test_files_that_changed_are_named_up_to_five(sealed_run: Path) -> None:
    for count in range(1, 8):
        (sealed_run / f"added{count}").write_text("x")
        with pytest.raises(StoreError) as told:
            require_sealed(sealed_run)
        named = ", ".join(f"added{k}" for k in range(1, min(count, 5) + 1))
        more = f" and {count - 5} more" if count > 5 else ""
        assert f"changed since the run was sealed: {named}{more}. " in str(told.value)


def test_one_file_is_checked_by_the_seal(sealed_run: Path, tmp_path: Path) -> None:
    check_sealed(sealed_run, "report.html")
    (sealed_run / "results" / "officer.md").write_text("approved")
    check_sealed(sealed_run, "report.html")
    with pytest.raises(StoreError, match=r"sealed: results/officer\.md"):
        check_sealed(sealed_run, "results/officer.md")
    (sealed_run / "added.txt").write_text("x")
    with pytest.raises(StoreError, match=r"sealed: added\.txt"):
        check_sealed(sealed_run, "added.txt")
    (sealed_run / SEAL).unlink()
    check_sealed(sealed_run, "results/officer.md")
    with pytest.raises(StoreError, match="the run has no seal"):
        require_sealed(sealed_run)
    with pytest.raises(StoreError, match="there is no such directory"):
        require_sealed(tmp_path / "absent")


@pytest.mark.parametrize("key", ["schema", "run", "files", "digest"])
def test_a_seal_that_was_edited_is_refused(sealed_run: Path, key: str) -> None:
    path = sealed_run / SEAL
    seal = json.loads(path.read_text()) | {key: [] if key == "files" else "other"}
    path.write_text(json.dumps(seal))
    with pytest.raises(StoreError, match="the seal or the manifest was changed"):
        require_sealed(sealed_run)
    rest = {name: value for name, value in seal.items() if name != "digest"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(rest | {"digest": digest}))
    if key == "digest":
        require_sealed(sealed_run)
    else:
        with pytest.raises(StoreError, match="the seal or the manifest was changed"):
            require_sealed(sealed_run)


def test_a_writer_that_failed_or_read_seals_nothing(sealed_run: Path) -> None:
    (sealed_run / SEAL).unlink()
    with pytest.raises(RuntimeError), RunStore.take_up(sealed_run):
        raise RuntimeError
    with RunStore.open(sealed_run):
        pass
    assert not (sealed_run / SEAL).exists()
    with RunStore.take_up(sealed_run):
        pass
    require_sealed(sealed_run)


# Bundle


def test_a_bundle_says_what_is_in_it(sealed_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "request.zip"
    names = write_bundle(sealed_run, out)
    with zipfile.ZipFile(out) as archive:
        assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        files = {name: archive.read(name) for name in archive.namelist()}
    told = [
        *("decision.json", "groups.csv", "manifest.json", "officer.md", "policy.toml"),
        *("report.html", "summary.json"),
    ]
    own = ["bundle.json", "results.json"]
    sums = [f"checksums/{name}.txt" for name in [*told, "results.json"]]
    assert names == sorted(files) == sorted([*told, *own, *sums])
    for name in [*told, "results.json"]:
        digest = hashlib.sha256(files[name]).hexdigest()
        assert files[f"checksums/{name}.txt"].decode() == digest
    assert files["policy.toml"] == b"title = 'x'\n"
    assert json.loads(files["decision.json"])["verdict"] == "pass"
    manifest = json.loads(files["manifest.json"])
    assert set(manifest) == {*("schema", "fingerprint", "blocks", "records", "versions", "timings")}
    found = json.loads(files["results.json"])["results"]
    assert [one["files"][0]["name"] for one in found.values()] == sorted(told)
    assert list(found) == [one["uid"] for one in found.values()]
    assert list(found) == [f"output_{number}" for number in range(len(told))]
    index = json.loads(files["bundle.json"])
    assert index["run"] == RunStore.open(sealed_run).identity
    assert index["seal"] == hashlib.sha256((sealed_run / SEAL).read_bytes()).hexdigest()
    assert set(index["files"]) == set(files) - {"bundle.json"}
    assert verify_bundle(out) == (len(files) - 1, False)


def test_a_run_without_a_verdict_says_so_in_its_bundle(sealed_run: Path, tmp_path: Path) -> None:
    (sealed_run / "outputs" / "block-0000.npy").write_bytes(b"not read here")
    (sealed_run / "results" / "summary.json").write_text("{}")
    write_seal(sealed_run, RunStore.open(sealed_run).identity)
    names = write_bundle(sealed_run, tmp_path / "out.zip")
    assert "policy.toml" not in names
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        decision = json.loads(archive.read("decision.json"))
    assert decision == {
        "schema": "auscult.decision/1",
        "verdict": None,
        "reason": "the run was not judged by a policy",
    }


def test_a_bundle_that_cannot_be_is_refused(
    sealed_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "request.zip"
    write_bundle(sealed_run, out)
    with zipfile.ZipFile(out) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
        size = sum(len(content) for content in files.values())
    for most, fine in ((size, True), (size - 1, False)):
        monkeypatch.setattr("auscult.store.bundle.MOST_BYTES", most)
        if fine:
            assert verify_bundle(out) == (len(files) - 1, False)
        else:
            with pytest.raises(StoreError, match="it unpacks to more than 0 MB"):
                verify_bundle(out)
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(out, "a") as archive:
        archive.writestr("report.html", b"another")
    with pytest.raises(StoreError, match="a name occurs twice"):
        verify_bundle(out)
    out.write_bytes(b"no zip")
    with pytest.raises(StoreError, match="it cannot be read as a zip"):
        verify_bundle(out)
    index = json.loads(files["bundle.json"])
    for change in ({"schema": "auscult.bundle/0"}, {"run": "x"}, {"files": 3}):
        with zipfile.ZipFile(out, "w") as archive:
            for name, content in (files | {"bundle.json": json.dumps(index | change)}).items():
                archive.writestr(name, content)
        with pytest.raises(StoreError, match=r"bundle\.json is missing or was changed"):
            verify_bundle(out)


def test_only_the_key_that_signed_verifies(sealed_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    for name in ("mine", "other"):
        private = Ed25519PrivateKey.generate()
        (tmp_path / f"{name}.pem").write_bytes(
            private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        )
        (tmp_path / f"{name}.pub").write_bytes(
            private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
    out = tmp_path / "signed.zip"
    names = write_bundle(sealed_run, out, tmp_path / "mine.pem")
    assert "bundle.sig" in names
    assert verify_bundle(out, tmp_path / "mine.pub") == (len(names) - 2, True)
    assert verify_bundle(out) == (len(names) - 2, True)
    with pytest.raises(StoreError, match="was not made with this key"):
        verify_bundle(out, tmp_path / "other.pub")
    with pytest.raises(ConfigError, match=r"usable public key.*pkey -in key.pem -pubout"):
        verify_bundle(out, tmp_path / "mine.pem")
    with pytest.raises(ConfigError, match=r"usable private key.*genpkey -algorithm ed25519 -out"):
        write_bundle(sealed_run, out, tmp_path / "mine.pub")
    write_bundle(sealed_run, out)
    with pytest.raises(StoreError, match="it is not signed"):
        verify_bundle(out, tmp_path / "mine.pub")
