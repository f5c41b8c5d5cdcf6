"""The figures, as JSON, a table and a page."""
