"""Asking addresses that users give: which ones may be asked, and the one client that asks them."""
