"""The embedded mini corpora: synthetic speech in the layouts of the real corpora, made on the user's machine."""
