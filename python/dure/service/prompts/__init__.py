"""Prompt templates: versions that never change, labels that move, scores on data sets."""
