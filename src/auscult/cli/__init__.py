"""The command line: thin, quiet about secrets, one clear message for whatever can be mended."""

from auscult.cli.main import main

__all__ = ["main"]
