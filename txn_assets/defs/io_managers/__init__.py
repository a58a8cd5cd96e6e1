"""How values get into the stores: one I/O manager per sink, and one for what passes between the assets."""
