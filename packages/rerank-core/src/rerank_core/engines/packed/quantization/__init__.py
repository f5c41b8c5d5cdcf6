"""Products with weights of fewer bits."""
