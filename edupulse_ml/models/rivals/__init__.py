"""The models that the network must match or beat (science.md 4.3)."""
