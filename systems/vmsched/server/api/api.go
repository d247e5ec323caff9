// Package api is the wire of vmsched: the services of vmsched.proto, and what their errors
// say.
package api

//go:generate go run github.com/hacheck/hacheck/internal/protogen vmsched.proto
