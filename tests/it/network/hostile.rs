//! Servers that behave as badly as they can: the verifier ends in time, says what it saw, and holds nothing for proven.
