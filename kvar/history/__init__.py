"""Memory of each prompt: its past visits, or a fixed record."""
