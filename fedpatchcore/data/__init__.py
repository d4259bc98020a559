"""Images of a site: decoding, folder layouts, partitions for simulation, a synthetic sample."""
