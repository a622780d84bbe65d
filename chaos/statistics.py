"""The little statistics that replay needs."""

from math import sqrt


def wilson_interval(hits: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """The Wilson score interval of a proportion (Wilson 1927), 95 % by default, as fractions.

    Holds for few trials and for 0 or all hits, where the usual approximation gives an empty interval.
    Raises ValueError unless ``0 <= hits <= trials`` and ``trials > 0``.
    """
    if trials <= 0 or not 0 <= hits <= trials:
        raise ValueError(f"expected 0 <= hits <= trials and trials > 0, found {hits} of {trials}")
    share = hits / trials
    spread = z * z / trials
    centre = share + spread / 2
    half = z * sqrt(share * (1 - share) / trials + spread / (4 * trials))
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    return (0.0 if hits == 0 else max(0.0, low), 1.0 if hits == trials else min(1.0, high))
