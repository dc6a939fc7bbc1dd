"""Notifications: channels, rules, and deliveries that outlive the process."""
