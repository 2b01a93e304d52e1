"""The engine: sessions, encoders, the batcher and the registry of served models. No HTTP, no settings."""
