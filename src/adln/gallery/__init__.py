"""Who was seen: a store of embeddings that is searched in milliseconds and forgets on request."""
