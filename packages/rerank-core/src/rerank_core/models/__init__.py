"""A model in this process: from pairs of texts to scores."""
