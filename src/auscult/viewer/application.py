"""The pages: the list of patients, one patient, groups, two runs. None of them writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import resources
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from auscult.base.errors import AuscultError, ConfigError
from auscult.base.showing import cleaned
from auscult.report.words import (
    counted,
    decimal,
    interval,
    probability,
    share,
    signed,
    whole,
)
from auscult.viewer.beside import Beside
from auscult.viewer.contents import picture, slices
from auscult.viewer.group_rows import group_rows
from auscult.viewer.holding import Holding
from auscult.viewer.one_patient import one_patient
from auscult.viewer.peculiar import Reference
from auscult.viewer.roll import SHOWN, Wish
from auscult.viewer.strips import bar

MOST_LEVELS = 200  # of a filter's menu
NAMES = {
    "identifier": "identifier",
    "auc": "AUC",
    "auc_low": "lower bound",
    "auc_high": "upper bound",
    "auc_raw": "raw AUC",
    "above_0.9": "probability of an AUC above 0.9",
    "records": "records",
}
PNG = {"content-type": "image/png"}


class Pages:
    """Answers of the application; one at a time.

    Parameters
    ----------
    reference : Reference
        The run, its cohort, and what patients are compared with.
    other : Holding, optional
        Another run, to be set beside it.
    base : str
        Path that all addresses begin with.
    """

    def __init__(self, reference: Reference, other: Holding | None, base: str) -> None:
        self.reference = reference
        holding = self.holding = reference.holding
        self.contents = reference.contents
        self.beside = None if other is None else Beside.of(holding, other)
        self.base = base
        self._templates = Environment(
            loader=PackageLoader("auscult.viewer", "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_shown,
        )
        self._templates.globals.update(
            base=base,
            run=holding.name,
            against=None if self.beside is None else self.beside.name,
            decimal=decimal,
            interval=interval,
            share=share,
            probability=probability,
            signed=signed,
            whole=whole,
            counted=counted,
            bar=bar,
        )

    def page(self, name: str, **values: Any) -> HTMLResponse:  # noqa: ANN401
        """One page of a template."""
        return HTMLResponse(self._templates.get_template(name).render(**values))

    def patients(self, request: Request) -> Response:
        """The list, sorted and filtered as the address says."""
        roll = self.holding.roll
        wish = self._wish(request)
        leaf = roll.leaf(wish)
        given = [(k, v) for k, v in request.query_params.multi_items() if v and k != "page"]

        def at(page: int) -> str:
            return f"{self.base}/?{urlencode([*given, ('page', str(page))])}"

        def by(column: str) -> str:
            other = column if wish.sort == f"-{column}" else f"-{column}"
            if column in ("identifier",) or column.startswith("g"):
                other = f"-{column}" if wish.sort == column else column
            rest = [(k, v) for k, v in given if k != "sort"]
            return f"{self.base}/?{urlencode([*rest, ('sort', other)])}"

        return self.page(
            "patients.html",
            roll=roll,
            names=self._names,
            leaf=leaf,
            wish=wish,
            at=at,
            by=by,
            beside=self.beside,
            most=MOST_LEVELS,
            headline=_headline(self.holding),
            above=int((roll.numbers["auc"] > 0.9).sum()),
            confirmed=None if roll.confirmed is None else int(roll.confirmed.sum()),
            reason=self.contents.reason,
        )

    @property
    def _names(self) -> dict[str, str]:
        """Columns that the list can be sorted by, as people call them."""
        roll = self.holding.roll
        groups = {f"g{k}": one.name for k, one in enumerate(roll.attributes)}
        other = "" if self.beside is None else self.beside.name
        said = {**NAMES, "other": f"AUC in {other}", "change": f"change in {other}", **groups}
        return {name: said[name] for name in roll.sortable}

    def _wish(self, request: Request) -> Wish:
        query, roll = request.query_params, self.holding.roll
        sort = query.get("sort", "-auc")
        if sort.removeprefix("-") not in roll.sortable:
            raise ConfigError("the list cannot be sorted by that", where="sort")
        shown = query.get("shown", "all")
        if shown not in SHOWN or (shown == "confirmed" and roll.confirmed is None):
            raise ConfigError("there is no such choice of patients", where="shown")
        levels = {}
        for k, attribute in enumerate(roll.attributes):
            if text := query.get(f"g{k}", ""):
                levels[k] = _number(text, f"g{k}", len(attribute.levels) - 1)
        page = _number(query.get("page") or "1", "page", 1 << 40)
        identifier = query.get("identifier", "").strip()
        return Wish(sort=sort, shown=shown, identifier=identifier, levels=levels, page=page)

    def patient(self, request: Request) -> Response:
        """One patient."""
        number = int(request.path_params["number"])
        if number >= self.holding.patients:
            raise HTTPException(404)
        found = one_patient(self.reference, self.beside, number)
        every = request.query_params.get("every") == "1"
        return self.page("patient.html", one=found, every=every)

    def groups(self, _: Request) -> Response:
        """Patients by attribute."""
        rows = [
            (k, attribute.name, group_rows(self.holding.roll, attribute))
            for k, attribute in enumerate(self.holding.roll.attributes)
        ]
        return self.page("groups.html", tables=rows)

    def common(self, _: Request) -> Response:
        """What the exposed have in common, exactly as it was found."""
        return self.page("common.html", found=self.holding.in_common)

    def comparison(self, _: Request) -> Response:
        """Two runs."""
        if self.beside is None:
            raise HTTPException(404)
        return self.page("comparison.html", beside=self.beside)

    def image(self, request: Request) -> Response:
        """One image, or one slice of a volume, of one record."""
        arrays = list(self.contents.arrays().values())
        record, part, place = (
            int(request.path_params[name]) for name in ("record", "part", "place")
        )
        if part >= len(arrays) or record >= len(arrays[part]) or not slices(arrays[part]):
            raise HTTPException(404)
        return Response(picture(arrays[part], record, place), headers=PNG)


def application(reference: Reference, other: Holding | None, base: str) -> Starlette:
    """The pages as an application; see :class:`Pages`.

    Parameters
    ----------
    reference : Reference
    other : Holding or None
    base : str
    """
    pages = Pages(reference, other, base)
    lock = threading.Lock()  # what is computed once is computed by one

    def answered(make: Callable[[Request], Response]) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            with lock:
                try:
                    pages.holding.refuse_changed()
                except AuscultError as error:
                    return _message(pages, str(error), 409)
                try:
                    return make(request)
                except AuscultError as error:
                    return _message(pages, str(error), 400)

        return answer

    def missing(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        return _message(pages, "There is no such page.", status)

    def style(_: Request) -> Response:
        text = "".join(
            resources.files(package).joinpath(name).read_text(encoding="utf-8")
            for package, name in (("auscult.report", "style.css"), ("auscult.viewer", "view.css"))
        )
        return Response(text, media_type="text/css")

    return Starlette(
        routes=[
            Route("/", answered(pages.patients), methods=["GET"]),
            Route("/patient/{number:int}", answered(pages.patient), methods=["GET"]),
            Route("/groups", answered(pages.groups), methods=["GET"]),
            Route("/common", answered(pages.common), methods=["GET"]),
            Route("/comparison", answered(pages.comparison), methods=["GET"]),
            Route(
                "/image/{record:int}/{part:int}/{place:int}.png",
                answered(pages.image),
                methods=["GET"],
            ),
            Route("/style.css", style, methods=["GET"]),
        ],
        exception_handlers={404: missing},
    )


def _message(pages: Pages, text: str, status: int) -> Response:
    page = pages.page("message.html", text=text)
    page.status_code = status
    return page


def _headline(holding: Holding) -> dict[str, Any]:
    found: dict[str, Any] = (holding.summary["patients"].get("exposed") or {}).get("0.9") or {}
    return found


def _number(text: str, where: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 15 and int(text) <= most):
        raise ConfigError("this is not a number that can be here", where=where)
    return int(text)


def _shown(value: object) -> object:
    """What a page prints: nothing in a text from outside may hide or reorder it."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return cleaned(value, keep="\n\N{FIRST STRONG ISOLATE}\N{POP DIRECTIONAL ISOLATE}")
    return "" if value is None else value
