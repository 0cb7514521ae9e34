"""Names of score norms, for settings and their help, which load no torch."""

__all__ = ["OUTPUT_NORMS", "SCORE_PARAMETERS"]

# Norms of the gradient with respect to these parameters.
SCORE_PARAMETERS = ("all", "last-layer", "lora")
# Proxies at the output of the model.
OUTPUT_NORMS = ("logits", "head")
