"""Pretraining by HuBERT's recipe: ``bench pretrain``."""
