"""HTTP on the outside: decode, ask, encode. Nothing else is decided here."""
