"""From cameras to sightings: detection, identification, storage and delivery."""
