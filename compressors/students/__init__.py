"""Students built from a shape instead of pruned from the teacher."""
