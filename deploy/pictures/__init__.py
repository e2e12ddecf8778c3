"""The README's pictures, taken from a real run: python -m deploy.pictures (two minutes; needs Chromium)."""
