"""Fuzz targets; see each one's docstring for how to run it."""
