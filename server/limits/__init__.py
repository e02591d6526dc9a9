"""How often what may be tried, and by whom: docs/limits.md has the table."""

from server.limits.addresses import Network, bucket_of, client_address, trusted_networks
from server.limits.attempts import Limits
from server.limits.buckets import Buckets, SharedReads

__all__ = ["Buckets", "Limits", "Network", "SharedReads", "bucket_of", "client_address", "trusted_networks"]
