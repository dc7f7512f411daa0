"""What an engine has and a server that completes text has not: by this a program is refused before anything is sent."""

from __future__ import annotations

KEYS, LOGPROBS, CONTROL = "keys and values", "log-probabilities", "control tokens"

# Why, as the end of a sentence that begins with who needs them.
LACKS = {
    KEYS: "needs keys and values that branches computed, and those never leave the engine that holds them",
    LOGPROBS: "needs the log-probabilities of tokens, which are not asked of a server",
    CONTROL: "follows control tokens that the model writes; this server can be asked in text only, where they are not "
    "seen",
}
ALWAYS = frozenset((KEYS, LOGPROBS))  # control tokens are seen where a server speaks in token ids

# Costs that no server tells, and those that it may tell as usage.
UNTOLD = frozenset(("recomputed", "most_blocks", "seconds"))
OF_USAGE = frozenset(("prefilled", "reused", "passes"))
