"""What the catalogue says of one feature."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CatalogEntry:
    """`number` is that of the specification. Values lie in `minimum` to `maximum` (None: no upper bound).

    `missing` says when the value is NaN. `crosses_years` marks features that look beyond the school year.
    """

    number: str
    name: str
    definition: str
    unit: str
    minimum: float
    maximum: float | None
    missing: str
    evidence: str
    crosses_years: bool = False
