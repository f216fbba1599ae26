"""The quantile of 95% intervals that lean on the normal distribution: everywhere the same."""

NORMAL_95 = 1.96
"""Standard errors on either side of an estimate, from the normal distribution's 97.5% quantile."""
