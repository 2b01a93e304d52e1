"""The pure kernel shared by the service and by model_export: no HTTP, no sessions, no clocks, no global state."""
