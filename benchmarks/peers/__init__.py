"""One module an area; the peers live in the benchmark's own environment."""
