"""Site training: from the crops of a site's own cameras to a network for them, overnight."""
