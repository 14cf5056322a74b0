"""Report tables: CSV, Markdown, LaTeX."""
