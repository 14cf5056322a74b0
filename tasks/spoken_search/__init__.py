"""Search for spoken queries in recordings, by aligning hidden states."""
