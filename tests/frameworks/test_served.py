"""A model that its own library serves, on loopback: MLflow's scoring server."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from auscult import AuscultError, Cohort
from auscult.release import EndpointDoor

N = 60
LONGEST_START = 240.0
rng = np.random.default_rng(4)
TABLE = pd.DataFrame(
    {
        "id": [f"Zxq{i // 2}" for i in range(N)],
        "age": rng.integers(20, 90, N).astype(float),
        "bmi": rng.normal(25, 4, N).round(1),
        "sex": np.where(rng.random(N) < 0.5, "f", "m"),
        "died": np.where(rng.random(N) < 0.5, "yes", "no"),
    }
)
COLUMNS = ["age", "bmi", "sex"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, object]]:
    """`mlflow models serve`, and the model behind it."""
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    parts = make_column_transformer((OneHotEncoder(), ["sex"]), remainder="passthrough")
    model = make_pipeline(parts, LogisticRegression(max_iter=1000))
    folder = tmp_path_factory.mktemp("served")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.sklearn

        model.fit(TABLE[COLUMNS], TABLE["died"])
        mlflow.sklearn.save_model(
            model,
            folder / "model",
            serialization_format="cloudpickle",
            pyfunc_predict_fn="predict_proba",
            signature=mlflow.models.infer_signature(TABLE[COLUMNS]),
            pip_requirements=["mlflow", "scikit-learn"],
        )
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder / "model")]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            _wait(f"http://127.0.0.1:{port}/ping", server, folder / "log")
            yield f"http://127.0.0.1:{port}/invocations", model
        finally:
            server.terminate()
            server.wait(timeout=30)


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    begin = time.monotonic()
    while time.monotonic() - begin < LONGEST_START:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - loopback
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")


def test_mlflow_models_serve(served: tuple[str, object]) -> None:
    url, model = served
    data = Cohort.from_table(TABLE, patient="id", label="died").training_data()
    door = EndpointDoor(url=url, protocol="mlflow", batch=25, requests_per_second=1000)
    expected = model.predict_proba(TABLE[COLUMNS])  # type: ignore[attr-defined]
    np.testing.assert_allclose(door.answers(data), expected, atol=1e-9)
    assert door.try_out(data)


def test_a_column_that_the_model_wants_is_told(served: tuple[str, object]) -> None:
    url, _ = served
    fewer = TABLE.drop(columns="bmi")
    data = Cohort.from_table(fewer, patient="id", label="died").training_data()
    door = EndpointDoor(url=url, protocol="mlflow", retries=0)
    with pytest.raises(AuscultError, match="400") as raised:
        door.answers(data)
    assert "Zxq" not in str(raised.value)
