// Package api is how nodes and clients of raftkv talk: the gRPC service, the
// errors, and the connections that know whether a call was ever sent.
package api

//go:generate go run github.com/hacheck/hacheck/internal/protogen api.proto
