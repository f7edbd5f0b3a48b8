"""The gallery: stores embeddings of people, searches them in milliseconds, erases on request."""
