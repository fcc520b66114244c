// Writes the descriptors of the Envoy messages that istio_kit builds and checks, with all that they
// depend on, as a FileDescriptorSet to stdout. Options and names of the sources are kept, comments
// are not there. Run by `make descriptors`.
package main

import (
	"log"
	"os"
	"sort"

	_ "github.com/envoyproxy/go-control-plane/contrib/envoy/extensions/private_key_providers/cryptomb/v3alpha"
	_ "github.com/envoyproxy/go-control-plane/contrib/envoy/extensions/private_key_providers/qat/v3alpha"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/dynamic_modules/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/quic/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	_ "github.com/cncf/xds/go/udpa/type/v1"
	_ "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The files that hold the messages; the imports above register them.
var roots = []string{
	"contrib/envoy/extensions/private_key_providers/cryptomb/v3alpha/cryptomb.proto",
	"contrib/envoy/extensions/private_key_providers/qat/v3alpha/qat.proto",
	"envoy/config/bootstrap/v3/bootstrap.proto",
	"envoy/extensions/bootstrap/dynamic_modules/v3/dynamic_modules.proto",
	"envoy/extensions/filters/http/router/v3/router.proto",
	"envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
	"envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
	"envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
	"envoy/extensions/transport_sockets/quic/v3/quic_transport.proto",
	"envoy/extensions/transport_sockets/tls/v3/tls.proto",
	"envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
	"udpa/type/v1/typed_struct.proto",
	"xds/type/v3/typed_struct.proto",
}

func main() {
	seen := map[string]*descriptorpb.FileDescriptorProto{}
	var add func(file protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if _, known := seen[file.Path()]; known {
			return
		}
		seen[file.Path()] = protodesc.ToFileDescriptorProto(file)
		for i := 0; i < file.Imports().Len(); i++ {
			add(file.Imports().Get(i).FileDescriptor)
		}
	}
	for _, root := range roots {
		file, err := protoregistry.GlobalFiles.FindFileByPath(root)
		if err != nil {
			log.Fatalf("%s: %v", root, err)
		}
		add(file)
	}
	paths := make([]string, 0, len(seen))
	for path := range seen {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	set := &descriptorpb.FileDescriptorSet{}
	for _, path := range paths {
		set.File = append(set.File, seen[path])
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := os.Stdout.Write(data); err != nil {
		log.Fatal(err)
	}
}
