"""A made-up school district whose records and outcomes behave like those of real ones (sources.md 7)."""
