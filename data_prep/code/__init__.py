"""Pairs of docstring and function out of source trees."""

from __future__ import annotations

from data_prep.code.miner import mine

__all__ = ["mine"]
