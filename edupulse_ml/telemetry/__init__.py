"""Logs and metrics; neither ever holds student data."""
