"""How hard the embedded corpora are: probes that know nothing of any teacher or compressor."""
