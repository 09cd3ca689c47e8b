"""Who may not reach what: groups, directives in force at an instant, and the verdict on one name for one client."""
