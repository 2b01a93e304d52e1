"""The use cases, without HTTP."""
