"""The processes of a running sinkhole: a supervisor that holds the sockets, and workers that only answer DNS."""
