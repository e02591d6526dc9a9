"""Libraries as files: our own format, Prompt Optimizer's, and the ways between them."""
