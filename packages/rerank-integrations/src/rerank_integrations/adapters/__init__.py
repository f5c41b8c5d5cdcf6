"""What the adapters of the frameworks share."""
