//go:build !linux

package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
)

// only returns an error: this is not Linux.
func only(context.Context, string, *slog.Logger) (io.Closer, error) {
	return nil, errors.New("agents of one host are kept apart by what only Linux has")
}
