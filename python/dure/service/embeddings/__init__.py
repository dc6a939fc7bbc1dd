"""Embeddings: OpenAI-shaped and the short form."""
