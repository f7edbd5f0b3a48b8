"""Evaluates any embedder with the Market-1501 protocol: CMC, mAP, mINP, re-ranking, reports."""
