"""Reports, forecasts, anomalies and exports of usage: all from the sums, nothing is counted."""
