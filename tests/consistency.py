"""Whether a report agrees with its summary and with itself: every number that it shows is read.

``disagreements(summary)`` is called on finished runs wherever the tests make some; it costs little.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

from auscult.report import elements as e
from auscult.report.changes import FROM_ANOTHER, OTHER_PATIENTS
from auscult.report.dossier import dossier_page
from auscult.report.protection import comparison_page
from auscult.report.summary import Part, read_summary
from auscult.report.view import page
from auscult.report.words import MINUS, NOT_ESTIMABLE, count_interval, whole
from auscult.results.comparing import Comparison

NUMBER = re.compile(r"(?<![\w.])[-+−<>]*\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?%?")  # noqa: RUF001
DIGEST = re.compile(r"\b[0-9a-f]{40,}\b")  # one that begins with 8e29342013 is no number
PROSE = frozenset({"2026", "100"})  # a year, and 1 in 100
CURVES = frozenset({"roc", "survival", "trade_off", "by_prior"})
DRAWN = 1e-6


def disagreements(summary: dict[str, Any]) -> list[str]:
    """What the report of a summary says that the summary, or another part of it, does not."""
    return disagreements_of(page(summary), summary)


def unknown_numbers(summary: dict[str, Any], build: Any) -> list[str]:  # noqa: ANN401
    """Numbers of another document of the summary that are not the summary's."""
    return list(_unknown_numbers(summary, build(summary), build))


def disagreements_of(shown: e.Page, summary: dict[str, Any]) -> list[str]:
    """The same of a page that was made of the summary."""
    part = read_summary(summary)
    return [
        *_unknown_numbers(summary, shown),
        *_plots_and_tables(shown),
        *_exposed_everywhere(part, shown),
        *_shares(part, shown),
        *_changes(part, shown),
        *_means(part, shown),
        *_sizes(part, shown),
        *_opposites(part),
        *_verdicts(part, shown),
    ]


def comparison_disagreements(found: Comparison) -> list[str]:
    """The same of the tables that set several finished runs beside the first."""
    part = read_summary(found.summary | {"protection": found.entries})
    shown = comparison_page(part, part.parts("protection"), found.name)
    assert "averages" in tables_of(shown)
    return [*_changes(part, shown), *_means(part, shown)]


def texts_of(shown: e.Page) -> Iterator[tuple[str, str]]:
    """Every text of a page with the place where it stands."""
    yield "headline", shown.headline.sentence
    yield from (("verdict", text) for text in shown.verdict)
    yield from (("first", text) for text in (shown.decision, *shown.to_do, *shown.unknown))
    yield from (("facts", f"{one.value} {one.note}") for one in shown.facts)
    for section in shown.sections:
        for block in section.blocks:
            yield from ((section.key, text) for text in _texts(block))


def _texts(block: e.Block) -> Iterator[str]:
    if isinstance(block, e.Paragraph | e.Heading):
        yield block.text
    elif isinstance(block, e.Items):
        yield from (text for _, text in block.items)
    elif isinstance(block, e.Figure):
        yield from (block.sentence, block.small_print)
        if not isinstance(block.plot, e.DotField):  # whose table is checked against its dots
            yield from _texts(block.table)
    else:
        yield from block.notes
        yield from (cell for row in block.rows for cell in row)


def tables_of(shown: e.Page) -> dict[str, e.Table]:
    """Tables by key, those under figures too."""
    found = {}
    for section in shown.sections:
        for block in section.blocks:
            if isinstance(block, e.Table):
                found[block.key] = block
            elif isinstance(block, e.Figure):
                found[f"{block.key} (figure)"] = block.table
    return found


def figures_of(shown: e.Page) -> dict[str, e.Figure]:
    """Figures by key."""
    return {
        block.key: block
        for section in shown.sections
        for block in section.blocks
        if isinstance(block, e.Figure)
    }


# Every number is one of the summary, rounded as it is shown


def _numbers(content: Any, curves: bool) -> Iterator[float]:  # noqa: ANN401
    if isinstance(content, dict):
        for key, value in content.items():
            if curves or key not in CURVES:
                yield from _numbers(value, curves)
            yield from _in_text(str(key))
    elif isinstance(content, list):
        for value in content:
            yield from _numbers(value, curves)
    elif isinstance(content, str):
        yield from _in_text(content)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield float(content)


def _tokens(text: str) -> list[str]:
    """Numbers as they are written."""
    return NUMBER.findall(DIGEST.sub("", text))


def _in_text(text: str) -> Iterator[float]:
    for token in _tokens(text):
        yield abs(_value(token)[0])


def _value(token: str) -> tuple[float, float]:
    """A number as it is shown, and how far off its rounding may be; shares as shares."""
    bare = token.lstrip("+-<>" + MINUS).replace(",", "")
    percent = bare.endswith("%")
    bare = bare.rstrip("%")
    decimals = len(bare.partition("e")[0].partition(".")[2])
    value = float(bare)
    reach = 0.5 * 10.0**-decimals
    if not percent and not decimals:
        reach = 1.0  # intervals of counts are rounded outwards
    if token[:1] in "<>":
        reach *= 2
    return (value / 100, reach / 100) if percent else (value, reach)


def _unknown_numbers(
    summary: dict[str, Any],
    shown: e.Page,
    build: Any = page,  # noqa: ANN401
) -> Iterator[str]:
    silent = build(_nulled(summary))
    prose = {token for _, text in texts_of(silent) for token in _tokens(text)}
    known = {False: sorted(_derived(summary, False)), True: sorted(_derived(summary, True))}
    for place, text in texts_of(shown):
        curves = place in ("survival", "aggregate", "exposure", "guarantee", "release", "officer")
        for token in _tokens(text):
            if token in prose or token in PROSE:
                continue
            value, reach = _value(token)
            if f"at most {token}" in text:
                reach *= 2  # losses are rounded up
            slack = reach * 1.02 + 1e-9  # halves are rounded either way
            if not any(abs(abs(one) - value) <= slack for one in known[curves]):
                yield f"{place}: {token} is nowhere in the summary: {text[:160]}"


def _derived(summary: dict[str, Any], curves: bool) -> set[float]:
    """Numbers of the summary and the simple ones that follow: shares, differences, sums."""
    found = set(_numbers(summary, curves))
    patients = summary.get("patients") or {}
    of = patients.get("estimable") or patients.get("count")
    rows = [row for row in (patients.get("exposed") or {}).values() if row]
    counts = [v for row in rows for v in row.values() if isinstance(v, int | float)]
    if of:
        found |= {one / of for one in counts}
        dots = min(of, 1000)
        found |= {dots, of / dots, dots - 0.0, *(dots * one / of for one in counts)}
        found |= {dots - dots * one / of for one in counts}
        found |= {(patients.get("count") or of) - of}
    for row in rows:
        found |= {float(cell) for cell in (row.get("fewer_than") or {}).values()}
        if of and row.get("fewer_than"):
            found |= {cell / of for cell in row["fewer_than"].values()}
    utility = (summary.get("models") or {}).get("utility") or {}
    members = utility.get("members") or {}
    if None not in (utility.get("mean"), members.get("mean")):
        found.add(members["mean"] - utility["mean"])
    for one in summary.get("protection") or []:
        for key in ("exposed", "exposed_before"):
            found |= set(_numbers(one.get(key), True))
    found |= {1 - one for one in list(found) if 0 <= one <= 1}
    checks = (summary.get("decision") or {}).get("checks") or []
    found |= {float(len(checks)), float(sum(one["verdict"] == "pass" for one in checks))}
    groups = [part.get("groups") or {} for part in (summary.get("disparities") or {}).values()]
    found |= {float(n) for n in range(1 + sum(len(one) for one in groups))}  # how many differ
    found |= {float(n) for n in range(1 + len(summary.get("protection") or []))}
    structure = summary["cohort"].get("left_out") or []
    found.add(float(sum(one.get("records") or 0 for one in structure)))
    for side in (summary.get("planted") or {}).values():
        if isinstance(side, dict) and side.get("patients"):
            found.add(side["found"] / side["patients"])
    found |= _accounted(summary)
    return found


def _accounted(summary: dict[str, Any]) -> set[float]:
    """Sums over bands and groups, and sizes of tables."""
    found: set[float] = set()
    bands = (summary.get("patients") or {}).get("by_records") or []
    found.add(float(sum(band.get("patients") or 0 for band in bands)))
    for part in (summary.get("disparities") or {}).values():
        found.add(
            float(sum(row.get("patients") or 0 for row in (part.get("groups") or {}).values()))
        )
    attacks = summary.get("aggregate") or {}
    found |= {1 / n for one in attacks.values() if (n := one.get("out_records_per_target"))}
    classes = summary["cohort"].get("classes") or []
    found |= {float(len(classes) - 40), float(sum(c.get("records") or 0 for c in classes[40:]))}
    curve = (summary.get("patients") or {}).get("survival") or {}
    found |= {float(n) for n in range(1 + len(curve.get("auc") or []))}  # points of it
    text = str((summary.get("decision") or {}).get("policy") or "")
    return found | {float(n) for n in range(1 + len(text.splitlines()))}


def _nulled(content: Any) -> Any:  # noqa: ANN401
    """The summary without a figure: what its report still says is prose."""
    made = copy.deepcopy(content)
    for key in ("exposure", "protection", "sweep", "sizes", "release", "planted", "guarantee"):
        made[key] = {} if key != "exposure" and key != "protection" else []
    made["disparities"], made["decision"] = {}, {}

    def walked(part: Any) -> Any:  # noqa: ANN401
        if isinstance(part, dict):
            return {key: walked(value) for key, value in part.items()}
        if isinstance(part, list):
            return [] if all(isinstance(v, int | float) for v in part) else list(map(walked, part))
        return None if isinstance(part, int | float) and not isinstance(part, bool) else part

    return walked(made)


# Plot against table


def _plots_and_tables(shown: e.Page) -> Iterator[str]:
    for key, figure in figures_of(shown).items():
        cells = [[v for cell in row for v in _cell(cell)] for row in figure.table.rows]
        everything = [one for row in cells for one in row]
        for name, value in _drawn(figure.plot):
            if not any(abs(abs(value) - v) <= reach * 1.001 + DRAWN for v, reach in everything):
                yield f"figure {key}: {name} is drawn at {value:.4g}, which its table has not"
        if isinstance(figure.plot, e.DotField):
            for place, panel in enumerate(figure.plot.panels, start=1):
                told = [row[place] for row in figure.table.rows]
                if told != [f"{count:,}" for _, count in panel.dots]:
                    yield f"figure {key}: other dots than in its table"


def _cell(cell: str) -> list[tuple[float, float]]:
    return [_value(token) for token in NUMBER.findall(cell)]


def _drawn(plot: e.Plot) -> Iterator[tuple[str, float]]:
    if isinstance(plot, e.IntervalChart):
        for row in plot.rows:
            for point in row.points:
                for value in (point.value, point.low, point.high):
                    if value is not None:
                        yield row.label, value
    elif isinstance(plot, e.ScatterChart):
        for spot in plot.spots:
            for point in (spot.x, spot.y):
                ends = (point.low, point.high)
                for value in ends if point.bounds_only else (point.value, *ends):
                    if value is not None:
                        yield spot.mark, value


# One name, one number


def _exposed_everywhere(part: Part, shown: e.Page) -> Iterator[str]:
    row = part.part("patients").part("exposed").part("0.9")
    low, high = row.number("low"), row.number("high")
    if low is None or high is None:
        return
    few = bool(part.part("patients").text("few_models"))
    bounds = count_interval(low, high)
    estimate = row.number("estimate")
    expected = bounds if few or estimate is None else f"{whole(estimate)} ({bounds})"
    tables = tables_of(shown)
    for key, first, column in (
        ("thresholds", "0.9", 1),
        ("officer-worst", "0.9", 1),
        ("protection", "0:", 1),
        ("frontier (figure)", "0:", 2),
    ):
        for cells in tables[key].rows if key in tables else ():
            mine = cells[0] == first or (first == "0:" and cells[0].startswith(first))
            if mine and cells[column] != expected:
                yield f"table {key}: {cells[column]} exposed, elsewhere {expected}"
    sentence = shown.headline.sentence
    if not sentence.startswith(("No conclusion", NOT_ESTIMABLE.capitalize())):
        for wanted in (bounds,) if few else (whole(estimate), bounds):
            if wanted.lower() not in sentence.lower():
                yield f"headline: {sentence}, elsewhere {expected}"


def _shares(part: Part, shown: e.Page) -> Iterator[str]:
    of = part.part("patients").number("estimable") or part.part("patients").number("count")
    table = tables_of(shown).get("thresholds")
    if table is None or not of or "Share" not in table.columns:
        return
    for cells in table.rows:
        count, share = cells[1], cells[table.columns.index("Share")]
        if NOT_ESTIMABLE in (count, share) or "than" in share:
            continue
        (n, n_reach), (s, s_reach) = _cell(count)[0], _cell(share)[0]
        if abs(n / of - s) > (min(n_reach, 0.5) / of + s_reach) * 1.001 and not count.startswith(
            "fewer"
        ):
            yield f"thresholds: {count} of {of:g} are not {share}"


def _changes(part: Part, shown: e.Page) -> Iterator[str]:
    """Before and after and their difference; what is lower in the picture is lower in the table."""
    table = tables_of(shown).get("protection")
    if table is None:
        return
    place = table.columns.index("Change")
    figure = figures_of(shown).get("frontier")
    drawn = {} if figure is None else {s.mark: s.y for s in figure.plot.spots}  # type: ignore[union-attr]
    before = table.rows[0]
    for number, (entry, cells) in enumerate(
        zip(part.parts("protection"), table.rows[1:], strict=True), start=1
    ):
        change = cells[place]
        if NOT_ESTIMABLE in change or entry.part("layers"):
            continue
        sign = -1 if change.startswith(MINUS) else 1
        value = sign * _cell(change)[0][0]
        note = next((n for n in table.notes if n.startswith(f"{number}: attacked")), "")
        start = note.partition(", ")[2] if FROM_ANOTHER in note else before[1]
        yield from _difference(f"protection {number}", start, cells[1], change)
        ends = [spot.value for mark in ("0", str(number)) if (spot := drawn.get(mark)) is not None]
        first, last = ends if len(ends) == 2 else (None, None)
        if first is not None and last is not None and value * (last - first) < 0:
            yield f"protection {number}: {change}, and drawn on the other side"


def _means(part: Part, shown: e.Page) -> Iterator[str]:
    """Mean AUC and utility of every protection: what it was, what it is, and the change.

    The change is from the first row, or from the number that a note under the table gives.
    """
    step = part.part("patients").number("rounded_to") or 0.0
    tables = tables_of(shown)
    for key in ("averages", "price"):
        if key not in tables:
            continue
        table = tables[key]
        for number, cells in enumerate(table.rows[1:], start=1):
            note = next((one for one in table.notes if one.startswith(f"{number}: ")), "")
            if OTHER_PATIENTS in note:
                continue
            start = note.removeprefix(f"{number}: ") if FROM_ANOTHER in note else table.rows[0][1]
            if NOT_ESTIMABLE in (start, cells[1], cells[2]):
                continue
            (before, one), (after, two), (change, three) = (
                _signed(text) for text in (start, cells[1], cells[2])
            )
            if abs(after - before - change) > one + two + three + 1.5 * step + DRAWN:
                yield f"{key} {number}: from {start} to {cells[1]} is not {cells[2]}"


def _sizes(part: Part, shown: e.Page) -> Iterator[str]:
    """Sizes of a sweep beside the audited one, which is the headline's, with its utility."""
    table = tables_of(shown).get("sweep")
    rows = () if table is None else table.rows
    base = next((row for row in rows if row[0].endswith("(the audited recipe)")), None)
    if base is None or base[2] == NOT_ESTIMABLE:
        return
    found = part.part("models").part("utility").number("mean")
    if found is not None and base[5] != NOT_ESTIMABLE and abs(_signed(base[5])[0] - found) > 1e-3:
        yield f"sweep: the audited recipe has {base[5]}, the models {found:.4f}"
    for row in rows:
        if NOT_ESTIMABLE not in (row[2], row[4]) and row is not base:
            yield from _difference("sweep", base[2], row[2], row[4])


def _opposites(part: Part) -> Iterator[str]:
    """Two groups that are everybody differ by the same, and as their means do."""
    for name, one in part.items("disparities"):
        rows = list(one.items("groups"))
        everybody = one.number("n_patients")
        if len(rows) != 2 or sum(row.number("patients") or 0 for _, row in rows) != everybody:
            continue
        (first, a), (second, b) = rows
        for key in ("difference", "difference_any_records"):
            low, high = a.number(f"{key}_low"), a.number(f"{key}_high")
            ends = b.number(f"{key}_low"), b.number(f"{key}_high")
            values = a.number(key), b.number(key)
            if None in (low, high, *ends, *values):
                continue
            for here, there in ((values[0], values[1]), (low, ends[1]), (high, ends[0])):
                if abs((here or 0) + (there or 0)) > DRAWN:
                    yield f"{name}: {first} and {second} are no opposites in {key}"
        means = a.number("mean_auc"), b.number("mean_auc")
        reach = ((a.number("rounded_to") or 0) + (b.number("rounded_to") or 0)) / 2
        said = a.number("difference_any_records")
        if None not in (*means, said) and reach:
            off = abs((means[0] or 0) - (means[1] or 0) - (said or 0))
            if off > reach + max(a.number("rounded_to") or 0, b.number("rounded_to") or 0):
                yield f"{name}: the means of {first} and {second} do not differ by {said}"


def _difference(where: str, before: str, after: str, change: str) -> Iterator[str]:
    """Whether whole numbers differ by what is said."""
    first, last = (_cell(text)[0][0] for text in (before, after))
    if last - first != _signed(change)[0]:
        yield f"{where}: from {before} to {after} is not {change}"


def dossier_disagreements(summary: dict[str, Any]) -> list[str]:
    """What the dossier says that the summary, or its own table of protections, does not."""
    shown = dossier_page(summary)
    found = unknown_numbers(summary, dossier_page)
    table = tables_of(shown).get("mitigation")
    if table is None:
        return found
    base = table.rows[0]
    for name, exposed, change, _ in table.rows[1:]:
        note = next((one for one in table.notes if one.startswith(f"{name}: judged")), "")
        start = note.partition("judged where ")[2] or base[1]
        if NOT_ESTIMABLE not in (start, exposed, change):
            found += _difference(f"mitigation, {name}", start, exposed, change)
    return found


def _signed(cell: str) -> tuple[float, float]:
    """The first number of a cell with its sign, and how far off its rounding may be."""
    token = NUMBER.findall(cell)[0]
    value, reach = _value(token)
    return (-value if token.startswith(MINUS) else value), reach


def _verdicts(part: Part, shown: e.Page) -> Iterator[str]:
    decision = part.part("decision")
    if not decision:
        return
    checks = decision.parts("checks")
    verdicts = {one.text("verdict") for one in checks}
    wanted = next((v for v in ("fail", "inconclusive") if v in verdicts), "pass")
    texts = [text for _, text in texts_of(shown)]
    if checks and decision.text("verdict") != wanted:
        yield f"the verdict is {decision.text('verdict')}, and its checks say {wanted}"
    broken = [one for one in checks if one.text("verdict") == "fail"]
    for one in broken:
        if any("cannot be judged" in text and one.text("what") in text for text in texts):
            yield f"{one.text('what')} is broken and cannot be judged"
    recommended = any(one.truth("recommended") for one in part.parts("protection"))
    missing = [c for c in checks if c.text("key").startswith("evidence.")]
    if recommended and any(c.text("verdict") == "inconclusive" for c in missing):
        yield "a protection is recommended on evidence that the gate calls missing"
