"""Helpers that any project needs: arrays, checks, files, processes, progress bars, Markdown."""
