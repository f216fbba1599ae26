"""The audit: trains, stores, analyses and reports, with its protections beside it."""

from auscult.audit.audit import Audit

__all__ = [
    "Audit",
]
