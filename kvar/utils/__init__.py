"""Arrays, checks, files, processes and progress bars: what any project needs."""
