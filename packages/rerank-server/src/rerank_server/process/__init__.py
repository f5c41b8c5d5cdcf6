"""The process: it listens, it drains and ends, and it can ask itself whether it is ready."""
