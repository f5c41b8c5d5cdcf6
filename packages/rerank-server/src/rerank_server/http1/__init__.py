"""HTTP/1.1 over asyncio: from the bytes of a connection to ASGI, and back."""
