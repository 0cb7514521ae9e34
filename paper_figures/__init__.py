"""Figures and tables: for each, a script that computes a file and one that only draws it."""
