"""A model that is to go out, for tests: a small network that memorises, as ONNX and as a server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier

from auscult import Cohort, SklearnRecipe
from auscult.cohort.inputs import TableInputs

COLUMNS = ("x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7")


def table(patients: int, seed: int = 0) -> pd.DataFrame:
    """Numeric records with noisy labels; identifiers are easy to grep for."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(patients), 1 + rng.poisson(0.5, patients))
    values = pd.DataFrame(rng.normal(size=(person.size, len(COLUMNS))), columns=list(COLUMNS))
    noise = 1.2 * rng.normal(size=person.size)
    return values.round(6).assign(
        person=[f"Zxq{i:04d}wv" for i in person],
        sex=np.where(rng.random(patients) < 0.5, "f", "m")[person],
        outcome=np.where(values["x0"] + noise > 0, "yes", "no"),
    )


def cohort(patients: int = 150, seed: int = 0) -> Cohort:
    return Cohort.from_table(
        table(patients, seed), patient="person", label="outcome", groups=["sex"], exclude=["sex"]
    )


def frame_of(people: Cohort) -> pd.DataFrame:
    assert isinstance(people.inputs, TableInputs)
    return people.inputs.frame()


def recipe() -> SklearnRecipe:
    network = MLPClassifier((32,), solver="lbfgs", max_iter=60, alpha=0.3)
    return SklearnRecipe(network, preprocess="none")


class Network:
    """The recipe's network with its weights in plain sight."""

    def __init__(self, people: Cohort, members: NDArray[np.bool_]) -> None:
        import warnings

        rows = members[people.patient_of_record]
        inputs = frame_of(people)[list(COLUMNS)]
        network = MLPClassifier((32,), solver="lbfgs", max_iter=60, alpha=0.3, random_state=5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network.fit(inputs[rows], people.labels[rows])
        self.weights = [w.astype(np.float32) for w in network.coefs_]
        self.biases = [b.astype(np.float32) for b in network.intercepts_]

    def __call__(self, inputs: pd.DataFrame) -> NDArray[np.float64]:
        """Probability of the positive class, in the precision of an ONNX graph."""
        x = inputs[list(COLUMNS)].to_numpy(dtype=np.float32)
        hidden = np.maximum(x @ self.weights[0] + self.biases[0], 0)
        z = (hidden @ self.weights[1] + self.biases[1])[:, 0]
        return np.asarray(1 / (1 + np.exp(-z.astype(np.float64))))

    def to_onnx(self, path: Path) -> None:
        """Write a graph with one named input per column and logits as its output."""
        from onnx import TensorProto, checker, helper, numpy_helper

        names = list(COLUMNS)
        parts = {
            "w0": self.weights[0],
            "b0": self.biases[0],
            "w1": self.weights[1],
            "b1": self.biases[1],
        }
        graph = helper.make_graph(
            [
                helper.make_node("Concat", names, ["x"], axis=1),
                helper.make_node("Gemm", ["x", "w0", "b0"], ["h"]),
                helper.make_node("Relu", ["h"], ["r"]),
                helper.make_node("Gemm", ["r", "w1", "b1"], ["logit"]),
            ],
            "released",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 1]) for n in names],
            [helper.make_tensor_value_info("logit", TensorProto.FLOAT, [None, 1])],
            [numpy_helper.from_array(value, name) for name, value in parts.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        checker.check_model(model)
        path.write_bytes(model.SerializeToString())


Answer = Callable[[int, Any], tuple[int, bytes, dict[str, str]]]


def ok(value: object) -> tuple[int, bytes, dict[str, str]]:
    return 200, json.dumps(value).encode(), {}


class Server(ThreadingHTTPServer):
    """Answers POSTs by `answer(number, body)` and remembers what it was sent."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/predict"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up in these tests: that is not worth a traceback."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        self.server.headers.append(dict(self.headers.items()))
        self.server.times.append(time.monotonic())
        status, content, headers = self.server.answer(len(self.server.bodies) - 1, body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    server = Server(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def predicting(network: Network) -> Answer:
    """An endpoint that reads records and returns an object per record."""

    def answer(number: int, body: Any) -> tuple[int, bytes, dict[str, str]]:  # noqa: ANN401
        p = network(pd.DataFrame(body["data"]["rows"]))
        return ok({"result": [{"scores": {"no": 1 - float(v), "yes": float(v)}} for v in p]})

    return answer
