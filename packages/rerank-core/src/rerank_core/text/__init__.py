"""Turns texts into token ids: templates, truncation, windows."""
