"""Faults that are put into real runs of tiny real models, and what must hold after each. `scripts/faults` runs them.

One file is one row of the table: a NAME, a GOAL and a function `trials` that yields what is to be tried.
"""
