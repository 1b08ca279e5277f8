package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os/exec"
	"sync"
	"syscall"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"shellstream.test/spire-composer/gen/initpb"
)

const (
	kind = "CredentialComposer"
	name = "shellstream"
	// The broker's id under which SPIRE offers its own services.
	hostServices = 1
)

// host runs at most one plugin.
type host struct {
	logs      *logLines
	authority *authority
	client    *goplugin.Client
	protocol  goplugin.ClientProtocol
	conn      *grpc.ClientConn
	stop      func()
}

func newHost() *host {
	return &host{logs: &logLines{}, authority: newAuthority()}
}

// start does what SPIRE does to load an external plugin, as far as the plugin can notice.
func (h *host) start(request Request) (any, error) {
	command := exec.Command(request.Command, request.Args...)
	for key, value := range request.Env {
		command.Env = append(command.Env, key+"="+value)
	}
	if request.DiesWithUs {
		command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	}
	cookie := cmp.Or(request.Cookie, kind)
	config := &goplugin.ClientConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{ProtocolVersion: cmp.Or(request.Version, 1), MagicCookieKey: cookie, MagicCookieValue: cookie},
		Cmd:              command,
		AutoMTLS:         request.TLS,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		Plugins:          map[string]goplugin.Plugin{name: &composerPlugin{host: h}},
		Logger:           hclog.New(&hclog.LoggerOptions{Output: h.logs, JSONFormat: true, Level: hclog.Trace}),
	}
	if request.Checksum != "" {
		sum, err := hex.DecodeString(request.Checksum)
		if err != nil {
			return nil, err
		}
		config.SecureConfig = &goplugin.SecureConfig{Checksum: sum, Hash: sha256.New()}
	}
	h.client = goplugin.NewClient(config)
	protocol, err := h.client.Client()
	if err != nil {
		h.client.Kill()
		return nil, err
	}
	h.protocol = protocol
	if _, err := protocol.Dispense(name); err != nil {
		h.client.Kill()
		return nil, err
	}
	var answer initpb.InitResponse
	offered := &initpb.InitRequest{HostServiceNames: []string{"spire.hostservice.server.agentstore.v1.AgentStore"}}
	if err := h.conn.Invoke(context.Background(), "/spire.service.private.init.v1.Init/Init", offered, &answer); err != nil {
		return nil, err
	}
	reattach := h.client.ReattachConfig()
	return map[string]any{"pid": reattach.Pid, "socket": reattach.Addr.String(), "services": answer.PluginServiceNames}, nil
}

func (h *host) deinit() error {
	return h.conn.Invoke(context.Background(), "/spire.service.private.init.v1.Init/Deinit", &initpb.DeinitRequest{}, &initpb.DeinitResponse{})
}

// kill is go-plugin's word for an orderly end: Shutdown first, and SIGKILL two seconds later.
func (h *host) kill() any {
	if h.client == nil {
		return struct{}{}
	}
	h.client.Kill()
	if h.stop != nil {
		h.stop()
	}
	return map[string]bool{"exited": h.client.Exited(), "killed": h.logs.contain("plugin failed to exit gracefully")}
}

type composerPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
	host *host
}

func (p *composerPlugin) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return errors.New("this is the host")
}

// GRPCClient offers the host's services through the broker, of which the composer uses none.
func (p *composerPlugin) GRPCClient(_ context.Context, broker *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	listener, err := broker.Accept(hostServices)
	if err != nil {
		return nil, err
	}
	server := grpc.NewServer()
	go server.Serve(listener)
	p.host.conn, p.host.stop = conn, server.Stop
	return struct{}{}, nil
}

// logLines keeps what stands in the host's own log, go-plugin's words and the plugin's.
type logLines struct {
	mutex sync.Mutex
	text  []byte
}

func (l *logLines) Write(line []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.text = append(l.text, line...)
	return len(line), nil
}
