"""``pluralign sweep``: policies x weights grid -> sweep.jsonl, front.json and a picture."""
