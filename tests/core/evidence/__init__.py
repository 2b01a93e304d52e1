"""Tests of app.core.evidence."""
