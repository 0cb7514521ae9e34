"""How a study runs: cells, blocks, tables, figures, pages."""
