"""Whole pipelines from documents to clean shards, described in YAML, on any number of processes or machines."""

from __future__ import annotations
