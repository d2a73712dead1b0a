"""Challenges: setting them, and comparing what they show."""
