// Package stored is what the nodes of raftkv write to their disks beside what
// Raft itself does: the commands in the log, and snapshots.
package stored

//go:generate go run github.com/hacheck/hacheck/internal/protogen stored.proto
