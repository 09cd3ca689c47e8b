"""DNS bytes -> DNS bytes: message, answer, cache, upstream, the engine that orders them, and its listeners.

Everything here is imported by every worker process and so needs the standard library and nothing else.
"""
