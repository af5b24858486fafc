"""The wall: the only folder that may name a frame. Its one door is `edge_agent.pixels.source`."""
