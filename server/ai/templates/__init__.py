"""The texts of the built-in templates, one module a language."""
