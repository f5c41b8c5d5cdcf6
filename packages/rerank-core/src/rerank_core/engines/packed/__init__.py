"""The engine that runs sequences laid end to end, without padding."""
