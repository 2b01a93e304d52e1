"""The offline half: trains twin encoders, exports them to bundles, calibrates and evaluates them. Never served."""
