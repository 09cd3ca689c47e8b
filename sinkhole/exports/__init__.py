"""Blocklists to files: say in each format what it can say and never more, and publish the result atomically."""
