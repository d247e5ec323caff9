package document

import (
	"io"

	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/report"
	"github.com/hacheck/hacheck/workloads"
)

// A Source is what a document is made of.
type Source struct {
	report.Run
	// Info is what run.json has; nil of a history that was recorded elsewhere.
	Info *store.Info
	// Tracks are what the workload shows beside the ops.
	Tracks []workloads.Track
	// Schedule is that of the faults, as --schedule takes it; empty: there were none.
	Schedule string
	// Logs are what the nodes have printed.
	Logs []LogFile
	// RunLog is what the run itself has logged. It says when the history's clock began,
	// without which no line of Logs has a time of the history; nil: there is none.
	RunLog *LogFile
	// Files are other files of the run.
	Files []File
}

// A LogFile is a log that lines are taken from.
type LogFile struct {
	Node, Path string
	Open       func() (io.ReadCloser, error)
}

// A Page is a document and the bytes that belong to it.
type Page struct {
	Document Document
	// Data are the compressed parts of levels, in order, and then of blocks, each core
	// before detail.
	Data []byte
}
