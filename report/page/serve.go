package page

import _ "embed"

//go:embed dist/serve.js
var serveScript string

//go:embed dist/serve.css
var serveStyle string

// ServeScript returns the script of the pages of a store.
func ServeScript() string { return serveScript }

// ServeStyle returns their style sheet.
func ServeStyle() string { return serveStyle }
