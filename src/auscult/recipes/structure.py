"""What a fitted estimator carries of its training data, read from its structure: no attack needed.

Some models are their data: nearest neighbours, support vectors, Gaussian processes. Others hold a
patient in a part of theirs: a leaf that few records reach, a category that one record has, a word
of a vocabulary (after the structural attacks of Preen & Smith, SACRO-ML, 2023-2025). Such a model
must not leave the house as it is, whatever membership inference finds. Estimators are recognised by
what they hold, not by their class, and looked for in pipelines, ensembles and searches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Attributes under which estimators keep rows of their training data.
_ROWS = {
    "_fit_X": "keeps its training records (nearest neighbours)",
    "X_fit_": "keeps its training records (kernel)",
    "X_train_": "keeps its training records (Gaussian process)",
    "support_vectors_": "keeps training records as support vectors",
    "X_transformed_fit_": "keeps its training records (transformed)",
}
_DEEPEST = 8
_MOST_PARTS = 5000


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a model carries.

    Attributes
    ----------
    key : {"records", "leaves", "pure_leaves", "vocabulary", "parameters"}
    part : str
        Class of the part that carries it.
    count : int
        Records kept, leaves or words concerned, or parameters per training record.
    what : str
        In words, with the number but no value of a record.
    """

    key: str
    part: str
    count: int
    what: str


def structural_findings(model: Any, records: int, smallest: int) -> list[Finding]:  # noqa: ANN401
    """Look for training data in a fitted estimator.

    Parameters
    ----------
    model : object
        A fitted estimator or pipeline of scikit-learn's kind.
    records : int
        How many records it was trained on.
    smallest : int
        The smallest cell: leaves with fewer records are findings.

    Returns
    -------
    list of Finding
        Empty where nothing was found; that is no proof that there is nothing.
    """
    found: dict[tuple[str, str], list[int]] = {}

    def add(key: str, part: Any, count: int) -> None:  # noqa: ANN401
        found.setdefault((key, type(part).__name__), []).append(count)

    kept: dict[str, str] = {}
    parameters = 0
    for part in _parts(model):
        for name, words in _ROWS.items():
            rows = _rows(getattr(part, "__dict__", {}).get(name))
            rows = rows or (_rows(_of(part, name)) if name == "support_vectors_" else 0)
            if rows:
                kept[type(part).__name__] = words
                add("records", part, rows)
        tree = _leaves(part)
        if tree is not None:
            sizes, pure = tree
            if few := int((sizes < smallest).sum()):
                add("leaves", part, few)
            if certain := int(pure.sum()):
                add("pure_leaves", part, certain)
        words_of = _of(part, "vocabulary_")
        if isinstance(words_of, Mapping) and words_of:
            least = _of(part, "min_df")
            if isinstance(least, int) and least < smallest:
                add("vocabulary", part, len(words_of))
        for name in ("coef_", "coefs_", "intercept_", "intercepts_"):
            value = _of(part, name)
            arrays = value if isinstance(value, list) else [value]
            parameters += sum(np.asarray(a).size for a in arrays if a is not None)
    if parameters > records:
        found[("parameters", type(model).__name__)] = [round(parameters / max(records, 1))]
    return [
        Finding(
            key=key, part=part, count=sum(counts), what=_words(key, counts, smallest, kept, part)
        )
        for (key, part), counts in found.items()
    ]


def _words(key: str, counts: list[int], smallest: int, kept: Mapping[str, str], part: str) -> str:
    number = sum(counts)
    trees = f" in {len(counts)} trees" if len(counts) > 1 else ""
    return {
        "records": f"{part} {kept.get(part, 'keeps training records')}: {number:,}",
        "leaves": f"{number:,} leaves{trees} of {part} hold fewer than {smallest} records",
        "pure_leaves": f"{number:,} leaves{trees} of {part} answer with one class only: if a "
        "patient is known to be in one, the class is disclosed",
        "vocabulary": f"{part} holds {number:,} words, and takes those of fewer than {smallest} "
        "records too (min_df)",
        "parameters": f"{_per_record(number)}: enough to hold them",
    }[key]


def _per_record(number: int) -> str:
    if number == 1:
        return "about as many parameters as training records"
    return f"about {number:,} parameters per training record"


def _of(part: Any, name: str) -> Any:  # noqa: ANN401
    """An attribute of somebody else's object; None where it has none, or refuses to tell."""
    try:
        return getattr(part, name, None)
    except Exception:
        return None


def _rows(value: Any) -> int:  # noqa: ANN401
    shape = getattr(value, "shape", None)
    return int(shape[0]) if shape is not None and len(shape) == 2 and shape[1] > 0 else 0


def _leaves(part: Any) -> tuple[NDArray[np.int64], NDArray[np.bool_]] | None:  # noqa: ANN401
    """Records of each leaf of a tree, and which answer with one class."""
    tree: Any = getattr(part, "__dict__", {}).get("tree_")
    try:
        leaf = np.asarray(tree.children_left) == -1
        sizes = np.asarray(tree.n_node_samples)[leaf]
        values = np.asarray(tree.value)[leaf][:, 0, :]
    except (AttributeError, IndexError, TypeError):
        return None
    several = values.shape[1] > 1
    return sizes, (values > 0).sum(axis=1) == 1 if several else np.zeros(sizes.size, dtype=bool)


def _parts(model: Any) -> Iterator[Any]:  # noqa: ANN401
    """The model and every object inside it, each once."""
    seen: set[int] = set()
    waiting: list[tuple[Any, int]] = [(model, 0)]
    while waiting and len(seen) < _MOST_PARTS:
        part, depth = waiting.pop()
        if id(part) in seen or depth > _DEEPEST:
            continue
        if isinstance(part, np.ndarray):
            inner = part.ravel().tolist() if part.dtype == object and part.size < 10_000 else []
        elif isinstance(part, Mapping):
            inner = list(part.values()) if len(part) < 1000 else []
        elif isinstance(part, list | tuple):
            inner = list(part) if len(part) < 10_000 else []
        elif isinstance(part, type) or callable(part) or not hasattr(part, "__dict__"):
            continue
        else:
            inner = list(vars(part).values())
            yield part
        seen.add(id(part))
        plain = (str, bytes, int, float, bool, type(None))
        waiting += [(one, depth + 1) for one in inner if not isinstance(one, plain)]
