"""A curve to the whole cohort: the same audit with models of several shares of the patients."""
