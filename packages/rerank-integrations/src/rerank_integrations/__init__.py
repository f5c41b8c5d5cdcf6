"""rerank in other people's frameworks, and over HTTP."""
