"""HTTP API and web page over a gallery and its cameras."""
