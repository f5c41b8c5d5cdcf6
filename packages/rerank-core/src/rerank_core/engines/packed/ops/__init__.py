"""The operations that a network is put together from."""
