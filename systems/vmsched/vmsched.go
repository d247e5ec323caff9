// Package vmsched puts vmsched, a control plane of virtual machines that ships with
// hacheck, into a lab, and offers its clients to the workload vm. The system itself is in
// the folders server and client, which know nothing of this.
package vmsched

// Name is the system's name.
const Name = "vmsched"
