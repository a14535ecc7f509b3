"""Sources, contracts, quarantine and the lakehouse: how a dropped file becomes a published partition."""
