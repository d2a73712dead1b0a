"""Watching: whether the records can be learned from, and whether a served model still meets the world it learned."""
