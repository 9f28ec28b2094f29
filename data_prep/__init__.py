"""Turns documents, source trees and tables into shards of pairs; needs no torch."""
