"""Models per service: what a gen-AI service may use."""
