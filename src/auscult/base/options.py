"""Options that a user wrote, checked against what makes the part that they are for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from auscult.base.errors import ConfigError, one_of


def construct(
    part: Callable[..., Any], options: dict[str, Any], where: str, folder: Path | None = None
) -> Any:  # noqa: ANN401
    """Make a part with the options that the user wrote.

    Parameters
    ----------
    part : class
        Its constructor's keyword arguments are its options.
    options : dict
    where : str
    folder : Path, optional
        The configuration's, for parts with a keyword `folder`: their relative paths are meant so.

    Raises
    ------
    ConfigError
        An option is unknown or missing, or its value is of the wrong type.
    """
    from pydantic import ConfigDict, ValidationError, create_model

    parameters = inspect.signature(part).parameters
    hints = _hints(part)
    given = {"folder": folder} if folder is not None and "folder" in parameters else {}
    known = [
        name
        for name, one in parameters.items()
        if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL) and name != "folder"
    ]
    for name in options:
        if name not in known:
            raise ConfigError(
                "there is no such option", where=f"{where}.{name}", expected=one_of(name, known)
            )
    fields: dict[str, Any] = {
        name: (
            hints.get(name, Any),
            ... if parameters[name].default is inspect.Parameter.empty else None,
        )
        for name in known
        if name in options or parameters[name].default is inspect.Parameter.empty
    }
    strict = ConfigDict(strict=True, arbitrary_types_allowed=True, protected_namespaces=())
    renamed = {f"of_{name}": kind for name, kind in fields.items()}
    model = create_model("Options", __config__=strict, **renamed)
    try:
        model.model_validate({f"of_{name}": value for name, value in options.items()})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"])).removeprefix("of_")
        missing = first["type"] == "missing"
        said = "is missing" if missing else first["msg"][0].lower() + first["msg"][1:]
        raise ConfigError(said, where=f"{where}.{key}") from None
    return part(**options, **given)


def _hints(part: Callable[..., Any]) -> dict[str, Any]:
    import typing

    try:
        return typing.get_type_hints(part.__init__ if isinstance(part, type) else part)  # type: ignore[misc]
    except (NameError, TypeError):  # names that exist for type checkers only
        return {}
