"""Boxes with masks."""
