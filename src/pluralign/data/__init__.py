"""Data in users' formats: preferences, demonstrations, scored completions, prompts and answers; from files,
folders, hub ids or memory."""
