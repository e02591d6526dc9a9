"""What a key looks like, whoever issued it: for texts in which none may occur."""

import re

LOOKS_LIKE_A_KEY = re.compile(
    r"(?<![A-Za-z0-9])((sk|pk|rk)-[A-Za-z0-9_-]{12,}|AIza[A-Za-z0-9_-]{20,}|(gsk|ghp|gho|hf|xox[abps])[_-][A-Za-z0-9-]{16,}|xai-[A-Za-z0-9]{16,}"
    r"|github_pat_\w{16,}|AKIA[A-Z0-9]{12,}|[0-9a-f]{32}\.[A-Za-z0-9]{16}(?![A-Za-z0-9])|[Bb]earer\s+\S{8,}|[Bb]asic\s+[A-Za-z0-9+/]{12,}=)"
    # where no other could begin within it, or a text of nothing but beginnings would be read to its end from each of them
    r"|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"
)
