"""Features: exported from the marts, joined as known at the time, and served from a checked online window."""
