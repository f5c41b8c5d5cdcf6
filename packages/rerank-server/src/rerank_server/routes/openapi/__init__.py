"""The OpenAPI document: its operations, its schemas, and how they are put together."""
