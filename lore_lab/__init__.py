"""lore_lab: trustworthy ablations of training tricks for LLM search-relevance judges."""

__version__ = "0.1.0"
