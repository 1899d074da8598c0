"""Text games behind one interface."""
