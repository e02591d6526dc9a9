"""CRDT logic without input or output: what updates hold, what a room knows, who is present, one device's copy."""
