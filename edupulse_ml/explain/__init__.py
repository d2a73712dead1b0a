"""Reasons for a score: attributed, verified by occlusion, and worded for a counselor."""
