"""Calls of the provider that are passed on: text to complete, images, speech both ways."""
