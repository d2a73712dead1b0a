"""The models that the network must match or beat (sources.md 4.3)."""
