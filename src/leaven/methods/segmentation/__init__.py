"""A class per pixel."""
