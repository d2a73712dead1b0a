"""EduPulse's library: everything below the entry points, in layers (docs/architecture.md)."""
