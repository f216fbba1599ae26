"""A document as PDF, by WeasyPrint or Chromium where one of them is present."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from auscult.base.errors import AuscultError
from auscult.base.files import write_bytes

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SECONDS = 120
HOW = (
    "no PDF was written: install WeasyPrint (pip install weasyprint) or Chromium and run again, or "
    "print the HTML file to PDF from any browser"
)


def write_pdf(html: Path, pdf: Path) -> str:
    """Print an HTML file to PDF.

    Parameters
    ----------
    html : Path
        A document that loads nothing else.
    pdf : Path

    Returns
    -------
    str
        Empty, or how to get the PDF where nothing here can make one.

    Raises
    ------
    AuscultError
        The program that was found could not print it.
    """
    if find_spec("weasyprint") is not None:
        from weasyprint import HTML  # type: ignore[import-not-found,unused-ignore]

        write_bytes(pdf, HTML(filename=str(html)).write_pdf())
        return ""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        return HOW
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "document.pdf"
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            "--no-pdf-header-footer",
            f"--user-data-dir={folder}/profile",
            *(["--no-sandbox"] if root else []),  # Chromium refuses to start as root with it
            f"--print-to-pdf={target}",
            html.resolve().as_uri(),
        ]
        try:
            subprocess.run(command, capture_output=True, timeout=SECONDS, check=True)  # noqa: S603
            content = target.read_bytes()
        except (OSError, subprocess.SubprocessError) as error:
            raise AuscultError(
                "the dossier could not be printed to PDF",
                where=browser,
                next_step=f"Print {html.name} from a browser",
            ) from error
    write_bytes(pdf, content)
    return ""
