"""The tabular model server: it needs only a registry version, which carries signature, keys and request schema."""
