"""HTTP for clients and people: so far DNS over HTTPS. A process of its own, so that it cannot make DNS slow."""
