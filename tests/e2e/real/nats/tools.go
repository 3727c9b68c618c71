//go:build tools

// Package nats only pins nats-server and all it needs; the server is built from its own main package.
package nats

import _ "github.com/nats-io/nats-server/v2"
