"""Parts that the adapters of the frameworks share."""
