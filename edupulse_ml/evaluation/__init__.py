"""Honest figures: outcomes, splits, metrics with intervals, lead time, and the report that carries them."""
