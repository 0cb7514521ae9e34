"""Language models: loading, a tiny one made here, scores, exact values."""
