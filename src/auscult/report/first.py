"""What the first screen says besides the answer: the decision, what to do, what is not known."""

from __future__ import annotations

from auscult.report import answer
from auscult.report.changes import not_surely_cheap
from auscult.report.decision import VERDICTS
from auscult.report.numbers import bounds_only, models_needed, weights_read
from auscult.report.summary import Part
from auscult.report.words import at_least, counted, quoted, sentence, whole

MOST = 4


def decided(summary: Part) -> str:
    """The policy's verdict in one sentence; empty where no policy was applied."""
    verdict = summary.part("decision").text("verdict")
    return VERDICTS.get(verdict, f"Verdict: {verdict}.") if verdict else ""


def to_do(summary: Part) -> tuple[str, ...]:
    """What follows from the findings, most urgent first; at most four sentences."""
    row = answer.main_row(summary)
    found: list[str] = []
    decision = summary.part("decision")
    broken = [one for one in decision.parts("checks") if one.text("verdict") == "fail"]
    if broken:
        more = f" ({len(broken) - 1} more under Decision)" if len(broken) > 1 else ""
        found.append(f"Do not release as it is: {broken[0].text('reason')}{more}.")
    models = summary.part("models").number("count")
    if bounds_only(summary):
        needed = models_needed(summary)
        found.append(
            f"Train at least {whole(needed)} models: the run resumes and keeps those it has."
        )
    if answer.not_learned(summary):
        found.append("Train models that learn their task: what these expose says little of others.")
    clear = row is not None and bool(row.clear)
    tried = summary.parts("protection")
    best = next((one for one in tried if one.truth("recommended")), None)
    if best is not None:
        removed = at_least(best.number("removed_at_least"))
        found.append(
            f"Try first: {quoted(best.text('label') or best.text('name'))}. It removes at least "
            f"{removed} of the exposed patients (Protection)."
        )
    elif clear and tried:
        near = not_surely_cheap(tried)
        found.append(
            f"Weigh a protection: {near}."
            if near
            else "Try other protections: none of those tried is known to help enough at a small "
            "cost."
        )
    elif clear:
        found.append(
            "Try protections in the same audit: fewer training steps, coarser outputs, fewer "
            "records per patient, private training."
        )
    if not decision and models:
        found.append("Let the institution's policy judge it: auscult gate RUN --policy FILE.")
    if clear and not summary.part("release"):
        found.append("Audit the very model that is to be released, not only its recipe.")
    found.append("Give the privacy officer the dossier: auscult report RUN --dossier.")
    return tuple(found[:MOST])


def unknown(summary: Part) -> tuple[str, ...]:
    """What the audit leaves open, gravest first; at most four sentences."""
    patients = summary.part("patients")
    found: list[str] = []
    if few := patients.text("few_models"):
        found.append(sentence(f"How many are exposed: {few}"))
    learned = summary.part("models").part("learned").truth("verdict")
    if learned is None:
        found.append("Whether the models have learned their task.")
    count, estimable = patients.number("count"), patients.number("estimable")
    if count is not None and estimable is not None and estimable < count:
        found.append(f"The risk of {counted(count - estimable, 'patient')} who were not assessed.")
    missing = [
        one.text("reason")
        for one in summary.part("decision").parts("checks")
        if one.text("verdict") == "inconclusive"
    ]
    if missing:
        more = f" ({whole(float(len(missing) - 1))} more under Decision)" if missing[1:] else ""
        found.append(f"{sentence(missing[0])[:-1]}{more}.")
    if summary.part("release").part("transfer").truth("other_share") is True:
        found.append(
            "How far the released model's figures hold: it trained on another share of the "
            "patients than the models that judge it."
        )
    if not summary.part("release"):
        found.append("The released model itself: the figures are about models trained like it.")
    if not summary.part("deployment"):
        found.append("What an attacker learns where the model is used: no deployment was declared.")
    if not tuple(summary.items("disparities")):
        found.append("Whether some groups are more exposed than others: none were compared.")
    more = "more in" if weights_read(summary) else "reading"
    found.append(
        f"Other attacks: copying out records or attributes, {more} the weights, attacks that are "
        "not known yet."
    )
    return (*found[: MOST - 1], found[-1]) if len(found) > MOST else tuple(found)
