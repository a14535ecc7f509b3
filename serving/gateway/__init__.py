"""The one public door: who may do what, which requests are well formed, where they go."""
