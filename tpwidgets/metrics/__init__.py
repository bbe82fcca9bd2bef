"""Samples into operating points: what each number means, and how sure it is."""
