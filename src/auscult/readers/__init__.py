"""Files and dataframes to a Cohort."""

from auscult.readers.reading import Reading

__all__ = ["Reading"]
