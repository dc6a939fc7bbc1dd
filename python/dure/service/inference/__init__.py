"""Models that run in this process: loaded once, asked in batches, freed when room is needed."""
