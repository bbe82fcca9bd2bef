"""Benchmarks of tpwidgets as a measuring instrument; see README.md."""
