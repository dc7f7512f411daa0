"""The client side: programs whose joins need only text, run against any OpenAI-compatible server."""
