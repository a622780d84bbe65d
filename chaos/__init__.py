"""Chaos and consensus testing: the pure part (values and functions)."""
