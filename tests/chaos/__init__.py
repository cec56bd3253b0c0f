"""Faults on real processes, one module a family of them: `make chaos` runs the full counts, `test_short.py` the short forms."""
