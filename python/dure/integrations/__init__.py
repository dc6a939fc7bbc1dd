"""Adapters to other systems; each needs its own extra and is imported by its own name."""
