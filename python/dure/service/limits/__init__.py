"""What people and organisations may spend: limits, pools, approvals, alerts."""
