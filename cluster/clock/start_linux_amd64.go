package clock

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Supported says why there are no hooks here, or nil.
func Supported() error { return nil }

// Start starts cmd, as its own Start would, so that it reads c. Where that cannot be
// done nothing is left of it.
func (c *Clock) Start(cmd *exec.Cmd) error {
	// All of ptrace is for the thread that made the child, which must not end either.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := c.begin(cmd)
	if err != nil {
		return err
	}
	if err := p.letGo(); err != nil {
		return p.giveUp(err)
	}
	return nil
}

// Read starts cmd as Start does, but stops it before its first instruction, has it
// call its own vDSO, as it was going to, and ends it there. So what is read has taken
// the way of any program's clock; what program it is does not matter.
func (c *Clock) Read(cmd *exec.Cmd) (Offsets, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := c.begin(cmd)
	if err != nil {
		return Offsets{}, err
	}
	o, err := p.offsets()
	_ = p.giveUp(nil)
	if err != nil {
		return Offsets{}, fmt.Errorf("clock: read %s: %w", cmd.Path, err)
	}
	return o, nil
}

// begin starts cmd, which then has its hooks and is stopped.
func (c *Clock) begin(cmd *exec.Cmd) (*tracee, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return nil, errClosed
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Ptrace = true
	files := cmd.ExtraFiles
	cmd.ExtraFiles = append(slices.Clone(files), c.file)
	fd := 2 + len(cmd.ExtraFiles) // in the child
	err := cmd.Start()
	cmd.ExtraFiles = files
	if err != nil {
		return nil, err
	}
	p := &tracee{cmd: cmd, pid: cmd.Process.Pid}
	if err := p.hook(fd); err != nil {
		return nil, p.giveUp(fmt.Errorf("clock: hook %s: %w", cmd.Path, err))
	}
	return p, nil
}

// A tracee is a child that has stopped for us.
type tracee struct {
	cmd  *exec.Cmd
	pid  int
	regs unix.PtraceRegs // as they are to be when it goes on
	held []unix.Signal   // they came meanwhile
	vdso vdso
	code uint64 // where its hooks are
}

// hook waits until the child stops, as it does before its first instruction, and
// gives it its hooks. It closes fd, which is the page, in it.
func (p *tracee) hook(fd int) error {
	if err := p.wait(unix.SIGTRAP); err != nil {
		return fmt.Errorf("stop it: %w", err)
	}
	// Should we die now, it must not stay as it is.
	if err := unix.PtraceSetOptions(p.pid, unix.PTRACE_O_EXITKILL); err != nil {
		return fmt.Errorf("trace it: %w", err)
	}
	if err := unix.PtraceGetRegs(p.pid, &p.regs); err != nil {
		return fmt.Errorf("its registers: %w", err)
	}
	const code64 = 0x33 // the segment that 64-bit programs run in
	if p.regs.Cs != code64 {
		return errors.New("it is no 64-bit program")
	}
	if err := p.findVDSO(); err != nil {
		return err
	}
	page, err := p.syscall(unix.SYS_MMAP, 0, pageSize, unix.PROT_READ, unix.MAP_SHARED, uint64(fd), 0)
	if err != nil {
		return fmt.Errorf("map the clock's page: %w", err)
	}
	p.code, err = p.syscall(unix.SYS_MMAP, 0, uint64(len(hookCode)), unix.PROT_READ|unix.PROT_EXEC,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uint64(0), 0)
	if err != nil {
		return fmt.Errorf("map a page for the hooks: %w", err)
	}
	if _, err := p.syscall(unix.SYS_CLOSE, uint64(fd), 0, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("close the clock's page: %w", err)
	}
	code := []byte(hookCode)
	binary.LittleEndian.PutUint64(code[hookClock:], p.vdso.functions["clock_gettime"])
	binary.LittleEndian.PutUint64(code[hookDay:], p.vdso.functions["gettimeofday"])
	binary.LittleEndian.PutUint64(code[hookPage:], page)
	if err := p.write(p.code, code); err != nil {
		return fmt.Errorf("write the hooks: %w", err)
	}
	for _, s := range p.vdso.symbols {
		value := binary.LittleEndian.AppendUint64(nil, p.code+hookEntries[s.function]-p.vdso.load)
		if err := p.write(s.value, value); err != nil {
			return fmt.Errorf("bend the vDSO's symbols: %w", err)
		}
	}
	return p.setRegs(&p.regs)
}

// letGo lets the child run, with nobody watching.
func (p *tracee) letGo() error {
	for _, s := range p.held {
		if err := unix.Kill(p.pid, s); err != nil {
			return fmt.Errorf("clock: pass %v on: %w", s, err)
		}
	}
	if err := unix.PtraceDetach(p.pid); err != nil {
		return fmt.Errorf("clock: let %s go: %w", p.cmd.Path, err)
	}
	return nil
}

// giveUp ends the child and returns err.
func (p *tracee) giveUp(err error) error {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // its status is what we have made it
	return err
}

// wait waits until the child stops for the signal. Others are for later.
func (p *tracee) wait(want unix.Signal) error {
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(p.pid, &status, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case status.Exited():
			return fmt.Errorf("it ended with status %d", status.ExitStatus())
		case status.Signaled():
			return fmt.Errorf("it was killed by a signal: %v", status.Signal())
		}
		switch got := status.StopSignal(); got {
		case want:
			return nil
		case unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGSYS:
			return fmt.Errorf("a signal stopped it: %v", got) // they come of what it was made to do
		default:
			p.held = append(p.held, got)
		}
		if err := unix.PtraceCont(p.pid, 0); err != nil {
			return err
		}
	}
}

func (p *tracee) setRegs(regs *unix.PtraceRegs) error {
	if err := unix.PtraceSetRegs(p.pid, regs); err != nil {
		return fmt.Errorf("its registers: %w", err)
	}
	return nil
}

// syscall makes the child make a system call.
func (p *tracee) syscall(number uint64, args ...uint64) (uint64, error) {
	regs := p.regs
	regs.Rip = p.vdso.syscall
	regs.Rax, regs.Orig_rax = number, ^uint64(0) // it is in no system call that there is to restart
	regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9 = args[0], args[1], args[2], args[3], args[4], args[5]
	if err := p.setRegs(&regs); err != nil {
		return 0, err
	}
	if err := unix.PtraceSingleStep(p.pid); err != nil {
		return 0, err
	}
	if err := p.wait(unix.SIGTRAP); err != nil {
		return 0, err
	}
	if err := unix.PtraceGetRegs(p.pid, &regs); err != nil {
		return 0, err
	}
	if regs.Rip != p.vdso.syscall+uint64(len(syscallCode)) {
		return 0, fmt.Errorf("it went from %#x to %#x", p.vdso.syscall, regs.Rip)
	}
	if result := int64(regs.Rax); result < 0 && result > -4096 {
		return 0, unix.Errno(-result)
	}
	return regs.Rax, nil
}

// call makes the child call a function that takes a number and a pointer to what it
// fills in, and returns that.
func (p *tracee) call(function uint64, number int32, result []byte) error {
	regs := p.regs
	regs.Orig_rax = ^uint64(0)
	regs.Rip, regs.Rdi = function, uint64(number)
	regs.Rsi = regs.Rsp - 256 // below what is in use
	regs.Rsp = (regs.Rsp-512)&^15 - 8
	if err := p.write(regs.Rsp, binary.LittleEndian.AppendUint64(nil, p.code+hookReturn)); err != nil {
		return err
	}
	at := regs.Rsi
	if err := p.setRegs(&regs); err != nil {
		return err
	}
	if err := unix.PtraceCont(p.pid, 0); err != nil {
		return err
	}
	if err := p.wait(unix.SIGTRAP); err != nil {
		return err
	}
	if err := unix.PtraceGetRegs(p.pid, &regs); err != nil {
		return err
	}
	if regs.Rip != p.code+hookReturn+1 || int32(regs.Rax) != 0 {
		return fmt.Errorf("a call ended at %#x with %d", regs.Rip, int32(regs.Rax))
	}
	return p.read(at, result)
}

// offsets compares the child's clocks with ours.
func (p *tracee) offsets() (o Offsets, err error) {
	// Read again what its loader will.
	function := uint64(0)
	for _, s := range p.vdso.symbols {
		value := make([]byte, 8)
		if err := p.read(s.value, value); err != nil {
			return o, err
		}
		if s.function == "clock_gettime" {
			function = p.vdso.load + binary.LittleEndian.Uint64(value)
		}
	}
	for _, c := range []struct {
		id  int32
		off *time.Duration
	}{{unix.CLOCK_REALTIME, &o.Realtime}, {unix.CLOCK_MONOTONIC, &o.Monotonic}} {
		within := time.Duration(-1)
		const tries = 5 // the fastest is the most exact
		for range tries {
			var ts [16]byte
			before, err := read(c.id)
			if err != nil {
				return o, err
			}
			if err := p.call(function, c.id, ts[:]); err != nil {
				return o, err
			}
			after, err := read(c.id)
			if err != nil {
				return o, err
			}
			half := (after - before + 1) / 2
			if within < 0 || time.Duration(half) < within {
				within = time.Duration(half)
				its := int64(binary.LittleEndian.Uint64(ts[:]))*int64(time.Second) + int64(binary.LittleEndian.Uint64(ts[8:]))
				*c.off = time.Duration(its - before - half)
			}
		}
		o.Within = max(o.Within, within)
	}
	return o, nil
}

// read reads the child's memory.
func (p *tracee) read(addr uint64, b []byte) error {
	n, err := p.readSome(addr, b)
	if err == nil && n < len(b) {
		err = unix.EFAULT
	}
	if err != nil {
		return fmt.Errorf("read its memory: %w", err)
	}
	return nil
}

// readSome reads as much as there is.
func (p *tracee) readSome(addr uint64, b []byte) (int, error) {
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	remote := []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}
	return unix.ProcessVMReadv(p.pid, local, remote, 0)
}

// write writes to the child's memory, and where that is not for writing, to a copy
// of its own.
func (p *tracee) write(addr uint64, b []byte) error {
	if _, err := unix.PtracePokeData(p.pid, uintptr(addr), b); err != nil {
		return fmt.Errorf("write its memory: %w", err)
	}
	return nil
}

// A vdso is where there is what in a child's vDSO.
type vdso struct {
	load      uint64            // what values of symbols are relative to
	syscall   uint64            // an instruction that makes a system call
	functions map[string]uint64 // those that have hooks
	symbols   []symbol          // of these functions
}

// A symbol is an entry of the vDSO's table: there are several of a function.
type symbol struct {
	function string
	value    uint64 // the address of its value
}

// syscallCode is the instruction.
var syscallCode = []byte{0x0f, 0x05}

// findVDSO finds p.vdso by the vector that the kernel has left on the stack, next
// to the program's arguments and environment. (It is in /proc too, but that need
// not show our processes.)
func (p *tracee) findVDSO() error {
	const sysinfoEHDR = 33 // AT_SYSINFO_EHDR
	base, err := p.auxiliary(sysinfoEHDR)
	if err != nil {
		return err
	}
	var header elf.Header64
	if err := p.readStruct(base, &header); err != nil {
		return fmt.Errorf("its vDSO: %w", err)
	}
	if !bytes.HasPrefix(header.Ident[:], []byte(elf.ELFMAG)) || elf.Machine(header.Machine) != elf.EM_X86_64 {
		return errors.New("its vDSO is none of amd64")
	}
	programs := make([]elf.Prog64, min(header.Phnum, 64))
	if err := p.readStruct(base+header.Phoff, programs); err != nil {
		return fmt.Errorf("its vDSO: %w", err)
	}
	var image []byte
	var dynamic uint64
	for _, s := range programs {
		switch {
		case elf.ProgType(s.Type) == elf.PT_LOAD && image == nil && s.Memsz < 1<<20:
			image = make([]byte, s.Memsz)
			p.vdso.load = base + s.Off - s.Vaddr
		case elf.ProgType(s.Type) == elf.PT_DYNAMIC:
			dynamic = s.Vaddr
		}
	}
	if len(image) == 0 || dynamic == 0 {
		return errors.New("its vDSO has no symbols")
	}
	if err := p.read(base, image); err != nil {
		return fmt.Errorf("its vDSO: %w", err)
	}
	at := bytes.Index(image, syscallCode)
	if at < 0 {
		return errors.New("its vDSO makes no system call")
	}
	p.vdso.syscall = base + uint64(at)
	return p.findSymbols(image, base-p.vdso.load, dynamic)
}

var errNoVector = errors.New("there is no auxiliary vector")

// auxiliary returns an entry of the auxiliary vector.
func (p *tracee) auxiliary(tag uint64) (uint64, error) {
	const most = 16 << 20 // the kernel allows a program less, even in arguments
	stack := make([]byte, 64<<10)
	for {
		n, err := p.readSome(p.regs.Rsp, stack)
		if err != nil || n < 8 {
			return 0, fmt.Errorf("its stack: %w", errors.Join(err, errNoVector))
		}
		words := make([]uint64, n/8)
		for i := range words {
			words[i] = binary.LittleEndian.Uint64(stack[i*8:])
		}
		// The number of arguments, the arguments, 0, the environment, 0, pairs, 0.
		at := min(len(words), 1+int(words[0])+1)
		if end := slices.Index(words[at:], 0); end >= 0 {
			for pair := range slices.Chunk(words[at+end+1:], 2) {
				switch {
				case len(pair) == 2 && pair[0] == tag:
					return pair[1], nil
				case pair[0] == 0:
					return 0, errors.New("it has no vDSO")
				}
			}
		}
		if n < len(stack) || len(stack) >= most {
			return 0, fmt.Errorf("its stack: %w", errNoVector)
		}
		stack = make([]byte, 4*len(stack))
	}
}

// findSymbols finds the symbols of image, the first byte of which has an address
// (as its linker counted).
func (p *tracee) findSymbols(image []byte, first, dynamic uint64) error {
	table := func(addr uint64) []byte { // the image from there on
		if at := addr - first; at < uint64(len(image)) {
			return image[at:]
		}
		return nil
	}
	var strings, symbols uint64
	for entry := range slices.Chunk(table(dynamic), 16) {
		if len(entry) < 16 || elf.DynTag(binary.LittleEndian.Uint64(entry)) == elf.DT_NULL {
			break
		}
		value := binary.LittleEndian.Uint64(entry[8:])
		switch elf.DynTag(binary.LittleEndian.Uint64(entry)) {
		case elf.DT_STRTAB:
			strings = value
		case elf.DT_SYMTAB:
			symbols = value
		}
	}
	// Nothing says how many there are; but linkers put the strings behind them.
	if symbols == 0 || strings < symbols {
		return errors.New("the symbols of its vDSO are not where they are elsewhere")
	}
	p.vdso.functions = map[string]uint64{}
	all := table(symbols)
	for at := 0; at+elf.Sym64Size <= min(len(all), int(strings-symbols)); at += elf.Sym64Size {
		var s elf.Sym64
		if _, err := binary.Decode(all[at:], binary.LittleEndian, &s); err != nil {
			return fmt.Errorf("its vDSO: %w", err)
		}
		name, _, _ := bytes.Cut(table(strings+uint64(s.Name)), []byte{0})
		function := string(bytes.TrimPrefix(name, []byte("__vdso_")))
		if _, ok := hookEntries[function]; ok {
			p.vdso.functions[function] = p.vdso.load + s.Value
			p.vdso.symbols = append(p.vdso.symbols, symbol{function, p.vdso.load + symbols + uint64(at) + 8})
		}
	}
	for function := range hookEntries {
		if p.vdso.functions[function] == 0 {
			return fmt.Errorf("its vDSO has no %s", function)
		}
	}
	return nil
}

// readStruct reads a structure of ELF.
func (p *tracee) readStruct(addr uint64, data any) error {
	b := make([]byte, binary.Size(data))
	if err := p.read(addr, b); err != nil {
		return err
	}
	_, err := binary.Decode(b, binary.LittleEndian, data)
	return err
}
