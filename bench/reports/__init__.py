"""Reports from a run's records: tables, plots and the page."""
