"""Mixed Contextual Self-Distillation (MixSD): teach a language model new facts without making it forget the rest."""

__version__ = "0.1.0"
