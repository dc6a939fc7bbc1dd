"""Anthropic-shaped conversation: `/v1/messages` on the same core."""
