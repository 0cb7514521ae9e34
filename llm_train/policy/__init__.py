"""Language models: loading, a tiny one made here, scores and exact values."""
