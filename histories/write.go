package histories

import (
	"bufio"
	"io"
)

// Write writes a history as a [Journal] would have; [Read] reads it back.
func Write(w io.Writer, h *History) error {
	out := bufio.NewWriterSize(w, 64<<10)
	var line []byte
	for _, op := range h.All() {
		line = appendOp(line[:0], &op)
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	return out.Flush()
}
