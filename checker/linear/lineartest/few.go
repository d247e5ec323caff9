//go:build !differential

package lineartest

const effort = 1
