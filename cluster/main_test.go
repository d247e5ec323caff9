//go:build linux

package cluster

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
)

// The test binary is also what the tests run: outside, the program that enters
// the lab; inside, the nodes' processes.
func TestMain(m *testing.M) {
	if handled, exit := Main(); handled {
		os.Exit(exit)
	}
	if len(os.Args) > 2 && os.Args[1] == "play" {
		os.Exit(play(os.Args[2], os.Args[3:]))
	}
	if os.Getenv(awaitSignals) == "" { // such a test says itself when it is
		Listening()
	}
	os.Exit(ExitStatus(m.Run()))
}

// play is a program for a node.
func play(part string, args []string) int {
	switch part {
	case "echo": // sends back whatever comes to port 7
		listener, err := net.Listen("tcp4", ":7")
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println("listening")
		for {
			c, err := listener.Accept()
			if err != nil {
				return 1
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	case "pingpong":
		return playPingPong(args)
	case "burn", "eat", "open", "family":
		return playUser(part, args)
	case "store":
		return playStore(args)
	case "sync":
		return playSync(args)
	case "script":
		return playScript(args)
	case "clock":
		return playClock(args)
	case "fail":
		fmt.Println("I cannot go on")
		fmt.Fprintln(os.Stderr, "for want of a nail")
		return 3
	case "stubborn": // stays, whatever it is asked, with a child that has left its session
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		if len(args) > 0 {
			child := exec.Command("/proc/self/exe", "play", "stubborn")
			child.Args = append(child.Args, args[1:]...)
			child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := child.Start(); err != nil {
				fmt.Println(err)
				return 1
			}
		}
		fmt.Println("here I stand")
		select {}
	}
	fmt.Println("no such part:", part)
	return 1
}
