"""Deployment by query frequency (LORE 2512.03025): hot pairs from a cache of offline answers, medium ones from a small ranker, the tail from the LLM."""
