"""superb-bench: methods that make smaller upstreams from a teacher, one file each."""
