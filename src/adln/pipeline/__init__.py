"""From cameras to sightings: what is seen, said, kept and sent."""
