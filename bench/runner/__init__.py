"""From a configuration to records: plan, cells, resume."""
