"""The server: an OpenAI-compatible edge before one engine, with parallel reasoning behind one extension field."""
