"""Words and shapes that every other package shares; imports nothing but NumPy and the standard library."""
