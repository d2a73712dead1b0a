"""Tokens: who may call."""
