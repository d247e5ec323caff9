package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/histories/foreign"
	"github.com/hacheck/hacheck/internal/store"
)

// stdout is how standard output is called in place of a file.
const stdout = "-"

// How the names of compressed files end.
const (
	zstdEnding = ".zst"
	gzipEnding = ".gz" // is only read
)

func formatNames() (names []string) {
	for _, f := range foreign.Formats {
		names = append(names, string(f))
	}
	return names
}

func convertFlags() []cli.Flag {
	var format string
	return []cli.Flag{
		&cli.GenericFlag{
			Name: "to", Value: choice(&format, "format", formatNames()),
			Usage: "write `FORMAT`: " + strings.Join(formatNames(), ", ") + "; by default the ending of --output tells, or else it is " + string(foreign.JSONL),
		},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write `FILE`, whole or not at all, instead of standard output"},
		&cli.BoolFlag{Name: "zstd", Usage: "compress; a FILE that ends in " + zstdEnding + " always is"},
	}
}

func (p *program) convert(c *cli.Context) error {
	if err := p.leftover(c, 1); err != nil {
		return err
	}
	if c.NArg() == 0 {
		return usage("convert: which history? Name a file, or the directory of a run such as store/latest")
	}
	asked, _ := c.Generic("to").(*value)
	output := c.String("output")
	if output == stdout {
		output = ""
	}
	r := &judged{path: c.Args().First()}
	if err := r.find(); err != nil {
		return usage("convert: %v", err)
	}
	if err := p.overwrites(output, r.path); err != nil {
		return usage("convert: --output: %v", err)
	}
	if err := p.read(r); err != nil {
		return usage("convert: %v", err)
	}
	if note := r.recording.LeftOutNote(); note != "" {
		fmt.Fprintf(p.stderr, "hacheck: %s: %s\n", r.path, note)
	}
	write := func(w io.Writer) error { return foreign.Write(w, r.history, formatOf(asked.String(), output)) }
	if c.Bool("zstd") || strings.HasSuffix(output, zstdEnding) {
		write = compressed(write)
	}
	if output == "" {
		return write(p.stdout)
	}
	err := store.WriteFile(output, write)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = &fs.PathError{Op: "write", Path: output, Err: path.Err} // nobody knows the file it is first written into
	}
	if err != nil {
		return usage("convert: --output: %v", err)
	}
	return nil
}

// formatOf returns the format that was asked for, or that the file's name ends in.
func formatOf(asked, output string) foreign.Format {
	if asked != "" {
		return foreign.Format(asked)
	}
	ending := strings.TrimPrefix(filepath.Ext(strings.TrimSuffix(output, zstdEnding)), ".")
	for _, f := range foreign.Formats {
		if string(f) == ending {
			return f
		}
	}
	return foreign.JSONL
}

// overwrites says why the output must not be written: it is the input by another name,
// or no file, which putting a file in its place would destroy, or it could not be what its
// name says.
func (p *program) overwrites(output, input string) error {
	if output == "" {
		return nil
	}
	if strings.HasSuffix(output, gzipEnding) {
		return fmt.Errorf("%s: gzip is read and not written; name a file that ends in %s", output, zstdEnding)
	}
	to, err := os.Stat(output)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !to.Mode().IsRegular():
		return fmt.Errorf("%s is no file; without --output the history goes to standard output", output)
	}
	from, err := os.Stat(input)
	if f, ok := p.stdin.(*os.File); ok && input == stdin {
		from, err = f.Stat()
	}
	if err == nil && os.SameFile(from, to) {
		return fmt.Errorf("%s is the history that is read; name another file", output)
	}
	return nil
}

// compressed returns a function that writes what write does, compressed.
func compressed(write func(io.Writer) error) func(io.Writer) error {
	return func(w io.Writer) error {
		z, err := foreign.Compress(w)
		if err != nil {
			return err
		}
		err = write(z)
		if closed := z.Close(); err == nil {
			err = closed // else it is the same again
		}
		return err
	}
}
