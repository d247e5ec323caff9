// Package client is the client of vmsched, as its users have it.
package client
