"""RESULTS.md: one section per measurement, replaced when it is measured again."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

from auscult.base.parallel import cores

FILE = Path(__file__).parent / "RESULTS.md"
HEAD = "# Measured\n\nEach section names the command that makes it again.\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; floats with three decimals."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = [f"{x:.3f}" if isinstance(x, float) else str(x) for x in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine() -> str:
    """Processor, cores in use and Python."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x
        ]
        model = names[0] if names else model
    return f"{model}, {cores()} cores, Python {platform.python_version()}"


def record(name: str, title: str, command: str, text: str) -> None:
    """Put a section into RESULTS.md in place of the one of the same name."""
    old = FILE.read_text(encoding="utf-8") if FILE.exists() else HEAD
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    body = f"{begin}\n## {title}\n\n`{command}` on {machine()}.\n\n{text}\n{end}"
    if begin in old:
        before, rest = old.split(begin, 1)
        after = rest.split(end, 1)[1]
        new = before + body + after
    else:
        new = old.rstrip("\n") + "\n\n" + body + "\n"
    FILE.write_text(new, encoding="utf-8")
    print(body)
