"""Release plans, the durable log of what happened to them, and the controller that moves them."""
