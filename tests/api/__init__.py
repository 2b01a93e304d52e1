"""The HTTP edge, over real models and mostly over httpx.ASGITransport."""
