// Protogen makes the Go code of protobuf files, without protoc and without a
// network: this module's own protocompile reads them, and the two plugins that
// write the code are tools of this module, so that go.mod fixes their versions
// and everybody makes the same bytes.
//
// It is called by go generate, in the folder of the files it is given:
//
//	//go:generate go run github.com/hacheck/hacheck/internal/protogen api.proto
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(files []string) error {
	if len(files) == 0 {
		return errors.New("no files given")
	}
	made, err := generate(context.Background(), ".", files)
	if err != nil {
		return err
	}
	for name, code := range made {
		if err := os.WriteFile(name, code, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// plugins write the code: messages, then services.
var plugins = []string{"protoc-gen-go", "protoc-gen-go-grpc"}

// generate returns the code of the protobuf files in dir by the names of the
// files it belongs in. Files without a service yield no file of services.
func generate(ctx context.Context, dir string, files []string) (map[string][]byte, error) {
	folders, err := siblings(dir)
	if err != nil {
		return nil, err
	}
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
			ImportPaths: append([]string{dir}, folders...),
		}),
		SourceInfoMode: protocompile.SourceInfoStandard, // comments come with it
	}
	compiled, err := compiler.Compile(ctx, files...)
	if err != nil {
		return nil, err
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: files,
		Parameter:      proto.String("paths=source_relative"),
	}
	seen := map[string]bool{}
	for _, f := range compiled {
		request.ProtoFile = appendFile(request.ProtoFile, f, seen)
	}
	input, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode the plugins' input: %w", err)
	}
	made := map[string][]byte{}
	for _, plugin := range plugins {
		response, err := call(ctx, plugin, input)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", plugin, err)
		}
		for _, f := range response.GetFile() {
			made[filepath.FromSlash(f.GetName())] = []byte(f.GetContent())
		}
	}
	return made, nil
}

// siblings returns the folders beside dir, where files lie that those in it import.
func siblings(dir string) (folders []string, err error) {
	above := filepath.Join(dir, "..")
	entries, err := os.ReadDir(above)
	for _, e := range entries {
		if e.IsDir() {
			folders = append(folders, filepath.Join(above, e.Name()))
		}
	}
	return folders, err
}

// appendFile appends f after the files that it imports, as plugins expect them.
func appendFile(to []*descriptorpb.FileDescriptorProto, f protoreflect.FileDescriptor, seen map[string]bool) []*descriptorpb.FileDescriptorProto {
	if seen[f.Path()] {
		return to
	}
	seen[f.Path()] = true
	for i := range f.Imports().Len() {
		to = appendFile(to, f.Imports().Get(i).FileDescriptor, seen)
	}
	return append(to, protoutil.ProtoFromFileDescriptor(f))
}

func call(ctx context.Context, plugin string, input []byte) (*pluginpb.CodeGeneratorResponse, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "tool", plugin)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(stdout.Bytes(), &response); err != nil {
		return nil, fmt.Errorf("read its output: %w", err)
	}
	if response.Error != nil {
		return nil, errors.New(response.GetError())
	}
	return &response, nil
}
