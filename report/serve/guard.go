package serve

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Loopback says whether only this machine reaches a server that listens on address, such
// as "127.0.0.1:8080" or "localhost:0". A name other than localhost does not count, as it
// may lead anywhere.
func Loopback(address string) bool { return isLoopback(hostOf(address)) }

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// hostOf returns the host of an address with or without a port, in lower case.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// isName says whether r came to a name that the server goes by.
func (s *Server) isName(r *http.Request) bool {
	host := hostOf(r.Host)
	switch {
	case host == "":
		return false
	case isLoopback(host):
		return true
	case slices.ContainsFunc(s.Names, func(name string) bool { return hostOf(name) == host }):
		return true
	case s.Listen == "":
		return false
	}
	listen := hostOf(s.Listen)
	if ip, err := netip.ParseAddr(listen); listen != "" && (err != nil || !ip.IsUnspecified()) {
		return host == listen
	}
	// It listens on every address: that to which the request came is a name. Others of the
	// machine are none, for what is a number has no name that could be made to lead here.
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return local != nil && hostOf(local.String()) == host
}

// maxPath is what systems allow.
const maxPath = 4096

// isPlain says whether the path of u is that of a file, spelled in the one way there is.
func isPlain(u *url.URL) bool {
	if len(u.Path) > maxPath || !strings.HasPrefix(u.Path, "/") || strings.ContainsAny(u.Path, "\x00\\") {
		return false
	}
	if escaped := strings.ToLower(u.EscapedPath()); strings.Contains(escaped, "%2f") {
		return false
	}
	names := strings.Split(strings.TrimSuffix(u.Path[1:], "/"), "/")
	return u.Path == "/" || !slices.ContainsFunc(names, func(n string) bool { return n == "" || n == "." || n == ".." })
}

// isForeign says whether a page of elsewhere, or one without an origin, asks for what only
// our pages are to have: none of them could read the answer, but to make it costs.
func isForeign(r *http.Request) bool {
	if !strings.HasPrefix(r.URL.Path, "/api/") {
		return false
	}
	site := r.Header.Get("Sec-Fetch-Site")
	return site != "" && site != "same-origin" && site != "none"
}

// deleteHeader has to stand in a request that deletes. Pages of elsewhere cannot send it
// without being asked first, which is refused.
const deleteHeader = "X-Hacheck"

// mayDelete says why r may not delete anything; empty: it may.
func (s *Server) mayDelete(r *http.Request) string {
	if s.ReadOnly {
		return "this server only shows"
	}
	if r.Header.Get(deleteHeader) != "delete" {
		return "the header " + deleteHeader + ": delete is missing"
	}
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return "a page of elsewhere asks"
	}
	return ""
}

// refuse answers with a reason: in JSON to a script, else on a page.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, why string) {
	if strings.HasPrefix(r.URL.Path, "/api/") {
		answer(w, status, map[string]string{"error": why})
		return
	}
	s.errorPage(w, status, why)
}

// answer writes JSON. Who does not read it costs nothing.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
