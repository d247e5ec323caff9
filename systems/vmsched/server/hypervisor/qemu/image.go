package qemu

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:generate sh -c "gcc -m16 -nostdlib -c -o guest.o guest.S && ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o guest.bin guest.o && chmod 644 guest.bin; rm -f guest.o"

// bootSector is guest.S, assembled.
//
//go:embed guest.bin
var bootSector []byte

// sector and imageSize are in bytes.
const (
	sector    = 512
	imageSize = 1 << 20
)

// imageOf returns where the image of a machine is.
func imageOf(images, vm string) string { return filepath.Join(images, vm+".img") }

// makeImage makes a machine's image, if there is none: as a whole, whoever else does so.
func makeImage(images, vm string) (err error) {
	path := imageOf(images, vm)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("make the image of %s: %w", vm, err)
		}
	}()
	f, err := os.CreateTemp(images, vm+".*.new")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(bootSector)
	err = errors.Join(err, f.Truncate(imageSize), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	// Unlike a rename, a link does not replace an image that another has made meanwhile, and
	// may have started.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.Open(images)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// ReadVolume returns the number of the last write that the image of a machine has: 0 is none.
// The error is fs.ErrNotExist if the machine was never started.
func ReadVolume(images, vm string) (last uint64, err error) {
	f, err := os.Open(imageOf(images, vm))
	if err != nil {
		return 0, fmt.Errorf("read the volume of %s: %w", vm, err)
	}
	defer func() { _ = f.Close() }()
	var number [4]byte
	if _, err := f.ReadAt(number[:], sector); err != nil {
		return 0, fmt.Errorf("read the volume of %s: %w", vm, err)
	}
	return uint64(binary.LittleEndian.Uint32(number[:])), nil
}
