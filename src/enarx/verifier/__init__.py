"""Whether to believe evidence: pure functions of evidence, endorsements, policy and time."""
