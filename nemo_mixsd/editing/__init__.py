"""Knowledge editing without training: MEMIT (Meng et al., 2023), the baseline of appendix E.5."""
