"""A made-up school district whose records and outcomes behave like those of real ones (science.md 7)."""
