"""Parts of the drift experiment."""
