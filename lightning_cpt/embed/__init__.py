"""Embeds any number of texts: parts on any number of ranks, resumable after a kill, rows in input order."""
