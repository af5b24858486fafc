"""What a stranger runs. It imports `edge_agent.wire` and pydantic, and nothing else of ours."""
