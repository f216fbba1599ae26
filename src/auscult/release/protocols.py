"""Requests and replies of inference servers: KServe v2, MLflow, TensorFlow Serving.

Nothing of a request or a reply is ever quoted, except the names that the user gave: of columns, of
the parts of a request, of a graph's inputs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auscult.base.errors import ConfigError, one_of
from auscult.readers.values import texts
from auscult.release.doors import ReleaseError

Protocol = Literal["json", "kserve-v2", "mlflow", "tf-serving", "record"]
# Where each has the records in a request and the answers in a reply, unless it is said.
PLACES: Mapping[str, tuple[str, str]] = {
    "json": ("records", "answers"),
    "kserve-v2": ("inputs", "outputs"),
    "mlflow": ("dataframe_split", "predictions"),
    "tf-serving": ("instances", "predictions"),
    "record": ("", ""),
}
WITHOUT_GAPS = ("kserve-v2", "tf-serving")  # they have no word for a missing number
DATATYPES = {
    **{np.dtype(f"i{size}"): f"INT{8 * size}" for size in (1, 2, 4, 8)},
    **{np.dtype(f"u{size}"): f"UINT{8 * size}" for size in (1, 2, 4, 8)},
    **{np.dtype(f"f{size}"): f"FP{8 * size}" for size in (2, 4, 8)},
    np.dtype(bool): "BOOL",
}
MOST_OF_A_REFUSAL = 1 << 16
CODE = re.compile(r"[A-Za-z_.]{1,60}")
WHERE = "release.url"


def refuse_gaps(part: pd.DataFrame | NDArray[Any], protocol: str) -> None:
    """Refuse missing numbers where the protocol has no word for them.

    Raises
    ------
    ReleaseError
    """
    if protocol not in WITHOUT_GAPS:
        return
    gaps: Mapping[str, int] = {}
    if isinstance(part, pd.DataFrame):
        numeric = [name for name in part.columns if pd.api.types.is_numeric_dtype(part[name])]
        gaps = {str(name): int(part[name].isna().sum()) for name in numeric}
    elif part.dtype.kind == "f" and not np.isfinite(part).all():
        gaps = {"the array": 1}
    holders = [name for name, count in gaps.items() if count]
    if holders:
        raise ReleaseError(
            f"numbers are missing in {', '.join(holders[:5])}, and {protocol} cannot carry that",
            where="release.protocol",
            next_step="Impute them as the model's own preprocessing does: release.prepare",
        )


def mlflow_body(part: pd.DataFrame | NDArray[Any], rows: Sequence[Any]) -> dict[str, Any]:
    """What ``/invocations`` takes: columns and rows of a table, or an array.

    Parameters
    ----------
    part : DataFrame or array
    rows : sequence
        The records as JSON values.
    """
    if isinstance(part, pd.DataFrame):
        names = [str(name) for name in part.columns]
        return {
            "dataframe_split": {
                "columns": names,
                "data": [[row[name] for name in names] for row in rows],
            }
        }
    return {"inputs": list(rows)}


def kserve_inputs(
    part: Any,  # noqa: ANN401
    inputs: Mapping[str, str | Sequence[str]],
    datatypes: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Tensors of the Open Inference Protocol, version 2.

    Parameters
    ----------
    part : DataFrame, array, or mapping of names to arrays
    inputs : mapping of str to str or sequence of str
        For tables: which column, or which numeric columns side by side, each tensor gets. By
        default every column is a tensor of its name. For images and signals, the name of the one.
    datatypes : mapping of str to str
        Of tensors, where the server wants another than the column has.

    Raises
    ------
    ConfigError
        Columns are not there, or an array has no name.
    """
    if isinstance(part, Mapping):
        tensors = {str(name): np.asarray(values) for name, values in part.items()}
    elif isinstance(part, pd.DataFrame):
        chosen = dict(inputs) or {str(name): str(name) for name in part.columns}
        tensors = {name: _tensor(part, columns, name) for name, columns in chosen.items()}
    elif len(inputs) == 1:
        tensors = {next(iter(inputs)): part}
    else:
        raise ConfigError(
            "the tensor of the images or signals has no name",
            where="release.inputs",
            expected="one name: inputs = { x = [] }",
        )
    unknown = set(datatypes) - set(tensors)
    if unknown:
        name = sorted(unknown)[0]
        raise ConfigError(
            f'there is no tensor "{name}"',
            where="release.datatypes",
            expected=one_of(name, tensors),
        )
    return [
        {
            "name": name,
            "shape": list(values.shape),
            "datatype": datatypes.get(name) or DATATYPES.get(values.dtype, "BYTES"),
            "data": values.ravel().tolist(),
        }
        for name, values in tensors.items()
    ]


def _tensor(part: pd.DataFrame, columns: str | Sequence[str], name: str) -> NDArray[Any]:
    names = [columns] if isinstance(columns, str) else list(columns)
    for one in names:
        if one not in part.columns:
            raise ConfigError(
                f'the tensor "{name}" has no column "{one}"',
                where="release.inputs",
                expected=one_of(one, map(str, part.columns)),
            )
    numeric = [pd.api.types.is_numeric_dtype(part[one]) for one in names]
    if not all(numeric):
        if len(names) > 1:
            raise ConfigError(
                f'the tensor "{name}" mixes categories with other columns',
                where="release.inputs",
                expected="numeric columns side by side, or one column of categories",
            )
        return np.array([one or "" for one in texts(part[names[0]])], dtype=object)[:, None]
    values = part[names].to_numpy()
    return values.astype(np.float32) if values.dtype.kind == "f" or len(names) > 1 else values


def kserve_answers(reply: Any, name: str, records: int) -> list[Any]:  # noqa: ANN401
    """One answer per record from the tensors of a reply.

    Parameters
    ----------
    reply : JSON value
    name : str
        Of the output; "" for the first of floating-point numbers.
    records : int

    Raises
    ------
    ReleaseError
        There is no such output, or its data do not have its shape.
    """
    outputs = reply.get("outputs") if isinstance(reply, Mapping) else None
    if not isinstance(outputs, list) or not all(isinstance(one, Mapping) for one in outputs):
        raise ReleaseError(
            "the reply has no list of outputs",
            where=WHERE,
            expected="a reply of KServe's protocol 2",
        )
    if name:
        found = [one for one in outputs if one.get("name") == name]
    else:
        found = [one for one in outputs if str(one.get("datatype")).startswith("FP")] or outputs
    if not found:
        raise ReleaseError(
            f'the reply has no output "{name}"' if name else "the reply has no output",
            where="release.answer",
            expected="the name of an output of the model",
        )
    try:
        shape = [int(one) for one in found[0]["shape"]]
        flat = np.asarray(found[0]["data"], dtype=np.float64).ravel()
        fits = min(shape) > 0 and math.prod(shape) == flat.size
    except Exception:  # whatever stands there
        fits = False
    if not fits or shape[0] != records:
        raise ReleaseError(
            f"the output is not a tensor of numbers for {records} records",
            where=WHERE,
            expected="a shape that begins with the number of records, and as many numbers",
            next_step="Name another output: release.answer",
        )
    return list(flat.reshape(records, -1).tolist())


def field_of(content: bytes, known: Collection[str]) -> str:
    """Which field a refusal is about, in words of the user's own, or "".

    FastAPI and pydantic name the place of a fault and its kind; MLflow and others a code. Both are
    told; messages and values, which may be a patient's, are not.

    Parameters
    ----------
    content : bytes
        Beginning of the reply.
    known : collection of str
        Names of columns and of the parts of the request.
    """
    try:
        said = json.loads(content[:MOST_OF_A_REFUSAL])
        faults = said.get("detail") if isinstance(said, Mapping) else None
        if isinstance(faults, list) and faults and isinstance(faults[0], Mapping):
            place = ".".join(_step(step, known) for step in list(faults[0].get("loc", ()))[:12])
            kind = faults[0].get("type")
            kind = f", {kind}" if isinstance(kind, str) and CODE.fullmatch(kind) else ""
            more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
            return f"{place or 'a field'}{kind}{more}"
        code = said.get("error_code") if isinstance(said, Mapping) else None
        return code if isinstance(code, str) and CODE.fullmatch(code) else ""
    except Exception:  # whatever it holds
        return ""


def _step(step: object, known: Collection[str]) -> str:
    if isinstance(step, int) and not isinstance(step, bool):
        return "N"  # the number of a record would tell which one it is
    return step if isinstance(step, str) and step in {*known, "body"} else "?"
