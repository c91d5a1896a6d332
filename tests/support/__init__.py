"""What tests need: brokers, a proxy that breaks connections, tasks and threads alike."""
