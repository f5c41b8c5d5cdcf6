"""HTTP handlers: they decode a request, ask the service, and encode the response."""
