"""Virtual iPhones: the services of a real one, spoken over a muxer on loopback, with real processes behind them."""
