"""Moderation, passed to the provider."""
