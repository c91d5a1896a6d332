"""What `tools/compat` runs: whose tests (`suites`), where (`places`), and how (`running`)."""
