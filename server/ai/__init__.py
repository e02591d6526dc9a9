"""Calling language models: which there are, how each provider is spoken to, and what prompts are improved with."""
