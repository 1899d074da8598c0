"""Learning from texts: preference pairs and demonstrations as forests through a trunk that may learn too."""
