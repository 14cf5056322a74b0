"""The bridge to s3prl: its recipes on our upstreams and corpora."""
