// Bundle makes what a browser loads: of the TypeScript and the style sheets in the folder
// src, one file each in the folder dist. Both are committed, so that to build hacheck takes
// Go alone. It also writes, as TypeScript, the types that pages and Go share, so that they
// cannot differ.
//
// It is called by go generate, in the folder that has src and dist:
//
//	//go:generate go run github.com/hacheck/hacheck/internal/bundle
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/evanw/esbuild/pkg/api"

	"github.com/hacheck/hacheck/report/document"
	"github.com/hacheck/hacheck/report/serve"
)

// entries are what is bundled: each with all that it imports.
var entries = []string{"report.ts", "report.css", "serve.ts", "serve.css"}

// shared are the types that pages read, by the file that has them.
var shared = map[string][]reflect.Type{
	"document.ts":  {reflect.TypeFor[document.Document]()},
	"serve/api.ts": {reflect.TypeFor[serve.Runs](), reflect.TypeFor[serve.Detail](), reflect.TypeFor[serve.Comparison](), reflect.TypeFor[serve.Live](), reflect.TypeFor[serve.Change]()},
}

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "bundle:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	for name, types := range shared {
		if err := os.WriteFile(filepath.Join(dir, "src", name), []byte(declarations(types...)), 0o644); err != nil {
			return err
		}
	}
	made, err := bundle(dir)
	if err != nil {
		return err
	}
	for name, code := range made {
		if err := os.WriteFile(filepath.Join(dir, "dist", name), code, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// bundle returns the files of dist by name.
func bundle(dir string) (map[string][]byte, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	options := api.BuildOptions{
		AbsWorkingDir: dir, Outdir: "dist", Bundle: true,
		MinifyWhitespace: true, MinifySyntax: true, MinifyIdentifiers: true,
		Format: api.FormatIIFE, Target: api.ES2022, Charset: api.CharsetUTF8,
		LegalComments: api.LegalCommentsInline, // licences go where the code goes
		LogLevel:      api.LogLevelSilent,
		// A page that is made with what is in it alone has nothing to load.
		Loader: map[string]api.Loader{".svg": api.LoaderDataURL},
	}
	for _, e := range entries {
		options.EntryPoints = append(options.EntryPoints, filepath.Join("src", e))
	}
	result := api.Build(options)
	var said []string
	for _, m := range append(result.Errors, result.Warnings...) {
		said = append(said, api.FormatMessages([]api.Message{m}, api.FormatMessagesOptions{})...)
	}
	if len(said) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(said, "\n"))
	}
	made := map[string][]byte{}
	for _, f := range result.OutputFiles {
		made[filepath.Base(f.Path)] = f.Contents
	}
	return made, nil
}
