"""Language models behind vLLM: an environment of their own, what a version declares, the launch of an arm."""
