"""Blocklists to files: say in each format what it can say and never more, and publish the result atomically."""

#: What lies in a directory of exports beside them: what they are, for programs and for people.
INDEX, README = "index.json", "README.md"
