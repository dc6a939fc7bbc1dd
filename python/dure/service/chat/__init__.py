"""Conversation: OpenAI-shaped and the short forms."""
