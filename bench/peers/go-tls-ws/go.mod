module shellstream.invalid/bench/go-tls-ws

go 1.24

require github.com/coder/websocket v1.8.15
