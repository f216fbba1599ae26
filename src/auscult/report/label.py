"""The label among the groups: whether who has the disease is who is exposed."""

from __future__ import annotations

from auscult.report.numbers import bounds_only
from auscult.report.summary import Part
from auscult.report.words import counted, decimal, quoted, share, share_interval, with_interval

MOST = 0.5
NEARLY_ALL = 0.9


def label_sentences(summary: Part) -> tuple[str, ...]:
    """Classes of the label that are more exposed, one sentence each, gravest first; no full stop.

    Concentrated classes only where there are any: the others follow from them.
    """
    label, few = summary.part("label"), bounds_only(summary)
    found = label.parts("findings")
    if few:  # nothing is known of shares above 0.9, and so not who is concentrated there
        return tuple(_higher(label.text("attribute"), part) for part in found)
    grave = tuple(part for part in found if part.truth("concentrated"))
    name = label.text("attribute")
    return tuple(
        _who(name, part) if part.truth("concentrated") else _more(name, part)
        for part in (grave or found)
    )


def label_absence(summary: Part) -> str:
    """Why the label is not compared; empty where it is, or where the summary does not say."""
    label = summary.part("label")
    if not label or label.text("attribute"):
        return ""
    return f"The label is not compared: {label.reason() or 'no reason is given'}."


def label_reveals(summary: Part) -> str:
    """What being exposed says of the label; empty where it says nothing that was found."""
    label = summary.part("label")
    found = label.parts("findings")
    if not found:
        return ""
    first = found[0]
    class_of = f"{quoted(label.text('attribute'))} = {quoted(first.text('group'))}"
    no_more = (first.number("share_of_exposed") or 0.0) <= (
        first.number("share_of_patients") or 0.0
    )
    if no_more or bounds_only(summary):
        return (
            f"Patients with {class_of} have a higher mean AUC than the others "
            f"({decimal(first.number('mean_auc'))} against "
            f"{decimal(first.number('others_mean_auc'))})."
        )
    return (
        "Being among the exposed also says something about the label: of the patients with an AUC "
        f"above 0.9, {share(first.number('share_of_exposed'))} have {class_of}, and of all "
        f"patients compared {share(first.number('share_of_patients'))}."
    )


def _who(name: str, part: Part) -> str:
    class_of = f"{quoted(name)} = {quoted(part.text('group'))}"
    exposed = part.number("exposed_0.9") or 0.0
    nearly_all = (part.number("share_of_exposed") or 0.0) >= NEARLY_ALL
    if exposed >= NEARLY_ALL:
        lead = f"Who has {class_of} is {'who is exposed' if nearly_all else 'exposed'}"
    elif exposed >= MOST:
        lead = f"Most patients with {class_of} are exposed"
    else:
        lead = f"{'Who is exposed has' if nearly_all else 'Most of the exposed have'} {class_of}"
    return (
        f"{lead}: {_share(part)} of these {counted(part.number('patients'), 'patient')} lie above "
        f"0.9, and {share(part.number('others_exposed_0.9'))} of all others; they are "
        f"{share(part.number('share_of_patients'))} of the patients and "
        f"{share(part.number('share_of_exposed'))} of the exposed"
    )


def _higher(name: str, part: Part) -> str:
    return (
        f"Patients with {quoted(name)} = {quoted(part.text('group'))} have a higher mean AUC than "
        f"the others ({decimal(part.number('mean_auc'))} against "
        f"{decimal(part.number('others_mean_auc'))})"
    )


def _more(name: str, part: Part) -> str:
    return (
        f"{_higher(name, part)}; {_share(part)} of these "
        f"{counted(part.number('patients'), 'patient')} lie above 0.9, and "
        f"{share(part.number('others_exposed_0.9'))} of all others"
    )


def _share(part: Part) -> str:
    bounds = share_interval(part.number("exposed_0.9_low"), part.number("exposed_0.9_high"))
    return with_interval(share(part.number("exposed_0.9")), bounds)
