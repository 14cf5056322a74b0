"""Lists of utterances in the formats that people keep: tables, Kaldi, Hugging Face and lhotse."""
