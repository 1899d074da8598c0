"""Parts of `avril_stories.py`."""
