"""From texts to token ids: templates, truncation, windows."""
