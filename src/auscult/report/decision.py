"""The section on the decision: verdict, what was judged, by whose policy, on which evidence."""

from __future__ import annotations

from auscult.report.elements import Block, Heading, Items, Paragraph, Section, Table
from auscult.report.summary import Part
from auscult.report.words import (
    count_interval,
    counted,
    decimal,
    expected,
    interval,
    sentence,
    signed,
    signed_interval,
    visible,
)

NOTHING = "\N{EN DASH}"
MOST_REASONS = 12

VERDICTS = {
    "pass": "Pass: every upper bound lies within its limit, on the evidence that the policy "
    "requires.",
    "fail": "Fail: at least one lower bound lies beyond its limit.",
    "inconclusive": "Inconclusive: no limit is certainly broken, and not every limit is certainly "
    "kept. This is not a pass.",
}
_WORDS = {"pass": "kept", "fail": "broken", "inconclusive": "open"}
_EVIDENCE = {"pass": "present", "fail": "broken", "inconclusive": "missing"}


def decision_section(summary: Part) -> Section | None:
    """The policy's verdict; None where no policy was applied."""
    decision = summary.part("decision")
    if not decision:
        return None
    verdict = decision.text("verdict")
    title = decision.text("title")
    by = f" by the policy {chr(8220)}{title}{chr(8221)}" if title else " by a policy"
    blocks: list[Block] = [
        Paragraph(text=VERDICTS.get(verdict, f"Verdict{by}: {verdict or 'not recorded'}."))
    ]
    missing = [*decision.texts("missing"), *decision.texts("reasons")]
    checks = decision.parts("checks")
    broken = [one.text("reason") for one in checks if one.text("verdict") == "fail"]
    for heading, reasons in (("Broken", broken), ("Open or missing", missing)):
        if reasons:
            shown = [("", sentence(reason)) for reason in reasons[:MOST_REASONS]]
            if len(reasons) > MOST_REASONS:
                more = f"{len(reasons) - MOST_REASONS} more are counted in the table below."
                shown.append(("", f"{more} The decision in summary.json holds each."))
            blocks.append(Heading(text=heading))
            blocks.append(Items(items=tuple(shown)))
    if checks:
        blocks.append(_table(checks, by))
    blocks += _policy(decision)
    return Section(
        key="decision",
        heading=f"The decision: {verdict or 'not recorded'}",
        short="Decision",
        blocks=tuple(blocks),
    )


def _table(checks: tuple[Part, ...], by: str) -> Table:
    kept = sum(one.text("verdict") == "pass" for one in checks)
    rows = [_row(same) for same in _folded(checks)]
    return Table(
        caption=f"What was judged{by}",
        columns=("Figure", "Verdict", "Limit", "Estimate", "95% interval"),
        rows=tuple(rows),
        notes=(
            (
                f"{kept} of {counted(float(len(checks)), 'check')} passed. A limit is kept when "
                "the upper bound lies within it, broken when the lower bound lies beyond it and "
                "beyond what chance gives, open in between or where the figure is missing. Point "
                "estimates decide nothing."
            ),
        ),
        text_columns=frozenset({0, 1}),
        key="decision",
    )


def _folded(checks: tuple[Part, ...]) -> list[list[Part]]:
    """Checks in order; limits of several groups that are all kept, or all open, go together."""
    folded: list[list[Part]] = []
    for one in checks:
        whole = one.text("verdict") != "fail" and one.text("key").startswith("groups.")
        same = [group for group in folded if whole and _alike(group[0], one)]
        if same:
            same[0].append(one)
        else:
            folded.append([one])
    return folded


def _alike(one: Part, other: Part) -> bool:
    return all(one.text(key) == other.text(key) for key in ("key", "verdict"))


def _row(same: list[Part]) -> tuple[str, ...]:
    one = same[0]
    words = _EVIDENCE if one.text("key").startswith("evidence.") else _WORDS
    verdict = words.get(one.text("verdict"), one.text("verdict"))
    if len(same) == 1:
        limit, estimate = _short(one, "limit"), _short(one, "estimate")
        return (one.text("what"), verdict, limit, estimate, _bounds(one))
    name, _, attribute = one.text("key").removeprefix("groups.").partition(": ")
    what = {
        "difference": "Mean AUC above others' with equally many records",
        "exposed_share": "Share above 0.9",
    }
    highest = max(part.number("high") or 0.0 for part in same)
    return (
        f"{what.get(name, name)}: {len(same)} groups of {attribute}",
        verdict,
        _short(one, "limit"),
        NOTHING,
        f"up to {signed(highest)}",
    )


def _policy(decision: Part) -> list[Block]:
    blocks: list[Block] = []
    text = str(decision.content().get("policy") or "")
    lines = [visible(line) for line in text.splitlines() if line.strip()]
    if lines:
        blocks.append(Heading(text="The policy's own text"))
        blocks.append(
            Table(
                caption="policy.toml",
                columns=("Line", "Text"),
                rows=tuple((str(n), line) for n, line in enumerate(lines, 1)),
                text_columns=frozenset({0, 1}),
                key="policy",
            )
        )
    prints = decision.part("fingerprints").content()
    if prints:
        blocks.append(
            Table(
                caption="What was judged, with what",
                columns=("Of", "Fingerprint"),
                rows=tuple((visible(name), visible(value)) for name, value in prints.items()),
                notes=(
                    "SHA-256 unless stated otherwise. Equal fingerprints give equal decisions.",
                ),
                text_columns=frozenset({0, 1}),
                key="fingerprints",
            )
        )
    return blocks


def _bounds(check: Part) -> str:
    low, high = check.number("low"), check.number("high")
    if low is None or high is None:
        return NOTHING
    if _counts(check):
        return count_interval(low, high)
    differs = check.text("key").startswith("groups.difference")
    return signed_interval(low, high) if differs else interval(low, high)


def _short(check: Part, key: str) -> str:
    value = check.number(key)
    if value is None:
        return NOTHING
    if value == int(value):
        return f"{int(value):,}"
    return expected(value) if _counts(check) else decimal(value)


def _counts(check: Part) -> bool:
    """Whether the figure is a number of patients or models, and no rate or area."""
    key = check.text("key")
    return (
        key.startswith(("exposed.", "evidence.models", "smallest_cell", "guarantee"))
        or ".named." in key
    )
