"""Dockerfile, compose file and locks, checked without a Docker engine."""
