"""Many runs: comparisons, gradient errors, recorded runs."""
