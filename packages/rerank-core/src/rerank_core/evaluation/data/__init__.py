"""A judged collection: its files, its queries and their candidates."""
