"""A page for the data's owner: every patient of a finished run, on this machine only."""

from auscult.viewer.serving import serve

__all__ = ["serve"]
