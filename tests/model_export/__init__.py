"""Tests of the offline half; they need the extra `train`."""
