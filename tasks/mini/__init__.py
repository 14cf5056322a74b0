"""The embedded mini corpora: speech synthesised on the user's machine, in the layouts of the real corpora."""
