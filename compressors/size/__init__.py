"""Target sizes, and what a method may remove to reach them."""
