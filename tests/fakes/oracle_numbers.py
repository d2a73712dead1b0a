"""Arithmetic of the feature oracle: exact fractions, a slope, a quotient that may be missing."""

from fractions import Fraction

NAN = float("nan")


def thousandths(value):
    return Fraction(round(float(value) * 1000), 1000)


def slope(points):
    """OLS slope of (x, y) pairs."""
    xs = [Fraction(x) for x, _ in points]
    mean_x = sum(xs) / len(xs)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, (_, y) in zip(xs, points, strict=True)) / sum(
        (x - mean_x) ** 2 for x in xs
    )


def div(k, n):
    return k / n if n else NAN
