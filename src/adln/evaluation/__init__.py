"""Judges any embedder by the Market-1501 protocol: CMC, mAP, mINP, re-ranking, reports."""
