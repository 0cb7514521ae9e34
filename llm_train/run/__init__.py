"""One training run: settings, training, the files it leaves."""
