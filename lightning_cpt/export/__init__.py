"""Exports a trained encoder to formats that need no code of this package, each compared with its checkpoint."""
