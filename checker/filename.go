package checker

import (
	"fmt"
	"hash/fnv"
	"net/url"
)

// PictureOf returns the name of the artifact in which [Linearizable] draws the object of
// that key; of a history of one object the key is empty.
func PictureOf(key string) string { return fileName("linearizable", key) + ".html" }

// fileName returns a name for a file about key: harmless on every file system,
// and different for different keys.
func fileName(what, key string) string {
	if key == "" {
		return what
	}
	name := url.QueryEscape(key)
	if len(name) > 80 {
		sum := fnv.New64a()
		sum.Write([]byte(key))
		name = fmt.Sprintf("%s-%x", name[:80], sum.Sum64())
	}
	return what + "-" + name
}
