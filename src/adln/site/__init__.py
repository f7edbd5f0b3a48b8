"""Training at a site: from the crops of its own cameras to a network for them, in a night."""
