"""nemo_mixsd"""
