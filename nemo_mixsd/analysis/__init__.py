"""Why it forgets: how unlikely the targets are under the base model."""
