"""Quantiles and intervals that are everywhere the same."""

NORMAL_95 = 1.96
"""Standard errors on either side of an estimate, from the normal distribution's 97.5% quantile."""


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share.

    Parameters
    ----------
    hits, n : int
        Successes and trials.
    level : float
        Coverage.
    """
    from scipy.special import betaincinv  # only who asks for it waits for scipy

    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 1 - tail))
    return low, high
