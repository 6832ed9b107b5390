"""A language model behind an OpenAI-compatible endpoint writes reasoning for pairs without gold facts (docs/teacher.md)."""
