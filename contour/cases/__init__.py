"""Reference cases: a hospital's archive indexed, named, built, audited, split; packages judged on them. No torch."""
