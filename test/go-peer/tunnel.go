package main

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/flynn/noise"

	"shellstream.test/go-peer/wire"
)

// Tunnel is a WireGuard device of this process, in the network namespace it runs in.
type Tunnel struct {
	name    string
	address netip.Addr
	key     noise.DHKey
	port    uint32
	remote  net.IP // where the peer's WireGuard is: where the session's connection went
	device  *device.Device
	flipped bool // a test's: one bit of every pre-shared key is wrong
}

func newTunnel(name string, address netip.Addr, gateway string, flipped bool) (*Tunnel, error) {
	host, _, err := net.SplitHostPort(gateway)
	if err != nil {
		return nil, err
	}
	link, err := tun.CreateTUN(name, 1420)
	if err != nil {
		return nil, err
	}
	logger := device.NewLogger(device.LogLevelSilent, "")
	t := &Tunnel{
		name: name, address: address, key: must(suite.GenerateKeypair(nil)), remote: net.ParseIP(host), flipped: flipped,
		device: device.NewDevice(link, conn.NewDefaultBind(), logger),
	}
	if err := t.configure(fmt.Sprintf("private_key=%x\nlisten_port=0\n", t.key.Private)); err != nil {
		return nil, err
	}
	if err := t.device.Up(); err != nil {
		return nil, err
	}
	port, err := t.value("listen_port")
	if err != nil {
		return nil, err
	}
	t.port = uint32(must(strconv.ParseUint(port, 10, 16)))
	prefix := netip.PrefixFrom(address, address.BitLen()).String()
	return t, t.ip([]string{"address", "add", prefix, "dev", name}, []string{"link", "set", name, "up"})
}

// offer is what the peer is told, still without proof.
func (t *Tunnel) offer() *wire.WireguardOffer {
	return &wire.WireguardOffer{PublicKey: t.key.Public, Port: t.port, Addresses: [][]byte{t.address.AsSlice()}}
}

// install puts the peer in place of a former one: its key pairs would outlive a changed pre-shared key.
// Only a responder that was offered something comes from what it advertises besides its targets, §3.8.
func (t *Tunnel) install(grant *wire.Grant, presharedKey []byte, offers bool) error {
	secret := [32]byte(presharedKey)
	if t.flipped {
		secret[0] ^= 1
	}
	peer := hex.EncodeToString(grant.Wireguard.PublicKey)
	var allowed []string
	for _, target := range grant.Targets {
		allowed = append(allowed, prefixText(target.Prefix))
	}
	for _, prefix := range grant.Advertise {
		if text := prefixText(prefix); offers && !slices.Contains(allowed, text) {
			allowed = append(allowed, text)
		}
	}
	for _, address := range grant.Wireguard.Addresses {
		allowed = append(allowed, prefixText(&wire.Prefix{Address: address, Length: uint32(8 * len(address))}))
	}
	lines := []string{"public_key=" + peer, "remove=true", "public_key=" + peer, "preshared_key=" + hex.EncodeToString(secret[:])}
	if grant.Wireguard.Port != 0 {
		lines = append(lines, "endpoint="+net.JoinHostPort(t.remote.String(), strconv.Itoa(int(grant.Wireguard.Port))))
	}
	var routes [][]string
	for _, prefix := range allowed {
		lines = append(lines, "allowed_ip="+prefix)
		routes = append(routes, []string{"route", "replace", prefix, "dev", t.name})
	}
	if err := t.configure(strings.Join(lines, "\n") + "\n"); err != nil {
		return err
	}
	return t.ip(routes...)
}

func (t *Tunnel) configure(lines string) error { return t.device.IpcSet(lines) }

// value is the first of this name in what WireGuard says of itself.
func (t *Tunnel) value(name string) (string, error) {
	text, err := t.device.IpcGet()
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(text, "\n") {
		if found, value, _ := strings.Cut(line, "="); found == name {
			return value, nil
		}
	}
	return "", fmt.Errorf("no %s", name)
}

func (t *Tunnel) ip(commands ...[]string) error {
	for _, command := range commands {
		if output, err := exec.Command("ip", command...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %s", command, output)
		}
	}
	return nil
}

func (t *Tunnel) Close() { t.device.Close() }

func prefixText(prefix *wire.Prefix) string {
	address, _ := netip.AddrFromSlice(prefix.GetAddress())
	return netip.PrefixFrom(address, int(prefix.GetLength())).String()
}

// swapTunnel puts the tunnel under the pre-shared key of the latest attestation and says so. The lock is held.
func (s *Session) swapTunnel() {
	state := wire.Tunnel_STATE_READY
	if err := s.tunnel.install(s.grant, s.secrets.PresharedKey, len(s.wish.Offered) > 0); err != nil {
		state = wire.Tunnel_STATE_FAILED
	}
	s.tell(frameTunnel, &wire.Tunnel{State: state, Generation: s.generation})
}
